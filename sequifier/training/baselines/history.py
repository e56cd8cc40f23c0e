"""The events that a baseline may read: the training events, and before an evaluated target those of its window.

Of the steps to come of a horizon it may read the columns that the model may read there (`known_future`).

Shapes: M target positions, H steps of the horizon: a position is predicted for its event and the H - 1 events after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, is_known
from sequifier.artifacts.mapped import MappedColumn, MappedEvents
from sequifier.dataset.batches import Split
from sequifier.dataset.windows import label_windows, rows_from
from sequifier.metrics.predictions import Predictions

Rows = NDArray[np.int64]


class Column(Protocol):
    """Values by row: an array, a mapped column, or what is computed from columns."""

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Return the values of some rows."""


Found = tuple[str, Predictions]
"""Name of a baseline, and its predictions with the criterion at each target."""

_BLOCK = 1 << 16
"""Rows of a training block, which is used or left out as a whole."""


@dataclass(frozen=True)
class TrainingData:
    """What the baselines are fitted on.

    Attributes:
        events: the training events.
        inputs: the columns that the model reads.
        n_classes: of all categorical columns, including the unknown class.
        seq_length: number of events that the model reads.
        known_future: the inputs that it also reads at the steps that it predicts.
    """

    events: Events | MappedEvents
    inputs: Sequence[str]
    n_classes: Mapping[str, int]
    seq_length: int
    known_future: Sequence[str] = ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns of the events."""
        return self.events.columns

    @property
    def real(self) -> list[str]:
        """The real inputs."""
        return [column for column in self.inputs if column not in self.n_classes]

    @property
    def categorical(self) -> list[str]:
        """The categorical inputs."""
        return [column for column in self.inputs if column in self.n_classes]

    @property
    def known_real(self) -> list[str]:
        """The real inputs that are known at the steps to come."""
        return [column for column in self.real if column in self.known_future]

    @property
    def known_categorical(self) -> list[str]:
        """The categorical inputs that are known at the steps to come."""
        return [column for column in self.categorical if column in self.known_future]


@dataclass(frozen=True)
class Targets:
    """Target positions and the events before them.

    Attributes:
        rows: row after the last event that may be read, (M,): the row of a target of an event.
        first: first row of its sequence that may be read, (M,).
        begin: first row of its window, (M,); if it is below `first`, the window has padding, from which the model sees
            that the sequence begins there.
        ahead: 1 and more for a later event; 0 for targets of whole sequences, whose value is that of the last event.
        n_steps: H.
    """

    rows: Rows
    first: Rows
    begin: Rows
    ahead: int = 1
    n_steps: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[Any] | slice) -> "Targets":
        return Targets(self.rows[chosen], self.first[chosen], self.begin[chosen], self.ahead, self.n_steps)

    def at(self, step: int) -> "Targets":
        """Return the positions as targets of one step of the horizon, from 0."""
        return Targets(self.rows, self.first, self.begin, self.ahead + step)

    @property
    def truth_rows(self) -> Rows:
        """The rows that have the true values, (M * H,): all steps of a position, then those of the next one."""
        first = self.rows - 1 + self.ahead
        return first if self.n_steps == 1 else (first[:, None] + np.arange(self.n_steps)).reshape(-1)

    @property
    def last_rows(self) -> Rows:
        """The last row that may be read for each of `truth_rows`, (M * H,)."""
        return np.repeat(self.rows - 1, self.n_steps)

    @property
    def n_readable(self) -> Rows:
        """Number of events that the model sees before each target, (M,), at least 1."""
        return self.rows - np.maximum(self.first, self.begin)


def training_targets(events: Events | MappedEvents, seq_length: int, *, at_most: int, n_steps: int = 1) -> Targets:
    """Return the training targets: the own events of each sequence except the first, and of a horizon the last H - 1.

    Args:
        events: the training split; its context belongs to another split and is not read.
        seq_length: number of events before a target in its window.
        at_most: approximate number to return; of more events, blocks spread evenly over the split are used.
        n_steps: H.
    """
    begins, ends = events.offsets[:-1] + events.n_context, events.offsets[1:]
    n_rows = int(events.offsets[-1])
    blocks = np.arange(-(-n_rows // _BLOCK))
    n_kept = max(at_most // _BLOCK, 1)
    if len(blocks) > n_kept:
        blocks = blocks[np.linspace(0, len(blocks) - 1, n_kept).astype(np.int64)]
    kept = np.zeros(n_rows, dtype=bool)
    for block in blocks.tolist():
        kept[block * _BLOCK : (block + 1) * _BLOCK] = True
    rows = np.flatnonzero(kept)
    del kept
    sequence = np.searchsorted(events.offsets, rows, side="right") - 1
    first = begins[sequence]
    is_target = (rows > first) & (rows + n_steps <= ends[sequence])
    rows, first = rows[is_target], first[is_target]
    return Targets(rows, first, rows - seq_length, n_steps=n_steps)


def training_labels(
    events: Events | MappedEvents, target: str, seq_length: int, *, every: bool, at_most: int
) -> Targets:
    """Return the training targets that belong to whole sequences.

    Args:
        events, seq_length, at_most: as of `training_targets`.
        target: one of them.
        every: whether they are predicted after every event, or after the last one of a sequence.
    """
    windows = label_windows(events, target, every=every)
    few = slice(None, None, max(-(-len(windows) // at_most), 1))
    last, first = (rows[few].astype(np.int64) for rows in (windows.last, windows.first))
    return Targets(last + 1, first, last + 1 - seq_length, windows.ahead)


def evaluated_targets(split: Split, size: int) -> Iterator[Targets]:
    """Yield the targets of an evaluation split, in parts of about `size`."""
    windows, at_a_time = split.windows, max(size // split.seq_length // split.horizon, 1)
    for start in range(0, len(windows), at_a_time):
        last, first, counted = (
            values[start : start + at_a_time].astype(np.int64)
            for values in (windows.last, windows.first, windows.counted)
        )
        counts = last - counted + 1
        after = 1 - windows.ahead
        rows, begin = rows_from(counted, counts) + after, last + after - split.seq_length
        yield Targets(rows, np.repeat(first, counts), np.repeat(begin, counts), windows.ahead, windows.horizon)


def read(column: Column, rows: Rows) -> NDArray[Any]:
    """Return the values of rows in about ascending order; nearly all rows of a range are read as one range."""
    if not len(rows):
        return column[:0]
    low, high = int(rows.min()), int(rows.max()) + 1
    if isinstance(column, MappedColumn) and high - low <= 2 * len(rows):
        return column[low:high][rows - low]
    return column[rows]


def read_truth(columns: Mapping[str, Column], target: str, still_open: str | None, rows: Rows) -> NDArray[Any]:
    """Return true values as `Batch.targets` has them: with whether they are still open, where a column has that."""
    values = read(columns[target], rows)
    if still_open is None:
        return values
    bounds = read(columns[still_open], rows)
    is_open = is_known(bounds)
    return np.stack([np.where(is_open, bounds, values), is_open], axis=1, dtype=np.float32)
