"""Scales and ticks: values -> places in a chart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_SPAN = 50
"""Factor between the largest and the smallest positive value from which a scale is logarithmic."""

CLIP_QUANTILE = 0.95
CLIP_FACTOR = 3.0
"""A scale leaves out values this many times further out than the quantile, which would flatten all others."""


@dataclass(frozen=True)
class Scale:
    """A map from [low, high] to [start, end] in units of the chart.

    Attributes:
        low, high: ends of the values; low < high.
        start, end: places of low and high.
        is_log: whether it is logarithmic; low is above 0 then.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; a value outside is put at the nearest end."""
        share = self.share(min(max(value, self.low), self.high))
        return self.start + share * (self.end - self.start)

    def share(self, value: float) -> float:
        """Return the position of a value between low (0) and high (1)."""
        if self.is_log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values between low and high."""
        return _log_ticks(self.low, self.high, count) if self.is_log else _linear_ticks(self.low, self.high, count)


def fitted(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    log: bool | None = None,
    clip: int = 0,
    pad: float = 0.04,
) -> Scale:
    """Return a scale that fits the values.

    Args:
        values: finite; an empty list gives 0 to 1.
        start: place of the lowest value.
        end: place of the highest value.
        log: logarithmic; None decides by the span. Without effect where a value is not above 0.
        clip: 1 leaves out outliers at the top, -1 at the bottom, 0 none.
        pad: fraction left free at both ends.
    """
    if not values:
        return Scale(0.0, 1.0, start, end)
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    is_log = low > 0 and (high / low >= LOG_SPAN if log is None else log)
    if clip and not is_log:
        low, high = _clipped(ordered, clip)
    if low == high:
        half = abs(low) * 0.05 or 0.5
        return Scale(low - half, high + half, start, end)
    if is_log:
        factor = (high / low) ** pad
        return Scale(low / factor, high * factor, start, end, is_log=True)
    return Scale(low - pad * (high - low), high + pad * (high - low), start, end)


def tick_text(value: float) -> str:
    """Return a number as an axis shows it."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:,.10g}" if abs(value) >= 1000 else f"{value:.6g}"


def _clipped(ordered: Sequence[float], side: int) -> tuple[float, float]:
    low, high = ordered[0], ordered[-1]
    if side > 0:
        most = ordered[min(len(ordered) - 1, int(CLIP_QUANTILE * len(ordered)))]
        reach = low + CLIP_FACTOR * (most - low)
        return (low, reach) if most > low and reach < high else (low, high)
    most = ordered[int((1 - CLIP_QUANTILE) * len(ordered))]
    reach = high - CLIP_FACTOR * (high - most)
    return (reach, high) if most < high and reach > low else (low, high)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        every = [factor * 10.0**power for power in powers for factor in factors]
        inside = [float(f"{value:.6g}") for value in every if low <= value <= high]
        if len(inside) >= min(3, count):
            return inside[:: math.ceil(len(inside) / (count + 2))]
    return inside or [low, high]
