"""Which windows a split is read in: an index over its events, never a copy of them.

A window shows `seq_length` (L) input events and asks, after each of them, for the next one; together they are the
L + 1 rows `last - L ... last`. It is aligned on its last row. Rows before `first` belong to another sequence: they are
padding. Targets are the rows from `counted` to `last`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.errors import DataError

_WINDOWS = 1 << 20
"""Windows placed at a time, so that the way to an index takes no more memory than the index."""

Rows = NDArray[np.int64]
RowNumbers = NDArray[np.int64] | NDArray[np.int32]
StartMode = Literal["distribute", "exact"]


@dataclass(frozen=True)
class WindowIndex:
    """W windows over the rows of a split, all (W,) row numbers: int64, of training windows int32 where that holds them.

    At a stride of 1 there are as many training windows as events: three times eight bytes each would be more than the
    columns themselves.
    """

    last: RowNumbers  # last target
    first: RowNumbers  # first row of the sequence; rows before it are padding
    counted: RowNumbers  # first target that counts

    def __len__(self) -> int:
        return len(self.last)

    @property
    def n_targets(self) -> int:
        """Targets in all windows; those with an unknown category are still among them."""
        return int((self.last - self.counted + 1).sum())

    def in_int64(self) -> "WindowIndex":
        """The same windows, for sums over many of them."""
        return WindowIndex(*(rows.astype(np.int64) for rows in (self.last, self.first, self.counted)))


def window_starts(n: int, seq_length: int, stride: int, mode: StartMode) -> Rows:
    """First rows of the stored windows (L + 1 rows each) of a slice of n events.

    `distribute` spreads them evenly and ends on the last event; `exact` needs a stride that fits.

    Raises:
        DataError: mode exact, and stride does not divide n - 1 - L.
    """
    last = n - (seq_length + 1)
    if last < 0:
        return np.zeros(1, dtype=np.int64)
    if mode == "exact":
        if last % stride:
            raise DataError(
                f"{n} events cannot be cut into windows of {seq_length} + 1 at a stride of exactly {stride}",
                fix="choose a stride that divides the rest, or subsequence_start_mode: distribute",
            )
        return np.arange(0, last + 1, stride, dtype=np.int64)
    count = len(np.arange(0, last + stride, stride))
    return np.unique(np.floor(np.linspace(0, last, count)).astype(np.int64))


def training_windows(
    offsets: Rows, n_context: Rows, *, seq_length: int, stride: int, mode: StartMode = "distribute"
) -> WindowIndex:
    """Windows over the own events of each sequence, as `window_starts` cuts them; every target counts.

    Args:
        offsets: (S + 1,) rows at which sequences begin and end.
        n_context: (S,) leading rows of each sequence that belong to an earlier split; no window reaches them.
        seq_length: inputs of a window (L).
        stride: events from one window to the next.
        mode: see `window_starts`.
    """
    firsts = offsets[:-1] + n_context
    lengths = offsets[1:] - firsts
    # Sequences of one length have the same starts: a table of millions has only some thousand lengths.
    ends = {
        int(length): np.minimum(window_starts(int(length), seq_length, stride, mode) + seq_length, length - 1)
        for length in np.unique(lengths[lengths >= 2])
    }
    n_windows = np.zeros(len(lengths), dtype=np.int64)
    for length, of_length in ends.items():
        n_windows[lengths == length] = len(of_length)
    begin = np.cumsum(n_windows) - n_windows  # the number of each sequence's first window
    small = offsets[-1] + seq_length < np.iinfo(np.int32).max
    last, first = (np.empty(n_windows.sum(), dtype=np.int32 if small else np.int64) for _ in range(2))
    for length, of_length in ends.items():
        same = np.flatnonzero(lengths == length)
        step = -(-_WINDOWS // len(of_length))
        for sequences in (same[start : start + step] for start in range(0, len(same), step)):
            places = begin[sequences, None] + np.arange(len(of_length))
            last[places] = firsts[sequences, None] + of_length
            first[places] = firsts[sequences, None]
    counted = np.maximum(last - (seq_length - 1), first + 1)
    return WindowIndex(last=last, first=first, counted=counted)


def evaluation_windows(offsets: Rows, n_context: Rows, *, seq_length: int, stride: int) -> WindowIndex:
    """Windows in which each own event that has a predecessor is a target exactly once.

    They advance by `stride` and only their new positions count, so each target sees at least `seq_length - stride + 1`
    events where that much history exists. Context rows are inputs, never targets. The set of targets depends on the
    events alone, not on `seq_length` or `stride`.
    """
    firsts, ends = offsets[:-1], offsets[1:] - 1
    begin = firsts + np.maximum(n_context, 1)  # the first target of each sequence
    has_target = begin <= ends
    firsts, ends, begin = firsts[has_target], ends[has_target], begin[has_target]
    # Nothing lies before the sequence, so its first window may count as many targets as it has inputs.
    first_last = np.minimum(np.maximum(begin - 1 + stride, firsts + seq_length), ends)
    more = -(-(ends - first_last) // stride)  # windows after the first, rounded up
    owner = np.repeat(np.arange(len(firsts)), more + 1)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(more + 1) - (more + 1), more + 1)
    last = np.minimum(first_last[owner] + number * stride, ends[owner])
    counted = np.where(number == 0, begin[owner], first_last[owner] + (number - 1) * stride + 1)
    return WindowIndex(last=last, first=firsts[owner], counted=counted)
