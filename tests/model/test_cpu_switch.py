"""The hand-written functions compute what the plain path computes, and can be turned off."""

import dataclasses

import pytest
import torch
from torch import Tensor

from sequifier.model.block import Block
from sequifier.model.cpu.switch import is_on, only


def block(activation_fn: str = "swiglu") -> Block:
    torch.manual_seed(0)
    return Block(
        dim_model=8,
        n_head=2,
        n_kv_heads=1,
        dim_feedforward=12,
        activation_fn=activation_fn,
        normalization="rmsnorm",
        norm_first=True,
        dropout=0.0,
    )


def result_and_gradients(layer: Block, x: Tensor) -> list[Tensor]:
    y = layer(x)
    return [y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), list(layer.parameters()))]


@pytest.mark.parametrize("activation_fn", ["swiglu", "gelu", "relu"])
def test_the_plain_path_computes_the_same(activation_fn: str) -> None:
    layer, x = block(activation_fn), torch.randn(3, 5, 8)
    fast = result_and_gradients(layer, x)
    with only():
        plain = result_and_gradients(layer, x)
    torch.testing.assert_close(fast, plain)


def test_parts_are_turned_off_within_the_context_alone() -> None:
    x = torch.zeros(1)
    with only("dropout"):
        assert is_on("dropout", x)
        assert not is_on("norms", x)
    assert is_on("norms", x)
    assert not is_on("norms", torch.zeros(1, device="meta"))


def test_an_activation_without_a_gradient_of_its_own_takes_the_plain_path() -> None:
    layer, x = block("gelu"), torch.randn(3, 5, 8)
    with only():
        expected = layer(x)
    layer.feed_forward.activation = dataclasses.replace(layer.feed_forward.activation, gradient=None)
    assert torch.equal(layer(x), expected)
