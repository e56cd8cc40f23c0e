"""Baselines of real targets against hand computations, NumPy's least squares and processes of known error."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.config.base import Named
from sequifier.dataset.seasons import autocorrelation, find_period
from sequifier.training.baselines.history import Targets, TrainingData, training_targets
from sequifier.training.baselines.ridge import PENALTIES, Products
from sequifier.training.baselines.series import AUTOREGRESSION, MEAN_BY_CATEGORY, SEASON, RealBaselines
from sequifier.training.baselines.window_ridge import WindowRidge
from sequifier.training.losses import TargetLoss
from tests.support.events import continued_at_levels, make_events


def series_of(*sequences: NDArray[np.floating]) -> Events:
    return make_events([len(values) for values in sequences], {"price": np.concatenate(sequences).astype(np.float32)})


def after(events: Events, seq_length: int) -> Targets:
    return training_targets(events, seq_length, at_most=1 << 20)


def predictions(
    train: Events,
    targets: Targets,
    *,
    events: Events | None = None,
    real: Sequence[str] = (),
    n_classes: dict[str, int] | None = None,
    seq_length: int,
) -> dict[str, list[NDArray[np.float64]]]:
    """Return what each baseline of `price` predicts at some targets of `events`, or of the training events.

    Args:
        train: the training events.
        targets: where to predict.
        events: the events around the targets.
        real: real inputs.
        n_classes: categorical inputs and their classes.
        seq_length: events that a window shows.
    """
    data = TrainingData(train, [*real, *(n_classes or {})], n_classes or {}, seq_length)
    fitted = RealBaselines(data, "price", after(train, seq_length))
    truth = np.zeros(len(targets), np.float32)  # so the error is the prediction
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for name, scored in fitted.scored((events or train).columns, targets, truth, TargetLoss(Named(name="MSELoss"))):
        found[name].append(scored.error.numpy())
    return found


def test_ridge_is_least_squares_with_the_penalty_of_the_best_cross_validation_score() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)) + 1.0
    coefficients = np.array([[1.0, -0.5, 0, 0, 0.2], [0.0, 0, 0.01, 0, 0]])
    targets = features @ coefficients.T + 3 + generator.normal(size=(60, 2))
    products = Products(5, 2)
    products.add(features[:25], targets[:25])
    products.add(features[25:], targets[25:])
    for size, number in ((1, 0), (3, 0), (5, 0), (4, 1), (5, 1)):
        target = targets[:, number]
        centred, response = features[:, :size] - features[:, :size].mean(0), target - target.mean()
        scores, solutions = [], []
        for penalty in PENALTIES:
            # Least squares with a row of sqrt(penalty) for each weight is ridge regression.
            rows = np.vstack([centred, np.sqrt(penalty) * np.eye(size)])
            solution = np.linalg.lstsq(rows, np.append(response, np.zeros(size)), rcond=None)[0]
            hat = centred @ np.linalg.inv(centred.T @ centred + penalty * np.eye(size)) @ centred.T
            residual = ((response - centred @ solution) ** 2).sum()
            scores.append(residual / (59 - np.trace(hat)) ** 2)
            solutions.append(solution)
        weights, intercept = (found[..., number] for found in products.solve(size))
        np.testing.assert_allclose(weights, solutions[int(np.argmin(scores))], rtol=1e-8)
        assert intercept == pytest.approx(target.mean() - features[:, :size].mean(0) @ weights)


def test_the_ridge_map_reads_the_window_about_its_last_value() -> None:
    """x(t) = x(t-1) - 0.5 (x(t-1) - x(t-3)) exactly, for two columns of different level: one map fits both."""
    events = series_of(*continued_at_levels(0.0, 50.0))
    ridge = WindowRidge([events.columns["price"]], after(events, 3), 3)
    targets = after(events, 3)
    full = targets[targets.n_readable == 3]
    np.testing.assert_allclose(
        ridge(events.columns["price"], full)[:, 0], events.columns["price"][full.rows], atol=2e-3
    )


def seasonal(*, trend: float = 0.0, walk: float = 0.0) -> Events:
    """Return a series with a season of 24 steps."""
    time, generator = np.arange(900), np.random.default_rng(2)
    values = np.sin(2 * np.pi * time / 24) + 0.4 * np.sin(2 * np.pi * time / 12) + 0.2 * generator.normal(size=900)
    values += trend * time + walk * np.cumsum(generator.normal(size=900))
    return series_of(values / values.std())


def test_seasonal_means_average_the_earlier_periods_in_the_window() -> None:
    """Windows of 72 steps show three periods."""
    valid = series_of(np.arange(73.0) ** 2)
    targets = Targets(np.array([72, 72, 40, 20]), np.zeros(4, np.int64), np.array([0, 40, 0, 0]))
    one, two, three = predictions(seasonal(), targets, events=valid, real=["price"], seq_length=72)[SEASON]
    assert one.tolist() == [48**2, 48**2, 16**2, 19**2], "without an event 24 steps ago it is the last value"
    assert two.tolist() == [(48**2 + 24**2) / 2, 48**2, 16**2, 19**2]
    assert three.tolist() == [(48**2 + 24**2 + 0) / 3, 48**2, 16**2, 19**2]


def test_autocorrelation_follows_its_definition_and_does_not_cross_sequences() -> None:
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
    events = seasonal(trend=trend, walk=walk)
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


def test_an_autoregression_is_the_least_squares_line_through_pairs_of_neighbours() -> None:
    values = np.array([0.0, 1, 2, 5, 3, 4, 8], np.float32)
    slope, intercept = np.polyfit(values[:-1], values[1:], 1)
    train = series_of(values)
    (found,) = predictions(train, after(train, 2), real=["price"], seq_length=2)[AUTOREGRESSION]
    assert found == pytest.approx(intercept + slope * values[:-1], abs=1e-3)
    constant = series_of(np.array([3.0, 3.0, 3.0]), np.array([3.0, 7.0]))
    (found,) = predictions(constant, after(constant, 2), real=["price"], seq_length=2)[AUTOREGRESSION]
    assert found == pytest.approx([(3 + 3 + 7) / 3] * 3), "a constant past predicts the mean"


def test_group_means_are_drawn_to_the_overall_mean_where_events_are_few() -> None:
    generator = np.random.default_rng(3)
    ids = np.append(generator.integers(1, 3, 500), 3)
    truth = np.where(ids == 1, 1.0, -1.0) + generator.normal(size=501)
    truth[-1] = 8.0
    # Pairs of events: the category of the first, then the value.
    kind = np.repeat(ids, 2).astype(np.int32)
    train = make_events([2] * 501, {"kind": kind, "price": np.repeat(truth, 2).astype(np.float32)})
    valid = make_events([5], {"kind": np.array([1, 2, 3, 4, 1], np.int32)})
    rows = np.arange(1, 5)
    targets = Targets(rows, np.zeros(4, np.int64), np.zeros(4, np.int64))
    (found,) = predictions(train, targets, events=valid, n_classes={"kind": 5}, seq_length=1)[MEAN_BY_CATEGORY]
    one, two, once, never = found
    assert one == pytest.approx(truth[ids == 1].mean(), abs=0.05)
    assert two == pytest.approx(truth[ids == 2].mean(), abs=0.05)
    assert truth.mean() < once < 8.0
    assert never == pytest.approx(truth.mean(), abs=1e-3)


def test_medians_by_category_are_those_of_the_absolute_error() -> None:
    """A column of one category for each event fits the training split exactly, and tells nothing."""
    generator = np.random.default_rng(4)
    n = 2001
    kind, name = generator.integers(1, 4, n), np.arange(1, n + 1)
    kind[-3:] = 4  # too few for a median of their own
    value = generator.exponential(size=n) * np.array([0, 1, 10, 100, 1000])[kind]
    frame = pl.DataFrame({"kind": kind, "value": value})
    of_kind = dict(frame.group_by("kind").agg(pl.col("value").median()).iter_rows())
    pairs = {"kind": np.repeat(kind, 2), "name": np.repeat(name, 2)}
    columns = {key: ids.astype(np.int32) for key, ids in pairs.items()}
    train = make_events([2] * n, columns | {"price": np.repeat(value, 2)})
    data = TrainingData(train, ["name", "kind"], {"name": n + 1, "kind": 6}, 1)
    fitted = RealBaselines(data, "price", after(train, 1), loss=TargetLoss(Named(name="L1Loss")))
    valid = make_events([6], {"kind": np.array([1, 2, 3, 4, 5, 1], np.int32), "name": np.ones(6, np.int32)})
    found = dict(
        fitted.predictions(valid.columns, Targets(np.arange(1, 6), np.zeros(5, np.int64), np.zeros(5, np.int64)))
    )
    overall = float(np.median(value))
    assert found["median"][:, 0] == pytest.approx([overall] * 5)
    assert found["median by last category"][:, 0] == pytest.approx(
        [*(of_kind[key] for key in (1, 2, 3)), overall, overall]
    )


def test_medians_are_those_of_the_column_that_decides_also_where_its_categories_alternate() -> None:
    """Half of the events may not judge the other half where every second event has the same category."""
    n = 200
    columns = {"color": np.random.default_rng(5).integers(1, 4, n), "half": np.arange(n) % 2 + 1}
    ids = {name: values.astype(np.int32) for name, values in columns.items()}
    train = make_events([n], ids | {"price": np.where(ids["half"] == 1, 0.0, 10.0).astype(np.float32)})
    data = TrainingData(train, [*ids], {"color": 4, "half": 3}, 1)
    fitted = RealBaselines(data, "price", after(train, 1), loss=TargetLoss(Named(name="L1Loss")))
    found = dict(fitted.predictions(train.columns, after(train, 1)))
    np.testing.assert_array_equal(found["median by last category"][:, 0], train.columns["price"][1:])


def test_group_means_are_exact_where_a_category_has_one_value() -> None:
    kind = np.repeat([1, 2], 20).astype(np.int32)
    train = make_events([2] * 20, {"kind": kind, "price": np.where(kind == 1, 5.0, 7.0).astype(np.float32)})
    valid = make_events([4], {"kind": np.array([1, 2, 3, 1], np.int32)})
    targets = Targets(np.arange(1, 4), np.zeros(3, np.int64), np.zeros(3, np.int64))
    (found,) = predictions(train, targets, events=valid, n_classes={"kind": 4}, seq_length=1)[MEAN_BY_CATEGORY]
    assert found == pytest.approx([5, 7, 6])


def test_few_maps_serve_windows_of_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each map is a solution of up to 336 equations, so not every length may have its own."""
    solved: list[int] = []
    solve = Products.solve
    monkeypatch.setattr(Products, "solve", lambda self, size: solved.append(size) or solve(self, size))
    train = series_of(np.random.default_rng(0).normal(size=40_000))
    WindowRidge([train.columns["price"]], after(train, 300), 300)
    lengths = [size + 1 for size in solved]
    assert (lengths[0], lengths[-1]) == (1, 300) and len(lengths) < 20
    assert all(longer <= 2 * shorter for shorter, longer in pairwise(lengths))
