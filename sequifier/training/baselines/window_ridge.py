"""A linear map of the window minus its last value to the steps after it, one for all columns.

It is NLinear of Zeng et al. 2023, "Are transformers effective for time series forecasting?",
https://arxiv.org/abs/2205.13504, by ridge regression.
Shapes: M targets, H steps of the horizon.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sequifier.training.baselines.history import Column, Rows, Targets, read
from sequifier.training.baselines.ridge import Products

Floats = NDArray[np.float64]

LONGEST_WINDOW = 336
"""Largest number of values that the map reads: the look-back of the published DLinear and NLinear."""
REGRESSED = 1 << 17
"""Training targets of a regression, in all columns together."""
_GATHERED = 1 << 22
"""Values of windows and horizons that are gathered together."""
_IN_CACHE = 1 << 16
"""Of these, how many are computed together: their intermediate results stay in the processor's cache."""


class WindowRidge:
    """A ridge map from the window minus its last value to the next steps, one for all columns.

    Targets differ in the number of values before them in their window. So maps of several lengths are fitted, each on
    the training targets with that many values, and a target uses the longest map for which it has the values.
    """

    def __init__(self, columns: Sequence[Column], training: Targets, seq_length: int) -> None:
        longest = min(seq_length, LONGEST_WINDOW)
        sizes = _sizes(longest)
        by_size = [Products(longest - 1, training.n_steps) for _ in sizes]
        targets = training[:: max(len(training) * len(columns) // REGRESSED, 1)]
        for values in columns:
            for part in parts(targets, longest + training.n_steps):
                last = read(values, part.rows - 1).astype(np.float64)
                truth = read(values, part.truth_rows).reshape(len(part), part.n_steps) - last[:, None]
                features = _differences(values, part, last, longest)
                size = np.searchsorted(sizes, part.n_readable, side="right") - 1
                for number in np.unique(size).tolist():
                    by_size[number].add(features[size == number], truth[size == number])
        for longer, shorter in pairwise(reversed(by_size)):
            shorter.moments += longer.moments  # the longer windows show the shorter ones
        enough = [found.moments[0, 0] > 2 * size for found, size in zip(by_size, sizes.tolist(), strict=True)]
        enough[0] = True
        self._sizes = sizes[enough]
        self._maps = [
            found.solve(size - 1)
            for found, size, is_enough in zip(by_size, sizes.tolist(), enough, strict=True)
            if is_enough
        ]

    def __call__(self, column: Column, targets: Targets) -> Floats:
        """Return predictions, (M, H)."""
        longest = int(self._sizes[-1])
        found = np.empty((len(targets), targets.n_steps))
        begin = 0
        for part in parts(targets, longest + targets.n_steps):
            last = read(column, part.rows - 1).astype(np.float64)
            features = _differences(column, part, last, longest)
            size = np.searchsorted(self._sizes, part.n_readable, side="right") - 1
            here = found[begin : begin + len(part)]
            for number, (weights, intercept) in enumerate(self._maps):
                chosen = np.flatnonzero(size == number)
                here[chosen] = last[chosen, None] + (features[chosen, : len(weights)] @ weights + intercept)
            begin += len(part)
        return found


def parts(targets: Targets, width: int) -> Iterator[Targets]:
    """Cut targets into parts for which `width` values each fit into memory."""
    step = max(_GATHERED // width, 1)
    for start in range(0, len(targets), step):
        yield targets[start : start + step]


def _sizes(longest: int) -> Rows:
    """Return the window lengths, 1 to `longest`, for which a map is fitted, each about 1.4 times the one before."""
    found, size = {1, longest}, 1.0
    while size < longest:
        found.add(int(size))
        size *= 2**0.5
    return np.array(sorted(found), dtype=np.int64)


def _differences(column: Column, targets: Targets, last: Floats, longest: int) -> Floats:
    """Return earlier values minus the last one, (M, longest - 1), the latest first; 0 where no value may be read."""
    lags = np.arange(2, longest + 1)
    found = np.zeros((len(targets), len(lags)))
    step = max(_IN_CACHE // longest, 1)
    for start in range(0, len(targets), step):
        part = slice(start, start + step)
        rows = targets.rows[part, None] - lags
        readable = lags <= targets.n_readable[part, None]
        values = column[np.maximum(rows, 0).ravel()].reshape(rows.shape) if rows.size else np.zeros(rows.shape)
        np.subtract(values, last[part, None], out=found[part], where=readable)
    return found
