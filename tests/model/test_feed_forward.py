"""Each activation against its formula."""

import math

import pytest
import torch
from torch import Tensor

from sequifier.model.feed_forward import FeedForward


def layer(activation_fn: str, *, dropout: float = 0.0) -> FeedForward:
    torch.manual_seed(0)
    return FeedForward(dim_model=4, dim_feedforward=6, activation_fn=activation_fn, dropout=dropout)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))


def test_swiglu_multiplies_with_a_gate(x: Tensor) -> None:
    swiglu = layer("swiglu")
    gate = x @ swiglu.gate.weight.T
    hidden = gate / (1 + torch.exp(-gate)) * (x @ swiglu.up.weight.T)
    torch.testing.assert_close(swiglu(x), hidden @ swiglu.down.weight.T)


def test_gelu_is_the_exact_one(x: Tensor) -> None:
    gelu = layer("gelu")
    up = x @ gelu.up.weight.T
    hidden = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
    torch.testing.assert_close(gelu(x), hidden @ gelu.down.weight.T)


def test_relu_cuts_off_below_zero(x: Tensor) -> None:
    relu = layer("relu")
    torch.testing.assert_close(relu(x), (x @ relu.up.weight.T).clamp(min=0) @ relu.down.weight.T)


@pytest.mark.parametrize(("activation_fn", "matrices"), [("swiglu", 3), ("gelu", 2), ("relu", 2)])
def test_swiglu_has_three_matrices_and_the_others_two(activation_fn: str, matrices: int) -> None:
    assert sum(weight.numel() for weight in layer(activation_fn).parameters()) == matrices * 4 * 6


def test_dropout_acts_in_training_alone(x: Tensor) -> None:
    dropping = layer("gelu", dropout=0.5)
    assert not torch.equal(dropping(x), dropping(x))
    dropping.eval()
    assert torch.equal(dropping(x), dropping(x))


def test_another_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="'tanh' is not one of swiglu, gelu, relu"):
        layer("tanh")
