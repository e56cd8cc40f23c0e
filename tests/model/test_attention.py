"""Attention against torch's own, against plain loops, and what it must not see."""

import math

import pytest
import torch
from torch import Tensor, nn

from sequifier.model.attention import CausalSelfAttention, additive_mask, padding_mask
from sequifier.model.positions import rotate, rotation_table

B, T, D, H = 3, 6, 16, 4
E = D // H
KV_HEADS = (4, 2, 1)  # mha, gqa, mqa


@pytest.fixture
def x() -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def is_event() -> Tensor:
    """Rows with 6, 4 and 1 real events."""
    return torch.arange(T, 0, -1) <= torch.tensor([[6], [4], [1]])


def attention_with(n_kv_heads: int) -> CausalSelfAttention:
    torch.manual_seed(0)
    return CausalSelfAttention(dim_model=D, n_head=H, n_kv_heads=n_kv_heads, dropout=0.0)


def in_plain_loops(attention: CausalSelfAttention, x: Tensor, is_event: Tensor, rotation: Tensor | None) -> Tensor:
    """One query, one head, one window at a time; rows of padding stay zero."""
    K = attention.n_kv_heads
    projected = x @ attention.qkv.weight.T
    q = projected[..., : H * E].reshape(B, T, H, E)
    k = projected[..., H * E : (H + K) * E].reshape(B, T, K, E)
    v = projected[..., (H + K) * E :].reshape(B, T, K, E)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    mixed = torch.zeros(B, T, H, E)
    for b in range(B):
        for t in range(T):
            for h in range(H):
                group = h // (H // K)
                seen = [s for s in range(t + 1) if is_event[b, s]]
                if not is_event[b, t]:
                    continue
                scores = [math.exp((q[b, t, h] @ k[b, s, group]).item() / math.sqrt(E)) for s in seen]
                for score, s in zip(scores, seen, strict=True):
                    mixed[b, t, h] += score / sum(scores) * v[b, s, group]
    return mixed.reshape(B, T, D) @ attention.out.weight.T


@torch.no_grad()
@pytest.mark.parametrize("n_kv_heads", KV_HEADS)
@pytest.mark.parametrize("theta", [None, 100.0])
def test_it_equals_plain_loops(n_kv_heads: int, theta: float | None, x: Tensor, is_event: Tensor) -> None:
    attention = attention_with(n_kv_heads)
    rotation = None if theta is None else rotation_table(steps=T, head_width=E, theta=theta)
    expected = in_plain_loops(attention, x, is_event, rotation)
    ours = attention(x, padding_mask(is_event), rotation)
    torch.testing.assert_close(ours[is_event], expected[is_event])


@torch.no_grad()
def test_with_a_head_of_keys_each_it_equals_torchs_multi_head_attention(x: Tensor) -> None:
    attention = attention_with(H)
    theirs = nn.MultiheadAttention(D, H, bias=False, batch_first=True)
    theirs.in_proj_weight.copy_(attention.qkv.weight)
    theirs.out_proj.weight.copy_(attention.out.weight)
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    torch.testing.assert_close(attention(x), theirs(x, x, x, attn_mask=later, need_weights=False)[0])


@pytest.mark.parametrize("n_kv_heads", KV_HEADS)
def test_without_padding_the_fast_path_gives_the_same(n_kv_heads: int, x: Tensor) -> None:
    attention = attention_with(n_kv_heads)
    no_padding = padding_mask(torch.ones(B, T, dtype=torch.bool))
    torch.testing.assert_close(attention(x), attention(x, no_padding))


@pytest.mark.parametrize("n_kv_heads", KV_HEADS)
def test_a_step_does_not_see_later_steps(n_kv_heads: int, x: Tensor) -> None:
    attention = attention_with(n_kv_heads)
    changed = torch.cat([x[:, :4], x[:, 4:] + 1.0], dim=1)
    torch.testing.assert_close(attention(x)[:, :4], attention(changed)[:, :4])


@pytest.mark.parametrize("n_kv_heads", KV_HEADS)
def test_an_event_does_not_see_padding(n_kv_heads: int, x: Tensor, is_event: Tensor) -> None:
    attention, mask = attention_with(n_kv_heads), padding_mask(is_event)
    changed = torch.where(is_event[..., None], x, x + 1.0)
    torch.testing.assert_close(attention(x, mask)[is_event], attention(changed, mask)[is_event])


@torch.no_grad()
@pytest.mark.parametrize("n_last", [None, 2])
def test_an_additive_mask_acts_as_the_boolean_one(n_last: int | None, x: Tensor, is_event: Tensor) -> None:
    attention, mask = attention_with(H), padding_mask(is_event)
    added = additive_mask(mask, torch.float32)
    torch.testing.assert_close(attention(x, added, n_last=n_last), attention(x, mask, n_last=n_last))
    assert added.shape == mask.shape
    assert all(stride % 8 == 0 for stride in added.stride()[:-1]), "torch's CUDA kernels would copy it in each layer"


def test_gradients_are_finite_in_a_window_of_padding_alone(x: Tensor) -> None:
    x.requires_grad_()
    attention_with(H)(x, padding_mask(torch.zeros(B, T, dtype=torch.bool))).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_dropout_acts_in_training_alone(x: Tensor) -> None:
    torch.manual_seed(0)
    attention = CausalSelfAttention(dim_model=D, n_head=H, n_kv_heads=H, dropout=0.5)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="dim_model 16 is not divisible by n_head 3"):
        CausalSelfAttention(dim_model=16, n_head=3, n_kv_heads=3, dropout=0.0)


def test_heads_that_do_not_share_evenly_are_refused() -> None:
    with pytest.raises(ValueError, match="n_head 4 is not divisible by n_kv_heads 3"):
        CausalSelfAttention(dim_model=16, n_head=4, n_kv_heads=3, dropout=0.0)
