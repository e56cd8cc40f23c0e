"""Attention as batched products, in one differentiable function, for short windows or with dropout.

Torch's fused attention never writes the attention weights to memory, which pays for long windows. On a CPU its gradient
in bfloat16 takes ten times as long as in float32 (torch 2.13), and it cannot drop weights. What this gains:
docs/decisions/005-a-fast-step.md. The formulas are the same as in `attention.py`.
Shapes: B batch, H heads, T steps, E width of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sequifier.model.cpu.dropout import keep_mask

LONGEST = 128
"""Steps of the longest window for which this is faster in bfloat16: measured at 48, 128 and 256."""


def is_faster(q: Tensor, dropout: float, products: torch.dtype) -> bool:
    """Whether `short_attention` is faster than torch's kernel. torch.compile cannot trace it."""
    is_short = q.shape[2] <= LONGEST and products == torch.bfloat16
    return (dropout > 0 or is_short) and not torch.compiler.is_compiling()


def short_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, products: torch.dtype
) -> Tensor:
    """Mix values by the softmax of scaled products of queries and keys.

    Args:
        q: queries, (B, H, T, E).
        k: keys, (B, K, T, E), of H heads or of groups of them.
        v: values, likewise.
        mask: (B, 1, T, T) bool, True = may attend; None: each step sees itself and those before it.
        dropout: fraction of weights dropped, by torch's default generator.
        products: format of the products; the softmax is computed in float32 or better.

    Returns:
        (B, T, H * E) in the format of products.
    """
    if q.shape[1] != k.shape[1]:
        k, v = (heads.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for heads in (k, v))
    y: Tensor = _ShortAttention.apply(q, k, v, mask, dropout, products)  # type: ignore[no-untyped-call]
    return y


class _ShortAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, products: torch.dtype
    ) -> Tensor:
        B, H, T, E = q.shape
        q, k, v = (heads.to(products).reshape(B * H, T, E) for heads in (q, k, v))
        if mask is None:
            later = torch.full((T, T), float("-inf"), dtype=products).triu_(1)
            scores = torch.baddbmm(later, q, k.transpose(1, 2), alpha=E**-0.5)  # (B * H, T, T)
        else:
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(E**-0.5)
            scores.view(B, H, T, T).masked_fill_(~mask, float("-inf"))
        weights = torch.softmax(scores, -1, dtype=torch.promote_types(products, torch.float32)).to(products)
        kept = None  # (B * H, T, T): 0 where dropped, else 1 / (1 - dropout)
        if dropout:
            kept = keep_mask(weights.shape, dropout, products)
        ctx.save_for_backward(q, k, v, weights, kept)
        y = torch.bmm(weights if kept is None else weights * kept, v)
        return y.view(B, H, T, E).transpose(1, 2).reshape(B, T, H * E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, kept = ctx.saved_tensors
        B, T, E = dy.shape[0], dy.shape[1], q.shape[2]
        shape = (B, len(q) // B, T, E)
        dy = dy.view(B, T, -1, E).transpose(1, 2).reshape(q.shape)
        dv = torch.bmm((weights if kept is None else weights * kept).transpose(1, 2), dy)
        dweights = torch.bmm(dy, v.transpose(1, 2))
        if kept is not None:
            dweights.mul_(kept)
        dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype).mul_(E**-0.5)
        dq, dk = torch.bmm(dscores, k), torch.bmm(dscores.transpose(1, 2), q)
        return dq.view(shape), dk.view(shape), dv.view(shape), None, None, None
