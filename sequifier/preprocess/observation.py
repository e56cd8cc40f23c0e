"""`observation`: START before the first event of each sequence, and the time from its last event to its end.

START is a row of its own. The time after the last event is the open gap: a value of the last event here, until
`end_event.with_ends` gives it a row. Both are positions in the table, as constants or columns.
Shapes: N rows, S sequences.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.instants import MICROSECONDS
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.observation import Moment, Observation
from sequifier.errors import DataError
from sequifier.preprocess.column_counts import event_text
from sequifier.preprocess.column_types import NUMBERS, POSITION_TYPES, raw_kind
from sequifier.preprocess.date_columns import Position, RawRows, date_column
from sequifier.preprocess.parsed_column import ParsedColumn
from sequifier.preprocess.time_features import times_of

START_AT, END_AT = "observation start\0", "observation end\0"
"""Columns beside the features, whose names have no NUL: the positions between which a sequence is observed."""


def observed_positions(
    observation: Observation,
    raw: Mapping[str, ParsedColumn],
    position: Position,
    rows: RawRows,
) -> list[pl.Expr]:
    """Return the columns START_AT and END_AT, as far as they are observed.

    Args:
        observation: start and end.
        raw: the columns as they are read.
        position: the positions.
        rows: the unchanged rows.

    Raises:
        DataError: a start or an end is not of the type of the positions.
        NeedsAllValues: the first rows do not determine the format of dates.
    """

    def of(field: str, moment: Moment) -> pl.Expr:
        if not isinstance(moment, str):
            if position.type not in NUMBERS:
                raise _other_type(field, f"the number {moment:g}", "dates")
            return pl.lit(float(moment))
        dtype = raw[moment].dtype
        is_number = raw_kind(dtype) in ("integer", "number", "nothing but nulls")
        if position.type in NUMBERS:
            if not is_number:
                raise _other_type(field, f"the column `{moment}` of type {dtype}", "numbers")
            return raw[moment].value(pl.col(moment)).cast(pl.Float64).fill_nan(None)
        if is_number:
            raise _other_type(field, f"the column `{moment}` of type {dtype}", "dates")
        return date_column(moment, dtype, rows).value.cast(POSITION_TYPES[position.type])

    moments = ((START_AT, "start", observation.start), (END_AT, "end", observation.end))
    return [of(field, moment).alias(name) for name, field, moment in moments if moment is not None]


def _other_type(field: str, what: str, positions: str) -> DataError:
    return DataError(
        f"observation.{field} is {what}, but positions are {positions}",
        where=f"observation.{field}",
        fix="write it as the positions are",
    )


def check_observed(
    rows: pl.DataFrame, starts: NDArray[np.int64], time: TimeRules, keys: tuple[str, str], where: str
) -> None:
    """Check that each sequence has one start and one end, and all its events between them.

    Args:
        rows: sorted rows.
        starts: (S,) first rows.
        time: the observation.
        keys: names of the sequence and the position column.
        where: the data.

    Raises:
        DataError: it has not; the message names the first event.
    """
    if time.observation is None:
        return
    lasts = np.append(starts[1:], rows.height) - 1
    offsets = np.append(starts, rows.height)
    for name, field, moment in ((START_AT, "start", time.observation.start), (END_AT, "end", time.observation.end)):
        if moment is None:
            continue
        values, shown = rows[name], f"`{moment}`" if isinstance(moment, str) else f"{moment:g}"
        problems: list[tuple[NDArray[np.bool_], str, str]] = [
            (values.is_null().to_numpy(), f"observation.{field}: {shown} has no value", "fill it in")
        ]
        first = values.gather(pl.Series(np.repeat(starts, np.diff(offsets))))
        changes = values.ne_missing(first).to_numpy()
        what = f"observation.{field}: {shown} changes within a sequence"
        problems.append((changes, what, "write the same value in all rows of a sequence"))
        is_outside = np.zeros(rows.height, dtype=bool)
        edge = starts if field == "start" else lasts
        there, limit = rows[POSITION].gather(pl.Series(edge)), values.gather(pl.Series(edge))
        is_outside[edge] = (there < limit if field == "start" else there > limit).fill_null(False).to_numpy()
        side = "before the start" if field == "start" else "after the end"
        problems.append((is_outside, f"an event is {side} of its observation", "correct the position or observation"))
        for is_bad, what, fix in problems:
            if is_bad.any():
                row = int(np.argmax(is_bad))
                if is_bad is is_outside:
                    what += f", {values[row]}" + (f" ({shown})" if isinstance(moment, str) else "")
                place = event_text(keys, rows[SEQUENCE][row], rows[POSITION][row], time.time_zone)
                n_bad = f" (so in {is_bad.sum():,} rows)" if is_bad.sum() > 1 else ""
                raise DataError(what + n_bad, where=f"{where}, first at {place}" if where else place, fix=fix)


def with_start(
    rows: pl.DataFrame, starts: NDArray[np.int64], kept: Sequence[str]
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return rows with START before each sequence, and the first rows of the sequences.

    Args:
        rows: sorted events with START_AT.
        starts: (S,) first rows.
        kept: columns of whole sequences, whose values START has too. It has no value in the others.
    """
    begin = rows[starts].select(SEQUENCE, pl.col(START_AT).alias(POSITION), *kept)
    return insert_starts(begin, rows, starts), starts + np.arange(len(starts))


def insert_starts(begins: pl.DataFrame, rows: pl.DataFrame, starts: NDArray[np.int64]) -> pl.DataFrame:
    """Return events with a row of `begins`, (S), before each sequence; it is null where `begins` has no column.

    Args:
        begins: START of each sequence.
        rows: sorted events.
        starts: (S,) first event of each sequence.
    """
    order = np.insert(np.arange(rows.height) + len(starts), starts, np.arange(len(starts)))
    return pl.concat([begins, rows], how="diagonal_relaxed").select(rows.columns).cast(rows.schema)[order]


def open_gaps(rows: pl.DataFrame, starts: NDArray[np.int64], time: TimeRules, column: str) -> pl.Series:
    """Return the seconds from the last event of each sequence to its end, in the row of this event; null elsewhere."""
    lasts = np.append(starts[1:], rows.height) - 1
    end, last = (times_of(rows[name][lasts], time) for name in (END_AT, POSITION))
    seconds = (end - last).to_numpy() / (1 if end.dtype == pl.Float64 else MICROSECONDS)
    found = np.full(rows.height, np.nan)
    found[lasts] = seconds
    return pl.Series(column, found, nan_to_null=True)
