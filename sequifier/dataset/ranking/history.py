"""The classes of all events before each target of a split: the whole history of its sequence, not only its window.

A split stores only the last `context_events` events of earlier splits; what is missing is read from their files.
Shapes: N rows of the split, S sequences, H events of all their histories, M target rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.dataset.windows import rows_from

Rows = NDArray[np.int64]

PAIRS = 1 << 20
"""Pairs of a target and a class that are made together, which bounds the memory."""


class History:
    """The histories of a split's sequences.

    Args:
        events: the split, in memory, with the target column.
        target: a categorical column.
        n_classes: number of its known classes, without END.
        missing: the first events of each sequence that the split lacks, by number of the sequence.

    Attributes:
        events: the split.
        truth: class of each row of the split, (N,).
        n_classes: number of known classes.
    """

    def __init__(self, events: Events, target: str, n_classes: int, missing: dict[int, NDArray[Any]]) -> None:
        self.events, self.n_classes = events, n_classes
        self.truth = events.columns[target]
        if len(self.truth) and (self.truth.min() < 0 or self.truth.max() > n_classes):  # END is no class of an event
            self.truth = np.where((self.truth < 0) | (self.truth > n_classes), 0, self.truth)
        more = np.zeros(len(events.offsets) - 1, dtype=np.int64)
        values: NDArray[Any] = self.truth
        if missing:
            parts: list[NDArray[Any]] = []
            done = 0
            for sequence, first in sorted(missing.items()):
                more[sequence] = len(first)
                parts += [self.truth[done : events.offsets[sequence]], first]
                done = int(events.offsets[sequence])
            values = np.concatenate([*parts, self.truth[done:]])
        self._values = values  # (H,)
        self._shift = np.cumsum(more)  # (S,) place in the histories less row of the split
        self._begin = events.offsets[:-1] + self._shift - more
        owner = np.repeat(np.arange(len(more)), np.diff(events.offsets) + more)
        keys = owner * np.int64(n_classes + 1) + values
        order = np.argsort(keys, kind="stable")
        is_same = np.diff(keys[order]) == 0
        self._next = np.full(len(values), len(values))  # (H,) place of the next event of the same class
        self._next[order[:-1][is_same]] = order[1:][is_same]
        is_first = values != 0
        is_first[order[1:][is_same]] = False
        self._n_distinct = np.concatenate([[0], np.cumsum(is_first)])
        firsts = order[is_first[order]]
        self._first_keys, self._firsts = keys[firsts], firsts

    def sequence_of(self, rows: Rows) -> Rows:
        """Return the number of the sequence of each row."""
        found: Rows = np.searchsorted(self.events.offsets, rows, side="right") - 1
        return found

    def targets(self) -> Rows:
        """Return the rows of the split's own events with a known class, ascending."""
        events = self.events
        own = np.arange(events.offsets[-1]) >= np.repeat(
            events.offsets[:-1] + events.n_context, np.diff(events.offsets)
        )
        return np.flatnonzero(own & (self.truth != 0))

    def n_other_unseen(self, rows: Rows) -> Rows:
        """Return the number of classes besides the true one that do not occur before each row, (M,)."""
        sequence = self.sequence_of(rows)
        n_seen = self._n_distinct[rows + self._shift[sequence] + 1] - self._n_distinct[self._begin[sequence]]
        found: Rows = self.n_classes - n_seen
        return found

    def is_seen(self, rows: Rows, classes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether a class occurs before a row in its sequence, (M, ...); `classes` is (M, ...)."""
        if not len(self._first_keys):
            return np.zeros(classes.shape, dtype=bool)
        sequence = self.sequence_of(rows)
        shape = (-1,) + (1,) * (classes.ndim - 1)
        keys = sequence.reshape(shape) * np.int64(self.n_classes + 1) + classes
        place = np.minimum(np.searchsorted(self._first_keys, keys), len(self._first_keys) - 1)
        before = self._firsts[place] < (rows + self._shift[sequence]).reshape(shape)
        found: NDArray[np.bool_] = (self._first_keys[place] == keys) & before
        return found

    def pairs(self, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Yield each target with each other known class that occurs before it, once.

        Yields:
            Places in `rows` and classes, (pairs,) each.
        """
        sequence = self.sequence_of(rows)
        begin, place = self._begin[sequence], rows + self._shift[sequence]
        for part in parts_of(place - begin, PAIRS):
            counts = (place - begin)[part]
            earlier = rows_from(begin[part], counts)
            owner = np.repeat(np.arange(part.start, part.stop), counts)
            # The last event of each class before the target stands for it.
            classes = self._values[earlier]
            kept = (classes != 0) & (self._next[earlier] >= place[owner]) & (classes != self.truth[rows[owner]])
            yield owner[kept], classes[kept].astype(np.int64)


def parts_of(counts: Rows, most: int) -> Iterator[slice]:
    """Cut items into parts whose counts add up to `most`, or to one item's count where that is more."""
    total = np.cumsum(counts)
    start, before = 0, 0
    while start < len(counts):
        stop = max(int(np.searchsorted(total, before + most, side="right")), start + 1)
        yield slice(start, stop)
        start, before = stop, int(total[stop - 1])


def missing_events(
    events: Events, target: str, context_events: int, earlier: Callable[[], Sequence[Events]]
) -> dict[int, NDArray[Any]]:
    """Return the classes of the events that a split lacks at the start of its sequences, by number of the sequence.

    Args:
        events: the split.
        target: a categorical column.
        context_events: largest number of context events of a sequence; one with fewer lacks none.
        earlier: reads the splits before this one, in order; called only where events may be missing.
    """
    cut = np.flatnonzero(events.n_context >= context_events)
    if not len(cut) or not (splits := earlier()):
        return {}
    number_of = dict(zip(events.sequence_ids[cut].tolist(), cut.tolist(), strict=True))
    parts: dict[int, list[NDArray[Any]]] = {}
    for split in splits:
        begins, ends = split.offsets[:-1] + split.n_context, split.offsets[1:]
        for place, name in enumerate(split.sequence_ids.tolist()):
            if name in number_of:
                own = split.columns[target][begins[place] : ends[place]]
                parts.setdefault(number_of[name], []).append(own)
    found = {}
    for sequence, own_of_each in parts.items():
        whole = np.concatenate(own_of_each)
        n_missing = len(whole) - int(events.n_context[sequence])
        if n_missing > 0:
            found[sequence] = whole[:n_missing]
    return found
