"""Which windows a model sees, and which of what it says is wanted.

Shapes: S sequences, W windows, L seq_length, P prediction_length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.dataset.windows import training_windows

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """W windows in order of their sequences, (W,) each.

    A window ends before row `end`: its last input is row end - 1, and the last event it predicts is row `end`, which
    may lie behind the sequence.
    """

    sequence: Rows  # index into the sequences
    first: Rows  # no input lies before this row
    end: Rows
    n_predicted: Rows  # number of its last P outputs that are used, 1 to P
    stored_numbers: Rows | None = None  # where the windows were cut by somebody else

    def __len__(self) -> int:
        return len(self.end)

    def numbers(self) -> Rows:
        """(W,) the number of each window in its sequence, from 0."""
        if self.stored_numbers is not None:
            return self.stored_numbers
        begins = np.flatnonzero(np.diff(self.sequence, prepend=-1))
        counts = np.diff(np.append(begins, len(self)))
        return np.arange(len(self)) - np.repeat(begins, counts)


def split_windows(
    offsets: Rows,
    n_context: Rows,
    *,
    seq_length: int,
    stride: int,
    mode: Literal["distribute", "exact"],
    prediction_length: int,
) -> Windows:
    """Those that `preprocess` counts in the own events of each sequence; the last event of each is predicted last.

    Where a slice has no more than P events, its first one is among those predicted: then the event before the slice is
    an input too, where there is one. So is it for a slice of one event.
    """
    index = training_windows(offsets, n_context, seq_length=seq_length, stride=stride, mode=mode)
    end, first = index.last.astype(np.int64), index.first.astype(np.int64)
    own = offsets[:-1] + n_context
    single = own[(offsets[1:] - own == 1) & (n_context > 0)]
    end = np.concatenate([end, single])
    order = np.argsort(end, kind="stable")
    end, first = end[order], np.concatenate([first, single])[order]
    sequence = np.searchsorted(offsets, end, side="right") - 1
    first = np.where(end - first < prediction_length, np.maximum(offsets[sequence], first - 1), first)
    # The first event of a sequence has nothing before it, so a short window may predict fewer than P.
    return Windows(sequence, first, end, np.minimum(prediction_length, end - first))


def full_windows(offsets: Rows, n_context: Rows, *, prediction_length: int, embedding: bool) -> Windows:
    """Each own event once: predicted from all that lies before it, or seen as the last one.

    The windows of a sequence advance by P, so the first of their P outputs rests on up to P - 1 events less.
    """
    begin = offsets[:-1] + (n_context if embedding else np.maximum(n_context, 1))
    n_events = np.maximum(offsets[1:] - begin, 0)
    n_windows = -(-n_events // prediction_length)
    sequence = np.repeat(np.arange(len(n_events)), n_windows)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    done = np.minimum((number + 1) * prediction_length, n_events[sequence])  # events up to this window
    last = begin[sequence] + done - 1
    return Windows(sequence, offsets[sequence], last + embedding, done - number * prediction_length)


def last_windows(offsets: Rows, *, prediction_length: int, embedding: bool) -> Windows:
    """One window for each sequence, its last events: the next event is predicted, or the last events are embedded."""
    n_events = np.diff(offsets)
    wanted = np.minimum(prediction_length, n_events) if embedding else np.ones_like(n_events)
    return Windows(np.arange(len(n_events)), offsets[:-1], offsets[1:], wanted)


def stored_windows(offsets: Rows, n_ahead: Rows, numbers: Rows, *, prediction_length: int) -> Windows:
    """Those of a window file, each of them a sequence: the last event is predicted, or the one behind it.

    Args:
        offsets: (W + 1,) rows at which the windows begin and end.
        n_ahead: (W,) 1 where the event to predict is not known, else 0.
        numbers: (W,) of each window in its sequence.
        prediction_length: P.
    """
    first, end = offsets[:-1], offsets[1:] - 1 + n_ahead
    return Windows(np.arange(len(end)), first, end, np.minimum(prediction_length, end - first), numbers)


@dataclass(frozen=True)
class Continuations:
    """Sequences to be continued, (S,) each: from row `end` on, `n_steps` events, with the rows from `first` to end - 1
    as history. The first events may be known."""

    sequence: Rows
    first: Rows
    end: Rows
    n_steps: Rows


def continuations(
    offsets: Rows, n_context: Rows, *, seq_length: int, extra_steps: int, start: Literal["split", "full", "last"]
) -> Continuations:
    """Where generation starts.

    Args:
        offsets: (S + 1,) rows at which sequences begin and end.
        n_context: (S,) leading rows that belong to an earlier split.
        seq_length: the longest history.
        extra_steps: events behind the last known one.
        start: split: behind the first window of the own events, of which one at least is to be generated; full: the
            context is the history, where there is any; last: behind the last event.
    """
    ends, own = offsets[1:], offsets[:-1] + n_context
    first = offsets[:-1] if start != "split" else own
    if start == "last":
        end = ends
    else:
        end = own + np.maximum(np.minimum(seq_length, ends - own - 1), 1)
        if start == "full":
            end = np.where(n_context > 0, own, end)
    return Continuations(np.arange(len(ends)), first, end, ends - end + extra_steps)


def stored_continuations(offsets: Rows, n_history: Rows, n_ahead: Rows, *, extra_steps: int) -> Continuations:
    """Where generation starts in a window file.

    Args:
        offsets: (S + 1,) rows at which sequences begin and end.
        n_history: (S,) rows of each sequence before the first that is generated.
        n_ahead: (S,) events asked for behind its last row.
        extra_steps: events behind those.
    """
    end = offsets[:-1] + n_history
    return Continuations(np.arange(len(end)), offsets[:-1], end, offsets[1:] - end + n_ahead + extra_steps)
