"""Every norm and activation that a config may name has its costs there and its functions in the model."""

from typing import get_args

from sequifier.config.catalogue.layers import ACTIVATION_COSTS, NORM_COSTS, ActivationName, NormName
from sequifier.model.activations import ACTIVATIONS
from sequifier.model.norms import NORMS


def test_names_in_configs_and_in_the_model_are_the_same() -> None:
    assert [*NORMS] == [*NORM_COSTS] == [*get_args(NormName)]
    assert [*ACTIVATIONS] == [*ACTIVATION_COSTS] == [*get_args(ActivationName)]


def test_costs_match_the_layers() -> None:
    for name, norm in NORMS.items():
        assert sum(weight.numel() for weight in norm.build(7).parameters()) == 7 * NORM_COSTS[name].n_vectors
    for name, activation in ACTIVATIONS.items():
        assert ACTIVATION_COSTS[name].n_matrices == 2 + activation.is_gated
