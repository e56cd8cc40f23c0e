"""Baselines read what the model may read of the steps to come, and nothing else of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.dataset.batches import Split
from sequifier.model.distributions.lognormal_mixture import LognormalMixture
from sequifier.training.baselines import categorical, series, time_to_event
from sequifier.training.baselines.history import TrainingData, evaluated_targets, read, training_targets
from sequifier.training.baselines.known_steps import DynamicRegression, Effects
from sequifier.training.baselines.scores import baselines
from sequifier.training.baselines.window_ridge import WindowRidge
from sequifier.training.losses import DistributionLoss, TargetLoss, build_losses
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation
from tests.support.events import make_events, make_split, make_windows

H, SEQ_LENGTH = 3, 6
N_CLASSES = {"kind": 4, "day": 4}
KNOWN = ("price", "day")


def shop(n_events: int, *, seed: int, noise: float = 0.5) -> Events:
    """Sales are 5 times the price plus 3 on day 2 plus noise; kind follows from the day, but for one event in ten."""
    draw = np.random.default_rng(seed)
    price, day = draw.normal(size=n_events), draw.integers(1, 4, n_events)
    kind = np.where(draw.random(n_events) < 0.1, draw.integers(1, 4, n_events), day)
    sales = 5 * price + 3 * (day == 2) + noise * draw.normal(size=n_events)
    columns = {"price": price.astype(np.float32), "day": day.astype(np.int32), "kind": kind.astype(np.int32)}
    return make_events([n_events], {**columns, "sales": sales.astype(np.float32)})


def split_of(events: Events, inputs: Sequence[str], target: str, known: Sequence[str]) -> Split:
    windows = make_windows(events, SEQ_LENGTH, 3, evaluation=True, horizon=H)
    return make_split(
        events,
        windows,
        SEQ_LENGTH,
        categorical=[name for name in inputs if name in N_CLASSES],
        real=[name for name in inputs if name not in N_CLASSES],
        targets=[target],
        known_future=known,
    )


def scored(
    train: Events,
    valid: Events,
    target: str,
    known: Sequence[str] = KNOWN,
    *,
    inputs: Sequence[str] = (*KNOWN, "sales", "kind"),
    losses: dict[str, TargetLoss] | None = None,
) -> dict[str, Evaluation]:
    shape = Target(target, "categorical" if target in N_CLASSES else "real", N_CLASSES.get(target, 0))
    objective = Objective(losses or build_losses([shape], {}), {target: 1.0}, {target: Scale()}, n_steps=H)
    data = TrainingData(train, inputs, N_CLASSES, SEQ_LENGTH, known)
    return baselines(data, split_of(valid, inputs, target, known), objective)


@pytest.mark.parametrize("inputs", [(*KNOWN, "sales"), KNOWN], ids=["with its past", "without its past"])
def test_a_regression_on_known_columns_leaves_the_noise(inputs: Sequence[str]) -> None:
    train, valid = shop(3000, seed=1), shop(1000, seed=2)
    found = {name: row.metrics["val_sales_loss"] for name, row in scored(train, valid, "sales", inputs=inputs).items()}
    # With its past the level is the mean of 3 to 6 events, each of which has its own noise.
    level = 1 / 4.5 if "sales" in inputs else 0.0
    assert found[f"baseline: {series.DYNAMIC}"] == pytest.approx(0.25 * (1 + level), abs=0.03)
    sales, day = (valid.columns[name].astype(np.float64) for name in ("sales", "day"))
    within = np.mean([np.var(sales[day == each]) for each in (1, 2, 3)])
    assert found[f"baseline: {series.MEAN_BY_KNOWN}"] == pytest.approx(within, rel=0.1)
    unknown = scored(train, valid, "sales", (), inputs=inputs)
    assert found.keys() - unknown.keys() == {f"baseline: {series.DYNAMIC}", f"baseline: {series.MEAN_BY_KNOWN}"}
    assert min(row.metrics["val_sales_loss"] for row in unknown.values()) > 20
    for name, row in unknown.items():
        assert found[name] == row.metrics["val_sales_loss"], "the others are as without"


def test_effects_are_those_of_cochrane_and_orcutt() -> None:
    """Also where target and known column wander on their own, and levels would show an effect."""
    draw = np.random.default_rng(8)
    price, sales = np.cumsum(draw.normal(size=(2, 2000)), axis=1)
    day = draw.integers(1, 4, 2000)
    sales += np.array([0.0, 1.0, -2.0, 4.0])[day]
    columns = {"price": price.astype(np.float32), "day": day.astype(np.int32), "sales": sales.astype(np.float32)}
    train = make_events([2000], columns)
    data = TrainingData(train, ("price", "day", "sales"), N_CLASSES, SEQ_LENGTH, KNOWN)
    effects = Effects(data, "sales", training_targets(train, SEQ_LENGTH, at_most=1 << 20))
    rows = np.arange(1, 2000)
    features = np.column_stack([price, day[:, None] == [1, 2, 3], np.ones(2000)])
    fitted = np.linalg.lstsq(features[rows], sales[rows], rcond=None)[0]
    error = sales - features @ fitted
    rho = error[rows] @ error[rows - 1] / (error[rows - 1] @ error[rows - 1])
    assert rho > 0.9
    again = np.linalg.lstsq(features[rows] - rho * features[rows - 1], sales[rows] - rho * sales[rows - 1], rcond=None)[
        0
    ]
    expected, found = features[:, :4] @ again[:4], effects.at(train.columns, np.arange(2000))
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=0.1)
    assert abs(again[0]) < 0.1 < abs(fitted[0]), "of the levels there is an effect of the price by chance"


def test_classes_are_counted_after_what_is_known_of_their_step() -> None:
    train, valid = shop(3000, seed=1), shop(1000, seed=2)
    found = scored(train, valid, "kind")
    rows = np.arange(1, 1001 - H)[:, None] + np.arange(H)
    kind, day = (valid.columns[name] for name in ("kind", "day"))
    as_the_day = float((kind[rows] == day[rows]).mean())
    assert found[f"baseline: {categorical.KNOWN}"].metrics["val_kind_accuracy"] == pytest.approx(as_the_day, abs=0.02)
    assert as_the_day > 0.9
    assert all(row.metrics["val_kind_accuracy"] < 0.5 for name, row in found.items() if categorical.KNOWN not in name)
    assert all(categorical.KNOWN not in name for name in scored(train, valid, "kind", ("price",)))


def test_rates_after_a_known_category_are_events_by_time() -> None:
    draw = np.random.default_rng(3)
    day = draw.integers(1, 4, 900).astype(np.int32)
    gap = draw.exponential(np.array([0.0, 1.0, 5.0, 20.0])[day]).astype(np.float32)
    train, valid = (
        make_events([n], {"sales": gap[a:b], "day": day[a:b]}) for n, a, b in ((700, 0, 700), (200, 700, 900))
    )
    losses: dict[str, TargetLoss] = {"sales": DistributionLoss(LognormalMixture(), Scale(), 1e-6)}
    found = scored(train, valid, "sales", ("day",), inputs=("sales", "day"), losses=losses)
    rows = np.arange(1, 701 - H)[:, None] + np.arange(H)
    value, of = train.columns["sales"][rows].astype(np.float64), train.columns["day"][rows]
    overall = value.size / value.sum()
    rate = [((of == each).sum() + 1) / (value[of == each].sum() + 1 / overall) for each in (1, 2, 3)]
    rows = np.arange(1, 201 - H)[:, None] + np.arange(H)
    value, of = valid.columns["sales"][rows].astype(np.float64), np.array(rate)[valid.columns["day"][rows] - 1]
    expected = (of * value - np.log(of)).mean()
    name = f"baseline: {time_to_event.KNOWN_CATEGORY}"
    assert found[name].metrics["val_sales_nll"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["sales", "kind"])
def test_nothing_else_of_the_steps_to_come_is_read(target: str) -> None:
    """Change all that the model does not read for one origin: its predictions stay. Change what is known: they move."""
    train, valid = shop(300, seed=4), shop(24, seed=5)
    inputs = (*KNOWN, "sales", "kind")
    data = TrainingData(train, inputs, N_CLASSES, SEQ_LENGTH, KNOWN)
    training = training_targets(train, SEQ_LENGTH, at_most=1 << 20, n_steps=H)
    fitted: Any
    if target == "kind":
        fitted = [categorical.CategoricalBaselines(data, target, training.at(step)) for step in range(H)]
    else:
        ridge = WindowRidge([train.columns[target]], training, SEQ_LENGTH)
        dynamic = DynamicRegression(data, [target], training)
        fitted = [series.RealBaselines(data, target, training, ridge=ridge, dynamic=dynamic)]
    loss = build_losses([Target(target, "categorical" if target == "kind" else "real", 4)], {})[target]
    (targets,) = evaluated_targets(split_of(valid, inputs, target, KNOWN), 1 << 20)

    def losses(events: Events, origin: int) -> list[NDArray[np.float64]]:
        one = targets[origin : origin + 1]
        found = []
        for step, methods in enumerate(fitted):
            here = one.at(step) if len(fitted) > 1 else one
            truth = read(valid.columns[target], here.truth_rows)  # of the events as they are
            found += [guess.loss.numpy() for _, guess in methods.scored(events.columns, here, truth, loss)]
        return found

    for origin in range(len(targets)):
        rows, ahead = int(targets.rows[origin]), np.arange(24)
        is_window = (ahead < rows) & (ahead >= max(rows - int(targets.n_readable[origin]), 0))
        is_step = (ahead >= rows) & (ahead < rows + H)
        other = known = valid
        for name in inputs:
            hidden = ~is_window & ~(is_step & (name in KNOWN))
            other = changed(other, name, hidden)
            known = changed(known, name, is_step & (name in KNOWN))
        before = losses(valid, origin)
        np.testing.assert_array_equal(losses(other, origin), before)
        assert any(not np.array_equal(a, b) for a, b in zip(losses(known, origin), before, strict=True))


def changed(events: Events, column: str, rows: NDArray[np.bool_]) -> Events:
    values = events.columns[column].copy()
    values[rows] = values[rows] % 3 + 1 if column in N_CLASSES else values[rows] + 1
    return replace(events, columns=events.columns | {column: values})
