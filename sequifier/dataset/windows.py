"""The windows of a split: an index over its events, never a copy of them.

A window has `seq_length` (L) input events, after each of which the next event is predicted; together they are the
L + 1 rows `last - L` to `last`. Rows before `first` belong to another sequence: they are padding. The targets are the
rows from `counted` to `last`.

With a horizon of H steps each target position is predicted H rows ahead: its own row and the H - 1 rows after it, all
of which are in its sequence. The event before it is an origin.

A target that belongs to the whole sequence, its label, is predicted from the events up to the row `last`, this one
included. It has windows of its own, each with one target. So has every target where the values of a window are
normalized by their own statistics, which earlier positions must not see.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import is_known
from sequifier.errors import DataError

if TYPE_CHECKING:
    from sequifier.artifacts.events import Events
    from sequifier.artifacts.mapped import MappedEvents

_WINDOWS = 1 << 20
"""Windows that are placed together, so that making an index takes no more memory than the index."""

Rows = NDArray[np.int64]
RowNumbers = NDArray[np.int64] | NDArray[np.int32]
StartMode = Literal["distribute", "exact"]
Ahead = Literal[0, 1]


@dataclass(frozen=True)
class WindowIndex:
    """W windows of a split as row numbers, (W,) each: int64, or int32 for training windows where that suffices.

    At a stride of 1 there are as many training windows as events, and three times eight bytes for each would exceed
    the columns themselves.
    """

    last: RowNumbers  # last target
    first: RowNumbers  # first row of the sequence; rows before it are padding
    counted: RowNumbers  # first target that counts
    ahead: Ahead = 1  # number of rows from the last input to the last target: 0 for labels of sequences
    only_last: bool = False  # whether each window has one target, its last
    horizon: int = 1  # number of rows that are predicted at each target position
    room: int = 1  # smallest number of rows from a target position to the end of its sequence; at least `horizon`

    def __len__(self) -> int:
        return len(self.last)

    @property
    def n_targets(self) -> int:
        """Number of target positions in all windows, including those with an unknown category."""
        return int((self.last - self.counted + 1).sum())

    def in_int64(self) -> "WindowIndex":
        """Return the same windows in int64, for sums over many of them."""
        last, first, counted = (rows.astype(np.int64) for rows in (self.last, self.first, self.counted))
        return replace(self, last=last, first=first, counted=counted)


def window_starts(n: int, seq_length: int, stride: int, mode: StartMode) -> Rows:
    """Return the first rows of the windows (L + 1 rows each) of a slice of n events.

    `distribute` spreads them evenly, the last one ending on the last event; `exact` keeps the stride.

    Raises:
        DataError: mode is exact, and stride does not divide n - 1 - L.
    """
    last = n - (seq_length + 1)
    if last < 0:
        return np.zeros(1, dtype=np.int64)
    if mode == "exact":
        if last % stride:
            raise DataError(
                f"{n} events cannot be cut into windows of {seq_length} + 1 at a stride of exactly {stride}",
                fix=f"choose a stride that divides {last}, or subsequence_start_mode: distribute",
            )
        return np.arange(0, last + 1, stride, dtype=np.int64)
    count = len(np.arange(0, last + stride, stride))
    return np.unique(np.floor(np.linspace(0, last, count)).astype(np.int64))


def training_windows(
    offsets: Rows,
    n_context: Rows,
    *,
    seq_length: int,
    stride: int,
    mode: StartMode = "distribute",
    only_last: bool = False,
    horizon: int = 1,
) -> WindowIndex:
    """Return windows over the own events of each of S sequences, cut by `window_starts`; every target counts.

    With a horizon the windows are those of sequences that end horizon - 1 events earlier.

    Args:
        offsets: rows at which sequences begin and end, (S + 1,).
        n_context: number of leading rows of each sequence that belong to an earlier split, (S,); no window has them.
        seq_length: inputs of a window (L).
        stride: events between the starts of consecutive windows.
        mode: see `window_starts`.
        only_last: whether only the last target of a window counts. Then events with a shorter history are targets of
            padded windows, as they are targets at earlier positions otherwise.
        horizon: number of rows that are predicted at each target position.
    """
    seq_length = 1 if only_last else seq_length  # from here on: targets of a window
    firsts = offsets[:-1] + n_context
    lengths = offsets[1:] - firsts - (horizon - 1)
    # Sequences of equal length have equal starts: millions of sequences have only some thousand lengths.
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
    return WindowIndex(last=last, first=first, counted=counted, only_last=only_last, horizon=horizon, room=horizon)


def evaluation_windows(
    offsets: Rows, n_context: Rows, *, seq_length: int, stride: int, only_last: bool = False, horizon: int = 1
) -> WindowIndex:
    """Return windows in which each own event that has a predecessor is a target exactly once.

    They advance by `stride` and only their new positions count, so each target is predicted from at least
    `seq_length - stride + 1` events where there are that many. Context rows are inputs, never targets. The set of
    targets depends on the events alone, not on the other arguments, which are those of `training_windows`.
    """
    if only_last:
        seq_length = stride = 1
    firsts, ends = offsets[:-1], offsets[1:] - horizon
    begin = firsts + np.maximum(n_context, 1)  # the first target of each sequence
    has_target = begin <= ends
    firsts, ends, begin = firsts[has_target], ends[has_target], begin[has_target]
    # The first window of a sequence has no history before it, so it may count as many targets as it has inputs.
    first_last = np.minimum(np.maximum(begin - 1 + stride, firsts + seq_length), ends)
    more = -(-(ends - first_last) // stride)  # windows after the first, rounded up
    owner = np.repeat(np.arange(len(firsts)), more + 1)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(more + 1) - (more + 1), more + 1)
    last = np.minimum(first_last[owner] + number * stride, ends[owner])
    counted = np.where(number == 0, begin[owner], first_last[owner] + (number - 1) * stride + 1)
    firsts = firsts[owner]
    return WindowIndex(last=last, first=firsts, counted=counted, only_last=only_last, horizon=horizon, room=horizon)


def most_steps(offsets: Rows, n_context: Rows, *, sees_context: bool) -> int:
    """Return the longest horizon that a split has a target for; arguments as of `training_windows`.

    Args:
        offsets, n_context: of the sequences.
        sees_context: whether context rows are inputs, as in `evaluation_windows`.
    """
    own = np.diff(offsets) - n_context
    # Without an event before it, the first one can only be predicted from.
    return int((own - (n_context == 0 if sees_context else 1)).max(initial=0))


def label_windows(events: "Events | MappedEvents", target: str, *, every: bool) -> WindowIndex:
    """Return windows that end with the last own event of each sequence, or with each of its own events.

    Context rows and END are no own events: no window ends with one.

    Args:
        events: of a split.
        target: a column that belongs to whole sequences; END has no value of it.
        every: whether each own event ends a window.
    """
    begins = events.offsets[:-1] + events.n_context
    last_values = events.columns[target][events.offsets[1:] - 1]
    is_end = ~is_known(last_values) & (last_values != 0)
    ends = events.offsets[1:] - is_end
    counts = np.maximum(ends - begins, 0) if every else np.clip(ends - begins, 0, 1)
    last = np.repeat(ends, counts) - 1
    if every:
        last += np.arange(len(last)) - np.repeat(np.cumsum(counts) - 1, counts)
    return WindowIndex(last=last, first=np.repeat(events.offsets[:-1], counts), counted=last, ahead=0, only_last=True)


def rows_from(begins: RowNumbers, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return runs of consecutive rows, joined: `counts[i]` rows from `begins[i]` on."""
    rows: NDArray[np.int64] = np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return rows
