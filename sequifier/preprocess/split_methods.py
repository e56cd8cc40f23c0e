"""`split_method`: the bounds of the splits of a table or of texts, and the seed where sequences are drawn."""

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig, SplitMethod
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.split import (
    Split,
    between_sequences,
    check_exact_windows,
    check_targets,
    last_events,
    longest_history,
    within_sequences,
    within_texts,
)
from sequifier.preprocess.text import TextPart, Texts

_SOURCES: dict[SplitMethod, tuple[str, str]] = {
    "last_events": ("split_events", "use fewer split_events, longer sequences, or context_events above 0"),
}
"""Method -> the field that makes its splits, and how to change it when a split has no target; see `check_targets`."""


def split_table(parts: Sequence[Part], config: PreprocessConfig, log: Log) -> Split:
    """Split the sequences of a table.

    Args:
        parts: all sequences.
        config: split_method and its fields, context_events.
        log: receives lines for the user.

    Raises:
        DataError: a split has no target, or the sequences do not fit the method.
    """
    seed = None
    n_rows = _n_rows(parts)
    match config.split_method:
        case "within_sequence":
            bounds = within_sequences(n_rows, config.split_ratios)
        case "between_sequence":
            seed = _seed(config, log)
            bounds = between_sequences(_ids(parts), n_rows, config.split_ratios, seed)
        case "last_events":
            bounds = _last_events(n_rows, config, log)
    return _checked(bounds, parts, config, seed)


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


def _checked(
    bounds: NDArray[np.int64], parts: Sequence[Part | TextPart], config: PreprocessConfig, seed: int | None = None
) -> Split:
    """Return the split, if each of its parts has a target, and whole windows where the config requires them."""
    context_events = config.stored_context_events
    if context_events is None:
        context_events = longest_history(bounds)
    if config.split_method in _SOURCES:
        where, fix = _SOURCES[config.split_method]
        check_targets(bounds, context_events, where=where, fix=fix)
    else:
        check_targets(bounds, context_events)
    if config.subsequence_start_mode == "exact":
        strides = config.strides(len(bounds) - 1)
        check_exact_windows(bounds, _ids(parts), seq_length=config.seq_length, strides=strides)
    part_ends = np.cumsum([0, *(len(part.sequence_ids) for part in parts)])
    return Split(bounds, part_ends, context_events, seed)
