"""Training and evaluation with a horizon, against each origin and step on its own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.config.catalogue.metric_names import WITHOUT_STEPS, metric_names, split_step
from sequifier.dataset.batches import Split
from sequifier.metrics.predictions import METRICS
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.step import batch_loss, train_step
from tests.support.rounding import rounding
from tests.support.tiny_training import config_of, events_of, model_of, objective_of, split_of, state_of

SIZES, H, T = [9, 30, 2, 17, 40, 12], 3, 8
SCALE = 2.0  # of `size`, in `objective_of`


@pytest.fixture(scope="module")
def events() -> Events:
    return events_of(SIZES, context=2)


def forecasts(model: Transformer, split: Split) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Yield row, step, logits and value of each origin and step, predicted from its window alone."""
    columns = split.events.columns
    for last, first, counted in zip(split.windows.last, split.windows.first, split.windows.counted, strict=True):
        begin = max(first, last - T)
        kind = torch.from_numpy(columns["kind"][begin:last])[None, :, None]
        size = torch.from_numpy(columns["size"][begin:last])[None, :, None]
        with torch.no_grad():
            found = model.predict(model(kind, size))
        for row in range(counted, last + 1):
            for step in range(model.heads.horizon):
                place = row - 1 - begin
                yield row + step, step, found["kind"][0, place, step], found["size"][0, place, step]


@pytest.mark.parametrize("picks", [True, False])
def test_metrics_are_means_over_origins_and_steps_and_at_each_step(events: Events, picks: bool) -> None:
    split, model = split_of(events, seq_length=T, evaluation=True, picks=picks, horizon=H), model_of(T, horizon=H)
    found = evaluate(model.eval(), split, objective_of(n_steps=H), batch_size=4).metrics
    errors: list[list[float]] = [[] for _ in range(H)]
    losses: list[list[float]] = [[] for _ in range(H)]
    hits: list[list[bool]] = [[] for _ in range(H)]
    for row, step, logits, value in forecasts(model, split):
        errors[step].append(float(value) - float(events.columns["size"][row]))
        truth = int(events.columns["kind"][row])
        hits[step].append(truth > 0 and int(logits.argmax()) + 1 == truth)
        if truth > 0:
            losses[step].append(float(-logits.log_softmax(0)[truth - 1]))
    tolerance = rounding(64)
    for step in range(H):
        error = np.array(errors[step])
        expected = {
            "size_mae": np.abs(error).mean() * SCALE,
            "size_rmse": np.sqrt((error**2).mean()) * SCALE,
            "size_mae_standardised": np.abs(error).mean(),
            "size_mse_standardised": (error**2).mean(),
            "size_loss": (error**2).mean(),
            "kind_log_loss": np.mean(losses[step]),
            "kind_accuracy": np.mean(hits[step]),
        }
        for name, value in expected.items():
            assert found[f"val_{name}_step_{step + 1}"] == pytest.approx(value, rel=tolerance)
    everywhere = np.concatenate(errors)
    assert found["val_size_mse_standardised"] == pytest.approx((everywhere**2).mean(), rel=tolerance)
    assert found["val_size_rmse"] == pytest.approx(np.sqrt((everywhere**2).mean()) * SCALE, rel=tolerance)
    assert found["val_kind_log_loss"] == pytest.approx(np.concatenate(losses).mean(), rel=tolerance)
    assert found["val_kind_accuracy"] == pytest.approx(np.concatenate(hits).mean(), rel=tolerance)
    assert found["val_loss"] == pytest.approx(found["val_kind_loss"] + found["val_size_loss"], rel=1e-12)


def test_every_logged_metric_of_a_step_has_a_name_that_a_config_may_give(events: Events) -> None:
    split, model = split_of(events, seq_length=T, evaluation=True, horizon=H), model_of(T, horizon=H)
    objective = replace(objective_of(n_steps=H), naive={"size": np.ones(len(events.sequence_ids))})
    found = evaluate(model, split, objective, batch_size=4).metrics
    names = metric_names({"kind": "categorical", "size": "real"}, n_steps=H)
    assert {name for name in names if split_step(name)[1]} == {name for name in found if split_step(name)[1]}
    assert {*names} >= {*found} - {"val_kind_n_unknown"}
    by_cell = {name for name in METRICS if any(each.cell for each in METRICS[name].sums.values())}
    assert by_cell | {"nll_per_event"} == WITHOUT_STEPS, "a sum over cells or over whole sequences has no steps"


@pytest.mark.parametrize(
    "metric",
    [
        "val_loss",
        "val_size_mae",
        "val_size_mae_step_2",
        "val_size_loss_step_1",
        "val_size_rmse_step_3",
        "val_size_mse_standardised_step_3",
        "val_kind_accuracy_step_2",
        "val_kind_log_loss_step_2",
    ],
)
def test_the_sums_by_unit_of_the_metric_that_ranks_add_up_to_it(events: Events, metric: str) -> None:
    split, model = split_of(events, seq_length=T, evaluation=True, horizon=H), model_of(T, horizon=H)
    found = evaluate(model, split, objective_of(n_steps=H, ranked_by=metric), batch_size=4)
    assert set(found.units) == {"val_loss", metric}
    for name, units in found.units.items():
        assert units.value == pytest.approx(found.metrics[name], rel=1e-9)
        assert units.standard_error is not None


def test_the_loss_of_a_batch_is_the_mean_over_origins_and_steps(events: Events) -> None:
    split, model = split_of(events, seq_length=T, evaluation=False, horizon=H), model_of(T, horizon=H)
    numbers = np.arange(len(split))
    divisors = {target: int(split.n_known_targets(target).sum()) for target in ("kind", "size")}
    loss = batch_loss(model, split.batch(split.choose(numbers)), objective_of(), divisors).item()
    squares, losses = [], []
    for row, _, logits, value in forecasts(model.eval(), split):
        squares.append((float(value) - float(events.columns["size"][row])) ** 2)
        if (truth := int(events.columns["kind"][row])) > 0:
            losses.append(float(-logits.log_softmax(0)[truth - 1]))
    assert loss == pytest.approx(np.mean(squares) + np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("picks", [True, False])
def test_a_step_cut_into_batches_has_the_same_gradient(events: Events, picks: bool) -> None:
    split = split_of(events, seq_length=T, evaluation=False, horizon=H, picks=picks)
    found = []
    for accumulation in (1, 3):
        config = config_of(accumulation_steps=accumulation, gradient_clip=None, optimizer={"name": "SGD"})
        state = state_of(model_of(T, horizon=H), config)
        train_step(state, split, [split.choose(np.arange(len(split)))], objective_of(), config)
        found.append([parameter.grad for parameter in state.model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_run_of_one_step_is_evaluated_on_the_origins_of_a_longer_horizon(events: Events) -> None:
    model = model_of(T)
    longer = split_of(events, seq_length=T, evaluation=True, horizon=H)
    short = split_of(events, seq_length=T, evaluation=True)
    narrowed = Split(
        events,
        replace(longer.windows, horizon=1),
        categorical=["kind"],
        real=["size"],
        targets=["kind", "size"],
        seq_length=T,
        device=short.device,
    )
    metrics: dict[str, Any] = evaluate(model, narrowed, objective_of(n_steps=1), batch_size=4).metrics
    assert metrics["val_size_mae_step_1"] == pytest.approx(metrics["val_size_mae"], rel=1e-12)
    assert narrowed.n_known_at_first_step("size") == longer.n_known_at_first_step("size")
    assert narrowed.n_known_at_first_step("size") < short.n_known_at_first_step("size")
    assert narrowed.units.starts.tolist() == longer.units.starts.tolist()
