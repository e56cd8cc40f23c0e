"""Counts against a loop over events."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.events import Events
from sequifier.training import baselines as module
from sequifier.training.baselines import Counts


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    at_a_time=st.integers(1, 20),
    seed=st.integers(0, 100),
)
def test_counts_are_those_of_a_loop_over_events(sizes: list[int], at_a_time: int, seed: int) -> None:
    n_classes, n_rows = 4, sum(sizes)
    ids = np.random.default_rng(seed).integers(0, n_classes, n_rows).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    events = Events(np.arange(len(sizes)), offsets, np.zeros(len(sizes), np.int64), np.arange(n_rows), {"kind": ids})
    pairs: Counter[tuple[int, int]] = Counter()
    for begin, end in pairwise(offsets):
        for row in range(begin + 1, end):
            if ids[row] != 0:
                pairs[int(ids[row - 1]), int(ids[row])] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COUNTED", at_a_time)
        counts = Counts.of(events, "kind", n_classes)
    frequency = np.bincount(ids, minlength=n_classes)[1:] + 1.0
    np.testing.assert_array_equal(counts.frequency.numpy(), frequency / frequency.sum())
    found = zip(counts.pairs.tolist(), counts.pair_counts.tolist(), strict=True)
    assert {divmod(pair, n_classes): count for pair, count in found} == pairs
    assert counts.pairs.tolist() == sorted(counts.pairs.tolist())
    expected = [sum(count for (before, _), count in pairs.items() if before == id) for id in range(n_classes)]
    assert counts.previous_counts.tolist() == expected
    assert counts.frequency.dtype == counts.pair_counts.dtype == counts.previous_counts.dtype == torch.float64
