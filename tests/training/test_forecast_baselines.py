"""Baselines of several steps ahead, against loops over targets and steps, and processes of known continuation."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.model.distributions.lognormal_mixture import LognormalMixture
from sequifier.model.distributions.quantiles import Quantiles
from sequifier.training.baselines import series, time_to_event
from sequifier.training.baselines.history import Targets, TrainingData, training_targets
from sequifier.training.baselines.scores import baselines
from sequifier.training.baselines.series import AUTOREGRESSION, LAST, MEAN, MEAN_BY_CATEGORY, SEASON, RealBaselines
from sequifier.training.baselines.window_ridge import WindowRidge
from sequifier.training.losses import DistributionLoss, TargetLoss
from sequifier.training.objective import Objective
from tests.support.events import continued_at_levels, make_events, make_split, make_windows
from tests.support.tiny_training import N_CLASSES, events_of, objective_of, split_of

HORIZON = 7


def series_of(*sequences: NDArray[np.floating], context: int = 0) -> Events:
    columns = {"load": np.concatenate(sequences).astype(np.float32)}
    return make_events([len(values) for values in sequences], columns, n_context=context)


def after(events: Events, seq_length: int) -> Targets:
    return training_targets(events, seq_length, at_most=1 << 20, n_steps=HORIZON)


def predictions(train: Events, targets: Targets, seq_length: int) -> dict[str, list[NDArray[np.float64]]]:
    """Return what each baseline predicts of the training events, name -> (M, H) of each variant."""
    fitted = RealBaselines(TrainingData(train, ["load"], {}, seq_length), "load", after(train, seq_length))
    found = defaultdict(list)
    for name, predicted in fitted.predictions(train.columns, targets):
        found[name].append(predicted)
    return found


def seasonal(*lengths: int) -> Events:
    """Return series with a season of 4 steps."""
    generator = np.random.default_rng(7)
    return series_of(*(np.sin(np.arange(n) * np.pi / 2) + 0.1 * generator.normal(size=n) for n in lengths))


def test_a_training_origin_has_its_whole_horizon_among_the_own_events_of_its_sequence() -> None:
    events = series_of(np.zeros(30), np.zeros(5), np.zeros(12), context=2)
    targets = after(events, 10)
    expected = [row for begin, end in ((2, 30), (32, 35), (37, 47)) for row in range(begin + 1, end - HORIZON + 1)]
    assert targets.rows.tolist() == expected
    assert targets.truth_rows.tolist() == [row + step for row in expected for step in range(HORIZON)]


def test_seasonal_means_average_what_may_be_read_of_the_season_of_each_step() -> None:
    """Period 4 and horizon 7: the last steps are more than a period ahead."""
    train, seq_length = seasonal(90, 60), 11
    values, targets = train.columns["load"].astype(np.float64), after(train, seq_length)
    variants = predictions(train, targets, seq_length)[SEASON]
    assert len(variants) == seq_length // 4
    for number, found in enumerate(variants, start=1):
        for m, (row, first) in enumerate(zip(targets.rows, np.maximum(targets.first, targets.begin), strict=True)):
            for step in range(HORIZON):
                same_season = [r for r in range(row - 1, first - 1, -1) if (row + step - r) % 4 == 0][:number]
                expected = values[same_season].mean() if same_season else values[row - 1]
                assert found[m, step] == pytest.approx(expected)


def test_mean_last_value_and_autoregression_of_each_step() -> None:
    values = np.array([0.0, 1, 2, 5, 3, 4, 8, 1, 0, 2, 3, 7], np.float32)
    train = series_of(values)
    targets = after(train, 3)
    found = predictions(train, targets, 3)
    assert targets.rows.tolist() == [1, 2, 3, 4, 5]
    assert found[MEAN][0][2] == pytest.approx([values[1 + step : 6 + step].mean() for step in range(HORIZON)])
    assert found[LAST][0] == pytest.approx(np.repeat(values[:5, None], HORIZON, axis=1))
    slope, intercept = np.polyfit(values[:5], values[1:6], 1)
    expected = [3.0]
    for _ in range(HORIZON):
        expected.append(intercept + slope * expected[-1])
    assert found[AUTOREGRESSION][0][-1] == pytest.approx(expected[1:])


def test_one_ridge_map_continues_several_columns_exactly() -> None:
    """x(t) = x(t-1) - 0.5 (x(t-1) - x(t-3)) at two levels; few windows at the start have fewer values."""
    events = series_of(*continued_at_levels(0.0, 50.0))
    targets = after(events, 3)
    ridge = WindowRidge([events.columns["load"]], targets, 3)
    full = targets[targets.n_readable == 3]
    truth = events.columns["load"][full.truth_rows].reshape(-1, HORIZON)
    np.testing.assert_allclose(ridge(events.columns["load"], full), truth, atol=5e-3)


def test_group_means_belong_to_steps() -> None:
    """The category of an event says which of two courses follows it."""
    courses = {1: np.arange(HORIZON) * 1.0, 2: -np.arange(HORIZON) * 2.0 + 1}
    kind = np.tile([1, 2], 20).astype(np.int32)
    load = np.concatenate([np.append(0.0, courses[k]) for k in kind.tolist()]).astype(np.float32)
    sizes = [HORIZON + 1] * 40
    events = make_events(sizes, {"kind": np.repeat(kind, HORIZON + 1), "load": load})
    training = after(events, 2)
    fitted = RealBaselines(TrainingData(events, ["kind"], {"kind": 3}, 2), "load", training)
    found = dict(fitted.predictions(events.columns, training))[MEAN_BY_CATEGORY]
    for of_kind, predicted in zip(kind.tolist(), found, strict=True):
        np.testing.assert_allclose(predicted, courses[of_kind], atol=1e-6)


def test_regression_on_the_inputs_of_the_last_event_belongs_to_steps() -> None:
    generator = np.random.default_rng(0)
    sign, load = generator.normal(size=400).astype(np.float32), np.zeros(400, np.float32)
    for step in range(HORIZON):
        load[step + 1 :] += (step + 1) * sign[: 399 - step]
    events = make_events([400], {"sign": sign, "load": load})
    training = after(events, 5)
    fitted = RealBaselines(TrainingData(events, ["sign"], {}, 5), "load", training)
    found = dict(fitted.predictions(events.columns, training))[series.RIDGE]
    slopes = np.polyfit(sign[training.rows - 1], found, 1)[0]
    np.testing.assert_allclose(slopes, np.arange(HORIZON) + 1.0, atol=1.0)


def test_scores_are_those_of_each_origin_and_step() -> None:
    train, valid = events_of([160, 141], seed=1), events_of([9, 30, 2, 17, 40, 12], seed=2, context=2)
    split = split_of(valid, seq_length=8, evaluation=True, horizon=3)
    found = baselines(TrainingData(train, ["kind", "size"], {"kind": N_CLASSES}, 8), split, objective_of(n_steps=3))
    row = found["baseline: unigram, mean"]
    rows: dict[int, list[int]] = {step: [] for step in range(3)}
    for begin, end in pairwise(valid.offsets.tolist()):
        for origin in range(begin + 2, end - 2):
            for step in range(3):
                rows[step].append(origin + step)
    size, kind = valid.columns["size"].astype(np.float64), valid.columns["kind"]
    fitted = [r for begin, end in pairwise(train.offsets.tolist()) for r in range(begin + 1, end - 2)]
    errors, losses = [], []
    for step, here in rows.items():
        mean = train.columns["size"][[r + step for r in fitted]].astype(np.float64).mean()
        errors.append(np.float32(mean) - size[here])
        assert row.metrics[f"val_size_mae_standardised_step_{step + 1}"] == pytest.approx(np.abs(errors[-1]).mean())
        counts = np.bincount(train.columns["kind"][[r + step for r in fitted]], minlength=N_CLASSES)
        counts[0] = 0  # unknown is never predicted
        hits = (kind[here] == counts.argmax()).sum()
        assert row.metrics[f"val_kind_accuracy_step_{step + 1}"] == pytest.approx(hits / len(here))
        losses.append(row.metrics[f"val_kind_loss_step_{step + 1}"])
    assert row.metrics["val_size_loss"] == pytest.approx((np.concatenate(errors) ** 2).mean())
    assert min(losses) < row.metrics["val_kind_loss"] < max(losses)
    assert row.units["val_loss"].value == pytest.approx(row.metrics["val_loss"])
    last = next(row for name, row in found.items() if "last value" in name)
    expected = [size[origin - 1] - size[origin + 2] for origin in rows[0]]
    assert last.metrics["val_size_mae_step_3"] == pytest.approx(2.0 * np.abs(expected).mean()), "in original units"


def test_counts_know_what_follows_several_steps_later() -> None:
    """Classes go round: after each follows another one at every step."""
    kind = (np.arange(90) % 3 + 1).astype(np.int32)
    events = make_events([90], {"kind": kind, "size": np.zeros(90, np.float32)})
    split = split_of(events, seq_length=4, evaluation=True, horizon=5)
    found = baselines(TrainingData(events, ["kind"], {"kind": N_CLASSES}, 4), split, objective_of(n_steps=5))
    counted = next(row for name, row in found.items() if "bigram" in name)
    for step in range(5):
        assert counted.metrics[f"val_kind_accuracy_step_{step + 1}"] == 1.0


def test_quantiles_of_a_baseline_are_those_of_its_errors_in_training_at_each_step() -> None:
    """So each covers as much as it says of a stationary series, the walk with ever wider intervals."""
    generator, H = np.random.default_rng(5), 4
    noise = generator.normal(size=9000)
    values = np.sin(np.arange(9000) * np.pi / 4) + np.convolve(noise, [1.0, 0.7, 0.4], mode="same")
    train, valid = series_of(values[:6000]), series_of(values[6000:])
    windows = make_windows(valid, 16, 1, evaluation=True, horizon=H)
    split = make_split(valid, windows, 16, categorical=[], real=["load"], targets=["load"])
    losses: dict[str, TargetLoss] = {"load": DistributionLoss(Quantiles(), Scale(std=2.0))}
    objective = Objective(losses, {"load": 1.0}, {"load": Scale(std=2.0)}, n_steps=H)
    found = baselines(TrainingData(train, ["load"], {}, 16), split, objective)
    assert set(found) == {f"baseline: {name}" for name in (series.MEDIAN, LAST, AUTOREGRESSION, SEASON, series.RIDGE)}
    for row in found.values():
        for step in range(1, H + 1):
            assert 0.76 < row.metrics[f"val_load_coverage_80_step_{step}"] < 0.84
        assert row.metrics["val_load_crps"] < 0.8 * row.metrics["val_load_mae"]
    size = train.columns["load"].astype(np.float64)
    origins = np.arange(1, 6000 - H + 1)
    truth, last = (valid.columns["load"].astype(np.float64)[rows] for rows in (np.arange(1, 2997) + 2, np.arange(2996)))
    levels = np.arange(1, 20) / 20
    errors = truth[:, None] - last[:, None] - np.quantile(size[origins + 2] - size[origins - 1], levels)
    expected = np.maximum(levels * errors, (levels - 1) * errors).mean()
    metrics = found["baseline: last value"].metrics
    assert metrics["val_load_loss_step_3"] == pytest.approx(expected, rel=1e-3)
    assert metrics["val_load_crps_step_3"] == pytest.approx(2 * 2.0 * expected, rel=1e-3), "in original units"


def test_rates_are_baselines_of_mixtures_at_each_step() -> None:
    """The rate after the kind of the origin, fitted to all steps."""
    generator, H = np.random.default_rng(3), 3
    kind = generator.integers(1, 3, 400).astype(np.int32)
    gap = generator.exponential(np.where(np.roll(kind, 1) == 1, 1.0, 5.0)).astype(np.float32)
    train = make_events([300], {"gap": gap[:300], "kind": kind[:300]})
    valid = make_events([100], {"gap": gap[300:], "kind": kind[300:]})
    windows = make_windows(valid, 8, 1, evaluation=True, horizon=H)
    split = make_split(valid, windows, 8, categorical=["kind"], real=["gap"], targets=["gap"])
    losses: dict[str, TargetLoss] = {"gap": DistributionLoss(LognormalMixture(), Scale(), 1e-6)}
    objective = Objective(losses, {"gap": 1.0}, {"gap": Scale()}, n_steps=H)
    found = baselines(TrainingData(train, ["gap", "kind"], {"kind": N_CLASSES}, 8), split, objective)
    by_name = {name: row.metrics for name, row in found.items()}

    def pairs(events: Events) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.integer]]:
        """Value, step and kind of the origin of each target."""
        origins = np.arange(len(events.columns["gap"]) - H)
        rows = origins[:, None] + np.arange(1, H + 1)
        last = np.repeat(events.columns["kind"][origins], H)
        return events.columns["gap"][rows].ravel().astype(np.float64), np.tile(np.arange(H), len(origins)), last

    fitted, _, after_kind = pairs(train)
    value, step, last = pairs(valid)
    overall = 1 / fitted.mean()
    constant = overall * value - np.log(overall)
    rates = {
        kind: ((after_kind == kind).sum() + 1) / (fitted[after_kind == kind].sum() + 1 / overall) for kind in (1, 2)
    }
    rate = np.where(last == 1, rates[1], rates[2])
    by_kind = rate * value - np.log(rate)
    for name, expected in ((time_to_event.CONSTANT, constant), (time_to_event.CATEGORY, by_kind)):
        metrics = by_name[f"baseline: {name}"]
        assert metrics["val_gap_nll"] == pytest.approx(expected.mean(), rel=1e-5)
        for number in range(H):
            here = expected[step == number].mean()
            assert metrics[f"val_gap_nll_step_{number + 1}"] == pytest.approx(here, rel=1e-5)
