"""Verdicts and standard errors: against the formulas written out, and against simulated searches."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import By, Units
from sequifier.results.comparison import Comparison, beats, compare, difference, error_over_seeds
from sequifier.results.student import half_width, t_quantile
from tests.support import verdict_simulations as simulated

Floats = NDArray[np.float64]
N = 400
COUNTS = np.full(N, 10.0)
HARDNESS = np.random.default_rng(1).normal(2.0, 0.5, N)  # mean loss of each sequence, the same for all models


def units(advantage: float = 0.0, noise: float = 0.02, *, seed: int = 0) -> Units:
    """A model that is better than the sequences are hard."""
    own = np.random.default_rng(100 + seed).normal(0, noise, N)
    return Units((HARDNESS - advantage + own) * COUNTS, COUNTS, "sequences")


def verdicts(losses: Floats, counts: Floats, *, maximize: bool = False) -> list[Comparison]:
    sign = -1 if maximize else 1
    return compare([{0: Units(sign * each * counts, counts, "sequences")} for each in losses], maximize=maximize)


def written_out(losses: Floats, counts: Floats) -> list[bool]:
    """Which runs are worse by the formula of search/comparison.py, one pair at a time."""
    n, degrees = len(counts), counts.sum() ** 2 / (counts**2).sum() - 1
    totals, worse = losses * counts, [False] * len(losses)
    t = t_quantile(0.05 / (len(losses) - 1), degrees)
    for i, j in product(range(len(losses)), repeat=2):
        gap = (totals[i] - totals[j]).sum() / counts.sum()
        residual = totals[i] - totals[j] - gap * counts
        error = (n / (n - 1) * (residual**2).sum()) ** 0.5 / counts.sum()
        if i != j and error > 0 and gap > t * error:
            worse[i] = True
    return worse


@pytest.mark.parametrize("maximize", [False, True])
def test_worse_is_what_the_formula_says(maximize: bool) -> None:
    draw, n_worse = np.random.default_rng(3), 0
    for _ in range(15):
        n, runs = int(draw.integers(5, 30)), int(draw.integers(2, 25))
        counts = draw.integers(1, 60, n).astype(np.float64)
        losses = draw.normal(2, 0.5, n) + draw.normal(0, 0.2, (runs, n)) + draw.choice([0.0, 0.3], (runs, 1))
        losses = losses[np.argsort(losses @ counts)]
        found = [each.is_worse for each in verdicts(losses, counts, maximize=maximize)]
        assert found == written_out(losses, counts)
        n_worse += sum(map(bool, found))
    assert n_worse > 30


def test_the_standard_error_matches_the_ratio_estimator() -> None:
    counts = np.random.default_rng(2).integers(1, 50, N).astype(np.float64)
    total = HARDNESS * counts
    residual = total - total.sum() / counts.sum() * counts
    (found,) = compare([{0: Units(total, counts, "sequences")}])
    assert found.standard_error == pytest.approx(np.sqrt((residual**2).sum() * N / (N - 1)) / counts.sum())
    assert found.degrees == pytest.approx(counts.sum() ** 2 / (counts**2).sum() - 1)
    assert (found.by, found.is_worse, found.beats_baselines) == ("sequences", None, None)


def test_a_paired_difference_is_seen_that_is_smaller_than_either_standard_error() -> None:
    best, other = compare([{0: units(0.01)}, {0: units(0.0, seed=1)}])
    assert other.standard_error is not None and best.standard_error is not None
    assert min(other.standard_error, best.standard_error) > 0.02
    assert (best.is_worse, other.is_worse) == (False, True)


def test_the_very_same_losses_are_not_worse() -> None:
    assert [each.is_worse for each in compare([{0: units()}, {0: units()}])] == [False, False]


def test_an_equal_run_is_seldom_called_worse_than_a_best_that_was_chosen_on_the_same_data() -> None:
    # The bound is 5 %. Comparing with the chosen best at 95 %, without Bonferroni's bound, calls 22 to 33 % worse.
    for kind, n in product(simulated.KINDS, (5, 20)):
        assert simulated.equal_called_worse(kind, n, searches=25) < 0.08, (kind, n)


def test_a_run_that_is_worse_by_three_and_a_half_standard_errors_is_found() -> None:
    for kind, (n, at_least) in product(simulated.KINDS, [(5, 0.6), (20, 0.85)]):
        assert simulated.found_worse(kind, n, searches=30) >= at_least, (kind, n)


def test_fewer_than_five_units_have_no_error_and_no_verdict() -> None:
    for n in range(1, 5):
        counts = np.arange(1.0, n + 1)
        found = verdicts(np.array([np.full(n, 1.0), np.linspace(1, 2, n), np.full(n, 3.0)]), counts)
        assert found == [Comparison()] * 3


def test_units_that_do_not_differ_say_nothing() -> None:
    counts = np.array([3.0, 5.0, 2.0, 7.0, 1.0])
    one, other = verdicts(np.array([np.zeros(5), np.ones(5)]), counts)
    assert (one.standard_error, other.standard_error, other.is_worse) == (None, None, False)


def test_one_sequence_that_holds_nearly_all_targets_decides_nothing() -> None:
    counts = np.array([1e6, 1.0, 1.0, 1.0, 1.0])
    found = verdicts(np.array([[1.0, 1.0, 1.1, 0.9, 1.0], [3.0, 2.0, 2.1, 1.9, 2.0]]), counts)
    assert [each.is_worse for each in found] == [False, False]
    assert half_width(found[0].standard_error, found[0].degrees) is None, "no interval from 1e-5 degrees"


def test_only_the_best_200_are_compared_with() -> None:
    draw = np.random.default_rng(5)
    losses = draw.normal(2, 0.5, 30) + draw.normal(0, 0.05, (203, 30))
    losses += 2 + 1e-9 * np.arange(203)[:, None] - losses.mean(axis=1, keepdims=True)
    losses[202] = losses[201] + 1e-3 + draw.normal(0, 1e-7, 30)  # beyond doubt worse than the 202nd, by very little
    assert written_out(losses[201:], np.ones(30)) == [False, True]
    assert verdicts(losses[[0, *range(10, 203)]], np.ones(30))[-1].is_worse is True, "194 runs"
    assert verdicts(losses, np.ones(30))[-1].is_worse is False


def test_degrees_of_several_seeds_are_satterthwaites() -> None:
    one = {0: units(0.11), 1: units(-0.09, seed=1), 2: units(0.02, seed=2)}
    other = {0: units(0.1, seed=3), 1: units(-0.11, seed=4), 2: units(0.0, seed=5)}
    found = difference(one, other)
    gaps = [one[seed].value - other[seed].value for seed in range(3)]
    residual = np.mean([one[seed].residual - other[seed].residual for seed in range(3)], axis=0)
    of_units = N / (N - 1) * (residual**2).sum() / COUNTS.sum() ** 2
    of_seeds = np.var(gaps, ddof=1) / 3
    assert found.value == pytest.approx(np.mean(gaps))
    assert found.standard_error == pytest.approx((of_units + of_seeds) ** 0.5)
    expected = (of_units + of_seeds) ** 2 / (of_units**2 / (N - 1) + of_seeds**2 / 2)
    assert found.degrees == pytest.approx(expected)
    alone, _ = compare([one, other])
    values = [one[seed].value for seed in range(3)]
    mean = np.mean([one[seed].residual for seed in range(3)], axis=0)
    variance = N / (N - 1) * (mean**2).sum() / COUNTS.sum() ** 2 + np.var(values, ddof=1) / 3
    assert alone.standard_error == pytest.approx(variance**0.5)


def test_seeds_that_disagree_make_the_best_less_certain() -> None:
    # One seed alone would settle it; another seed turns it round.
    sure = compare([{0: units(0.01)}, {0: units(0.0, seed=1)}])[1]
    unsure = compare([{0: units(0.01), 1: units(-0.02)}, {0: units(0.0, seed=1), 1: units(0.01, seed=1)}])[1]
    assert (sure.is_worse, unsure.is_worse) == (True, False)


@pytest.mark.parametrize("by", ["sequences", "blocks", "groups"])
def test_several_seeds_are_compared_whatever_the_units_are(by: By) -> None:
    best = {seed: replace(units(0.1, seed=seed), by=by) for seed in (1, 2)}
    worse = {seed: replace(units(seed=seed), by=by) for seed in (1, 2)}
    assert [found.is_worse for found in compare([best, worse])] == [False, True]


def test_seeds_are_compared_in_pairs() -> None:
    # Seed 1 is bad for both: within each seed the first is better by 0.01.
    first = {0: units(0.11), 1: units(-0.09)}
    second = {0: units(0.1, seed=1), 1: units(-0.1, seed=1)}
    assert compare([first, second])[1].is_worse is True
    other_seeds = {2: units(0.1, seed=1), 3: units(-0.1, seed=1)}
    assert compare([first, other_seeds])[1].is_worse is False
    assert compare([first, {0: units(0.1, seed=1)}])[1].is_worse is True, "by the seed in common"


def test_seeds_that_agree_by_chance_do_not_count_as_certain() -> None:
    called, _ = simulated.with_seeds(40, 2, searches=15)
    assert called < 0.06


def test_without_units_of_the_same_sequences_nothing_is_claimed() -> None:
    shorter = Units(HARDNESS[:-1] * 10, COUNTS[:-1], "sequences")
    found = compare([{0: units()}, {}, {0: shorter}, {0: units(-1.0)}])
    assert [each.is_worse for each in found] == [False, None, None, True]
    assert found[1] == Comparison() and found[2].standard_error is not None, "its own error is known"
    assert compare([{}, {0: units()}, {0: units(-1.0)}])[2].is_worse is None, "the best is not known"
    assert compare([{0: units(), 1: shorter}, {0: units(-1.0)}])[1].is_worse is None, "one of its seeds"
    assert compare([]) == []


def test_baselines_are_beaten_in_pairs() -> None:
    # Far less than either standard error (0.025), but the same on every sequence.
    bigram, unigram = units(noise=0.01, seed=7), units(-0.3, seed=8)
    found = compare([{0: units(0.01)}, {0: units(0.001, seed=1)}], baselines={"bigram": bigram, "unigram": unigram})
    assert [each.beats_baselines for each in found] == [True, False]
    assert compare([{0: units(0.01)}], baselines={"bigram": bigram, "lost": None})[0].beats_baselines is None
    assert compare([{0: units(0.01)}], baselines={})[0].beats_baselines is None


def test_the_winner_of_many_runs_needs_a_larger_lead_over_the_baselines_than_others_and_than_on_the_test_split() -> (
    None
):
    draw = np.random.default_rng(11)
    counts, baseline = np.ones(12), draw.normal(2, 0.5, 12)
    lead = draw.normal(0, 1, 12)
    lead = (lead - lead.mean()) / lead.std(ddof=1) * 12**0.5  # of a standard error of 1
    for t, winner, other in ((2.3, False, True), (2.1, False, False), (4.0, True, True)):
        better = Units(baseline - 0.01 * (t + lead), counts, "sequences")
        rest = [{0: Units(baseline + 0.02 + draw.normal(0, 0.01, 12), counts, "sequences")} for _ in range(18)]
        against = {"b": Units(baseline, counts, "sequences")}
        found = compare([{0: better}, {0: better}, *rest], baselines=against)
        assert (found[0].beats_baselines, found[1].beats_baselines) == (winner, other)  # t(11, .975) is 2.20
        assert beats(better, against, maximize=False) is other


def test_the_error_over_seeds_is_the_error_of_their_mean() -> None:
    assert error_over_seeds([1.0, 2.0, 3.0]) == pytest.approx(1 / 3**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("n", simulated.SIZES)
@pytest.mark.parametrize("kind", simulated.KINDS)
def test_the_figures_of_the_verdict(kind: str, n: int) -> None:
    searches = 200
    worse = simulated.equal_called_worse(kind, n, searches)
    kept = simulated.best_kept(kind, n, searches)
    found = simulated.found_worse(kind, n, searches)
    print(f"{kind}, n = {n}: {worse:.3f} of equal runs called worse, best kept {kept:.3f}, found {found:.3f}")
    assert worse <= 0.05
    assert kept >= 0.95 - 2 * (0.05 * 0.95 / searches) ** 0.5
    assert found >= {5: 0.75, 10: 0.85, 20: 0.92, 40: 0.95}[n]


@pytest.mark.slow
def test_the_figures_of_intervals_seeds_and_blocks() -> None:
    for n in (5, 10, 40):
        normal, heavy = (simulated.covered(n, 1000, long_tail=long_tail) for long_tail in (False, True))
        print(f"n = {n}: 95 % intervals cover {normal:.3f}, {heavy:.3f} with heavy tails")
        assert 0.93 <= normal <= 0.98 and heavy >= 0.93
    for seeds, n in product((2, 3), (10, 40)):
        called, any_called = simulated.with_seeds(n, seeds, 100)
        print(f"{seeds} seeds, n = {n}: {called:.3f} called worse, in {any_called:.2f} of the searches at least one")
        assert called <= 0.05
    for correlation, targets in product((0.0, 0.5, 0.9), (200, 2000)):
        called, coverage = simulated.in_blocks(correlation, targets, 60)
        print(
            f"blocks, correlation {correlation}, {targets} targets: {called:.3f} called worse, coverage {coverage:.2f}"
        )
        if correlation <= 0.5:  # correlation beyond the length of a block is beyond the method
            assert called <= 0.06 and coverage >= 0.9
