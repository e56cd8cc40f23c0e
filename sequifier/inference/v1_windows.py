"""Stored windows of Sequifier v1, read as events.

A file has one row for each window and column: sequenceId, subsequenceId, startItemPosition, inputCol, then the values
of the window from the oldest step, `L`, to the newest, `0`, which is the event to predict. Ids and standardised values
are float64; a slice that is too short for a window is padded with zeros on the left. Infinite or null steps are to be
generated.
Shapes: N windows, L + 1 steps of a stored window, S entries of the result (windows or sequences), M their rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.event_parts import at_last_sequence
from sequifier.artifacts.events import SEQUENCE, Events, Format
from sequifier.artifacts.split_file import format_of, no_rows, wrap_split_errors
from sequifier.errors import DataError
from sequifier.inference.recoding import Recoding, recode
from sequifier.regular_file import check_is_file

SUBSEQUENCE, START, COLUMN = "subsequenceId", "startItemPosition", "inputCol"
_KEYS = [SEQUENCE, SUBSEQUENCE, START]

Array = NDArray[Any]


@dataclass(frozen=True)
class WindowEvents(Events):
    """The known events of S windows, each as a sequence of its own, or of S sequences.

    Attributes:
        n_ahead: number of events to predict or generate after the last known one, (S,).
        n_history: number of known events before the first event to generate, (S,).
        numbers: subsequenceId of each window, (S,); zeros for sequences.
    """

    n_ahead: NDArray[np.int64]
    n_history: NDArray[np.int64]
    numbers: NDArray[np.int64]


def holds_windows(path: Path, format: Format | None) -> bool:
    """Return whether a file has windows; False if it cannot be read: reading it as events then reports the error."""
    try:
        format = format or format_of(path)
        check_is_file(path)
        return format in ("csv", "parquet") and {*_KEYS, COLUMN} <= set(_scan(path, format).collect_schema())
    except (DataError, OSError, pl.exceptions.PolarsError):
        return False


def columns_of(path: Path, format: Format | None) -> list[str]:
    """Return the columns of which a file has windows.

    Raises:
        DataError: the file is damaged or empty.
    """
    format = format or format_of(path)
    with wrap_split_errors(path, format):
        names = _scan(path, format).select(pl.col(COLUMN).cast(pl.String).unique(maintain_order=True)).collect()
    if names.is_empty():
        raise no_rows(path)
    return names.to_series().to_list()


def read_windows(
    path: Path,
    columns: Sequence[str],
    categorical: Sequence[str],
    *,
    format: Format | None,
    recoding: Recoding | None,
    as_sequences: bool,
    rows_per_part: int,
) -> Iterator[WindowEvents]:
    """Read a file in parts.

    Args:
        path: the file.
        columns: to read, in the order of the result.
        categorical: the columns with ids.
        format: by the file's suffix when None.
        recoding: of the ids and values; None if they have the encoding of the model.
        as_sequences: whether to join the windows of a sequence to one sequence of events, for generation.
        rows_per_part: steps of windows in a part, apart from those that complete its last sequence.

    Raises:
        DataError: the file is damaged, a window lacks a column, or steps are marked where they cannot be generated.
    """
    format = format or format_of(path)
    waiting: list[pl.DataFrame] = []
    with wrap_split_errors(path, format):
        rows = _scan(path, format)
        steps = _steps(path, list(rows.collect_schema()))
        rows = rows.filter(pl.col(COLUMN).cast(pl.String).is_in(list(columns))).select(
            *_KEYS, pl.col(COLUMN).cast(pl.String), pl.col(steps).cast(pl.Float64)
        )
        n_rows = max(1, rows_per_part // len(steps))
        for frame in rows.collect_batches(chunk_size=n_rows, maintain_order=True):
            waiting.append(frame)
            if sum(piece.height for piece in waiting) >= n_rows:
                whole, rest = at_last_sequence(pl.concat(waiting))
                waiting = [rest]
                if whole.height:
                    part = _Part.of(path, whole, columns, categorical, recoding)
                    yield part.sequences() if as_sequences else part.windows()
    last = pl.concat(waiting) if waiting else None
    if last is None or last.is_empty():
        raise no_rows(path)
    part = _Part.of(path, last, columns, categorical, recoding)
    yield part.sequences() if as_sequences else part.windows()


def _scan(path: Path, format: Format) -> pl.LazyFrame:
    if format == "parquet":
        return pl.scan_parquet(path, glob=False)
    header = pl.scan_csv(path, glob=False).collect_schema()
    # The first rows of a file of ids look like integers; later ones may be infinite.
    steps = {column: pl.Float64 for column in header if column.isdecimal()}
    return pl.scan_csv(path, glob=False, schema_overrides=steps)


def _steps(path: Path, columns: list[str]) -> list[str]:
    """The names of the steps, the oldest first."""
    found = [column for column in columns if column.isdecimal()]
    steps = [str(step) for step in range(len(found) - 1, -1, -1)]
    if set(steps) != set(found) or len(steps) < 2:
        raise DataError(
            f"the windows of {path.name} have the steps {', '.join(found)}; they must be L, ..., 1, 0",
            where=str(path),
            fix="give a file that Sequifier v1 has written",
        )
    return steps


@dataclass(frozen=True)
class _Part:
    """Some windows of a file.

    Attributes:
        keys: sequenceId, subsequenceId and startItemPosition of each window.
        values: column -> ids or values, (N, L + 1); 0 where unknown.
        is_known: whether a step is a known event, (N, L + 1).
        is_marked: whether a step is to be generated, (N, L + 1).
    """

    path: Path
    keys: pl.DataFrame
    values: dict[str, Array]
    is_known: NDArray[np.bool_]
    is_marked: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        path: Path,
        rows: pl.DataFrame,
        columns: Sequence[str],
        categorical: Sequence[str],
        recoding: Recoding | None,
    ) -> "_Part":
        steps = [column for column in rows.columns if column.isdecimal()]
        by_column = {column: rows.filter(pl.col(COLUMN) == column) for column in columns}
        keys = by_column[columns[0]].select(_KEYS)
        for column, found in by_column.items():
            if not found.select(_KEYS).equals(keys):
                raise DataError(
                    f"not every window of {path.name} has a row of `{column}` and of `{columns[0]}`, in one order",
                    where=str(path),
                    fix="sort the rows by sequenceId and subsequenceId; give each window a row of each column",
                )
        raw = {column: found.select(steps).to_numpy() for column, found in by_column.items()}
        is_marked = ~np.logical_and.reduce([np.isfinite(values) for values in raw.values()])
        # The newest step may be known after unknown inputs: it is the truth to compare with.
        known_behind_marked = (is_marked[:, :-2] & ~is_marked[:, 1:-1]).any(axis=1)
        if known_behind_marked.any():
            raise DataError(
                "an input that is to be generated (infinite or null) is followed by a known one",
                where=f"{path}, first at {_name(keys, int(np.flatnonzero(known_behind_marked)[0]))}",
                fix="only the newest steps of a window can be generated",
            )
        is_zero = np.logical_and.reduce([values == 0 for values in raw.values()])
        # v1 pads a slice that is too short for a window, which is then the only one of its sequence.
        is_alone = keys.select(pl.len().over(SEQUENCE) == 1).to_series().to_numpy()
        is_padding = np.logical_and.accumulate(is_zero, axis=1) & is_alone[:, None]
        is_known = ~is_marked & ~is_padding
        encoded = {
            column: recode(path, column, np.where(is_known, values, 0), column in categorical, recoding)
            for column, values in raw.items()
        }
        return cls(path, keys, encoded, is_known, is_marked)

    def windows(self) -> WindowEvents:
        """Return each window as a sequence, without windows that have no known input."""
        inputs_marked = np.logical_or.reduce(self.is_marked[:, :-1], axis=1)
        if inputs_marked.any():
            raise DataError(
                f"{np.count_nonzero(inputs_marked):,} of {len(inputs_marked):,} windows have inputs that are to be "
                "generated (infinite or null)",
                where=f"{self.path}, first at {_name(self.keys, int(np.flatnonzero(inputs_marked)[0]))}",
                fix="set autoregression: true",
            )
        kept = np.logical_or.reduce(self.is_known[:, :-1], axis=1)
        is_known = self.is_known[kept]
        position = self.keys[START].to_numpy()[kept, None] + np.arange(is_known.shape[1])
        return WindowEvents(
            sequence_ids=_id_array(self.keys[SEQUENCE].filter(pl.Series(kept))),
            offsets=np.concatenate([[0], np.cumsum(is_known.sum(axis=1))]),
            n_context=np.zeros(len(is_known), dtype=np.int64),
            positions=position[is_known],
            columns={column: values[kept][is_known] for column, values in self.values.items()},
            n_ahead=self.is_marked[kept, -1].astype(np.int64),
            n_history=is_known[:, :-1].sum(axis=1),
            numbers=self.keys[SUBSEQUENCE].to_numpy()[kept],
        )

    def sequences(self) -> WindowEvents:
        """Return the sequences, each joined from its windows."""
        number = self.keys[SEQUENCE].rle_id().to_numpy()
        position = self.keys[START].to_numpy()[:, None] + np.arange(self.is_known.shape[1])
        sequence = np.broadcast_to(number[:, None], position.shape)
        known = np.flatnonzero(self.is_known)
        order = known[np.lexsort((position.ravel()[known], sequence.ravel()[known]))]
        of, at = sequence.ravel()[order], position.ravel()[order]
        values = {column: found.ravel()[order] for column, found in self.values.items()}
        kept = self._one_of_each_position(of, at, values)
        n_rows = np.bincount(of[kept], minlength=int(number[-1]) + 1)
        offsets = np.concatenate([[0], np.cumsum(n_rows)])
        at = at[kept]
        begins = np.flatnonzero(np.diff(number, prepend=-1))
        n_history, last = self._histories(number, position, begins, at, offsets)
        return WindowEvents(
            sequence_ids=_id_array(self.keys[SEQUENCE].gather(pl.Series(begins))),
            offsets=offsets,
            n_context=np.zeros(len(begins), dtype=np.int64),
            positions=at,
            columns={column: found[kept] for column, found in values.items()},
            n_ahead=last - at[offsets[1:] - 1],
            n_history=n_history,
            numbers=np.zeros(len(begins), dtype=np.int64),
        )

    def _one_of_each_position(self, of: Array, at: Array, values: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Return which of the known steps, in order of sequence and position, to keep: one of each position."""
        step = np.diff(at, prepend=at[:1] - 1)
        step[np.diff(of, prepend=-1) != 0] = 1
        differs = np.zeros(len(at), dtype=bool)
        for found in values.values():
            differs[1:] |= (step[1:] == 0) & (found[1:] != found[:-1])
        if (wrong := np.flatnonzero((step > 1) | differs)).size:
            numbers = self.keys[SEQUENCE].rle_id().to_numpy()
            window = int(np.flatnonzero(numbers == of[wrong[0]])[0])
            raise DataError(
                "the windows of a sequence cannot be joined: they leave a gap, or their values at one position differ",
                where=f"{self.path}, first at {_name(self.keys, window)} itemPosition={at[wrong[0]]}",
                fix="generation requires windows of stride 1, because v1 does not store where others begin; use "
                "read_format: raw on the raw events",
            )
        is_first: NDArray[np.bool_] = step == 1
        return is_first

    def _histories(
        self, number: Array, position: Array, begins: Array, at: Array, offsets: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each sequence the number of events of its history, (S,), and the last position to generate, (S,).

        Generation begins at the first marked step, or without marks after the inputs of the first window.
        """
        n_inputs = self.is_known[begins, :-1].sum(axis=1)
        none = np.iinfo(np.int64).max
        marked = np.full(len(begins), none)
        np.minimum.at(marked, number, np.where(self.is_marked, position, none).min(axis=1))
        has_rows = np.diff(offsets) > 0
        first = at[np.minimum(offsets[:-1], len(at) - 1)] if len(at) else np.zeros(len(begins), dtype=np.int64)
        n_history = np.where(marked < none, marked - first, np.maximum(n_inputs, 1))
        if (bad := np.flatnonzero(~has_rows | (n_history < 1))).size:
            raise DataError(
                "a sequence has no known event before the first one to generate",
                where=f"{self.path}, {_name(self.keys, int(begins[bad[0]]))}",
                fix="give it a window whose first steps are known",
            )
        last = np.full(len(begins), np.iinfo(np.int64).min)
        np.maximum.at(last, number, position[:, -1])
        return n_history, last


def _id_array(ids: pl.Series) -> Array:
    return np.array(ids.to_list(), dtype=object) if ids.dtype == pl.String else ids.to_numpy()


def _name(keys: pl.DataFrame, window: int) -> str:
    row: Mapping[str, Any] = keys.row(window, named=True)
    return f"sequenceId={row[SEQUENCE]} subsequenceId={row[SUBSEQUENCE]}"
