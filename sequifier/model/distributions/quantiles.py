"""Quantiles of a real target, which never cross: the median, and steps above 0 on both sides of it.

The loss is the pinball loss (Koenker and Bassett 1978, https://doi.org/10.2307/1913643), averaged over the levels: half
the continuous ranked probability score, without the tails.
Shapes: Q levels.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.distributions.base import Distribution, levels, normal_quantiles
from sequifier.model.distributions.forms import LEVELS, MIDDLE, NORMAL, QuantileForm, ScaleLike
from sequifier.model.graph import Graph, Value

_AT_ZERO = float(np.log(2.0))  # softplus(0)
STEPS = tuple((upper - lower) / _AT_ZERO for lower, upper in pairwise(NORMAL))
"""Factors of the steps: with raw parameters of 0 the quantiles are those of the standard normal distribution."""


class Quantiles(Distribution):
    """Raw parameters: the steps up to the median, the median, and the steps above it. Proper ones: the quantiles z."""

    form = QuantileForm()
    n_parameters = len(LEVELS)

    def parameters(self, raw: Tensor, statistics: Tensor | None) -> Tensor:
        """See `Distribution`. Running sums of numbers above 0 never fall, whatever is rounded."""
        raw = raw if raw.dtype == torch.float64 else raw.float()
        median = raw[..., MIDDLE : MIDDLE + 1]
        factors = normal_quantiles(raw).diff() / _AT_ZERO
        below = F.softplus(raw[..., :MIDDLE]) * factors[:MIDDLE]
        above = F.softplus(raw[..., MIDDLE + 1 :]) * factors[MIDDLE:]
        return torch.cat([median - below.flip(-1).cumsum(-1).flip(-1), median, median + above.cumsum(-1)], dim=-1)

    def write_parameters(self, graph: Graph, raw: Value, statistics: Value | None) -> Value:
        """See `Distribution`."""
        last = graph.integers([-1])
        axis = graph.add("Squeeze", last)  # a scalar

        def part(start: int, end: int) -> Value:
            return graph.add("Slice", raw, graph.integers([start]), graph.integers([end]), last)

        def summed(x: Value, steps: tuple[float, ...], *, reverse: int) -> Value:
            factors = graph.constant(np.array(steps, np.float32))
            x = graph.add("Mul", graph.add("Softplus", x), factors)
            return graph.add("CumSum", x, axis, reverse=reverse)

        median, n = part(MIDDLE, MIDDLE + 1), self.n_parameters
        below = graph.add("Sub", median, summed(part(0, MIDDLE), STEPS[:MIDDLE], reverse=1))
        above = graph.add("Add", median, summed(part(MIDDLE + 1, n), STEPS[MIDDLE:], reverse=0))
        return graph.add("Concat", below, median, above, axis=-1)

    def loss(self, parameters: Tensor, z: Tensor, scale: ScaleLike, resolution: float) -> Tensor:
        """See `Distribution`."""
        error, level = z[..., None] - parameters, levels(parameters)
        return torch.maximum(level * error, (level - 1) * error).mean(-1)

    def from_quantiles(self, quantiles: Tensor) -> Tensor | None:
        """See `Distribution`."""
        return quantiles

    def quantiles(self, parameters: Tensor, scale: ScaleLike) -> Tensor:
        """See `Distribution`."""
        return parameters

    def write_quantiles(self, graph: Graph, parameters: Value, scale: ScaleLike) -> Value:
        """See `Distribution`."""
        return parameters
