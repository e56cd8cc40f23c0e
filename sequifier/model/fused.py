"""RMSNorm with the linear layers behind it as one differentiable function each, in fewer passes over memory.

Eager torch makes a pass over all rows for every product and sum between the matrix products of a block, about twenty in
training for a norm and a SwiGLU. Here the norm's weight is folded into the matrices behind it (diag(w) W is one small
product instead of one over all rows), and results are written where numbers lie that are no longer needed. The
mathematics is that of RMSNorm (Zhang & Sennrich 2019, section 4, for the gradient) and of `feed_forward.py`.
What it gains: docs/decisions/005-a-fast-step.md. Used on a CPU in float32; elsewhere, and inside torch.compile,
`block.py` takes torch's own operations.
Shapes: N rows (steps of all windows), D model width, F width of what follows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sequifier.model.feed_forward import FeedForward

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A non-linearity of one argument and its gradient."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]  # (gradient, input)


ACTIVATIONS = {
    "swiglu": Activation(F.silu, aten.silu_backward),
    "gelu": Activation(F.gelu, aten.gelu_backward),
    "relu": Activation(F.relu, lambda gradient, x: aten.threshold_backward(gradient, x, 0)),
}
"""By `activation_fn`; of swiglu the part that is applied to the gate."""


def can_fuse(norm: nn.Module, x: Tensor) -> TypeGuard[nn.RMSNorm]:
    """Whether the functions below may take the place of torch's operations on x."""
    return (
        not torch.compiler.is_compiling()
        and isinstance(norm, nn.RMSNorm)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def normed_linear(x: Tensor, norm: nn.RMSNorm, linear: nn.Linear) -> Tensor:
    """`linear(norm(x))` for a layer without bias: (..., D) -> (..., F)."""
    y: Tensor = _NormedLinear.apply(x.flatten(0, -2), norm.weight, linear.weight, norm.eps)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)


def normed_feed_forward(x: Tensor, norm: nn.RMSNorm, layer: FeedForward) -> Tensor:
    """`layer(norm(x))`: (..., D) -> (..., D). Dropout draws from torch's default generator."""
    gate = layer.gate.weight if layer.activation_fn == "swiglu" else None
    weights = (norm.weight, layer.up.weight, gate, layer.down.weight)
    dropout = layer.dropout if layer.training else 0.0
    y: Tensor = _NormedFeedForward.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, -2), *weights, norm.eps, layer.activation_fn, dropout
    )
    return y.view_as(x)


class _NormedLinear(torch.autograd.Function):
    """x (N, D), norm weight (D,), weight (F, D) -> (N, F)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed, scale = normalise(x, eps)
        ctx.save_for_backward(normed, scale, norm_weight, weight)
        return normed @ (weight * norm_weight).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, norm_weight, weight = ctx.saved_tensors
        dfolded = dy.t() @ normed
        dx = normalise_backward(dy @ (weight * norm_weight), normed, scale)
        return dx, (dfolded * weight).sum(0), dfolded.mul_(norm_weight), None


class _NormedFeedForward(torch.autograd.Function):
    """x (N, D), norm weight (D,), up and gate (F, D), down (D, F) -> (N, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        up: Tensor,
        gate: Tensor | None,
        down: Tensor,
        eps: float,
        activation_fn: str,
        dropout: float,
    ) -> Tensor:
        ctx.activation = ACTIVATIONS[activation_fn]
        normed, scale = normalise(x, eps)
        ups = normed @ (up * norm_weight).t()  # (N, F)
        gates = None if gate is None else normed @ (gate * norm_weight).t()  # (N, F)
        activated = ctx.activation.forward(ups if gates is None else gates)
        hidden = activated if gates is None else activated * ups
        kept = None  # (N, F): 0 where dropped, else 1 / (1 - dropout)
        if dropout:
            kept = torch.empty_like(hidden).bernoulli_(1 - dropout).div_(1 - dropout)
            hidden = hidden * kept
        ctx.save_for_backward(normed, scale, ups, gates, activated, kept, norm_weight, up, gate, down)
        y: Tensor = hidden @ down.t()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, ups, gates, activated, kept, norm_weight, up, gate, down = ctx.saved_tensors
        hidden = activated if gates is None else activated * ups
        dhidden = dy @ down  # (N, F)
        if kept is not None:
            hidden = hidden * kept
            dhidden.mul_(kept)
        ddown = dy.t() @ hidden
        if gates is None:
            dups, dgates = ctx.activation.backward(dhidden, ups), None
        else:
            dups = torch.mul(activated, dhidden, out=hidden)
            dgates = ctx.activation.backward(dhidden.mul_(ups), gates)
        dup = dups.t() @ normed
        dnormed = dups @ (up * norm_weight)
        dnorm = (dup * up).sum(0)
        dgate = None
        if dgates is not None:
            dgate = dgates.t() @ normed
            dnormed.addmm_(dgates, gate * norm_weight)
            dnorm += (dgate * gate).sum(0)
            dgate.mul_(norm_weight)
        dx = normalise_backward(dnormed, normed, scale)
        return dx, dnorm, dup.mul_(norm_weight), dgate, ddown, None, None, None


def normalise(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x ** 2) + eps) of each row, (N, D), and what the rows of x were multiplied with, (N, 1)."""
    scale = (x * x).mean(-1, keepdim=True).add_(eps).rsqrt_()
    return x * scale, scale


def normalise_backward(gradient: Tensor, normed: Tensor, scale: Tensor) -> Tensor:
    """The gradient of x from that of `normed`, which it overwrites: scale * (g - normed * mean(g * normed))."""
    along = (gradient * normed).mean(-1, keepdim=True)
    return gradient.addcmul_(normed, along, value=-1).mul_(scale)
