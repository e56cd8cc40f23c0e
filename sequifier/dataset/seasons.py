"""The period of a series, from its autocorrelation.

Shapes: N rows of a split, S sequences, P lags.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents

_ROWS = 1 << 18
"""Approximate number of values that are used: of more, whole sequences spread evenly, or the end of a longer one."""
_NEARLY = 0.8
"""Fraction of the highest peak that the first peak of a period must reach."""
_FEWEST = 3
"""Smallest number of pairs of values at a lag that is used."""


def find_period(events: Events | MappedEvents, column: str, longest: int) -> int | None:
    """Return the period of the training events, 2 to `longest`; None if the autocorrelation r shows none.

    For a season of p events, r is high at lag p and low half a period before and after it: the period has a large rise
    r(p) - (r(p / 2) + r(3 p / 2)) / 2. A linear decline of r adds nothing to it, and a convex one, as of an
    autoregression, makes it negative. The rise is summed over the detrended series and its first differences, which
    show a season below slow waves. Odd multiples of a period rise as high, so the period is the first peak of at least
    `_NEARLY` of the highest. A peak must exceed the level that white noise, whose r has a variance of 1 / pairs (Box,
    Jenkins and Reinsel 2008, section 2.1.6), reaches at any of the lags in 5 % of series (Bonferroni).
    """
    furthest = -(-3 * longest // 2)
    series = _series(events, column, furthest)
    period = np.arange(1, longest + 1)
    before, after = period // 2, -(-3 * period // 2)
    rise, error = np.zeros(longest), np.zeros(longest)
    # Differences of white noise have a correlation of -1/2 at lag 1, half of a period of 2 or 3.
    for values, shortest in ((series, 2), ([np.diff(values) for values in series], 4)):
        r, n_pairs = autocorrelation(values, furthest)
        variance = 1 / np.maximum(n_pairs, 1)
        rise += np.where(period >= shortest, r[period] - (r[before] + r[after]) / 2, 0.0)
        error += np.sqrt(variance[period] + (variance[before] + variance[after]) / 4)
        rise[n_pairs[after] < _FEWEST] = 0.0
    next_one = np.append(rise[1:], 0.0)
    peaks = np.flatnonzero((rise[1:] > rise[:-1]) & (rise[1:] >= next_one[1:])) + 1
    peaks = peaks[rise[peaks] > NormalDist().inv_cdf(1 - 0.05 / longest) * error[peaks]]
    if not len(peaks):
        return None
    return int(period[peaks[rise[peaks] >= _NEARLY * rise[peaks].max()][0]])


def autocorrelation(series: list[NDArray[np.float64]], longest: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the autocorrelation at lags 0 to `longest` and its number of pairs, (P + 1,) each.

    A pair is within one sequence, from which its own linear trend is subtracted.
    """
    lengths = np.array([len(values) for values in series], dtype=np.int64)
    n_pairs = np.array([np.maximum(lengths - lag, 0).sum() for lag in range(longest + 1)], dtype=np.int64)
    # Between two sequences there are as many zeros as the longest lag.
    padded = np.zeros(int((lengths + longest).sum()) + 1)
    begin = 0
    for values in series:
        padded[begin : begin + len(values)] = _without_trend(values)
        begin += len(values) + longest
    size = 1 << (len(padded) + longest).bit_length()  # so that no lag wraps around
    products = np.fft.irfft(np.abs(np.fft.rfft(padded, size)) ** 2, size)[: longest + 1]
    variance = products[0] / max(int(n_pairs[0]), 1)
    if variance <= 0:
        return np.zeros(longest + 1), n_pairs
    return products / np.maximum(n_pairs, 1) / variance, n_pairs


def _without_trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values - values.mean()
    time = np.arange(len(values)) - (len(values) - 1) / 2
    detrended: NDArray[np.float64] = values - time * (time @ values) / max(float(time @ time), 1.0)
    return detrended


def _series(events: Events | MappedEvents, column: str, longest: int) -> list[NDArray[np.float64]]:
    begins, ends = events.offsets[:-1] + events.n_context, events.offsets[1:]
    long_enough = np.flatnonzero(ends - begins > 3)
    if not len(long_enough):
        return []
    typical = int(np.minimum(ends - begins, _ROWS)[long_enough].mean()) + longest
    n_kept = max(_ROWS // typical, 1)
    if len(long_enough) > n_kept:
        long_enough = long_enough[np.linspace(0, len(long_enough) - 1, n_kept).astype(np.int64)]
    found = (events.columns[column][max(int(begins[s]), int(ends[s]) - _ROWS) : int(ends[s])] for s in long_enough)
    return [(values[:-1] if np.isnan(values[-1]) else values).astype(np.float64) for values in found]  # without END
