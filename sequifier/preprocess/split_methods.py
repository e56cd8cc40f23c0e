"""`split_method`: the bounds of the splits of a table or of texts, and the seed where sequences are drawn."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import SEQUENCE
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.end_event import splits_of_ends
from sequifier.preprocess.join_sequences import AT
from sequifier.preprocess.split import (
    Split,
    between_sequences,
    check_exact_windows,
    check_targets,
    last_events,
    longest_history,
    sequences_in_order,
    whole_sequences,
    within_sequences,
    within_texts,
)
from sequifier.preprocess.split_given import given_splits
from sequifier.preprocess.split_positions import cutoff_instants, rows_before, shown, starts_and_ends
from sequifier.preprocess.table import Table
from sequifier.preprocess.text import TextPart, Texts


def split_table(table: Table, parts: Sequence[Part], config: PreprocessConfig, log: Log) -> Split:
    """Split the sequences of a table.

    Args:
        table: the table.
        parts: all sequences.
        config: split_method and its fields, context_events, end_event.
        log: receives lines for the user.

    Raises:
        DataError: a split has no target, or the sequences do not fit the method.
    """
    seed, options = None, dict[str, Any]()
    n_rows = _n_rows(parts)
    match config.split_method:
        case "within_sequence":
            bounds = within_sequences(n_rows, config.split_ratios)
        case "between_sequence":
            ids, group = _groups(parts, config)
            one_each = np.ones(len(ids), dtype=np.int64)
            if config.split_order == "random":
                seed = _seed(config, log)
                of_groups = between_sequences(ids, one_each, config.split_ratios, seed)
            else:
                order = _file_order(table) if config.split_order == "file" else _start_order(table, parts, config)
                of_groups = sequences_in_order(_first_of_each(group[order]), one_each, config.split_ratios)
                options["split_order"] = config.split_order
            bounds = of_groups[:, group] * n_rows
            if config.split_overlap != "keep":
                bounds = _without_overlap(bounds, table, parts, config, log)
                options["split_overlap"] = config.split_overlap
        case "last_events":
            bounds = _last_events(n_rows, config, log)
            options["split_events"] = config.split_events
        case "cutoff":
            bounds = _cutoff(table, parts, config, log)
            options["split_at"] = config.split_at
        case "given":
            split_of = given_splits(parts, config)
            options["split_column"] = config.split_column
            if not (split_of == 1).any():
                seed = _seed(config, log)
                _draw_validation(split_of, parts, config, seed, log)
                options["validation_fraction"] = config.validation_fraction
            elif config.validation_fraction != PreprocessConfig.model_fields["validation_fraction"].default:
                log(f"validation_fraction is not used: column `{config.split_column}` names the validation sequences")
            bounds = whole_sequences(split_of, n_rows, max(2, int(split_of.max()) + 1))
            _check_strides(config, len(bounds) - 1)
    return _checked(bounds, parts, config, seed, options)


def split_texts(texts: Texts, config: PreprocessConfig, log: Log) -> Split:
    """Split the sequences that texts are cut into; the arguments are those of `split_table`."""
    n_rows = _n_rows(texts.parts)
    if config.split_method == "between_sequence":
        seed = _seed(config, log)
        bounds = between_sequences(_ids(texts.parts), n_rows, config.split_ratios, seed)
        return _checked(bounds, texts.parts, config, seed)
    return _checked(within_texts(n_rows, texts.text_of_sequence, config.split_ratios), texts.parts, config)


def _n_rows(parts: Sequence[Part | TextPart]) -> NDArray[np.int64]:
    return np.concatenate([np.diff(part.offsets) for part in parts])


def _ids(parts: Sequence[Part | TextPart]) -> list[int | str]:
    return [id for part in parts for id in part.sequence_ids.tolist()]


def _seed(config: PreprocessConfig, log: Log) -> int:
    if config.seed is not None:
        return config.seed
    seed = secrets.randbelow(2**31)
    log(f"seed: {seed}")
    return seed


def _file_order(table: Table) -> NDArray[np.int64]:
    """Return the numbers of the sequences, by id, in the order in which they first appear in the table."""
    rows = table.rows.select(SEQUENCE).with_row_index("row").group_by(SEQUENCE).agg(pl.col("row").min())
    return np.argsort(rows.collect(engine="streaming").sort(SEQUENCE)["row"].to_numpy())


def _start_order(table: Table, parts: Sequence[Part], config: PreprocessConfig) -> NDArray[np.int64]:
    """Return the numbers of the sequences in the order of their first positions; equal ones by id.

    Raises:
        DataError: all sequences start at the same position.
    """
    starts, _ = starts_and_ends(parts)
    if len(starts) > 1 and (starts == starts[0]).all():
        raise DataError(
            f"split_order by_start: all {len(starts):,} sequences start at {config.position_name}="
            f"{shown(starts[0].item(), table.position_type)}",
            where="split_order",
            fix="use a position_column with times that are the same for all sequences, or split_order: random or file",
        )
    return np.argsort(starts, kind="stable")


def _without_overlap(
    bounds: NDArray[np.int64], table: Table, parts: Sequence[Part], config: PreprocessConfig, log: Log
) -> NDArray[np.int64]:
    """Return the bounds without the events of training sequences from the first start of a validation sequence on.

    With split_overlap drop, such sequences have no events.
    """
    is_validation = np.diff(bounds, axis=0)[1:2].any(axis=0)
    if not is_validation.any():
        return bounds
    starts, ends = starts_and_ends(parts)
    begin = starts[is_validation].min().item()
    trains = bounds[1] > 0
    still_runs = trains & (ends >= begin)
    left = rows_before(parts, begin) if config.split_overlap == "cut" else np.zeros_like(ends)
    n_lost = int((bounds[1] - left)[still_runs].sum())
    log(
        f"split_overlap: {still_runs.sum():,} of {trains.sum():,} training sequences still run at "
        f"{shown(begin, table.position_type)}: {n_lost:,} events are left out"
    )
    return np.where(still_runs, np.minimum(bounds, left), bounds)


def _last_events(n_rows: NDArray[np.int64], config: PreprocessConfig, log: Log) -> NDArray[np.int64]:
    """Return the bounds of last_events.

    Raises:
        DataError: all sequences are too short.
    """
    needed = sum(config.split_events) + 1
    n_short = int((n_rows < needed).sum())
    if n_short == len(n_rows):
        raise DataError(
            f"no sequence is long enough for split_method: last_events: the longest of {len(n_rows):,} has "
            f"{n_rows.max():,} events, and {needed:,} are needed",
            where=f"split_events: {config.split_events}",
            fix="use another split_method, or longer sequences",
        )
    if n_short:
        log(f"last_events: {n_short:,} of {len(n_rows):,} sequences have fewer than {needed:,} events: they train only")
    return last_events(n_rows, config.split_events)


def _cutoff(table: Table, parts: Sequence[Part], config: PreprocessConfig, log: Log) -> NDArray[np.int64]:
    """Return the bounds of cutoff: all sequences are divided at the same positions.

    Raises:
        DataError: a position of split_at is not one of the data.
    """
    instants = cutoff_instants(config, table.position_type, table.formats.dates)
    starts, ends = starts_and_ends(parts)
    first, last = starts.min().item(), ends.max().item()
    for number, instant in enumerate(instants[:2]):
        if not first < instant <= last:
            side = "before" if instant <= first else "from then on"
            in_words = [shown(each, table.position_type) for each in (instant, first, last)]
            raise DataError(
                f"split_at {in_words[0]} is outside the data: no event is {side}; they are from {in_words[1]} to "
                f"{in_words[2]}",
                where=f"split_at[{number}], the start of {'test' if number else 'validation'}",
                fix="write positions between them",
            )
    n_rows = _n_rows(parts)
    bounds = np.stack([np.zeros_like(n_rows), *(rows_before(parts, instant) for instant in instants)])
    if len(instants) < 3:
        return np.concatenate([bounds, n_rows[None]])
    n_left_out = int((n_rows - bounds[-1]).sum())
    log(f"split_at: {n_left_out:,} events from {shown(instants[-1], table.position_type)} on are left out")
    return bounds


def _draw_validation(
    split_of: NDArray[np.int64], parts: Sequence[Part], config: PreprocessConfig, seed: int, log: Log
) -> None:
    """Move some of the training sequences to validation, in place."""
    ids, group = _groups(parts, config)
    training = np.unique(group[split_of == 0])
    fraction = config.validation_fraction
    one_each = np.ones(len(training), dtype=np.int64)
    stays = between_sequences([ids[g] for g in training.tolist()], one_each, [1 - fraction, fraction], seed)[1] > 0
    moves = (split_of == 0) & np.isin(group, training[~stays])
    n_training = int((split_of == 0).sum())
    split_of[moves] = 1
    log(
        f"column `{config.split_column}` has no validation: {moves.sum():,} of {n_training:,} training sequences "
        "are drawn for it"
    )


def _groups(parts: Sequence[Part], config: PreprocessConfig) -> tuple[list[int | str], NDArray[np.int64]]:
    """Return the ids of what is in one split as a whole, and which of them each sequence belongs to, (S,).

    They are the sequences, and with sequence_table.as_of the sequences of the raw table.
    """
    ids = _ids(parts)
    if config.sequence_table is None or config.sequence_table.as_of is None:
        return ids, np.arange(len(ids))
    raw = np.array([str(id).rpartition(AT)[0] for id in ids], dtype=object)
    found, group = np.unique(raw, return_inverse=True)
    return found.tolist(), group


def _first_of_each(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each group once, in the order in which they first occur."""
    _, first = np.unique(groups, return_index=True)
    return groups[np.sort(first)]


