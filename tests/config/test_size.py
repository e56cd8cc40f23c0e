"""A formula against torch."""

import pytest

from sequifier.config.architecture import Architecture, Target
from sequifier.config.size import parameter_count
from sequifier.model.build import build_model
from tests.support.shapes import HORIZONS, NORMALIZED, TIED, pairwise, small

MORE_SHAPES = [
    small(num_layers=5, dim_feedforward=7, seq_length=13),
    small(real=(), embedding_widths=(10, 6)),
    small(categorical=(), embedding_widths=(15, 1), positional_encoding="learned"),
    small(targets=(Target("kind", "categorical", 7), Target("other", "categorical", 300))),
]


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED, *HORIZONS, *MORE_SHAPES])
def test_the_parameter_count_is_torchs(shape: Architecture) -> None:
    assert parameter_count(shape) == sum(weight.numel() for weight in build_model(shape).parameters())
