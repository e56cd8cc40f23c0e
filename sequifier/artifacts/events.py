"""Encoded events in memory, and the rows in which they are stored.

Columns in order: sequenceId, itemPosition, isContext, then the features: categories as Int32 ids (0 is unknown), reals
as Float32 z = (x - mean) / std, and behind each real one that is standardised by sequence its mean and std. Rows are
sorted by (sequenceId, itemPosition). A sequence of a later split starts with events of earlier splits, marked as
context. The last row of a sequence may be its END (`end_event` of preprocess): the class END in some columns, and no
value in the others (id -1, or NaN). It is never an input. With `observation`, the first row of a sequence is START,
which is an input and never a target: unknown or the mean but in columns of its time. The last row then is the end of
observation, without a value in any feature.
Shapes: N rows of a split, S its sequences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.transforms import Scale
from sequifier.config.train import EventFormat

if TYPE_CHECKING:
    import polars as pl

SEQUENCE, POSITION, CONTEXT = "sequenceId", "itemPosition", "isContext"
NO_ID = -1
"""In a categorical column without END: no value, at the END of a sequence."""


def statistics_columns(column: str) -> tuple[str, str]:
    """Return the stored columns with mean and std of the sequence, of a column that is standardised by sequence.

    They are Float32, and the column is standardised by just these numbers.
    """
    return f"{column}.mean", f"{column}.std"


Format = EventFormat
FileFormat = Literal["parquet", "csv", "arrow"]
"""Format of a split that is one file."""
SUFFIXES: Mapping[str, Format] = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow", ".pt": "pt"}


def scale_at(scale: Scale, column: str, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Scale:
    """Return how a column is standardised in the sequences of some rows.

    Args:
        scale: of the column.
        column: its name.
        columns: of the events.
        rows: a row of each of the sequences, (M,), but not their END.
    """
    if not scale.by_sequence:
        return scale
    mean, std = (columns[name][rows].astype(np.float64) for name in statistics_columns(column))
    return scale.at(mean, std)


@dataclass(frozen=True)
class Events:
    """Whole sequences of one split, in memory.

    Attributes:
        sequence_ids: (S,) int64, or str in an object array.
        offsets: (S + 1,) int64; sequence s has the rows offsets[s] : offsets[s + 1].
        n_context: (S,) int64, number of context rows at the start of each sequence.
        positions: (N,) int64, float64 or datetime64.
        columns: feature -> (N,) int32 ids or float32 z.
    """

    sequence_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    n_context: NDArray[np.int64]
    positions: NDArray[Any]
    columns: dict[str, NDArray[Any]]


def is_known(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each entry of a column is a known class or a number, and not unknown (id 0) or without a value."""
    known: NDArray[np.bool_] = values > 0 if values.dtype.kind == "i" else ~np.isnan(values)
    return known


def ends_with_end(events: Events, end_ids: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return whether the last row of each sequence is its END, (S,).

    Args:
        events: with any column.
        end_ids: the id of END in each column that has it; empty: no sequence has one.
    """
    if not end_ids:
        return np.zeros(len(events.sequence_ids), dtype=np.bool_)
    column, values = next(iter(events.columns.items()))
    last = values[events.offsets[1:] - 1]
    is_end: NDArray[np.bool_] = last == end_ids[column] if column in end_ids else _have_no_value(last)
    return is_end


def without_observed_ends(events: Events) -> Events:
    """Return events without the rows for the end of observation; they have any feature."""
    values = next(iter(events.columns.values()))
    return without_ends(events, _have_no_value(values[events.offsets[1:] - 1]))


def _have_no_value(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether entries have no value, which is less than an unknown class."""
    have_none: NDArray[np.bool_] = ~is_known(values) & (values != 0)
    return have_none


def without_ends(events: Events, has_end: NDArray[np.bool_]) -> Events:
    """Return events without the last row of the sequences in `has_end`, (S,)."""
    if not has_end.any():
        return events
    ends = events.offsets[1:][has_end] - 1
    return replace(
        events,
        offsets=events.offsets - np.concatenate([[0], np.cumsum(has_end)]),
        positions=np.delete(events.positions, ends),
        columns={column: np.delete(values, ends) for column, values in events.columns.items()},
    )


def frame_of(events: Events) -> "pl.DataFrame":
    """Return events as rows of a split."""
    import polars as pl

    n_rows = np.diff(events.offsets)
    row_of_sequence = np.arange(events.offsets[-1]) - np.repeat(events.offsets[:-1], n_rows)
    if events.sequence_ids.dtype == object:
        ids = pl.Series(SEQUENCE, events.sequence_ids.tolist(), dtype=pl.String)
        sequence = ids.gather(pl.Series(np.repeat(np.arange(len(ids)), n_rows)))
    else:
        sequence = pl.Series(SEQUENCE, np.repeat(events.sequence_ids, n_rows))
    return pl.DataFrame(
        [
            sequence,
            pl.Series(POSITION, events.positions),
            pl.Series(CONTEXT, row_of_sequence < np.repeat(events.n_context, n_rows)),
            *(pl.Series(column, values) for column, values in events.columns.items()),
        ]
    )


def events_of(frame: "pl.DataFrame", columns: Sequence[str]) -> Events:
    """Return rows of a split, in whole sequences, as events."""
    import polars as pl

    sequence = frame[SEQUENCE]
    first = sequence.ne_missing(sequence.shift(1))
    first[0] = True
    starts = np.flatnonzero(first.to_numpy())
    ids = sequence.gather(pl.Series(starts))
    is_context = frame[CONTEXT].to_numpy()
    return Events(
        sequence_ids=np.array(ids.to_list(), dtype=object) if ids.dtype == pl.String else ids.to_numpy(),
        offsets=np.append(starts, frame.height).astype(np.int64),
        n_context=np.add.reduceat(is_context.astype(np.int64), starts),
        positions=frame[POSITION].to_numpy(),
        columns={column: frame[column].to_numpy() for column in columns},
    )
