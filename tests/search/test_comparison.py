"""Standard errors and ties: against formulas where there are any, and against simulation."""

import numpy as np
import pytest

from sequifier.search.comparison import SequenceLosses, compare, error_over_seeds

N = 400
TARGETS = np.full(N, 10, dtype=np.int64)
HARDNESS = np.random.default_rng(1).normal(2.0, 0.5, N)  # mean loss of each sequence, the same for all models


def losses(advantage: float = 0.0, noise: float = 0.02, *, seed: int = 0) -> SequenceLosses:
    """Losses of a model that is better than the sequences are hard."""
    own = np.random.default_rng(100 + seed).normal(0, noise, N)
    return (HARDNESS - advantage + own) * TARGETS, TARGETS


def test_the_standard_error_is_that_of_a_mean_over_sequences() -> None:
    loss, targets = losses()
    (found,) = compare([{0: (loss, targets)}])
    expected = np.std(loss / targets, ddof=1) / N**0.5
    assert found.standard_error == pytest.approx(expected, rel=0.1)  # 1,000 draws: 2 % of noise
    assert found.is_indistinguishable is None, "it is the best itself"


def test_sequences_of_different_lengths_weigh_by_their_targets() -> None:
    targets = np.random.default_rng(2).integers(1, 50, N)
    loss = HARDNESS * targets
    residual = loss - loss.sum() / targets.sum() * targets
    ratio_estimator = np.sqrt((residual**2).sum() * N / (N - 1)) / targets.sum()
    (found,) = compare([{0: (loss, targets)}])
    assert found.standard_error == pytest.approx(ratio_estimator, rel=0.1)


def test_a_paired_difference_is_seen_that_is_smaller_than_either_standard_error() -> None:
    best, other = compare([{0: losses(0.01)}, {0: losses(0.0, seed=1)}])
    assert other.standard_error is not None and best.standard_error is not None
    assert other.standard_error > 0.02 and best.standard_error > 0.02
    assert other.is_indistinguishable is False


def test_models_that_differ_by_noise_alone_cannot_be_told_apart() -> None:
    _, other = compare([{0: losses(seed=1)}, {0: losses(seed=2)}])
    assert other.is_indistinguishable is True
    assert compare([{0: losses()}, {0: losses()}])[1].is_indistinguishable is True, "the very same losses"


def test_an_equal_model_is_seldom_called_worse() -> None:
    told = 0
    for trial in range(80):
        _, other = compare([{0: losses(seed=2 * trial)}, {0: losses(seed=2 * trial + 1)}])
        told += other.is_indistinguishable is False
    assert told <= 6, "one side of a 95 % interval: 2 of 80 are expected"


def test_seeds_that_disagree_make_the_best_less_sure() -> None:
    # One seed alone would settle it; another seed turns it round.
    sure = compare([{0: losses(0.01)}, {0: losses(0.0, seed=1)}])[1]
    unsure = compare([{0: losses(0.01), 1: losses(-0.02)}, {0: losses(0.0, seed=1), 1: losses(0.01, seed=1)}])[1]
    assert (sure.is_indistinguishable, unsure.is_indistinguishable) == (False, True)


def test_seeds_are_compared_in_pairs() -> None:
    # Seed 1 is bad for both: within each seed the first is better by 0.01.
    first = {0: losses(0.11), 1: losses(-0.09)}
    second = {0: losses(0.1, seed=1), 1: losses(-0.1, seed=1)}
    assert compare([first, second])[1].is_indistinguishable is False
    other_seeds = {2: losses(0.1, seed=1), 3: losses(-0.1, seed=1)}
    assert compare([first, other_seeds])[1].is_indistinguishable is True


def test_without_losses_of_the_same_sequences_nothing_is_claimed() -> None:
    shorter = (HARDNESS[:-1] * 10, TARGETS[:-1])
    found = compare([{0: losses()}, {}, {0: shorter}])
    assert [(entry.standard_error, entry.is_indistinguishable) for entry in found[1:]] == [(None, None), (None, None)]
    assert compare([{}, {0: losses()}])[1].is_indistinguishable is None
    assert compare([]) == []


def test_draws_are_the_same_each_time_whatever_is_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{0: losses(0.01)}, {0: losses(seed=1), 1: losses(seed=2)}]
    once = compare(rows)
    monkeypatch.setattr("sequifier.search.comparison._NUMBERS_AT_ONCE", 1000)
    in_parts = compare(rows)
    for whole, parts in zip(once, in_parts, strict=True):
        assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-12)  # sums of products are rounded
        assert parts.is_indistinguishable == whole.is_indistinguishable
    assert compare(rows) == in_parts
    assert compare(rows, seed=1) != in_parts


def test_the_error_over_seeds_is_that_of_their_mean() -> None:
    assert error_over_seeds([1.0, 2.0, 3.0]) == pytest.approx(1 / 3**0.5)
