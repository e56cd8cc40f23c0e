"""What a forecast and its loss depend on: nothing behind the origin, the last event that it reads."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.train import WindowNormalization
from sequifier.model.transformer import Transformer
from sequifier.training.losses import DistributionLoss
from tests.support.events import make_events, make_split, make_windows
from tests.support.shapes import lively, small
from tests.support.tiny_training import N_CLASSES, TARGETS, events_of, objective_of

SEQ_LENGTH = 5
Found = dict[str, tuple[Tensor, Tensor]]


def model_of(kind: WindowNormalization, horizon: int, distribution: str | None) -> Transformer:
    columns: dict[str, Any] = {"categorical": (("kind", N_CLASSES),), "real": ("size",), "embedding_widths": (8, 8)}
    targets = (TARGETS[0], replace(TARGETS[1], distribution=distribution))
    shape = small(**columns, targets=targets, seq_length=SEQ_LENGTH, window_normalization=kind, horizon=horizon)
    return lively(shape)


@torch.no_grad()
def forecasts(model: Transformer, events: Events, *, evaluation: bool, picks: bool) -> tuple[NDArray[np.int64], Found]:
    """Return the row of each target of each step, (M * H,), and its predictions and losses by column."""
    horizon, only_last = model.heads.horizon, model.normalization is not None
    windows = make_windows(events, SEQ_LENGTH, 2, evaluation=evaluation, only_last=only_last, horizon=horizon)
    split = make_split(events, windows, SEQ_LENGTH, picks=picks)
    numbers = np.arange(len(split))
    batch = split.batch(split.choose(numbers))
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event, n_last=batch.n_steps))
    predicted = model.predict(hidden, scales=model.window_scales(batch.reals, batch.is_event))
    losses = dict(objective_of().losses)
    if (head := model.heads.distribution_head("size")) is not None:
        losses["size"] = DistributionLoss(head.distribution, Scale())
    rows = split.target_rows(numbers, batch.n_steps)
    rows = np.where(rows[:, None] >= 0, rows[:, None] + np.arange(horizon), -1).ravel()
    found = {}
    for name, values in predicted.items():
        values = batch.flat(values)
        loss = losses[name].per_position(values, batch.targets[name], batch.known[name])
        found[name] = (values[rows >= 0], loss[rows >= 0])
    return rows[rows >= 0], found


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("kind", ["none", "last", "mean_std"])
@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 14), min_size=1, max_size=3),
    origin=st.integers(0, 41),
    seed=st.integers(0, 2**16),
    distribution=st.sampled_from([None, "quantiles"]),
    evaluation=st.booleans(),
    picks=st.booleans(),
)
def test_changing_events_after_an_origin_changes_neither_its_forecast_nor_losses_before_it(
    kind: WindowNormalization,
    horizon: int,
    sizes: list[int],
    origin: int,
    seed: int,
    distribution: str | None,
    evaluation: bool,
    picks: bool,
) -> None:
    if max(sizes) <= horizon:
        return  # no event has enough events behind it
    model, before = model_of(kind, horizon, distribution), events_of(sizes, seed=seed)
    other = events_of(sizes, seed=seed + 1)
    is_later = np.arange(sum(sizes)) > origin
    columns = {name: np.where(is_later, other.columns[name], values) for name, values in before.columns.items()}
    rows, expected = forecasts(model, before, evaluation=evaluation, picks=picks)
    _, found = forecasts(model, make_events(sizes, columns), evaluation=evaluation, picks=picks)
    step = np.arange(len(rows)) % horizon
    is_forecast, is_over = torch.from_numpy(rows - step - 1 <= origin), torch.from_numpy(rows <= origin)
    for name, (predictions, losses) in expected.items():
        torch.testing.assert_close(found[name][0][is_forecast], predictions[is_forecast], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[name][1][is_over], losses[is_over], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["last", "mean_std"])
def test_every_event_with_a_predecessor_is_forecast_once_in_training_and_in_evaluation(
    kind: WindowNormalization,
) -> None:
    events = events_of([9, 1, 2, 7])
    for evaluation in (False, True):
        windows = make_windows(events, SEQ_LENGTH, 1, evaluation=evaluation, only_last=True)
        split = make_split(events, windows, SEQ_LENGTH)
        rows = split.target_rows(np.arange(len(split)), 1)
        assert rows.tolist() == [*range(1, 9), 11, *range(13, 19)]
