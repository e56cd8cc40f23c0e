"""The fused functions against torch's own operations, and their gradients against finite differences."""

import pytest
import torch
from torch import Tensor, nn

from sequifier.model.block import Block
from sequifier.model.cpu.fused import can_fuse, normed, normed_feed_forward, normed_linear
from sequifier.model.feed_forward import ACTIVATIONS, FeedForward
from tests.support.rounding import assert_rounded


def feed_forward(activation_fn: str, *, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> FeedForward:
    torch.manual_seed(0)
    layer = FeedForward(dim_model=6, dim_feedforward=10, activation_fn=activation_fn, dropout=dropout)
    return layer.to(dtype)


def norm(dtype: torch.dtype = torch.float32) -> nn.RMSNorm:
    torch.manual_seed(1)
    layer = nn.RMSNorm(6, eps=1e-6)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    return layer.to(dtype)


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), inputs))


@pytest.mark.parametrize("activation_fn", ACTIVATIONS)
def test_a_normed_feed_forward_equals_torchs_operations(activation_fn: str) -> None:
    layer, normalise = feed_forward(activation_fn), norm()
    x = torch.randn(5, 7, 6, requires_grad=True)
    inputs = [x, normalise.weight, *layer.parameters()]
    fused, plain = normed_feed_forward(x, normalise, layer), layer(normalise(x))
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(gradients(fused, *inputs), gradients(plain, *inputs))


def test_a_normed_linear_layer_equals_torchs_operations() -> None:
    linear, normalise = nn.Linear(6, 11, bias=False), norm()
    x = torch.randn(5, 7, 6, requires_grad=True)
    inputs = [x, normalise.weight, linear.weight]
    fused, plain = normed_linear(x, normalise, linear), linear(normalise(x))
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(gradients(fused, *inputs), gradients(plain, *inputs))


def test_a_norm_equals_torchs() -> None:
    normalise = norm()
    x = torch.randn(5, 7, 6, requires_grad=True)
    ours, torchs = normed(x, normalise), normalise(x)
    torch.testing.assert_close(ours, torchs)
    torch.testing.assert_close(gradients(ours, x, normalise.weight), gradients(torchs, x, normalise.weight))


@pytest.mark.parametrize("activation_fn", ACTIVATIONS)
def test_results_in_bfloat16_match_float32_up_to_rounding(activation_fn: str) -> None:
    layer, normalise = feed_forward(activation_fn), norm()
    linear = nn.Linear(6, 11, bias=False)
    x = torch.randn(50, 7, 6, requires_grad=True)
    inputs = [x, normalise.weight, *layer.parameters(), linear.weight]

    def function() -> Tensor:
        return torch.cat([normed_feed_forward(x, normalise, layer), normed_linear(x, normalise, linear)], dim=-1)

    exact = function()
    with torch.autocast("cpu", torch.bfloat16):
        assert can_fuse(normalise, x)
        short = function()
    assert short.dtype == torch.bfloat16
    for rough, true in zip(
        [short.float(), *gradients(short.float(), *inputs)], [exact, *gradients(exact, *inputs)], strict=True
    ):
        assert rough.dtype == torch.float32
        assert_rounded(rough, true.double(), 3, torch.bfloat16)  # norm, hidden, result; and 1 where relu turns


@pytest.mark.parametrize("activation_fn", ACTIVATIONS)
def test_gradients_with_dropout_match_finite_differences(activation_fn: str) -> None:
    layer, normalise = feed_forward(activation_fn, dropout=0.3, dtype=torch.float64), norm(torch.float64)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    def function(*_: Tensor) -> Tensor:
        torch.manual_seed(2)  # the same numbers are dropped in each call
        return normed_feed_forward(x, normalise, layer)

    assert torch.autograd.gradcheck(function, (x, normalise.weight, *layer.parameters()))


def test_dropout_keeps_the_mean_and_stops_in_evaluation() -> None:
    layer, normalise = feed_forward("relu", dropout=0.4), norm()
    x = torch.randn(1, 6).expand(20_000, 6)
    dropped = normed_feed_forward(x, normalise, layer)
    layer.eval()
    whole = normed_feed_forward(x, normalise, layer)
    torch.testing.assert_close(whole, layer(normalise(x)))
    # The largest spread of a column is about 0.2, so that of its mean about 0.0015.
    torch.testing.assert_close(dropped.mean(0), whole[0], atol=0.01, rtol=0)
    assert not torch.equal(dropped[0], dropped[1])


def test_a_block_takes_torchs_operations_where_it_must() -> None:
    block = Block(
        dim_model=6,
        n_head=2,
        n_kv_heads=2,
        dim_feedforward=10,
        activation_fn="swiglu",
        normalization="rmsnorm",
        norm_first=True,
        dropout=0.0,
    )
    x = torch.randn(2, 4, 6)
    assert can_fuse(block.attention_norm, x)
    assert not can_fuse(block.attention_norm, x.double())
    assert not can_fuse(nn.LayerNorm(6), x)
    with torch.autocast("cpu", torch.float16):
        assert not can_fuse(block.attention_norm, x)
    torch.testing.assert_close(block(x), block.double()(x.double()).float())
