"""What a forecast and its loss depend on: nothing behind the origin, the last event that it reads."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.config.train import WindowNormalization
from sequifier.model.transformer import Transformer
from tests.support.events import make_events, make_split, make_windows
from tests.support.shapes import lively, small
from tests.support.tiny_training import N_CLASSES, TARGETS, events_of, objective_of

SEQ_LENGTH = 5
Found = dict[str, tuple[Tensor, Tensor]]


def model_of(kind: WindowNormalization) -> Transformer:
    columns: dict[str, Any] = {"categorical": (("kind", N_CLASSES),), "real": ("size",), "embedding_widths": (8, 8)}
    return lively(small(**columns, targets=TARGETS, seq_length=SEQ_LENGTH, window_normalization=kind))


@torch.no_grad()
def forecasts(model: Transformer, events: Events, *, evaluation: bool, picks: bool) -> tuple[NDArray[np.int64], Found]:
    """Return the row of each target in the windows of a split, (M,), and its predictions and losses by column."""
    only_last = model.normalization is not None
    windows = make_windows(events, SEQ_LENGTH, 2, evaluation=evaluation, only_last=only_last)
    split = make_split(events, windows, SEQ_LENGTH, picks=picks)
    numbers = np.arange(len(split))
    batch = split.batch(split.choose(numbers))
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event, n_last=batch.n_steps))
    predicted = model.predict(hidden, scales=model.window_scales(batch.reals, batch.is_event))
    losses = objective_of().losses
    found = {
        name: (values, losses[name].per_position(values, batch.targets[name], batch.known[name]))
        for name, values in predicted.items()
    }
    rows = split.target_rows(numbers, batch.n_steps)
    counts = rows >= 0
    return rows[counts], {name: (values[counts], loss[counts]) for name, (values, loss) in found.items()}


@pytest.mark.parametrize("kind", ["none", "last", "mean_std"])
@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 14), min_size=1, max_size=3),
    origin=st.integers(0, 41),
    seed=st.integers(0, 2**16),
    evaluation=st.booleans(),
    picks=st.booleans(),
)
def test_changing_events_after_an_origin_changes_neither_its_forecast_nor_losses_before_it(
    kind: WindowNormalization, sizes: list[int], origin: int, seed: int, evaluation: bool, picks: bool
) -> None:
    model, before = model_of(kind), events_of(sizes, seed=seed)
    other = events_of(sizes, seed=seed + 1)
    is_later = np.arange(sum(sizes)) > origin
    columns = {name: np.where(is_later, other.columns[name], values) for name, values in before.columns.items()}
    after = make_events(sizes, columns)
    if not max(sizes) > 1:
        return  # no event has a predecessor
    rows, expected = forecasts(model, before, evaluation=evaluation, picks=picks)
    _, found = forecasts(model, after, evaluation=evaluation, picks=picks)
    is_forecast, is_over = torch.from_numpy(rows <= origin + 1), torch.from_numpy(rows <= origin)
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
