"""Rates of events: the distributions of the time to the next event that baselines of likelihoods have.

A rate is constant between the edges of bins that repeat with a period. Then the cumulative rate is piecewise linear,
and the time to the next event has a density, quantiles and a mean in closed form.
All times are in seconds.
Shapes: M targets, B bins of a period, Q levels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY = 86_400.0
BINS_OF_A_DAY = 48
_PRIOR_EVENTS = 1.0
"""Events with the overall rate that are added to each bin, so that no rate is 0."""


@dataclass(frozen=True)
class Rate:
    """A periodic rate.

    Attributes:
        rates: (B,) events per second in each bin; the bins have equal widths.
        period: after which they repeat.
    """

    rates: Floats
    period: float

    @property
    def _edges(self) -> Floats:
        return np.linspace(0, self.period, len(self.rates) + 1)

    @property
    def _cumulative(self) -> Floats:
        """Expected events of a period up to each edge, (B + 1,)."""
        found: Floats = np.append(0, np.cumsum(self.rates)) * self.period / len(self.rates)
        return found

    def expected(self, time: Floats) -> Floats:
        """Return the expected number of events between 0 and some times, (M,)."""
        periods = np.floor(time / self.period)
        found: Floats = np.interp(time - periods * self.period, self._edges, self._cumulative)
        found += periods * self._cumulative[-1]
        return found

    def log_rate(self, time: Floats) -> Floats:
        """Return the logarithm of the rate at some times, (M,)."""
        place = np.floor(time / self.period * len(self.rates)).astype(np.int64) % len(self.rates)
        found: Floats = np.log(self.rates)[place]
        return found

    def loss(self, start: Floats, value: Floats, is_open: NDArray[np.bool_], resolution: Floats | float) -> Floats:
        """Return the negative logarithm of the likelihood of the time to the next event, (M,), per second.

        Args:
            start: when the event before was, (M,).
            value: the time to the next event, (M,); below half the resolution it is one between 0 and the resolution.
            is_open: whether there was no event until then.
            resolution: of times.
        """
        is_zero = value < resolution / 2
        lasted = self.expected(start + np.where(is_zero & ~is_open, resolution, value)) - self.expected(start)
        of_zero = -np.log(-np.expm1(-np.maximum(lasted, 1e-300)))
        found: Floats = np.where(is_open, lasted, np.where(is_zero, of_zero, lasted - self.log_rate(start + value)))
        return found

    def quantiles(self, start: Floats, levels: Floats) -> Floats:
        """Return the quantiles of the time to the next event, (M, Q)."""
        expected = self.expected(start)[:, None] - np.log1p(-levels)
        periods = np.floor(expected / self._cumulative[-1])
        within = np.interp(expected - periods * self._cumulative[-1], self._cumulative, self._edges)
        found: Floats = np.maximum(periods * self.period + within - start[:, None], 0)
        return found

    def mean(self, start: Floats) -> Floats:
        """Return the mean of the time to the next event, (M,): the integral of the probability that there was none."""
        width, edges = self.period / len(self.rates), self._edges
        from_edge = np.zeros(len(self.rates) + 1)
        for _ in range(2):  # first as if nothing came after a period, then with the next one, which is like it
            from_edge[-1] = from_edge[0] / -np.expm1(-self._cumulative[-1])
            for place in range(len(self.rates) - 1, -1, -1):
                is_over = -np.expm1(-self.rates[place] * width)
                from_edge[place] = is_over / self.rates[place] + (1 - is_over) * from_edge[place + 1]
        phase = start - np.floor(start / self.period) * self.period
        of = np.minimum((phase / width).astype(np.int64), len(self.rates) - 1)
        is_over = -np.expm1(-self.rates[of] * (edges[of + 1] - phase))
        found: Floats = is_over / self.rates[of] + (1 - is_over) * from_edge[of + 1]
        return found


def constant_rate(value: Floats, is_open: NDArray[np.bool_]) -> Rate:
    """Return the rate with the largest likelihood: the number of events by the time observed."""
    return Rate(np.array([max(float((~is_open).sum()), 0.5) / max(float(value.sum()), 1e-300)]), DAY)


def daily_rate(start: Floats, value: Floats, is_open: NDArray[np.bool_]) -> Rate:
    """Return the rate by time of day, in half hours; the arguments are those of `Rate.loss`."""
    width = DAY / BINS_OF_A_DAY
    edges = np.arange(BINS_OF_A_DAY) * width

    def observed(until: Floats) -> Floats:
        """Seconds of each bin between 0 and some times, summed, (B,)."""
        days = np.floor(until / DAY)
        total: Floats = days.sum() * width + np.clip((until - days * DAY)[:, None] - edges, 0, width).sum(axis=0)
        return total

    at = (start + value)[~is_open]
    place = np.floor(at / width).astype(np.int64) % BINS_OF_A_DAY
    events = np.bincount(place, minlength=BINS_OF_A_DAY)
    overall = constant_rate(value, is_open).rates[0]
    seconds = observed(start + value) - observed(start)
    return Rate((events + _PRIOR_EVENTS) / (seconds + _PRIOR_EVENTS / overall), DAY)


def rates_by_category(
    ids: NDArray[np.integer], value: Floats, is_open: NDArray[np.bool_], n_classes: int
) -> tuple[Floats, float]:
    """Return the rate after each category of the last event, (n_classes,), and the loss of the training targets."""
    events = np.bincount(ids, weights=~is_open, minlength=n_classes)
    seconds = np.bincount(ids, weights=value, minlength=n_classes)
    overall = constant_rate(value, is_open).rates[0]
    rates: Floats = (events + _PRIOR_EVENTS) / (seconds + _PRIOR_EVENTS / overall)
    return rates, float((seconds * rates - events * np.log(rates)).sum())
