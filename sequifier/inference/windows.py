"""The windows that a model reads, and which of its outputs are used.

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

    The last input of a window is row `end - 1`, and the last event that it predicts is row `end`, which may be beyond
    the sequence.
    """

    sequence: Rows  # index into the sequences
    first: Rows  # first row that may be an input
    end: Rows  # row after the last input
    n_predicted: Rows  # number of its last P outputs that are used, 1 to P
    stored_numbers: Rows | None = None  # of windows that a file has

    def __len__(self) -> int:
        return len(self.end)

    def numbers(self) -> Rows:
        """Return the number of each window in its sequence, from 0, (W,)."""
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
    """Return the windows that `preprocess` counts in the own events of each sequence.

    Each predicts its last event last. In a slice of at most P events the first one is predicted, too; then the event
    before the slice, if there is one, is an input.
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
    # The first event of a sequence cannot be predicted, so a short window may predict fewer than P.
    return Windows(sequence, first, end, np.minimum(prediction_length, end - first))


def full_windows(offsets: Rows, n_context: Rows, *, prediction_length: int, embedding: bool) -> Windows:
    """Return windows in which each own event is predicted once from all earlier events, or embedded once as the last.

    The windows of a sequence advance by P, so the first of their P outputs reads up to P - 1 events fewer.
    """
    begin = offsets[:-1] + (n_context if embedding else np.maximum(n_context, 1))
    n_events = np.maximum(offsets[1:] - begin, 0)
    n_windows = -(-n_events // prediction_length)
    sequence = np.repeat(np.arange(len(n_events)), n_windows)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    done = np.minimum((number + 1) * prediction_length, n_events[sequence])  # events up to this window
    last = begin[sequence] + done - 1
    return Windows(sequence, offsets[sequence], last + embedding, done - number * prediction_length)


def forecast_windows(offsets: Rows, n_context: Rows, *, horizon: int, stride: int) -> Windows:
    """Return a window for each origin, or for each `stride`th one of a sequence.

    An origin is an event whose next `horizon` events are own events of its sequence.

    A window has the whole history of its origin, which is its last input.
    """
    begin = offsets[:-1] + np.maximum(n_context, 1)  # the first step of the first origin of each sequence
    n_origins = np.maximum(offsets[1:] - horizon + 1 - begin, 0)
    n_windows = -(-n_origins // stride)
    sequence = np.repeat(np.arange(len(n_windows)), n_windows)
    number = np.arange(len(sequence)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    end = begin[sequence] + number * stride
    return Windows(sequence, offsets[sequence], end, np.ones_like(end))


def last_windows(offsets: Rows, *, prediction_length: int, embedding: bool) -> Windows:
    """Return a window of the last events of each sequence, to predict the next event or to embed the last ones."""
    n_events = np.diff(offsets)
    n_predicted = np.minimum(prediction_length, n_events) if embedding else np.ones_like(n_events)
    return Windows(np.arange(len(n_events)), offsets[:-1], offsets[1:], n_predicted)


def stored_windows(offsets: Rows, n_ahead: Rows, numbers: Rows, *, prediction_length: int) -> Windows:
    """Return the windows of a file, each of which is a sequence, to predict the last event or the one after it.

    Args:
        offsets: rows at which the windows begin and end, (W + 1,).
        n_ahead: 1 where the event to predict is unknown, else 0, (W,).
        numbers: number of each window in its sequence, (W,).
        prediction_length: P.
    """
    first, end = offsets[:-1], offsets[1:] - 1 + n_ahead
    return Windows(np.arange(len(end)), first, end, np.minimum(prediction_length, end - first), numbers)


@dataclass(frozen=True)
class Continuations:
    """S sequences to continue, (S,) each.

    `n_steps` events are generated from row `end` on, with rows `first` to `end - 1` as history. The first generated
    events may be known.
    """

    sequence: Rows
    first: Rows
    end: Rows
    n_steps: Rows
    given_place: Rows | None = None

    @property
    def place(self) -> Rows:
        """The place of each among those that are not repeated, (S,)."""
        return np.arange(len(self.end)) if self.given_place is None else self.given_place

    def repeated(self, times: int) -> "Continuations":
        """Return each sequence several times, one after the other."""
        place = np.repeat(self.place, times)
        return Continuations(self.sequence[place], self.first[place], self.end[place], self.n_steps[place], place)


def continuations(
    offsets: Rows, n_context: Rows, *, seq_length: int, extra_steps: int, start: Literal["split", "full", "last"]
) -> Continuations:
    """Return where generation starts.

    Args:
        offsets: rows at which sequences begin and end, (S + 1,).
        n_context: number of leading rows that belong to an earlier split, (S,).
        seq_length: the longest history.
        extra_steps: events after the last known one.
        start: split: after the first window of the own events, of which at least one is generated; full: the same, but
            a context is the whole history; last: after the last event.
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
    """Return where generation starts in a file of windows.

    Args:
        offsets: rows at which sequences begin and end, (S + 1,).
        n_history: number of rows of each sequence before the first generated one, (S,).
        n_ahead: number of events to generate after its last row, (S,).
        extra_steps: further events.
    """
    end = offsets[:-1] + n_history
    return Continuations(np.arange(len(end)), offsets[:-1], end, offsets[1:] - end + n_ahead + extra_steps)
