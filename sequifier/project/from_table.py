"""`sequifier make --data`: inspect the user's table, and propose configs that fit it.

The table stays where it is: `preprocess` reads it as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.errors import DataError
from sequifier.project.catalogue_choice import classes_of_loss
from sequifier.project.column_choice import Choice, choose, without_rare
from sequifier.project.column_facts import Facts, column_facts, typed
from sequifier.project.data_warnings import data_warnings
from sequifier.project.event_times import GAP, N_OUTPUTS, EventTimes, find_event_times, has_times
from sequifier.project.findings import Findings
from sequifier.project.forecast_choice import ForecastChoice, choose_forecast
from sequifier.project.inspect_columns import InspectedColumn, inspect_columns
from sequifier.project.keys import Keys, find_keys, find_targets, with_known
from sequifier.project.metric_choice import choose_metric, of_times
from sequifier.project.pilot import measure
from sequifier.project.raw_table import RawTable, open_raw, unreadable
from sequifier.project.sizes import choose_sizes
from sequifier.project.skewed_columns import with_transforms
from sequifier.project.split_choice import (
    SplitChoice,
    choose_seq_length,
    choose_split,
    choose_stride,
    split_in_time,
)
from sequifier.project.table_configs import table_configs, train_values
from sequifier.project.table_summary import summary
from sequifier.project.time_choice import choose_time_features
from sequifier.project.whole_sequences import find_whole_sequences

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Proposal:
    """The proposed project for a table.

    Attributes:
        configs: file name -> text, not yet annotated.
        lines: the summary for the user.
    """

    configs: dict[str, str]
    lines: tuple[str, ...]


def propose(
    data: Path,
    *,
    columns: Sequence[str],
    sequence: str,
    order: str,
    targets: Sequence[str],
    drop_duplicates: bool,
    name: str,
    project: Path,
    folder: Path,
) -> Proposal:
    """Inspect a table and fill in the configs of a project.

    Args:
        data: a CSV, Parquet or XES file, or a folder of them.
        columns: names of the columns of CSV files without a header.
        sequence: the sequence column; empty: guess; the string `None`: the table is a single series.
        order: the order column; empty: guess; the string `None`: the rows are in order.
        targets: the columns to predict; empty: guess.
        drop_duplicates: whether rows that are identical to an earlier one are left out.
        name: name of the project.
        project: its folder, which need not exist yet.
        folder: an empty folder for temporary files.

    Raises:
        DataError: the table cannot be used, or a column must be named.
    """
    distinct = folder / "distinct.parquet" if drop_duplicates else None
    found = _findings(open_raw(data, folder, columns), (sequence, order), targets, distinct)
    pilot = measure(train_values(found), found.classes, found.keys.lengths.counts, found.seq_length)
    found = replace(found, pilot=pilot)
    return Proposal(table_configs(found, name=name, project=project), tuple(summary(found)))


def _findings(
    table: RawTable, given_keys: tuple[str, str], given_targets: Sequence[str], distinct: Path | None
) -> Findings:
    given_keys, given_targets, known_notes = with_known(table, given_keys, given_targets)
    inspected = inspect_columns(table)
    raw, n_empty = _without_empty_rows(table)
    n_dropped = None
    if distinct is not None:
        raw, n_dropped = _without_duplicates(table, raw, distinct)
    facts = column_facts(table, raw, inspected)
    rows = typed(raw, inspected)
    if not next(iter(facts.values())).n_rows:
        raise DataError("the table has no rows", where=str(table.path), fix="give a table with one row for each event")
    keys = find_keys(table, rows, facts, inspected, given_keys)
    if distinct is not None and keys.order is None:
        raise DataError(
            "no column orders the rows, so identical rows are different events",
            where=f"{table.path}, --drop-duplicates",
            fix="leave --drop-duplicates out, or name the column that orders the events: --order COLUMN",
        )
    n_rows = next(iter(facts.values())).n_rows
    targets, notes, times = _targets(table, rows, facts, inspected, keys, given_targets)
    not_features = (keys.sequence, keys.order, *(times.columns if times else ()))
    features = [column for column in facts if column not in not_features]
    choices = _choices(table, rows, facts, inspected, features, targets)
    counts = keys.lengths.counts
    of_targets = [choice for choice in choices if choice.column in targets]
    is_only_category = len(targets) == len(of_targets) == 1 and of_targets[0].use == "categorical"
    used = [choice.column for choice in choices if choice.use != "left out"]
    certain = [*targets, *table.attributes]
    whole = find_whole_sequences(rows, keys.sequence, used, certain, n_rows)
    is_observed = times is not None and times.is_observed
    split = choose_split(
        counts,
        n_items=of_targets[0].n_categories if is_only_category else 0,
        has_labels=any(target in whole.columns for target in targets),
        is_observed=is_observed,
    )
    has_dates = keys.order is not None and inspected[keys.order].kind in ("date", "datetime")
    if split.method == "between_sequence" and has_dates and not is_observed:
        split = _in_time(split, rows, keys)
    forecast = choose_forecast(rows, facts, keys, of_targets, split) if times is None else ForecastChoice()
    seq_length = forecast.seq_length or choose_seq_length(counts, split)
    stride = forecast.stride(counts, split) if forecast.is_proposed else choose_stride(counts, seq_length, split)
    n_outputs = classes_of_loss(of_targets) + (N_OUTPUTS if times else 0)
    time = forecast.with_calendar(choose_time_features(rows, facts, inspected, keys)).beside(used)
    return Findings(
        table=table,
        inspected=inspected,
        rows=rows,
        n_empty=n_empty,
        n_dropped=n_dropped,
        n_identical=_n_identical(rows, n_rows) if keys.lengths.n_repeated else 0,
        facts=facts,
        keys=keys,
        choices=choices,
        targets=targets,
        whole=whole,
        metric=of_times(times) if times and not of_targets else choose_metric(of_targets, whole, split, rows, keys),
        warnings=tuple(data_warnings(rows, facts, keys, choices)),
        notes=(*table.notes, *known_notes, *keys.notes, *notes),
        split=split,
        seq_length=seq_length,
        stride=stride,
        sizes=choose_sizes(counts, seq_length, stride, split, n_outputs, is_forecast=forecast.is_proposed),
        time=times.with_features(time, keys) if times else time,
        forecast=forecast,
        event_times=times,
    )


def _targets(
    table: RawTable,
    rows: "pl.LazyFrame",
    facts: Mapping[str, Facts],
    inspected: Mapping[str, InspectedColumn],
    keys: Keys,
    given: Sequence[str],
) -> tuple[tuple[str, ...], tuple[str, ...], EventTimes | None]:
    """Return the targets, notes on them, and what follows where the time to the next event is one of them."""
    times = find_event_times(rows, facts, keys) if has_times(facts, keys) and GAP not in facts else None
    not_features = (keys.sequence, keys.order, *(times.columns if times else ()))
    usable = [
        column
        for column, found in facts.items()
        if column not in not_features and choose(column, found, inspected[column], is_target=False).use != "left out"
    ]
    targets, notes = find_targets(table, facts, keys, given, usable, [GAP] if times else [])
    return targets, notes, times if GAP in targets else None


def _choices(
    table: RawTable,
    rows: "pl.LazyFrame",
    facts: Mapping[str, Facts],
    inspected: Mapping[str, InspectedColumn],
    features: Sequence[str],
    targets: Sequence[str],
) -> list[Choice]:
    """Return the use of each feature column.

    Raises:
        DataError: a target cannot be predicted.
    """
    choices: list[Choice] = []
    for column in features:
        is_target = column in targets
        choice = choose(column, facts[column], inspected[column], is_target=is_target)
        choice = without_rare(choice, rows, is_target=is_target)
        if is_target and choice.use == "left out":
            raise DataError(f"`{column}` cannot be predicted: {choice.why}", where=f"{table.path}, --target")
        choices.append(choice)
    return with_transforms(choices, rows)


def _in_time(split: SplitChoice, rows: "pl.LazyFrame", keys: Keys) -> SplitChoice:
    import polars as pl

    if keys.sequence is None or keys.order is None:
        return split
    position = pl.col("position").to_physical().cast(pl.Int64)
    spans = (
        rows.select(sequence=pl.col(keys.sequence), position=pl.col(keys.order))
        .group_by("sequence")
        .agg(start=position.min(), end=position.max(), n=pl.len().cast(pl.Int64))
    )
    return split_in_time(split, spans.collect(engine="streaming"))


def _n_identical(rows: "pl.LazyFrame", n_rows: int) -> int:
    """Return the number of rows that are identical to an earlier one, by their hashes."""
    import polars as pl

    distinct = rows.select(pl.struct(pl.all()).hash(0).n_unique()).collect(engine="streaming").item()
    return n_rows - int(distinct)


def _without_duplicates(table: RawTable, rows: "pl.LazyFrame", file: Path) -> "tuple[pl.LazyFrame, int]":
    """Write the rows without those that are identical to an earlier one, and return them and the number of the latter.

    Raises:
        DataError: the files cannot be read.
    """
    import polars as pl

    try:
        rows.unique(keep="first", maintain_order=True).sink_parquet(file)
        distinct = pl.scan_parquet(file)
        return distinct, _n_rows(rows) - _n_rows(distinct)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error


def _n_rows(rows: "pl.LazyFrame") -> int:
    import polars as pl

    return int(rows.select(pl.len()).collect(engine="streaming").item())


def _without_empty_rows(table: RawTable) -> "tuple[pl.LazyFrame, int]":
    """Return the rows of the files without those that have no value, and the number of the latter."""
    import polars as pl

    rows, n_empty = table.rows, 0
    if table.is_text:
        is_empty = pl.all_horizontal(pl.all().is_null())
        try:
            n_empty = int(rows.select(is_empty.sum()).collect(engine="streaming").item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise unreadable(table.path, error) from error
        rows = rows.filter(is_empty.not_()) if n_empty else rows
    return rows, n_empty
