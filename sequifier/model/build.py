"""Building a model from an architecture, with random weights. The only file of this package that knows configs.

`Architecture`, `Target` and `architecture()` are in `config/architecture.py`, which search can import without torch.
"""

import math

import torch
from torch import nn

from sequifier.config.architecture import Architecture, Target, architecture
from sequifier.model.attention import CausalSelfAttention
from sequifier.model.distributions.family import DISTRIBUTIONS
from sequifier.model.embedding import RealEmbedding
from sequifier.model.feed_forward import FeedForward
from sequifier.model.positions import LearnedPositions
from sequifier.model.transformer import Transformer

EMBEDDING_STD = 0.06
TIED_STD = 0.02
"""Of an embedding that also decodes: logits begin near 0."""

__all__ = ["Architecture", "Target", "architecture", "build_model", "draw_weights"]


def build_model(architecture: Architecture, generator: torch.Generator | None = None) -> Transformer:
    """Build a model on the CPU, with weights sampled from `generator` (torch's default one when None)."""
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
        tied=dict(zip(shape.tied, shape.tied_columns, strict=True)),
        window_normalization=shape.window_normalization,
        normalized=shape.normalized,
        horizon=shape.horizon,
        distributions={
            target.name: DISTRIBUTIONS[target.distribution] for target in shape.targets if target.distribution
        },
        known_classes=[n_classes for _, n_classes in shape.known_categorical],
        n_known_real=len(shape.known_real),
    )
    draw_weights(model, generator)
    return model


@torch.no_grad()
def draw_weights(model: Transformer, generator: torch.Generator | None = None) -> None:
    """Sample all weights anew. Equal generators give equal weights.

    Linear layers: normal with variance 1 / (3 x inputs), the variance of torch's default, so that one learning rate
    suits several widths; layers at the end of a residual branch are divided by sqrt(2 x blocks), as in GPT-2; biases
    are 0. Embeddings and positions: normal with a standard deviation of 0.06, small beside what training adds; 0.02 for
    embeddings that also decode, as in GPT-2. On the
    tokens of Python's standard library, validation log-loss of the token after 400 steps (120 for width 128), torch's
    default in brackets: width 64, learned positions, learning rate 2e-3: 1.00 (0.99) and 5e-4: 1.13 (1.22); width 128,
    rope: 1.10 (1.15); post-norm: 1.13 (1.11).
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(3 * module.in_features) ** -0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD, generator=generator)
            module.weight[0] = 0.0  # id 0: padding and unknown
        elif isinstance(module, LearnedPositions):
            nn.init.normal_(module.weight, std=EMBEDDING_STD, generator=generator)
    for column in model.tied.values():
        model.embedding.categorical[column].get_parameter("weight").mul_(TIED_STD / EMBEDDING_STD)
    for module in model.modules():
        if isinstance(module, RealEmbedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD, generator=generator)
    ends_of_branches = math.sqrt(2 * len(model.blocks))
    for module in model.modules():
        if isinstance(module, CausalSelfAttention):
            module.out.weight /= ends_of_branches
        elif isinstance(module, FeedForward):
            module.down.weight /= ends_of_branches
