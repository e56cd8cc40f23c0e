"""The rows of each split, and the earlier rows that are stored with them as context.

All of it is arithmetic on the number of rows of each sequence.
Shapes: S sequences, K splits. `bounds` is (K + 1, S): split i owns the rows bounds[i, s] : bounds[i + 1, s] of
sequence s, so each row is in one split at most.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.errors import DataError

_PURPOSES = {0: "training", 1: "validation", 2: "test"}
_UNIT = 10**9  # ratios are in billionths, so that the cuts are integer arithmetic


def cut_points(n: NDArray[np.int64], ratios: Sequence[float]) -> NDArray[np.int64]:
    """Return where to cut n items by ratios: cumulative rounding, half up.

    Cut i is floor(n * c_i + 1/2), c_i being the sum of the first i ratios in billionths of their total, rounded; the
    last cut is n. Only the cuts are rounded, so no share is more than one from its ratio and nothing is lost or
    counted twice, whatever the ratios sum to in floating point.

    Args:
        n: (S,) numbers of things.
        ratios: K shares.

    Returns:
        (K + 1, S), rising from 0 to n.
    """
    total = math.fsum(ratios)
    shares = [round(math.fsum(ratios[:i]) / total * _UNIT) for i in range(len(ratios) + 1)]
    billions, rest = np.divmod(n, _UNIT)  # n * share itself may exceed 64 bits
    return np.stack([billions * share + (2 * rest * share + _UNIT) // (2 * _UNIT) for share in shares])


def within_sequences(n_rows: NDArray[np.int64], ratios: Sequence[float]) -> NDArray[np.int64]:
    """Bounds when every sequence is cut by position, in ratio order."""
    return cut_points(n_rows, ratios)


def within_texts(n_rows: NDArray[np.int64], text: NDArray[np.int64], ratios: Sequence[float]) -> NDArray[np.int64]:
    """Bounds when every text is cut by position, in ratio order, whatever sequences it is stored as.

    The first cut falls into one sequence of the text: that sequence begins in split 0 and ends in split 1. The
    sequences before it are whole in split 0.

    >>> within_texts(np.array([4, 4, 2]), np.array([0, 0, 0]), [0.6, 0.4]).tolist()
    [[0, 0, 0], [4, 2, 0], [4, 4, 2]]

    Args:
        n_rows: (S,) rows of each sequence.
        text: (S,) which text the sequence is of: 0, 1, ..., rising.
        ratios: K shares.
    """
    starts = np.flatnonzero(np.diff(text, prepend=-1))
    before = np.cumsum(n_rows) - n_rows  # rows in front of each sequence, then those of its own text alone
    before -= before[starts][text]
    return np.clip(cut_points(np.add.reduceat(n_rows, starts), ratios)[:, text] - before, 0, n_rows)


def between_sequences(
    ids: Sequence[int | str], n_rows: NDArray[np.int64], ratios: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Return the bounds where each split has whole sequences.

    Sequences are ordered by a hash of (seed, id), and that order is cut by the ratios. The split therefore depends only
    on ids and seed, and a new sequence moves at most a few others.
    """
    keys = [hashlib.blake2b(f"{seed} {id}".encode(), digest_size=16).digest() for id in ids]
    return sequences_in_order(sorted(range(len(ids)), key=lambda s: (keys[s], ids[s])), n_rows, ratios)


def sequences_in_order(
    order: Sequence[int] | NDArray[np.integer], n_rows: NDArray[np.int64], ratios: Sequence[float]
) -> NDArray[np.int64]:
    """Return the bounds where each split has whole sequences, and an order of the sequences is cut by the ratios.

    >>> sequences_in_order([2, 0, 1], np.array([5, 6, 7]), [0.7, 0.3]).tolist()
    [[0, 0, 0], [5, 0, 7], [5, 6, 7]]
    """
    place = np.empty(len(n_rows), dtype=np.int64)
    place[order] = np.arange(len(n_rows))
    cuts = cut_points(np.array([len(n_rows)]), ratios)[:, 0]
    return whole_sequences(np.searchsorted(cuts[1:], place, side="right"), n_rows, len(ratios))


