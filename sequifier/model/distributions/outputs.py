"""The outputs of an exported model for a real target, computed in torch."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from sequifier.model.distributions.family import DISTRIBUTIONS
from sequifier.model.distributions.forms import MIDDLE, ScaleLike


class RealTarget(Protocol):
    """The fields of `config.architecture.Target` that are needed."""

    @property
    def name(self) -> str: ...
    @property
    def distribution(self) -> str | None: ...
    @property
    def output_names(self) -> tuple[str, ...]: ...
    @property
    def quantiles_name(self) -> str | None: ...
    @property
    def parameters_name(self) -> str | None: ...


def value_outputs(target: RealTarget, prediction: Tensor, scales: Mapping[str, ScaleLike]) -> dict[str, Tensor]:
    """Return the outputs of a target by name, from values (...,) or the parameters of its distribution (..., P)."""
    value_name = target.output_names[0]
    if target.distribution is None or target.quantiles_name is None:
        return {value_name: prediction}
    quantiles = DISTRIBUTIONS[target.distribution].quantiles(prediction, scales[target.name])
    found = {value_name: quantiles[..., MIDDLE], target.quantiles_name: quantiles}
    return found if target.parameters_name is None else {**found, target.parameters_name: prediction}
