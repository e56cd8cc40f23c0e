"""The period of a series, from its autocorrelation.

Shapes: N rows of a split, S sequences, P lags.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents

_ROWS = 1 << 20
"""Values that are looked at, about; of more, whole sequences spread evenly, and of a longer one its end."""
_NEARLY = 0.9
"""Of equal peaks, which multiples of a period are, the first is the period: those of at least this fraction."""


def find_period(events: Events | MappedEvents, column: str, longest: int) -> int | None:
    """The lag, 2 to `longest`, of the highest peak of the autocorrelation of the training events; None without a peak.

    A peak is a local maximum above 1.96 / sqrt(pairs), the 5 % bound of white noise (Box, Jenkins and Reinsel 2008,
    section 2.1.6). A trend can hide all peaks; then the first differences are looked at, as in Box and Jenkins.
    """
    correlation, n_pairs = autocorrelation(events, column, longest + 1, difference=False)
    found = _first_peak(correlation, n_pairs, longest)
    if found is None:
        found = _first_peak(*autocorrelation(events, column, longest + 1, difference=True), longest)
    return found


def autocorrelation(
    events: Events | MappedEvents, column: str, longest: int, *, difference: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The autocorrelation at lags 0 to `longest` and the pairs it is a mean of, (P + 1,) each.

    Pairs do not cross from one sequence to the next; each sequence is taken about its own mean.
    """
    series = _series(events, column, longest, difference=difference)
    lengths = np.array([len(values) for values in series], dtype=np.int64)
    lags = np.arange(longest + 1)
    n_pairs = np.maximum(lengths[:, None] - lags, 0).sum(axis=0) if len(lengths) < 1 << 12 else _pairs(lengths, lags)
    # The zeros between two sequences are as many as the longest lag.
    padded = np.zeros(int((lengths + longest).sum()) + 1)
    begin = 0
    for values in series:
        padded[begin : begin + len(values)] = values - values.mean()
        begin += len(values) + longest
    size = 1 << (2 * len(padded)).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(padded, size)) ** 2, size)[: longest + 1]
    variance = products[0] / max(int(n_pairs[0]), 1)
    if variance <= 0:
        return np.zeros(longest + 1), n_pairs
    return products / np.maximum(n_pairs, 1) / variance, n_pairs


def _pairs(lengths: NDArray[np.int64], lags: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.array([np.maximum(lengths - lag, 0).sum() for lag in lags], dtype=np.int64)
    return found


def _series(events: Events | MappedEvents, column: str, longest: int, *, difference: bool) -> list[NDArray[Any]]:
    begins, ends = events.offsets[:-1] + events.n_context, events.offsets[1:]
    long_enough = np.flatnonzero(ends - begins > 3)
    if not len(long_enough):
        return []
    typical = int(np.minimum(ends - begins, _ROWS)[long_enough].mean()) + longest
    n_kept = max(_ROWS // typical, 1)
    if len(long_enough) > n_kept:
        long_enough = long_enough[np.linspace(0, len(long_enough) - 1, n_kept).astype(np.int64)]
    series = [
        events.columns[column][max(int(begins[s]), int(ends[s]) - _ROWS) : int(ends[s])].astype(np.float64)
        for s in long_enough
    ]
    return [np.diff(values) for values in series] if difference else series


def _first_peak(correlation: NDArray[np.float64], n_pairs: NDArray[np.int64], longest: int) -> int | None:
    inner = correlation[1:-1]  # lags 1 to longest
    rises, falls = inner > correlation[:-2], inner >= correlation[2:]
    peaks = np.flatnonzero(rises & falls) + 1
    peaks = peaks[(peaks >= 2) & (peaks <= longest) & (n_pairs[peaks] >= 3)]
    peaks = peaks[correlation[peaks] > 1.96 / np.sqrt(n_pairs[peaks])]
    if not len(peaks):
        return None
    height = correlation[peaks]
    return int(peaks[height >= _NEARLY * height.max()][0])