def whole_sequences(split_of: NDArray[np.integer], n_rows: NDArray[np.int64], n_splits: int) -> NDArray[np.int64]:
    """Return the bounds where sequence s, whole, is in split split_of[s]."""
    return (np.arange(n_splits + 1)[:, None] > split_of) * n_rows


def last_events(n_rows: NDArray[np.int64], split_events: Sequence[int]) -> NDArray[np.int64]:
    """Bounds when the last events of each sequence are those of the later splits, in order.

    A sequence that has no event for split 0 besides them is in split 0 as a whole.

    >>> last_events(np.array([5, 3, 2]), [1, 1]).tolist()
    [[0, 0, 0], [3, 1, 2], [4, 2, 2], [5, 3, 2]]

    Args:
        n_rows: (S,) rows of each sequence.
        split_events: number of events of each sequence in splits 1, 2, ...
    """
    after = np.array([[sum(split_events[split:])] for split in range(len(split_events) + 1)])
    cuts = np.where(n_rows > after[0], n_rows - after, n_rows)
    return np.concatenate([np.zeros((1, len(n_rows)), dtype=np.int64), cuts])


@dataclass(frozen=True)
class Split:
    """The rows of each split.

    Attributes:
        bounds: (K + 1, S) over the sequences of all parts.
        part_ends: (parts + 1,) part k has the sequences part_ends[k] : part_ends[k + 1].
        context_events: largest number of context rows of a sequence.
        seed: seed with which sequences were drawn; None where none were.
        options: fields of the method besides ratios and seed, for the metadata.
        ends: (K, S) whether END follows the last row of a sequence in a split; None: nowhere.
    """

    bounds: NDArray[np.int64]
    part_ends: NDArray[np.int64]
    context_events: int
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ends: NDArray[np.bool_] | None = None

    @property
    def n_splits(self) -> int:
        """Number of splits."""
        return len(self.bounds) - 1

    @property
    def own_rows(self) -> NDArray[np.int64]:
        """Number of own rows of each sequence in each split, with END, (K, S)."""
        return own_rows(self.bounds, self.ends)

    def ends_of_part(self, part: int, split: int) -> NDArray[np.bool_] | None:
        """Return whether END follows each sequence of a part in a split, (sequences of the part,); None: nowhere."""
        return None if self.ends is None else self.ends[split, self.part_ends[part] : self.part_ends[part + 1]]

    def of_part(self, part: int) -> NDArray[np.int64]:
        """Return the bounds of a part, (K + 1, sequences of the part)."""
        return self.bounds[:, self.part_ends[part] : self.part_ends[part + 1]]

    def first_rows(self, split: int) -> list[NDArray[np.int64]]:
        """Return for each part (sequences,) the number of first rows that are in this split or an earlier one."""
        return [self.of_part(part)[split + 1] for part in range(len(self.part_ends) - 1)]


def is_among_first(offsets: NDArray[np.int64], n_first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N,) whether each row is among the first rows of its sequence.

    Args:
        offsets: (S + 1,) rows at which sequences begin and end.
        n_first: (S,) number of first rows.
    """
    n_rows = np.diff(offsets)
    if (n_first == n_rows).all():
        return np.ones(offsets[-1], dtype=np.bool_)
    number = np.arange(offsets[-1]) - np.repeat(offsets[:-1], n_rows)
    is_first: NDArray[np.bool_] = number < np.repeat(n_first, n_rows)
    return is_first


def context_rows(bounds: NDArray[np.int64], split: int, context_events: int) -> NDArray[np.int64]:
    """Return (S,) the number of context rows of each sequence of a split."""
    n_context: NDArray[np.int64] = np.minimum(bounds[split], context_events)
    return n_context


def longest_history(bounds: NDArray[np.int64]) -> int:
    """Return the largest number of earlier events that a sequence of a later split has."""
    has_rows = np.diff(bounds, axis=0) > 0
    return int(np.where(has_rows, bounds[:-1], 0).max(initial=0))


def own_rows(bounds: NDArray[np.int64], ends: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return (K, S) the number of own rows of each sequence in each split, with END where `ends` (K, S) has it."""
    own = np.diff(bounds, axis=0)
    return own if ends is None else own + ends


