"""What every distribution of a real target computes, in torch and as ONNX nodes. What needs no torch is in `forms`.

A model predicts the raw parameters of a distribution, and `parameters` turns them into its proper ones: increasing
quantiles, or weights, locations and scales. Everything else takes the proper parameters. z is a standardised value.
Shapes: P numbers of parameters, Q levels (config/catalogue/distributions.py).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sequifier.model.distributions.forms import LEVELS, Form, ScaleLike
from sequifier.model.graph import Graph, Value


class Distribution(ABC):
    """A distribution of a real target.

    Attributes:
        form: what is computed from its parameters without torch.
        n_parameters: P.
        n_statistics: numbers from the training split on which `parameters` depends, see `Form.statistics`.
        has_density: whether its loss is the negative logarithm of a density.
        is_positive: whether it is for targets that are never negative.
    """

    form: Form
    n_parameters: int
    n_statistics: int = 0
    has_density: bool = False
    is_positive: bool = False

    @abstractmethod
    def parameters(self, raw: Tensor, statistics: Tensor | None) -> Tensor:
        """Turn what a model predicts, (..., P), into proper parameters, (..., P), in float32 or better.

        Args:
            raw: 0 is a reasonable guess for every target.
            statistics: (n_statistics,) of the training split; None where there are none.
        """

    @abstractmethod
    def write_parameters(self, graph: Graph, raw: Value, statistics: Value | None) -> Value:
        """Add the nodes of `parameters`."""

    @abstractmethod
    def loss(self, parameters: Tensor, z: Tensor, scale: ScaleLike, resolution: float) -> Tensor:
        """Return the loss of each target, (...,).

        Args:
            parameters: (..., P).
            z: true values, (...,).
            scale: of the target.
            resolution: the smallest difference from 0 that the data show, in original units; a distribution of
                positive values takes a smaller value as one between 0 and the resolution.
        """

    def from_quantiles(self, quantiles: Tensor) -> Tensor | None:
        """Return the parameters that have these quantiles z at LEVELS, (..., Q); None where only some quantiles do."""
        return None

    def log_survival(self, parameters: Tensor, value: float | Tensor) -> Tensor:
        """Return the logarithm of the probability of more than `value`, in original units, (...,).

        Only distributions with a density have it.
        """
        raise NotImplementedError

    @abstractmethod
    def quantiles(self, parameters: Tensor, scale: ScaleLike) -> Tensor:
        """Return the quantiles at LEVELS as z, (..., Q), which never fall."""

    @abstractmethod
    def write_quantiles(self, graph: Graph, parameters: Value, scale: ScaleLike) -> Value:
        """Add the nodes of `quantiles`."""


def levels(like: Tensor) -> Tensor:
    """Return LEVELS, (Q,), computed on the device of `like`: a copy from the host would wait for the device."""
    return torch.arange(1, len(LEVELS) + 1, dtype=like.dtype, device=like.device) / (len(LEVELS) + 1)


def normal_quantiles(like: Tensor) -> Tensor:
    """Return the quantiles of the standard normal distribution at LEVELS, (Q,), on the device of `like`."""
    found: Tensor = torch.special.ndtri(levels(like))
    return found
