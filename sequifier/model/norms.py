"""Normalisation of step vectors.

RMSNorm: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; LayerNorm: Ba et al. 2016,
https://arxiv.org/abs/1607.06450. Both are torch's own, with a fixed epsilon: torch's default for RMSNorm depends on
the type of its input, so a model trained in bfloat16 would differ from its float32 export.
"""

from torch import nn

EPSILON = {"rmsnorm": 1e-6, "layer_norm": 1e-5}


def build_norm(normalization: str, dim_model: int) -> nn.RMSNorm | nn.LayerNorm:
    """The normalisation of that name over the last dimension, (..., D) -> (..., D).

    Args:
        normalization: `rmsnorm` (one weight per dimension) or `layer_norm` (weight and bias).
        dim_model: D.

    Raises:
        ValueError: another name.
    """
    if normalization == "rmsnorm":
        return nn.RMSNorm(dim_model, eps=EPSILON["rmsnorm"])
    if normalization == "layer_norm":
        return nn.LayerNorm(dim_model, eps=EPSILON["layer_norm"])
    raise ValueError(f"normalization {normalization!r} is none of {', '.join(EPSILON)}")