def check_targets(
    bounds: NDArray[np.int64],
    context_events: int,
    *,
    ends: NDArray[np.bool_] | None = None,
    where: str = "split_ratios",
    fix: str = "use fewer splits, larger ratios, more data, or context_events above 0",
) -> None:
    """Check that each split has a target: an event of its own after another one.

    Args:
        bounds: (K + 1, S).
        context_events: largest number of context rows of a sequence.
        ends: see `Split`.
        where: the field that makes the splits, for the error.
        fix: how to change it.

    Raises:
        DataError: a split has no target.
    """
    own = own_rows(bounds, ends)
    for split, rows in enumerate(own):
        has_input_before = context_rows(bounds, split, context_events) > 0
        if (rows[rows > 0] - 1 + has_input_before[rows > 0]).sum() == 0:
            raise DataError(
                f"split {split} has no event to predict: {rows.sum():,} rows of {(rows > 0).sum():,} sequences, "
                f"none of which follows another event (all splits have {own.sum():,} rows)",
                where=f"{where} (split {split} is for {_PURPOSES.get(split, 'further tests')})",
                fix=fix,
            )


def check_exact_windows(
    own: NDArray[np.int64], ids: Sequence[int | str], *, seq_length: int, strides: Sequence[int]
) -> None:
    """Check for mode `exact` that windows of seq_length inputs and one target use all rows of a split.

    Args:
        own: (K, S) own rows of each sequence in each split.
        ids: of the sequences.
        seq_length: inputs of a window.
        strides: of the splits.

    Raises:
        DataError: rows would be left over; the message names the first sequence.
    """
    for split, (n, stride) in enumerate(zip(own, strides, strict=True)):
        left_over = np.where(n > seq_length, (n - 1 - seq_length) % stride, 0)
        if left_over.any():
            s = int(np.flatnonzero(left_over)[0])
            raise DataError(
                f"subsequence_start_mode exact: sequenceId={ids[s]} has {n[s]:,} rows in split {split}; windows of "
                f"{seq_length} + 1 every {stride} rows leave {left_over[s]} over "
                f"(so do {np.count_nonzero(left_over):,} of {np.count_nonzero(n):,} sequences)",
                where=f"stride_by_split[{split}]",
                fix=f"use a stride that divides {n[s] - 1 - seq_length}, or subsequence_start_mode: distribute",
            )


def take_split(events: Events, bounds: NDArray[np.int64], split: int, context_events: int) -> Events:
    """Return the rows of one split: its sequences, with their context in front.

    Args:
        events: all rows of S sequences.
        bounds: (K + 1, S) bounds of these sequences.
        split: number of the split.
        context_events: largest number of context rows of a sequence.
    """
    here = np.flatnonzero(bounds[split + 1] > bounds[split])
    n_context = context_rows(bounds, split, context_events)[here]
    n_rows = bounds[split + 1, here] - bounds[split, here] + n_context
    offsets = np.concatenate([[0], np.cumsum(n_rows)])
    first = events.offsets[here] + bounds[split, here] - n_context
    rows: NDArray[Any] = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], n_rows)
    return Events(
        sequence_ids=events.sequence_ids[here],
        offsets=offsets,
        n_context=n_context,
        positions=events.positions[rows],
        columns={column: values[rows] for column, values in events.columns.items()},
    )
