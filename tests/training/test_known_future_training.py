"""Training and evaluation with columns that are known at the steps to come."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.config.architecture import Target
from sequifier.config.train import WindowNormalization
from sequifier.dataset.batches import Split
from sequifier.dataset.shuffled import ShuffledSplit
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.forecasts import some_forecasts
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.step import batch_loss
from tests.support.events import make_events, make_split, make_windows
from tests.support.shapes import lively, small

SEQ_LENGTH, H = 5, 3
TARGETS = (Target("size", "real", 0),)
KNOWN = ("kind", "price")


def events_of(sizes: list[int], seed: int = 0) -> Events:
    draw = np.random.default_rng(seed)
    n_rows = sum(sizes)
    columns = {name: draw.normal(size=n_rows).astype(np.float32) for name in ("size", "price")}
    columns["kind"] = draw.integers(0, 4, n_rows).astype(np.int32)
    return make_events(sizes, columns)


def model_of(kind: WindowNormalization = "none") -> Transformer:
    shape: dict[str, Any] = {"categorical": (("kind", 4),), "real": ("size", "price"), "embedding_widths": (6, 5, 5)}
    return lively(
        small(
            **shape,
            targets=TARGETS,
            seq_length=SEQ_LENGTH,
            window_normalization=kind,
            horizon=H,
            known_future=KNOWN,
            num_layers=1,
        )
    )


def split_of(events: Events, model: Transformer, *, evaluation: bool, picks: bool = True) -> Split:
    only_last = model.normalization is not None
    windows = make_windows(events, SEQ_LENGTH, 2, evaluation=evaluation, only_last=only_last, horizon=H)
    return make_split(
        events, windows, SEQ_LENGTH, real=("size", "price"), targets=("size",), picks=picks, known_future=KNOWN
    )


def objective_of(**fields: Any) -> Objective:
    return Objective(build_losses(TARGETS, {}), {"size": 1.0}, {}, **fields)


@torch.no_grad()
def squares(model: Transformer, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the row of each target of each step, (M, H), and its squared error."""
    numbers = np.arange(len(split))
    batch = split.batch(split.choose(numbers))
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event, n_last=batch.n_steps))
    scales = model.window_scales(batch.reals, batch.is_event)
    found = model.predict(hidden, scales=scales, future=batch.future)["size"]
    rows = split.target_rows(numbers, batch.n_steps)
    errors = (found - batch.targets["size"].view(-1, H)).square().numpy()
    return rows[rows >= 0, None] + np.arange(H), errors[rows >= 0]


@pytest.mark.parametrize("picks", [True, False])
@pytest.mark.parametrize("kind", ["none", "last", "mean_std"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), row=st.integers(0, 31), evaluation=st.booleans())
def test_a_known_column_of_one_event_counts_where_it_is_read_and_nowhere_else(
    kind: WindowNormalization, picks: bool, seed: int, row: int, evaluation: bool
) -> None:
    """At its own step of the horizon, and as history of later origins."""
    events, model = events_of([20, 12], seed), model_of(kind)
    rows, before = squares(model, split_of(events, model, evaluation=evaluation, picks=picks))
    changed = {name: values.copy() for name, values in events.columns.items()}
    changed["price"][row] += 1.5
    changed["kind"][row] = (changed["kind"][row] + 1) % 4
    other = make_events([20, 12], changed)
    again, after = squares(model, split_of(other, model, evaluation=evaluation, picks=picks))
    assert (rows == again).all()
    is_history = rows[:, :1] > row  # the origin is the row before the first step
    may_differ = is_history | (rows == row)
    np.testing.assert_allclose(after[~may_differ], before[~may_differ], rtol=1e-5, atol=1e-6)
    # The deviation of a window of one event is 1e-5, and its forecast hardly more than the event.
    has_spread = ~np.isin(rows[:, :1], [1, 21])
    assert (before != after)[(rows == row) & has_spread].all()


def test_the_loss_and_the_metrics_are_those_of_forecasts_with_the_known_columns() -> None:
    events, model = events_of([20, 12]), model_of()
    train, valid = (split_of(events, model, evaluation=evaluation) for evaluation in (False, True))
    numbers = np.arange(len(train))
    divisors = {"size": int(train.n_known_targets("size").sum())}
    loss = batch_loss(model, train.batch(train.choose(numbers)), objective_of(), divisors).item()
    assert loss == pytest.approx(squares(model, train)[1].mean(), rel=1e-5)
    found = evaluate(model, valid, objective_of(n_steps=H), batch_size=2).metrics
    by_step = squares(model, valid)[1].mean(axis=0)
    for step in range(H):
        assert found[f"val_size_mse_standardised_step_{step + 1}"] == pytest.approx(by_step[step], rel=1e-5)


@pytest.mark.parametrize("shuffled", [False, True])
def test_pictures_of_forecasts_read_the_known_columns_of_their_own_steps(shuffled: bool) -> None:
    events, model = events_of([20, 12]), model_of()
    split = split_of(events, model, evaluation=True)
    if shuffled:
        split = ShuffledSplit(
            events,
            split.windows,
            categorical=["kind"],
            real=["size", "price"],
            targets=["size"],
            seq_length=SEQ_LENGTH,
            device=split.device,
            known_future=KNOWN,
            seed=0,
            keeps_last=False,
        )
    rows, errors = squares(model, split)
    by_first = dict(zip(rows[:, 0].tolist(), errors, strict=True))
    found = [*some_forecasts(model, events, split, objective_of(n_steps=H))]
    assert len(found) > 1
    for forecast in found:
        error = np.array(forecast.predicted) - np.array(forecast.truth)
        np.testing.assert_allclose(error**2, by_first[int(forecast.origin) + 1], rtol=1e-3, atol=1e-4)
