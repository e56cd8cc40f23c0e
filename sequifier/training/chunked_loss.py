"""The exact loss of a target of many classes, without the logits of all positions at the same time.

The gradient of a chunk of positions is computed with its loss, and its logits are dropped before the next chunk: the
same products of matrices as with all logits, and none of them twice. Source: Hsu et al. 2024, Liger Kernel,
https://arxiv.org/abs/2410.10989, section 3.2.
Shapes: M target positions, E width of the vectors that a decoder reads, K classes.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.config.memory import positions_at_once
from sequifier.model.heads import Decoder
from sequifier.training.losses import TargetLoss


def chunk_size(
    decoder: Decoder, loss_memory_mb: int, during: Literal["training", "evaluation"] = "training"
) -> int | None:
    """Return the number of positions of a chunk; None: all positions fit at the same time."""
    if decoder.is_value or decoder.horizon > 1:
        return None
    at_once = positions_at_once(len(decoder.weight), loss_memory_mb, during)
    return None if at_once is None or at_once >= len(decoder.vectors) else max(at_once, 1)


def summed_in_chunks(loss: TargetLoss, decoder: Decoder, truth: Tensor, known: Tensor | None, size: int) -> Tensor:
    """Return `loss.sum` of the decoder's predictions, a scalar.

    Args:
        loss: of a categorical target.
        decoder: with vectors (M, E). Its products have the format of the surrounding autocast.
        truth, known: as in `TargetLoss.per_position`.
        size: positions of a chunk.
    """
    summed: Tensor = _Summed.apply(decoder.vectors, decoder.weight, decoder.bias, loss, truth, known, size)  # type: ignore[no-untyped-call]
    return summed


def chunks(n_positions: int, size: int) -> Iterator[slice]:
    """Cut positions into chunks; no positions are one empty chunk."""
    for start in range(0, max(n_positions, 1), size):
        yield slice(start, start + size)


class WithGradients(torch.autograd.Function):
    """A sum whose forward pass leaves its gradients of vectors, weight and bias in `ctx.gradients`."""

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        del ctx.gradients  # they are scaled in place: a second backward pass would scale them twice
        scaled = (None if each is None else each.mul_(scale) for each in gradients)
        return *scaled, *(None for _ in ctx.needs_input_grad[len(gradients) :])


def product_formats(weight: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """Return the formats of the products with a weight, forward and backward, as autocast around them says."""
    device = weight.device.type
    ahead = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    # The scale of a float16 loss is applied in the backward pass: before it, gradients would be too small for it.
    return ahead, torch.float32 if ahead == torch.float16 else ahead


class _Summed(WithGradients):
    """The sum of losses, with gradients of vectors, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        loss: TargetLoss,
        truth: Tensor,
        known: Tensor | None,
        size: int,
    ) -> Tensor:
        ahead, back = product_formats(weight)
        with torch.autocast(weight.device.type, enabled=False):
            inputs, matrix = vectors.to(ahead), weight.to(ahead)
            added = None if bias is None else bias.to(ahead)
            inputs_back, matrix_back = inputs.to(back), matrix.to(back)
            of_vectors = torch.empty_like(inputs_back)
            of_weight, of_bias = torch.zeros_like(weight), None if bias is None else torch.zeros_like(bias)
            total = torch.zeros((), dtype=torch.promote_types(weight.dtype, torch.float32), device=vectors.device)
            for here in chunks(len(vectors), size):
                logits = F.linear(inputs[here], matrix, added).to(total.dtype)
                with torch.enable_grad():
                    logits.requires_grad_()
                    summed = loss.sum(logits, truth[here], None if known is None else known[here])
                (of_logits,) = torch.autograd.grad(summed, logits)
                del logits
                total += summed.detach()
                if of_bias is not None:
                    of_bias += of_logits.sum(0)
                of_logits = of_logits.to(back)
                torch.mm(of_logits, matrix_back, out=of_vectors[here])
                if back == of_weight.dtype:
                    of_weight.addmm_(of_logits.T, inputs_back[here])
                else:
                    of_weight += of_logits.T @ inputs_back[here]
                del of_logits, summed  # before the next chunk
        ctx.gradients = of_vectors.to(vectors.dtype), of_weight, of_bias
        return total
