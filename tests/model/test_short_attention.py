"""Attention written out against torch's own, and its gradients against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.attention import CausalSelfAttention, padding_mask
from sequifier.model.cpu.short_attention import short_attention
from tests.support.rounding import assert_rounded


def heads(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]


def mask_of(lengths: list[int], steps: int) -> Tensor:
    return padding_mask(torch.arange(steps) >= steps - torch.tensor(lengths)[:, None])


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), inputs))


@pytest.mark.parametrize("mask", [None, mask_of([3, 9, 1], 9)], ids=["full", "padded"])
@pytest.mark.parametrize(
    ("products", "n_terms"),
    [(torch.float32, 8 + 9), (torch.bfloat16, 1)],  # sums over the width of a head, then over steps
    ids=["float32", "bfloat16"],
)
def test_it_equals_torchs_attention(mask: Tensor | None, products: torch.dtype, n_terms: int) -> None:
    inputs = heads(3, 4, 9, 8)
    ours = short_attention(*inputs, mask, 0.0, products)
    assert ours.dtype == products
    exact = [each.detach().double().requires_grad_() for each in inputs]
    torchs = F.scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=mask is None).transpose(1, 2).flatten(2)
    for rough, true in zip(
        [ours.float(), *gradients(ours.float(), inputs)], [torchs, *gradients(torchs, exact)], strict=True
    ):
        assert_rounded(rough, true, n_terms, products)


def test_gradients_with_dropout_match_finite_differences() -> None:
    inputs = heads(2, 2, 5, 3, dtype=torch.float64)
    mask = mask_of([5, 3], 5)

    def function(*given: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same weights are dropped in each call
        return short_attention(*given, mask, 0.4, torch.float64)

    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("steps", [7, 130])  # written out, and left to torch
def test_a_layer_in_bfloat16_matches_float32_up_to_rounding(n_kv_heads: int, steps: int) -> None:
    torch.manual_seed(0)
    layer = CausalSelfAttention(dim_model=16, n_head=4, n_kv_heads=n_kv_heads, dropout=0.0)
    x = torch.randn(3, steps, 16, requires_grad=True)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        short = layer(x)
    inputs = [x, *layer.parameters()]
    for rough, true in zip(
        [short.float(), *gradients(short.float(), inputs)], [exact, *gradients(exact, inputs)], strict=True
    ):
        assert_rounded(rough, true.double(), 2, torch.bfloat16)  # before the attention, and behind it


def test_dropped_weights_leave_the_mean() -> None:
    torch.manual_seed(0)
    layer = CausalSelfAttention(dim_model=8, n_head=2, n_kv_heads=1, dropout=0.3)
    x = torch.randn(1, 6, 8)
    dropped = layer(x.expand(4000, 6, 8))
    whole = layer.eval()(x)
    torch.testing.assert_close(dropped.mean(0, keepdim=True), whole, atol=0.03, rtol=0)
    assert not torch.equal(dropped[0], dropped[1])