def _check_strides(config: PreprocessConfig, n_splits: int) -> None:
    """Check `stride_by_split` where the number of splits is in the data.

    Raises:
        DataError: it has another number of entries.
    """
    strides = config.strides(n_splits)
    if len(strides) != n_splits:
        raise DataError(
            f"stride_by_split {strides} has {len(strides)} entries, `{config.split_column}` makes {n_splits} splits",
            where="stride_by_split",
            fix="give one per split",
        )


def _checked(
    bounds: NDArray[np.int64],
    parts: Sequence[Part | TextPart],
    config: PreprocessConfig,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Split:
    """Return the split, if each of its parts has a target, and whole windows where the config requires them."""
    context_events = config.stored_context_events
    if context_events is None:
        context_events = longest_history(bounds)
    field, change = _field_of_splits(config)
    ends = splits_of_ends(bounds, _n_rows(parts)) if config.end_event or config.has_end else None
    fix = f"{change}, more data, or context_events above 0"
    check_targets(bounds, context_events, ends=ends, where=field, fix=fix)
    part_ends = np.cumsum([0, *(len(part.sequence_ids) for part in parts)])
    split = Split(bounds, part_ends, context_events, seed, options or {}, ends)
    if config.subsequence_start_mode == "exact":
        strides = config.strides(split.n_splits)
        check_exact_windows(split.own_rows, _ids(parts), seq_length=config.seq_length, strides=strides)
    return split


def _field_of_splits(config: PreprocessConfig) -> tuple[str, str]:
    """Return the field that makes the splits, and how to change it when one of them has no target."""
    match config.split_method:
        case "last_events":
            return "split_events", "use fewer split_events, longer sequences"
        case "cutoff":
            return "split_at", "use other positions in split_at"
        case "given":
            return "split_column", "use another column, another validation_fraction"
        case "between_sequence" if config.split_overlap != "keep":
            return "split_overlap", "use split_overlap: keep, fewer splits, larger ratios"
        case _:
            return "split_ratios", "use fewer splits, larger ratios"
