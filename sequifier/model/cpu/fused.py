"""RMSNorm fused with the linear layers after it: one differentiable function each, with fewer passes over memory.

Between the matrix products of a block, eager torch passes over all rows once for every elementwise operation, about
twenty times in training for a norm and a SwiGLU. Here the norm's weight is folded into the matrices after it (diag(w) W
is one small product instead of one over all rows), and results overwrite tensors that are no longer needed. The
formulas are those of RMSNorm (Zhang & Sennrich 2019, section 4, for the gradient) and of `feed_forward.py`. What this
gains: docs/decisions/005-a-fast-step.md.
Inside `torch.autocast` the operands of products, and the tensors between two products, are bfloat16; sums over rows,
and results for the residual stream or the weights, are float32.
Shapes: N rows (steps of all windows), D model width, F width of the linear layer.
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sequifier.model.activations import Activation
from sequifier.model.cpu.dropout import keep_mask
from sequifier.model.cpu.switch import is_on, product_format
from sequifier.model.feed_forward import FeedForward


def can_fuse(norm: nn.Module, x: Tensor) -> TypeGuard[nn.RMSNorm]:
    """Whether the functions below may replace torch's operations on x. torch.compile cannot trace them."""
    return (
        is_on("norms", x)
        and not torch.compiler.is_compiling()
        and isinstance(norm, nn.RMSNorm)
        and x.dtype == torch.float32
        and product_format(x) in (torch.float32, torch.bfloat16)
    )


def normed(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Return `norm(x)`: (..., D) -> (..., D)."""
    y: Tensor = _Normed.apply(x.flatten(0, -2), norm.weight, norm.eps)  # type: ignore[no-untyped-call]
    return y.view_as(x)


def normed_linear(x: Tensor, norm: nn.RMSNorm, linear: nn.Linear) -> Tensor:
    """Return `linear(norm(x))` for a layer without bias: (..., D) -> (..., F)."""
    y: Tensor = _NormedLinear.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, -2), norm.weight, linear.weight, norm.eps, product_format(x)
    )
    return y.view(*x.shape[:-1], -1)


def normed_feed_forward(x: Tensor, norm: nn.RMSNorm, layer: FeedForward) -> Tensor:
    """Return `layer(norm(x))`: (..., D) -> (..., D). Dropout is seeded from torch's default generator."""
    gate = layer.gate.weight if layer.activation.is_gated else None
    weights = (norm.weight, layer.up.weight, gate, layer.down.weight)
    dropout = layer.dropout if layer.training else 0.0
    y: Tensor = _NormedFeedForward.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, -2), *weights, norm.eps, layer.activation, dropout, product_format(x)
    )
    return y.view_as(x)


class _Normed(torch.autograd.Function):
    """x (N, D), weight (D,) -> (N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed, scale = normalise(x, eps, x.dtype)
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, weight = ctx.saved_tensors
        return normalise_backward(dy * weight, normed, scale), (dy * normed).sum(0), None


class _NormedLinear(torch.autograd.Function):
    """x (N, D), norm weight (D,), weight (F, D) -> (N, F) in the format of products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, products: torch.dtype) -> Tensor:
        normed, scale = normalise(x, eps, products)
        folded = (weight * norm_weight).to(products)
        ctx.save_for_backward(normed, scale, norm_weight, weight, folded)
        return normed @ folded.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, norm_weight, weight, folded = ctx.saved_tensors
        dweight, dnorm = unfold(normed, dy, weight, norm_weight)
        dx = normalise_backward(dy @ folded, normed, scale)
        return dx, dnorm, dweight, None, None


class _NormedFeedForward(torch.autograd.Function):
    """x (N, D), norm weight (D,), up and gate (F, D), down (D, F) -> (N, D) in the format of products."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        up: Tensor,
        gate: Tensor | None,
        down: Tensor,
        eps: float,
        activation: Activation,
        dropout: float,
        products: torch.dtype,
    ) -> Tensor:
        ctx.activation = activation
        normed, scale = normalise(x, eps, products)
        up_folded, down_short = (up * norm_weight).to(products), down.to(products)
        gate_folded = None if gate is None else (gate * norm_weight).to(products)
        ups = normed @ up_folded.t()  # (N, F)
        gates = None if gate_folded is None else normed @ gate_folded.t()  # (N, F)
        activated = activation.function(ups if gates is None else gates)
        hidden = activated if gates is None else activated * ups
        kept = None  # (N, F): 0 where dropped, else 1 / (1 - dropout)
        if dropout:
            kept = keep_mask(hidden.shape, dropout, products)
            hidden = hidden * kept
        ctx.save_for_backward(
            normed, scale, ups, gates, activated, kept, norm_weight, up, gate, up_folded, gate_folded, down_short
        )
        y: Tensor = hidden @ down_short.t()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, ups, gates, activated, kept, norm_weight, up, gate, up_folded, gate_folded, down = (
            ctx.saved_tensors
        )
        hidden = activated if gates is None else activated * ups
        dhidden = dy @ down  # (N, F)
        if kept is not None:
            hidden = hidden * kept
            dhidden.mul_(kept)
        ddown = (dy.t() @ hidden).to(up.dtype)
        if gates is None:
            dups, dgates = ctx.activation.gradient(dhidden, ups), None
        else:
            dups = torch.mul(activated, dhidden, out=hidden)
            dgates = ctx.activation.gradient(dhidden.mul_(ups), gates)
        dup, dnorm = unfold(normed, dups, up, norm_weight)
        dnormed = dups @ up_folded
        dgate = None
        if dgates is not None:
            dgate, dnorm_of_gate = unfold(normed, dgates, gate, norm_weight)
            dnormed.addmm_(dgates, gate_folded)
            dnorm += dnorm_of_gate
        dx = normalise_backward(dnormed, normed, scale)
        return dx, dnorm, dup, dgate, ddown, None, None, None, None


def normalise(x: Tensor, eps: float, products: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return x / sqrt(mean(x ** 2) + eps) of each row, (N, D), and the factor of each row, (N, 1)."""
    scale = (x * x).mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (x * scale).to(products), scale


def normalise_backward(gradient: Tensor, normed: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient of x, scale * (g - normed * mean(g * normed)), from the gradient g of `normed`.

    It may overwrite g.
    """
    gradient = gradient.to(scale.dtype)
    along = (gradient * normed).mean(-1, keepdim=True)
    return gradient.addcmul_(normed, along, value=-1).mul_(scale)


def unfold(normed: Tensor, dy: Tensor, weight: Tensor, norm_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of a weight (F, D) and of the norm's weight folded into it, (D,), from dy (N, F)."""
    # In this order of the operands oneDNN's bfloat16 product is up to twice as fast as dy.t() @ normed.
    dfolded = (normed.t() @ dy).t().to(weight.dtype)
    return dfolded * norm_weight, (dfolded * weight).sum(0)
