"""A mixture of log-normal distributions, for targets above 0 such as the time until the next event.

Source: Shchur et al. 2020, https://arxiv.org/abs/1909.12127, section 3.
Differs: raw parameters of 0 are components spread over the training targets, not all the same one. A value that is not
above 0 was measured with too coarse a clock: it is a value between 0 and the resolution, with the probability of that.
Shapes: K components, Q levels.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sequifier.model.distributions.base import Distribution, levels, normal_quantiles
from sequifier.model.distributions.forms import (
    LARGEST_LOG,
    LEVELS,
    N_COMPONENTS,
    NORMAL,
    LognormalForm,
    ScaleLike,
    is_above_resolution,
    log_density_of_log,
    log_of,
    parts_of,
)
from sequifier.model.graph import Graph, Value

K = N_COMPONENTS
SPREAD = 1.5
"""The locations at raw parameters of 0 are spread evenly up to this, in standard deviations of log(value)."""
LOG_SCALE = math.log(0.5)
"""Logarithm of the scales there."""
LOWEST_SCALE, HIGHEST_SCALE = -5.0, 3.0
"""Limits of the logarithms of the scales, in standard deviations of log(value)."""
STEPS = 40
"""Bisections of a quantile; float32 has 24 bits."""
_AT_ONCE = 4096
"""Rows whose quantiles are found together: a few MB."""


class LognormalMixture(Distribution):
    """Raw parameters: logits of the weights, locations and log-scales, in standard deviations of log(value).

    Proper ones: logarithms of the weights, and locations and log-scales of log(value).
    """

    form = LognormalForm()
    n_parameters = 3 * K
    n_statistics = 3  # mean and standard deviation of log(value), and the resolution
    has_density = True
    is_positive = True

    def parameters(self, raw: Tensor, statistics: Tensor | None) -> Tensor:
        """See `Distribution`."""
        assert statistics is not None
        raw = raw if raw.dtype == torch.float64 else raw.float()
        mean, std = statistics[:2].to(raw.dtype)
        weights, locations, scales = parts_of(raw)
        spread = torch.linspace(-SPREAD, SPREAD, K, dtype=raw.dtype, device=raw.device)
        locations = (locations + spread) * std + mean
        scales = (scales + LOG_SCALE).clamp(LOWEST_SCALE, HIGHEST_SCALE) + std.log()
        return torch.cat([weights.log_softmax(-1), locations, scales], dim=-1)

    def write_parameters(self, graph: Graph, raw: Value, statistics: Value | None) -> Value:
        """See `Distribution`."""
        assert statistics is not None
        mean, std = (graph.add("Gather", statistics, graph.integers([place])) for place in (0, 1))
        weights, locations, scales = _written_parts(graph, raw)
        spread = graph.constant(np.linspace(-SPREAD, SPREAD, K, dtype=np.float32))
        locations = graph.add("Add", graph.add("Mul", graph.add("Add", locations, spread), std), mean)
        scales = graph.add("Add", scales, graph.number(LOG_SCALE))
        scales = graph.add("Clip", scales, graph.number(LOWEST_SCALE), graph.number(HIGHEST_SCALE))
        scales = graph.add("Add", scales, graph.add("Log", std))
        return graph.add("Concat", graph.add("LogSoftmax", weights, axis=-1), locations, scales, axis=-1)

    def loss(self, parameters: Tensor, z: Tensor, scale: ScaleLike, resolution: float) -> Tensor:
        """See `Distribution`: the negative log-likelihood of the original value in its unit."""
        log_value = log_of(z, scale)
        is_above = is_above_resolution(log_value, math.log(resolution))
        density = log_density_of_log(parameters, log_value) - log_value + math.log(scale.unit)
        losses: Tensor = -torch.where(is_above, density, self.log_cdf(parameters, resolution))
        return losses

    def log_cdf(self, parameters: Tensor, value: float | Tensor) -> Tensor:
        """Return the logarithm of the probability of at most `value`, in original units, (...,)."""
        return self._log_tail(parameters, value, 1.0)

    def log_survival(self, parameters: Tensor, value: float | Tensor) -> Tensor:
        """Return the logarithm of the probability of more than `value`, in original units, (...,)."""
        return self._log_tail(parameters, value, -1.0)

    def _log_tail(self, parameters: Tensor, value: float | Tensor, sign: float) -> Tensor:
        log_weight, location, log_scale = parts_of(parameters)
        log_value = torch.log(value)[..., None] if isinstance(value, Tensor) else math.log(value)
        found: Tensor = (
            log_weight + torch.special.log_ndtr(sign * (log_value - location) / log_scale.exp())
        ).logsumexp(-1)
        return found

    def quantiles(self, parameters: Tensor, scale: ScaleLike) -> Tensor:
        """See `Distribution`."""
        flat = parameters.reshape(-1, parameters.shape[-1])
        logs = torch.cat([_log_quantiles(rows) for rows in torch.split(flat, _AT_ONCE)])
        logs = logs.view(*parameters.shape[:-1], len(LEVELS)).clamp(-LARGEST_LOG, LARGEST_LOG)
        # log1p(value) = softplus(log(value)), which is exact for small values too.
        match scale.transform:
            case "log1p":
                transformed = torch.nn.functional.softplus(logs, threshold=100)
            case "asinh":
                transformed = logs.exp().asinh()
            case _:
                transformed = logs.exp()
        return (transformed - scale.mean) / scale.std

    def write_quantiles(self, graph: Graph, parameters: Value, scale: ScaleLike) -> Value:
        """See `Distribution`."""
        logs = _write_log_quantiles(graph, parameters)
        logs = graph.add("Clip", logs, graph.number(-LARGEST_LOG), graph.number(LARGEST_LOG))
        match scale.transform:
            case "log1p":
                transformed = graph.add("Softplus", logs)
            case "asinh":
                transformed = graph.add("Asinh", graph.add("Exp", logs))
            case _:
                transformed = graph.add("Exp", logs)
        return graph.add("Div", graph.add("Sub", transformed, graph.number(scale.mean)), graph.number(scale.std))


def _log_quantiles(parameters: Tensor) -> Tensor:
    """Return the quantiles of log(value), (N, 3 K) -> (N, Q), by bisection.

    A quantile of a mixture is between the smallest and the largest quantile of its components.
    """
    log_weight, location, log_scale = (part[:, None, :] for part in parts_of(parameters))  # (N, 1, K)
    weight, scale = log_weight.exp(), log_scale.exp()
    of_components = location + scale * normal_quantiles(parameters)[:, None]  # (N, Q, K)
    low, high = of_components.amin(-1), of_components.amax(-1)
    level, scale = levels(parameters), scale * math.sqrt(2)
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = (weight * (1 + ((middle[..., None] - location) / scale).erf())).sum(-1) / 2
        is_low = below < level
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    found: Tensor = ((low + high) / 2).cummax(-1).values  # rounding may swap quantiles that are nearly equal
    return found


def _write_log_quantiles(graph: Graph, parameters: Value) -> Value:
    """Add the nodes of `_log_quantiles`."""
    axis, last = graph.integers([-2]), graph.integers([-1])
    weight, location, scale = (graph.add("Unsqueeze", part, axis) for part in _written_parts(graph, parameters))
    weight, scale = graph.add("Exp", weight), graph.add("Exp", scale)
    normal = graph.constant(np.array(NORMAL, np.float32)[:, None])
    of_components = graph.add("Add", location, graph.add("Mul", scale, normal))
    low, high = (graph.add(name, of_components, last, keepdims=0) for name in ("ReduceMin", "ReduceMax"))
    level, half, one = graph.constant(np.array(LEVELS, np.float32)), graph.number(0.5), graph.number(1.0)
    scale = graph.add("Mul", scale, graph.number(math.sqrt(2)))
    for _ in range(STEPS):
        middle = graph.add("Mul", graph.add("Add", low, high), half)
        deviation = graph.add("Div", graph.add("Sub", graph.add("Unsqueeze", middle, last), location), scale)
        below = graph.add("Mul", weight, graph.add("Add", one, graph.add("Erf", deviation)))
        below = graph.add("Mul", graph.add("ReduceSum", below, last, keepdims=0), half)
        is_low = graph.add("Less", below, level)
        low, high = graph.add("Where", is_low, middle, low), graph.add("Where", is_low, high, middle)
    found = graph.add("Unsqueeze", graph.add("Mul", graph.add("Add", low, high), half), axis)  # (..., 1, Q)
    # The running maximum: of each quantile and the ones before it.
    later = graph.constant(np.where(np.tri(len(LEVELS)) > 0, 0, -np.inf).astype(np.float32))
    return graph.add("ReduceMax", graph.add("Add", found, later), last, keepdims=0)


def _written_parts(graph: Graph, parameters: Value) -> list[Value]:
    """Add the nodes of `parts_of`."""
    ends = [0, K, 2 * K, 3 * K]
    return [
        graph.add("Slice", parameters, graph.integers([start]), graph.integers([end]), graph.integers([-1]))
        for start, end in pairwise(ends)
    ]
