"""Steps to come: what a model makes of what is known of them, against a formula, and what it must not see."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sequifier.config.architecture import Architecture
from sequifier.model.known_future import Future, StepsToCome
from sequifier.model.transformer import Transformer
from tests.support.shapes import KNOWN_FUTURE, describe, lively, windows


def future_of(shape: Architecture, n_windows: int, seed: int = 0) -> Future:
    """Return random ids (B, H, C), some of them unknown, and reals (B, H, R)."""
    generator = torch.Generator().manual_seed(seed)
    size = (n_windows, shape.horizon)
    ids = [torch.randint(n_classes, size, generator=generator) for _, n_classes in shape.known_categorical]
    categories = torch.stack(ids, dim=-1) if ids else torch.zeros(*size, 0, dtype=torch.int64)
    return categories, torch.randn(*size, len(shape.known_real), generator=generator)


def predictions(model: Transformer, shape: Architecture, future: Future, seed: int = 0) -> dict[str, Tensor]:
    """Return the forecasts of three windows from their last events."""
    categories, reals = windows(shape, 3, seed)
    with torch.no_grad():
        hidden = model(categories, reals, n_last=1)[:, -1]
        return model.predict(hidden, scales=model.window_scales(reals), future=future)


@pytest.mark.parametrize("shape", KNOWN_FUTURE, ids=describe)
def test_a_step_adds_a_map_of_its_positive_part_to_the_direct_forecast(shape: Architecture) -> None:
    model = lively(
        replace(
            shape,
            window_normalization="none",
            targets=tuple(replace(target, distribution=None) for target in shape.targets),
        )
    )
    future = future_of(shape, 3)
    weights = {name: value.double() for name, value in model.state_dict().items()}
    hidden = model(*windows(shape, 3), n_last=1)[:, -1].detach()
    found = model.predict(hidden, future=future)
    for index, target in enumerate(shape.targets):
        width = max(target.n_classes - 1, 1)
        for window in range(3):
            for step in range(shape.horizon):
                x = weights["steps_to_come.origin.weight"] @ hidden[window].double()
                x = x + weights["steps_to_come.origin.bias"]
                for column in range(len(shape.known_categorical)):
                    x = x + weights[f"steps_to_come.categorical.{column}.weight"][future[0][window, step, column]]
                for column in range(len(shape.known_real)):
                    x = x + weights[f"steps_to_come.real.{column}.weight"][:, 0] * future[1][window, step, column]
                    x = x + weights[f"steps_to_come.real.{column}.bias"]
                own = slice(step * width, (step + 1) * width)
                direct = weights[f"heads.linear.{index}.weight"][own] @ hidden[window].double()
                expected = direct + weights[f"heads.linear.{index}.bias"][own]
                expected = expected + weights[f"heads.step.{index}.weight"] @ (x * (x > 0))
                actual = found[target.name][window, step].double().reshape(-1)
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@given(
    number=st.integers(0, len(KNOWN_FUTURE) - 1),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_forecast_of_a_step_depends_on_what_is_known_of_this_step_alone(
    number: int, seed: int, data: st.DataObject
) -> None:
    shape = KNOWN_FUTURE[number]
    step = data.draw(st.integers(0, shape.horizon - 1))
    model = lively(shape, seed)
    future, other = future_of(shape, 3, seed), future_of(shape, 3, seed + 1)
    changed = tuple(part.clone() for part in future)
    for part, values in zip(changed, other, strict=True):
        part[:, step] = values[:, step]
    found, expected = (predictions(model, shape, each, seed) for each in ((changed[0], changed[1]), future))
    others = [place for place in range(shape.horizon) if place != step]
    for target in shape.targets:
        assert torch.equal(found[target.name][:, others], expected[target.name][:, others])
    moved = [(found[target.name][:, step] != expected[target.name][:, step]).any() for target in shape.targets]
    is_same = all(torch.equal(part[:, step], values[:, step]) for part, values in zip(future, other, strict=True))
    assert all(moved) or is_same


def test_the_known_values_must_be_given_and_some_column_must_be_known() -> None:
    shape = KNOWN_FUTURE[0]
    model = lively(shape)
    with pytest.raises(ValueError, match="known at the steps to come"):
        model.predict(model(*windows(shape)))
    with pytest.raises(ValueError, match="no column is known"):
        StepsToCome(n_classes=[], n_real=0, dim_model=8)
