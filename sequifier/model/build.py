"""From an architecture to a model with its weights drawn; where configs stop.

`Architecture`, `Target` and `architecture()` live in `config/architecture.py`, which search can import without torch.
"""

import math

import torch
from torch import nn

from sequifier.config.architecture import Architecture, Target, architecture
from sequifier.model.attention import CausalSelfAttention
from sequifier.model.feed_forward import FeedForward
from sequifier.model.positions import LearnedPositions
from sequifier.model.transformer import Transformer

__all__ = ["Architecture", "Target", "architecture", "build_model", "draw_weights"]


def build_model(architecture: Architecture, generator: torch.Generator | None = None) -> Transformer:
    """A model on the CPU, its weights drawn from `generator` (torch's default one when None)."""
    shape = architecture
    model = Transformer(
        n_classes=[n_classes for _, n_classes in shape.categorical],
        n_real=len(shape.real),
        embedding_widths=shape.embedding_widths,
        target_classes={target.name: target.n_classes for target in shape.targets},
        seq_length=shape.seq_length,
        dim_model=shape.dim_model,
        n_head=shape.n_head,
        n_kv_heads=shape.n_kv_heads,
        num_layers=shape.num_layers,
        dim_feedforward=shape.dim_feedforward,
        joint_embedding=shape.joint_embedding,
        activation_fn=shape.activation_fn,
        normalization=shape.normalization,
        norm_first=shape.norm_first,
        positional_encoding=shape.positional_encoding,
        rope_theta=shape.rope_theta,
        dropout=shape.dropout,
    )
    draw_weights(model, generator)
    return model


@torch.no_grad()
def draw_weights(model: Transformer, generator: torch.Generator | None = None) -> None:
    """Draw all weights anew. Equal generators give equal weights."""
    residual = 1 / math.sqrt(2 * len(model.blocks))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
            module.weight[0] = 0.0  # id 0: padding and unknown
        elif isinstance(module, LearnedPositions):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
    for module in model.modules():
        if isinstance(module, CausalSelfAttention):
            module.out.weight *= residual
        elif isinstance(module, FeedForward):
            module.down.weight *= residual
