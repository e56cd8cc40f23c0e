"""Sampling units: sequences, or blocks of targets where there are too few sequences."""

import numpy as np
import pytest

from sequifier.dataset.units import unit_index
from sequifier.dataset.windows import WindowIndex, evaluation_windows


def windows(lengths: list[int], *, seq_length: int = 8, context: int = 0) -> WindowIndex:
    offsets = np.cumsum([0, *lengths])
    n_context = np.full(len(lengths), context)
    return evaluation_windows(offsets, n_context, seq_length=seq_length, stride=max(seq_length // 2, 1))


def target_rows(index: WindowIndex) -> np.ndarray:
    return np.concatenate([np.arange(a, b + 1) for a, b in zip(index.counted, index.last, strict=True)])


def test_five_sequences_are_the_units() -> None:
    found = unit_index(windows([300, 2, 5, 1, 40, 9]))
    assert (found.by, found.starts.tolist()) == ("sequences", [0, 300, 302, 308, 348]), "the fourth has no target"


@pytest.mark.parametrize("lengths", [[201], [401, 101], [1000, 31, 61], [70, 60, 80, 90]])
@pytest.mark.parametrize("context", [0, 3])
def test_fewer_sequences_are_cut_into_twenty_blocks_that_never_cross(lengths: list[int], context: int) -> None:
    lengths = [length + context for length in lengths]
    found = unit_index(windows(lengths, context=context))
    assert (found.by, len(found)) == ("blocks", 20)
    rows = target_rows(windows(lengths, context=context))
    unit, sequence = found.of(rows), np.searchsorted(np.cumsum(lengths), rows, side="right")
    counts = np.bincount(unit)
    assert counts.min() >= 10 and counts.sum() == len(rows)
    for number in range(20):
        inside = np.flatnonzero(unit == number)
        assert len(set(sequence[inside])) == 1 and np.ptp(inside) == len(inside) - 1, "contiguous, of one sequence"


def test_blocks_do_not_depend_on_the_length_of_windows() -> None:
    for lengths in ([500], [300, 100, 77]):
        several = [unit_index(windows(lengths, seq_length=length)).starts.tolist() for length in (1, 4, 9, 600)]
        assert all(starts == several[0] for starts in several)


@pytest.mark.parametrize("lengths", [[200], [19 * 10 + 1, 8], [4, 900], [1, 3]])
def test_without_room_for_twenty_blocks_of_ten_the_sequences_stay(lengths: list[int]) -> None:
    assert unit_index(windows(lengths)).by == "sequences"
