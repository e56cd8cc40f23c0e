"""The norms and activations that a config may name, and what each costs, known without torch.

What they compute is beside the same names in `model/norms.py` and `model/activations.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NormName = Literal["rmsnorm", "layer_norm"]
ActivationName = Literal["swiglu", "gelu", "relu"]


@dataclass(frozen=True)
class NormCost:
    """What a norm costs.

    Attributes:
        n_vectors: learned vectors of the model's width.
        is_fused: whether `model/cpu/fused.py` computes it together with the matrices behind it.
    """

    n_vectors: int
    is_fused: bool = False


@dataclass(frozen=True)
class ActivationCost:
    """What an activation costs.

    Attributes:
        n_matrices: matrices of the feed-forward part: two, or three with a gate.
        n_kept: tensors of the hidden width that the backward pass needs, computed by torch's operations.
        n_kept_fused: the same, computed by `model/cpu/fused.py`.
    """

    n_matrices: int
    n_kept: int
    n_kept_fused: int


NORM_COSTS: Mapping[NormName, NormCost] = {
    "rmsnorm": NormCost(n_vectors=1, is_fused=True),
    "layer_norm": NormCost(n_vectors=2),
}
ACTIVATION_COSTS: Mapping[ActivationName, ActivationCost] = {
    "swiglu": ActivationCost(n_matrices=3, n_kept=4, n_kept_fused=3),
    "gelu": ActivationCost(n_matrices=2, n_kept=2, n_kept_fused=2),
    "relu": ActivationCost(n_matrices=2, n_kept=1, n_kept_fused=2),
}
