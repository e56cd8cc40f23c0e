"""Baselines of real targets against hand computations, NumPy's least squares and processes of known error."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.training.baselines.history import Targets, training_targets
from sequifier.training.baselines.ridge import _PENALTIES, Products
from sequifier.training.baselines.seasons import autocorrelation, find_period
from sequifier.training.baselines.series import WindowRidge, _GroupMeans, _line, _seasonal_means, _sizes
from tests.support.events import make_events


def series_of(*sequences: NDArray[np.floating]) -> Events:
    return make_events([len(values) for values in sequences], {"price": np.concatenate(sequences).astype(np.float32)})


def after(events: Events, seq_length: int) -> Targets:
    return training_targets(events, seq_length, at_most=1 << 20)


def test_ridge_is_least_squares_with_the_penalty_of_the_best_cross_validation_score() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)) + 1.0
    target = features @ np.array([1.0, -0.5, 0, 0, 0.2]) + 3 + generator.normal(size=60)
    products = Products(5)
    products.add(features[:25], target[:25])
    products.add(features[25:], target[25:])
    for size in (1, 3, 5):
        centred, response = features[:, :size] - features[:, :size].mean(0), target - target.mean()
        scores, solutions = [], []
        for penalty in _PENALTIES:
            # Least squares with a row of sqrt(penalty) for each weight is ridge regression.
            rows = np.vstack([centred, np.sqrt(penalty) * np.eye(size)])
            solution = np.linalg.lstsq(rows, np.append(response, np.zeros(size)), rcond=None)[0]
            hat = centred @ np.linalg.inv(centred.T @ centred + penalty * np.eye(size)) @ centred.T
            residual = ((response - centred @ solution) ** 2).sum()
            scores.append(residual / (59 - np.trace(hat)) ** 2)
            solutions.append(solution)
        weights, intercept = products.solve(size)
        np.testing.assert_allclose(weights, solutions[int(np.argmin(scores))], rtol=1e-8)
        assert intercept == pytest.approx(target.mean() - features[:, :size].mean(0) @ weights)


def test_the_ridge_map_reads_the_window_about_its_last_value() -> None:
    """x(t) = x(t-1) + 0.5 (x(t-1) - x(t-3)) exactly, for two columns of different level: one map fits both."""
    sequences = []
    for level in (0.0, 50.0):
        values = [level, level + 1, level - 1]
        for _ in range(60):
            values.append(values[-1] - 0.5 * (values[-1] - values[-3]))
        sequences.append(np.array(values))
    events = series_of(*sequences)
    ridge = WindowRidge(events, ["price"], after(events, 3), 3)
    targets = after(events, 3)
    full = targets[targets.n_readable == 3]
    np.testing.assert_allclose(ridge(events.columns["price"], full), events.columns["price"][full.rows], atol=2e-3)


def test_seasonal_means_are_those_of_the_earlier_periods_that_may_be_read() -> None:
    values = np.arange(10.0, dtype=np.float64) ** 2
    rows, begin = np.array([9, 9, 5, 2]), np.array([0, 5, 0, 0])
    targets = Targets(rows, np.zeros(4, np.int64), begin)
    last = values[rows - 1]
    one, two, three = _seasonal_means(values, targets, last, 3, 3)
    assert one.tolist() == [36, 36, 4, 1], "the last one has no event three steps ago in its window: its last value"
    assert two.tolist() == [(36 + 9) / 2, 36, 4, 1]
    assert three.tolist() == [(36 + 9 + 0) / 3, 36, 4, 1]


def test_autocorrelation_is_that_of_the_definition_and_does_not_cross_sequences() -> None:
    generator = np.random.default_rng(1)
    sequences = [generator.normal(size=size) for size in (30, 7, 12)]
    found, n_pairs = autocorrelation(sequences, 8)
    centred = [
        values - np.polyval(np.polyfit(np.arange(len(values)), values, 1), np.arange(len(values)))
        for values in sequences
    ]
    variance = sum((values**2).sum() for values in centred) / 49
    for lag in range(1, 9):
        pairs = [(values[:-lag] * values[lag:]) for values in centred if len(values) > lag]
        assert n_pairs[lag] == sum(map(len, pairs))
        assert found[lag] == pytest.approx(sum(p.sum() for p in pairs) / n_pairs[lag] / variance)


@pytest.mark.parametrize("trend", [0.0, 0.05])
@pytest.mark.parametrize("walk", [0.0, 0.3])
def test_the_period_of_a_seasonal_series_is_found(trend: float, walk: float) -> None:
    time, generator = np.arange(900), np.random.default_rng(2)
    values = np.sin(2 * np.pi * time / 24) + 0.4 * np.sin(2 * np.pi * time / 12) + 0.2 * generator.normal(size=900)
    values += trend * time + walk * np.cumsum(generator.normal(size=900))
    events = series_of(values / values.std())
    assert find_period(events, "price", 200) == 24
    assert find_period(events, "price", 20) != 24, "a period that no window shows is of no use"


@pytest.mark.parametrize("slope", [0.0, 0.95])
def test_noise_and_an_autoregression_have_no_period(slope: float) -> None:
    generator, values = np.random.default_rng(4), [0.0]
    for noise in generator.normal(size=20_000):
        values.append(slope * values[-1] + noise)
    assert find_period(series_of(np.array(values)), "price", 12) is None


def test_a_constant_or_short_series_has_no_period() -> None:
    assert find_period(series_of(np.ones(50), np.ones(2)), "price", 10) is None
    assert find_period(series_of(np.ones(2), np.zeros(1)), "price", 10) is None


def test_the_line_through_pairs_is_least_squares() -> None:
    x, y = np.array([0.0, 1, 2, 5]), np.array([1.0, 2, 2, 7])
    slope, intercept = np.polyfit(x, y, 1)
    assert _line(x, y) == pytest.approx((intercept, slope))
    assert _line(np.ones(3), np.array([1.0, 2, 6])) == (3.0, 0.0)


def test_group_means_are_drawn_to_the_overall_mean_where_events_are_few() -> None:
    generator = np.random.default_rng(3)
    ids = np.append(generator.integers(1, 3, 500), 3)
    truth = np.where(ids == 1, 1.0, -1.0) + generator.normal(size=501)
    truth[-1] = 8.0
    groups = _GroupMeans("kind", ids, truth, 5)
    column, rows = {"kind": np.array([1, 2, 3, 4])}, np.arange(1, 5)
    targets = Targets(rows, np.zeros(4, np.int64), np.zeros(4, np.int64))
    one, two, once, never = groups(column, targets)
    assert one == pytest.approx(truth[ids == 1].mean(), abs=0.05)
    assert two == pytest.approx(truth[ids == 2].mean(), abs=0.05)
    assert truth.mean() < once < 8.0
    assert never == pytest.approx(truth.mean())


@pytest.mark.parametrize(("longest", "expected"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 4, 5, 8, 9])])
def test_maps_are_fitted_for_windows_of_growing_length(longest: int, expected: list[int]) -> None:
    assert _sizes(longest).tolist() == expected
