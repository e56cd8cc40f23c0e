"""Areas under curves, against the comparison of all pairs and the definition threshold by threshold."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sequifier.metrics.ordering import Ordering

Array = NDArray[np.float64]


def auc_by_pairs(score: Array, is_positive: NDArray[np.bool_]) -> float:
    """The fraction of pairs of a positive and a negative that are in order; NaN without a pair."""
    pairs = [(p > n) + (p == n) / 2 for p, n in product(score[is_positive], score[~is_positive])]
    return float(np.mean(pairs)) if pairs else float("nan")


def precision_by_thresholds(score: Array, is_positive: NDArray[np.bool_]) -> float:
    """Precision at each threshold, weighted by the recall that it adds; NaN where one class is left."""
    if is_positive.all() or not is_positive.any():
        return float("nan")
    total, before = 0.0, 0.0
    for threshold in np.unique(score)[::-1]:
        at_least = score >= threshold
        recall = is_positive[at_least].sum() / is_positive.sum()
        total += (recall - before) * is_positive[at_least].mean()
        before = recall
    return float(total)


def one_group(probabilities: Array, truth: NDArray[np.int64], positive: int) -> tuple[float, float]:
    n_classes = probabilities.shape[1]
    areas = [auc_by_pairs(probabilities[:, each], truth == each) for each in range(n_classes)]
    known = [area for area in areas if not np.isnan(area)]
    precision = precision_by_thresholds(probabilities[:, positive], truth == positive)
    return float(np.mean(known)) if known else float("nan"), precision


def drawn(n: int, n_classes: int, seed: int) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities with many ties, classes that they say something about, and lengths."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, n_classes, n)
    counts = generator.integers(1, 4, (n, n_classes)) + 2 * np.eye(n_classes, dtype=int)[truth]
    if n_classes == 2:
        counts[:, 1] = 6 - counts[:, 0]
    else:  # equal sums, so that equal probabilities are equal numbers
        counts[:, -1] = 12 - counts[:, :-1].sum(axis=1)
        counts = np.maximum(counts, 1)
    return counts / counts.sum(axis=1, keepdims=True), truth, generator.integers(1, 4, n)


@given(n=st.integers(1, 40), n_classes=st.integers(2, 4), seed=st.integers(0, 10**6), positive=st.integers(0, 1))
@settings(max_examples=80, deadline=None)
def test_both_areas_are_what_their_definitions_give(n: int, n_classes: int, seed: int, positive: int) -> None:
    probabilities, truth, _ = drawn(n, n_classes, seed)
    auc, precision = one_group(probabilities, truth, positive)
    found = Ordering(probabilities, truth, positive).metrics()
    assert found.get("auc", float("nan")) == pytest.approx(auc, rel=1e-9, nan_ok=True)
    assert found.get("average_precision", float("nan")) == pytest.approx(precision, rel=1e-9, nan_ok=True)


@given(n=st.integers(1, 60), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_lengths_are_averaged_by_their_numbers_and_those_of_one_class_left_out(n: int, seed: int) -> None:
    probabilities, truth, length = drawn(n, 2, seed)
    total = np.zeros(2)
    weight = np.zeros(2)
    for each in np.unique(length):
        here = length == each
        areas = np.array(one_group(probabilities[here], truth[here], 1))
        weight += np.where(np.isnan(areas), 0, here.sum())
        total += np.where(np.isnan(areas), 0, areas * here.sum())
    found = Ordering(probabilities, truth, 1, length).metrics()
    expected = {
        name: each / count
        for name, each, count in zip(("auc", "average_precision"), total, weight, strict=True)
        if count
    }
    assert found == pytest.approx(expected, rel=1e-9)


@given(n=st.integers(2, 40), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_predictions_left_out_count_for_nothing(n: int, seed: int) -> None:
    probabilities, truth, length = drawn(n, 3, seed)
    kept = np.random.default_rng(seed).random(n) < 0.7
    kept[0] = True
    found = Ordering(probabilities, truth, 2, length).metrics(kept)
    assert found == pytest.approx(Ordering(probabilities[kept], truth[kept], 2, length[kept]).metrics(), rel=1e-12)


def test_probabilities_that_round_to_one_are_still_in_order() -> None:
    low = np.array([1e-9, 1e-12, 1e-10, 1e-11], np.float32)
    probabilities = np.stack([low, 1 - low], axis=1)
    assert (probabilities[:, 1] == 1).all()
    assert Ordering(probabilities, np.array([0, 1, 0, 1]), 1).metrics() == {"auc": 1.0, "average_precision": 1.0}


def test_one_class_has_no_areas() -> None:
    assert Ordering(np.full((3, 2), 0.5), np.ones(3, np.int64), 1).metrics() == {}


def test_the_table_has_each_length_up_to_the_longest_shown() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7]])
    found = Ordering(probabilities, np.array([0, 1, 1, 1, 0]), 1, np.array([1, 1, 3, 3, 21])).table()
    assert found["n"] == [2, None, 2]
    assert found["log_loss"] == pytest.approx([-np.log(0.9 * 0.6) / 2, None, -np.log(0.5 * 0.8) / 2])
    assert found["accuracy"] == [1, None, 0.5], "a tie counts against the truth"
    assert found["auc"] == [1, None, None] and found["average_precision"] == [1, None, None]
    every = Ordering(probabilities, np.array([0, 1, 1, 1, 0]), 1, np.array([1, 1, 3, 3, 21]))
    assert every.n_left_out == 2
    assert Ordering(probabilities, np.array([0, 1, 1, 1, 0]), 1, np.full(5, 30)).table() == {}
