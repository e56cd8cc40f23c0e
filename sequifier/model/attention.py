"""Causal self-attention over one window of events.

Sources: Vaswani et al. 2017, section 3.2, https://arxiv.org/abs/1706.03762; groups of heads that share keys and values:
Ainslie et al. 2023, https://arxiv.org/abs/2305.13245.
Differs: left padding is masked per sequence, because our windows are aligned on their last event. No biases.
Shapes: B batch, T steps of the window, S steps that are returned, D model width, H heads, K heads of keys and values,
E width of a head (D // H).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sequifier.model.cpu.short_attention import is_faster, short_attention
from sequifier.model.cpu.switch import is_on, product_format
from sequifier.model.positions import rotate

LONGEST_WITHOUT_CUDNN = 512
"""Steps of the longest window for which cuDNN's attention is off. On Hopper and Blackwell torch prefers it, and it
builds an execution plan for each shape, which takes up to a second: docs/decisions/028-products-on-a-gpu.md."""


def padding_mask(is_event: Tensor) -> Tensor:
    """Return which steps each step may attend to: itself and the real events before it.

    Args:
        is_event: (B, T) bool, False on left padding.

    Returns:
        (B, 1, T, T) bool, True = may attend; the 1 is the axis of the heads.
    """
    step = torch.arange(is_event.shape[1], device=is_event.device)
    mask = (step[:, None] >= step) & is_event[:, None, None, :]
    # Padding would get an empty row, and a softmax over nothing is NaN: let it see itself.
    return mask | (step[:, None] == step)


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask as torch's CUDA kernels add it to the scores: 0 where a step may attend, else -infinity.

    They would make it from a boolean mask in each layer, and keep each layer's for the gradient. Rows begin at
    multiples of 8 numbers in memory, which they need too.

    Args:
        mask: (..., T) bool, True = may attend.
        dtype: format of the queries.

    Returns:
        (..., T).
    """
    steps = mask.shape[-1]
    may_attend = F.pad(mask, (0, -steps % 8))
    return torch.zeros_like(may_attend, dtype=dtype).masked_fill_(~may_attend, float("-inf"))[..., :steps]


@contextmanager
def without_slow_kernels(x: Tensor) -> Iterator[None]:
    """Keep attention over step vectors x, (B, T, D), from cuDNN's kernels inside, if they are on CUDA and T is short.

    A gradient is computed by the kernel of its forward pass, also outside.
    """
    cuda: Any = torch.backends.cuda  # not typed
    if x.device.type != "cuda" or x.shape[1] > LONGEST_WITHOUT_CUDNN or not cuda.cudnn_sdp_enabled():
        yield
        return
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(True)


class StackedLinear(nn.Linear):
    """Several linear layers of the same input as one, without biases: one product for all of them.

    Attributes:
        rows: number of rows of each layer's matrix in `weight`, from top to bottom. An optimizer that treats a matrix
            as a whole (Muon) must treat each of them by itself.
    """

    def __init__(self, in_features: int, rows: tuple[int, ...]) -> None:
        super().__init__(in_features, sum(rows), bias=False)
        self.rows = rows


class CausalSelfAttention(nn.Module):
    """Mix each step with the steps before it. All heads have their own keys (K = H), or groups of H / K share them."""

    def __init__(self, *, dim_model: int, n_head: int, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        if dim_model % n_head:
            raise ValueError(f"dim_model {dim_model} is not divisible by n_head {n_head}")
        if n_head % n_kv_heads:
            raise ValueError(f"n_head {n_head} is not divisible by n_kv_heads {n_kv_heads}")
        self.n_head, self.n_kv_heads = n_head, n_kv_heads
        self.head_width = dim_model // n_head
        self.dropout = dropout
        query_rows, key_rows = n_head * self.head_width, n_kv_heads * self.head_width
        self.qkv = StackedLinear(dim_model, (query_rows, key_rows, key_rows))  # queries, keys, values
        self.out = nn.Linear(dim_model, dim_model, bias=False)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None, n_last: int | None = None
    ) -> Tensor:
        """Mix each step with itself and the steps before it.

        Args:
            x: step vectors, (B, T, D).
            mask: `padding_mask`, or `additive_mask` of it, or None when every step is a real event, which is faster.
            rotation: (T, 1, E/2, 2) rows of `rotation_table`, or None without rotary positions.
            n_last: S, below T, to compute the last steps alone; None for all.

        Returns:
            (B, S, D). A row depends on its step and those before it alone; rows of padding carry no meaning.
        """
        if n_last is None:
            return self.mix(self.qkv(x), mask, rotation)
        H, K, E, T = self.n_head, self.n_kv_heads, self.head_width, x.shape[1]
        query_weight, key_value_weight = torch.split(self.qkv.weight, [H * E, 2 * K * E])
        q = F.linear(x[:, -n_last:], query_weight).view(len(x), n_last, H, E)
        k, v = torch.split(F.linear(x, key_value_weight).view(len(x), T, 2 * K, E), K, dim=2)  # (B, T, K, E)
        if rotation is not None:
            q, k = rotate(q, rotation[-n_last:]), rotate(k, rotation)
        if mask is not None:
            mask = mask[..., -n_last:, :]
        elif n_last > 1:  # the last step alone may attend to all
            mask = torch.ones(n_last, T, dtype=torch.bool, device=x.device).tril(T - n_last)
        mixed: Tensor = self.out(self._attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask))
        return mixed

    def mix(self, qkv: Tensor, mask: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """Return `forward` of all steps from their queries, keys and values, (B, T, (H + 2K) * E) -> (B, T, D)."""
        H, K = self.n_head, self.n_kv_heads
        heads = qkv.view(*qkv.shape[:-1], H + 2 * K, self.head_width)  # (B, T, H + 2K, E)
        if rotation is None:
            q, k, v = torch.split(heads.transpose(1, 2), [H, K, K], dim=1)  # (B, H or K, T, E)
        else:
            qk, v = torch.split(heads, [H + K, K], dim=2)
            q, k = torch.split(rotate(qk, rotation).transpose(1, 2), [H, K], dim=1)
            v = v.transpose(1, 2)
        mixed: Tensor = self.out(self._attend(q, k, v, mask))
        return mixed

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Queries (B, H, S, E), keys and values (B, K, T, E) -> (B, S, D)."""
        dropout = self.dropout if self.training else 0.0
        if is_on("attention", q) and q.shape[2] == k.shape[2]:
            products = product_format(q)
            if is_faster(q, dropout, products):
                return short_attention(q, k, v, mask, dropout, products)
            if products == torch.bfloat16:  # the gradient of torch's kernel takes ten times as long in it
                with torch.autocast("cpu", enabled=False):
                    return torch_attention(q.float(), k.float(), v.float(), mask, dropout)
        return torch_attention(q, k, v, mask, dropout)


def torch_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Queries (B, H, S, E), keys and values (B, K, T, E) -> (B, S, H * E). Without a mask: causal, or S is 1."""
    is_causal = mask is None and q.shape[2] == k.shape[2]
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=is_causal, dropout_p=dropout, enable_gqa=q.shape[1] != k.shape[1]
    )
    return y.transpose(1, 2).flatten(2)
