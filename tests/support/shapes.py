"""Variants of a tiny architecture, with models and windows."""

from typing import Any

import torch
from torch import Tensor

from sequifier.config.architecture import Architecture, Target
from sequifier.model.build import build_model
from sequifier.model.transformer import Transformer

SMALL: dict[str, Any] = {
    "categorical": (("kind", 7), ("place", 5)),
    "real": ("length", "depth"),
    "embedding_widths": (6, 4, 5, 1),
    "targets": (Target("kind", "categorical", 7), Target("length", "real", 0)),
    "seq_length": 8,
    "prediction_length": 1,
    "dim_model": 16,
    "n_head": 4,
    "n_kv_heads": 4,
    "num_layers": 2,
    "dim_feedforward": 24,
    "joint_embedding": False,
    "activation_fn": "swiglu",
    "normalization": "rmsnorm",
    "norm_first": True,
    "positional_encoding": "rope",
    "rope_theta": 10000.0,
    "dropout": 0.0,
}

# Every pair of option values occurs in at least one row (a test counts them).
OPTIONS: dict[str, tuple[Any, ...]] = {
    "n_kv_heads": (4, 2, 1),  # mha, gqa, mqa
    "positional_encoding": ("rope", "learned"),
    "activation_fn": ("swiglu", "gelu", "relu"),
    "normalization": ("rmsnorm", "layer_norm"),
    "norm_first": (True, False),
    "joint_embedding": (False, True),
    "prediction_length": (1, 3),
}
PAIRWISE: tuple[tuple[Any, ...], ...] = (
    (4, "rope", "swiglu", "rmsnorm", True, False, 1),
    (4, "learned", "gelu", "layer_norm", False, True, 3),
    (4, "learned", "relu", "rmsnorm", False, False, 3),
    (2, "rope", "gelu", "rmsnorm", False, True, 1),
    (2, "learned", "swiglu", "layer_norm", True, True, 3),
    (2, "rope", "relu", "layer_norm", True, False, 3),
    (1, "rope", "swiglu", "layer_norm", False, False, 3),
    (1, "learned", "gelu", "rmsnorm", True, False, 1),
    (1, "rope", "relu", "layer_norm", True, True, 1),
    (4, "learned", "relu", "rmsnorm", True, True, 1),
    (4, "rope", "gelu", "layer_norm", True, False, 3),
    (1, "learned", "swiglu", "rmsnorm", False, True, 3),
)


def small(**changes: Any) -> Architecture:
    """Return the tiny architecture with changed fields; a joint embedding gets widths that do not sum to dim_model."""
    if changes.get("joint_embedding"):
        changes = {"embedding_widths": (3, 2, 2, 1)} | changes
    return Architecture(**(SMALL | changes))


def pairwise() -> list[Architecture]:
    """Return a dozen architectures in which all pairs of options occur."""
    return [small(**dict(zip(OPTIONS, row, strict=True))) for row in PAIRWISE]


ONLY_KIND: dict[str, Any] = {"categorical": (("kind", 7),), "real": (), "tied": ("kind",)}
TIED = [
    small(**ONLY_KIND, embedding_widths=(16,)),
    small(**ONLY_KIND, embedding_widths=(5,), joint_embedding=True),
    small(tied=("kind",), joint_embedding=True, prediction_length=3),
    small(
        tied=("place", "kind"),
        joint_embedding=True,
        embedding_widths=(4, 16, 2, 1),
        targets=(Target("place", "categorical", 5), Target("length", "real", 0), Target("kind", "categorical", 7)),
    ),
]
"""Architectures with targets that are decoded by their embedding: directly, and through a joint layer."""

NORMALIZED = [
    small(window_normalization="last"),
    small(window_normalization="mean_std", positional_encoding="learned"),
    small(
        window_normalization="mean_std",
        n_kv_heads=2,
        targets=(Target("depth", "real", 0), Target("kind", "categorical", 7), Target("length", "real", 0)),
    ),
]
"""Architectures with windows that are normalized: of one target, of both real columns in another order."""

HORIZONS = [small(horizon=3), small(horizon=2, window_normalization="mean_std", positional_encoding="learned")]
"""Architectures that predict several steps ahead."""

KNOWN_FUTURE = [
    small(horizon=3, known_future=("place", "depth")),
    small(
        horizon=2,
        known_future=("depth",),
        window_normalization="mean_std",
        positional_encoding="learned",
        targets=(Target("length", "real", 0, distribution="quantiles"), Target("kind", "categorical", 7)),
    ),
    small(horizon=4, known_future=("place",), joint_embedding=True, targets=(Target("kind", "categorical", 7),)),
]
"""Architectures that read columns at the steps to come: of both kinds, a real one, a categorical one."""


def describe(architecture: Architecture) -> str:
    """Return the id of a test of this architecture."""
    return "-".join(str(getattr(architecture, option)) for option in OPTIONS)


def windows(architecture: Architecture, n_windows: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random categories (B, T, C), some of them unknown, and reals (B, T, R)."""
    generator = torch.Generator().manual_seed(seed)
    size = (n_windows, architecture.seq_length)
    ids = torch.empty(*size, len(architecture.categorical), dtype=torch.int64)
    for index, (_, n_classes) in enumerate(architecture.categorical):
        ids[..., index] = torch.randint(n_classes, size, generator=generator)
    return ids, torch.randn(*size, len(architecture.real), generator=generator)


def lively(architecture: Architecture, seed: int = 0) -> Transformer:
    """Return a model in eval mode whose weights are so large that each of them affects the predictions."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(architecture, generator).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for embedding in model.embedding.categorical:
            embedding.get_parameter("weight")[0] = 0.0
    return model
