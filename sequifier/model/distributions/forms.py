"""What is computed from the parameters of a distribution without torch: means, densities and samples.

Means and densities take NumPy arrays and torch tensors alike. Parameters are proper ones: see `base`.
Shapes: P numbers of parameters, Q levels, K components.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any  # of NumPy or of torch
Floats = NDArray[np.float64]

LEVELS = tuple(number / 20 for number in range(1, 20))
MIDDLE = len(LEVELS) // 2
NORMAL = tuple(NormalDist().inv_cdf(level) for level in LEVELS)
"""The quantiles of the standard normal distribution."""

N_COMPONENTS = 16
"""K, of a mixture."""

LARGEST_LOG = 80.0
"""Logarithms of values are limited to this, since float32 ends at exp(88)."""

_SMALLEST_SPREAD = 1e-6
"""Logarithms of values that differ less are of equal values: these are restored from float32."""

_ROUNDING = 2.0**-22
"""The z of a stored 0 is a float32 of size mean / std: it leads back to at most a quarter of this times the mean."""


class ScaleLike(Protocol):
    """The fields of `artifacts.transforms.Scale` that distributions need."""

    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...
    @property
    def transform(self) -> str | None: ...
    @property
    def unit(self) -> float: ...
    def standardised(self, values: Array) -> Array: ...
    def original(self, z: Array) -> Array: ...


class Form(Protocol):
    """What is computed from the parameters of one distribution."""

    def mean(self, parameters: Array, scale: ScaleLike) -> Array:
        """Return the mean in original units, (...,), from parameters (..., P)."""

    def nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike, statistics: Floats) -> Floats | None:
        """Return minus the logarithm of the density of the original value in its unit, (M,); None: there is none.

        Args:
            parameters: (M, P).
            z: true values, (M,).
            scale: of the target.
            statistics: of the training split.
        """

    def open_nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike) -> Floats | None:
        """Return minus the logarithm of the probability of more than a value z, (M,); None as of `nll`."""

    def sample(self, parameters: NDArray[Any], uniform: Floats, scale: ScaleLike) -> Floats:
        """Return a sample z for each row, (B,), from parameters (B, P) and random numbers (B,) in [0, 1)."""

    def statistics(self, values: Floats) -> Floats:
        """Return what the parameters depend on, (n_statistics,), from training targets in original units, (N,)."""

    def constant(self, values: Floats, scale: ScaleLike) -> Floats:
        """Return parameters, (P,), that describe training targets in original units, (N,), without any input."""


class QuantileForm:
    """Quantiles z at LEVELS, (..., Q). Between them the quantile function is linear.

    Its tails are exponential, and continue the outermost steps (Park et al. 2022, section 3,
    https://arxiv.org/abs/2111.06581).
    """

    def mean(self, parameters: Array, scale: ScaleLike) -> Array:
        """See `Form`; linear between the quantiles in original units, so that it is finite for every transform."""
        q, width = scale.original(parameters), LEVELS[0]
        lower, upper = ((q[..., end] - q[..., inner]) / math.log(2) for end, inner in ((0, 1), (-1, -2)))
        return width * (q.sum(-1) + (q[..., 0] + q[..., -1]) / 2 + lower + upper)

    def nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike, statistics: Floats) -> Floats | None:
        """None: beyond the outermost quantiles nothing is known."""
        return None

    def open_nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike) -> Floats | None:
        """None, as `nll`."""
        return None

    def sample(self, parameters: NDArray[Any], uniform: Floats, scale: ScaleLike) -> Floats:
        """See `Form`."""
        q, n = parameters.astype(np.float64), len(LEVELS)
        place = np.clip(uniform * (n + 1) - 1, 0, n - 1)  # LEVELS[k] is at k
        below = np.minimum(place.astype(np.int64), n - 2)
        rows = np.arange(len(q))
        found: Floats = q[rows, below] + (place - below) * (q[rows, below + 1] - q[rows, below])
        lowest, highest = LEVELS[0], LEVELS[-1]
        beyond_low = np.log(np.maximum(uniform, 2.0**-60) / lowest).clip(max=0) / math.log(2)
        beyond_high = np.log((1 - uniform) / (1 - highest)).clip(max=0) / math.log(2)
        found += beyond_low * (q[:, 1] - q[:, 0]) - beyond_high * (q[:, -1] - q[:, -2])
        return found

    def statistics(self, values: Floats) -> Floats:
        """None."""
        return np.empty(0)

    def constant(self, values: Floats, scale: ScaleLike) -> Floats:
        """See `Form`."""
        return np.quantile(scale.standardised(values), LEVELS)


class LognormalForm:
    """Logarithms of the weights, and locations and logarithms of the scales of log(value), (..., 3 K)."""

    def mean(self, parameters: Array, scale: ScaleLike) -> Array:
        """See `Form`."""
        log_weight, location, log_scale = parts_of(parameters)
        log_mean = log_weight + location + _exp(2 * log_scale) / 2
        return _exp(_logsumexp(log_mean).clip(max=LARGEST_LOG)) / scale.unit

    def nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike, statistics: Floats) -> Floats | None:
        """See `Form`; for a value that is not above 0, of the probability of at most the resolution."""
        parameters, log_value, log_resolution = parameters.astype(np.float64), log_of(z, scale), math.log(statistics[2])
        found = log_value - log_density_of_log(parameters, log_value) - math.log(scale.unit)
        censored = np.flatnonzero(~is_above_resolution(log_value, log_resolution))
        found[censored] = -_log_tail(parameters[censored], np.full(len(censored), log_resolution), 1.0)
        return np.asarray(found)

    def open_nll(self, parameters: NDArray[Any], z: Floats, scale: ScaleLike) -> Floats | None:
        """See `Form`."""
        return -_log_tail(parameters.astype(np.float64), log_of(z, scale), -1.0)

    def sample(self, parameters: NDArray[Any], uniform: Floats, scale: ScaleLike) -> Floats:
        """See `Form`."""
        log_weight, location, log_scale = (part.astype(np.float64) for part in parts_of(parameters))
        total = np.exp(log_weight).cumsum(axis=1)
        total /= total[:, -1:]
        component = np.minimum((total <= uniform[:, None]).sum(axis=1), total.shape[1] - 1)
        rows = np.arange(len(total))
        start = np.where(component > 0, total[rows, component - 1], 0.0)
        # What is left of the random number is uniform within the component.
        within = (uniform - start) / np.maximum(total[rows, component] - start, 2.0**-60)
        deviation = normal_quantile(np.clip(within, 2.0**-53, 1 - 2.0**-53))
        log_value = location[rows, component] + np.exp(log_scale[rows, component]) * deviation
        found: Floats = scale.standardised(np.exp(log_value.clip(-LARGEST_LOG, LARGEST_LOG)))
        return found

    def statistics(self, values: Floats) -> Floats:
        """Mean and standard deviation of log(value), and the smallest value, of the values above 0.

        Where there is no spread, the deviation is 1.
        """
        values = values[values > 0]
        if not len(values):
            return np.ones(3)
        logs = np.log(values)
        std = float(logs.std())
        return np.array([logs.mean(), std if std > _SMALLEST_SPREAD else 1.0, values.min()])

    def constant(self, values: Floats, scale: ScaleLike) -> Floats:
        """See `Form`: one log-normal distribution."""
        mean, std, _ = self.statistics(values).tolist()
        return np.repeat([-math.log(N_COMPONENTS), mean, math.log(std)], N_COMPONENTS)


FORMS: Mapping[str, Form] = {"quantiles": QuantileForm(), "lognormal_mixture": LognormalForm()}


def stored_values(z: Floats, scale: ScaleLike) -> Floats:
    """Return values in stored units, of which one that is 0 but for rounding is 0."""
    values: Floats = scale.original(z) * scale.unit
    values[np.abs(values) <= _ROUNDING * abs(scale.mean)] = 0  # near 0 a transformed value is close to the value itself
    return values


def parts_of(parameters: Array) -> tuple[Array, Array, Array]:
    """Return the log-weights, locations and log-scales of a mixture, (..., K) each."""
    n = parameters.shape[-1] // 3
    return parameters[..., :n], parameters[..., n : 2 * n], parameters[..., 2 * n :]


def log_of(z: Array, scale: ScaleLike) -> Array:
    """Return the logarithm of the original value, in stored units; a value that is not above 0 has a finite one too."""
    value = (scale.original(z) * scale.unit).clip(1e-30)
    found: Array = np.log(value) if isinstance(value, np.ndarray) else value.log()
    return found


def is_above_resolution(log_value: Array, log_resolution: float) -> Array:
    """Return whether values are above 0; they were standardised and rounded, so a 0 may be a little above it."""
    return log_value > log_resolution - math.log(2)


def log_density_of_log(parameters: Array, log_value: Array) -> Array:
    """Return the logarithm of the density of log(value), (...,)."""
    log_weight, location, log_scale = parts_of(parameters)
    deviation = (log_value[..., None] - location) / _exp(log_scale)
    return _logsumexp(log_weight - log_scale - deviation * deviation / 2) - math.log(2 * math.pi) / 2


def _log_tail(parameters: Floats, log_value: Floats, sign: float) -> Floats:
    """Return the logarithm of the probability of at most (sign 1) or more than (-1) each value, (M,), of a mixture."""
    log_weight, location, log_scale = parts_of(parameters)
    deviation = sign * (location - log_value[:, None]) / np.exp(log_scale)
    tail = _erfc(deviation / math.sqrt(2)).astype(np.float64) / 2
    found: Floats = _logsumexp(log_weight + np.log(np.maximum(tail, np.finfo(np.float64).tiny)))
    return found


def normal_quantile(level: Floats) -> Floats:
    """Return the quantiles of the standard normal distribution, to about 1e-15.

    Source: Wichura 1988, algorithm AS 241 (PPND16), https://doi.org/10.2307/2347330.
    """
    q = level - 0.5
    tail = np.sqrt(-np.log(np.minimum(level, 1 - level)))
    near = _ratio(_CENTRE, 0.180625 - q * q) * q
    far = np.where(tail <= 5, _ratio(_MIDDLE, tail - 1.6), _ratio(_FAR, tail - 5))
    return np.where(np.abs(q) <= 0.425, near, np.copysign(far, q))


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    above, below = coefficients
    found: Floats = np.polyval(above[::-1], x) / np.polyval(below[::-1], x)
    return found


# fmt: off
_CENTRE = (
    (3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)
_MIDDLE = (
    (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
     1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)
_FAR = (
    (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)
# fmt: on


_erfc = np.frompyfunc(math.erfc, 1, 1)


def _exp(values: Array) -> Array:
    return np.exp(values) if isinstance(values, np.ndarray) else values.exp()


def _logsumexp(values: Array) -> Array:
    return np.logaddexp.reduce(values, axis=-1) if isinstance(values, np.ndarray) else values.logsumexp(-1)
