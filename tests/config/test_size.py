"""Formulas against torch."""

import pytest
import torch
import torch.nn.functional as F
from shapes import describe, pairwise, small, windows

from sequifier.config.architecture import Architecture, Target
from sequifier.config.size import memory_estimate, parameter_count
from sequifier.model.build import build_model

MORE_SHAPES = [
    small(num_layers=5, dim_feedforward=7, seq_length=13),
    small(real=(), embedding_widths=(10, 6)),
    small(categorical=(), embedding_widths=(15, 1), positional_encoding="learned"),
    small(targets=(Target("kind", "categorical", 7), Target("other", "categorical", 300))),
]


@pytest.mark.parametrize("shape", [*pairwise(), *MORE_SHAPES])
def test_the_parameter_count_is_torchs(shape: Architecture) -> None:
    assert parameter_count(shape) == sum(weight.numel() for weight in build_model(shape).parameters())


def kept_for_backward(shape: Architecture, batch_size: int) -> int:
    """Bytes of activations that autograd keeps in one forward pass."""
    model = build_model(shape)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        predictions = model.predict(model(*windows(shape, batch_size)))
        F.cross_entropy(predictions["kind"].flatten(0, 1), torch.zeros(batch_size * shape.seq_length).long())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


WIDER = {"dim_model": 64, "embedding_widths": (30, 20, 13, 1), "dim_feedforward": 128, "seq_length": 24}


@pytest.mark.parametrize(
    "shape",
    [
        small(**WIDER),
        small(**WIDER, positional_encoding="learned", activation_fn="gelu"),
        small(**WIDER, normalization="layer_norm", norm_first=False),
        small(**WIDER, n_kv_heads=1, dropout=0.1),
        small(**WIDER, num_layers=6),
    ],
    ids=describe,
)
def test_the_memory_estimate_covers_what_autograd_keeps_and_at_most_twice_that(shape: Architecture) -> None:
    activations = memory_estimate(shape, batch_size=16) - 4 * 4 * parameter_count(shape)
    assert 1.0 < activations / kept_for_backward(shape, 16) < 2.0


def test_memory_grows_with_the_batch_and_with_what_the_optimizer_keeps() -> None:
    shape = small()
    one, two = (memory_estimate(shape, batch_size=batch_size) for batch_size in (1, 2))
    assert one < two < 2 * one
    saved = memory_estimate(shape, batch_size=1) - memory_estimate(shape, batch_size=1, optimizer_copies=0)
    assert saved == 2 * 4 * parameter_count(shape)
