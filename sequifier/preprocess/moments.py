"""Mean and standard deviation of real values, exactly merged over parts of a table.

Source: Chan, Golub and LeVeque 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.transforms import Scale


@dataclass(frozen=True)
class Moments:
    """Moments of real values, one entry for each sequence with values.

    They are kept by sequence (24 bytes for each sequence and column), so that the result does not depend on parts.
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]  # sum of squared deviations from the mean of the sequence
    lowest: float
    highest: float


def moments(values: NDArray[np.float64], n_rows: NDArray[np.int64]) -> Moments:
    """Return count, mean and M2 of each sequence, without NaN, which is filled with the mean later.

    Args:
        values: (N,) values of consecutive sequences.
        n_rows: (S,) number of rows of each sequence; the sum is N.
    """
    known = ~np.isnan(values)
    if not known.all():
        present = np.concatenate([[0], np.cumsum(known)])
        ends = np.cumsum(n_rows)
        values, n_rows = values[known], present[ends] - present[ends - n_rows]
    n_rows = n_rows[n_rows > 0]
    if not n_rows.size:
        empty = np.empty(0)
        return Moments(empty, empty, empty, math.inf, -math.inf)
    starts = np.cumsum(n_rows) - n_rows
    with np.errstate(over="ignore", invalid="ignore"):  # mean_and_std checks for infinite values
        mean = np.add.reduceat(values, starts) / n_rows
        distance = values - np.repeat(mean, n_rows)
        m2 = np.add.reduceat(distance * distance, starts)
    return Moments(n_rows.astype(np.float64), mean, m2, float(values.min()), float(values.max()))


def mean_and_std(parts: Sequence[Moments]) -> tuple[float, float]:
    """Return mean and sample standard deviation of all values; for a constant column, its value and 1.

    Sums over sequences are exact (fsum), so the result does not depend on their order.

    Raises:
        OverflowError: squares of the values exceed float64.
    """
    lowest, highest = min(part.lowest for part in parts), max(part.highest for part in parts)
    if lowest >= highest:
        return (lowest if math.isfinite(lowest) else 0.0), 1.0
    count, mean, m2 = (np.concatenate([getattr(part, name) for part in parts]) for name in ("count", "mean", "m2"))
    if not np.isfinite(m2).all():
        raise OverflowError("the squares of the values exceed the range of float64")
    total = math.fsum(count)
    center = math.fsum(count * mean) / total
    squares = math.fsum(m2) + math.fsum(n * (x - center) ** 2 for n, x in zip(count, mean, strict=True))
    std = math.sqrt(squares / (total - 1))
    return center, std or 1.0  # squares of deviations below 1e-162 underflow to 0: treated as constant


def statistics_of_sequences(
    values: NDArray[np.float64], n_rows: NDArray[np.int64], is_training: NDArray[np.bool_], scale: Scale
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and std of the training values of each sequence, (S,) each.

    They are rounded to float32, in which they are stored, so that standardised values lead back exactly. A sequence
    without values has the mean and std of all, one whose values are equal the std of all.

    Args:
        values: (N,) transformed values of consecutive sequences; NaN where they are missing.
        n_rows: (S,) number of rows of each sequence.
        is_training: (N,) whether a row is in split 0.
        scale: mean and std of all training values.
    """
    known = is_training & ~np.isnan(values)
    owner = np.repeat(np.arange(len(n_rows)), n_rows)[known]
    count = np.bincount(owner, minlength=len(n_rows))
    mean = np.bincount(owner, weights=values[known], minlength=len(n_rows)) / np.maximum(count, 1)
    squares = np.bincount(owner, weights=(values[known] - mean[owner]) ** 2, minlength=len(n_rows))
    std = np.sqrt(squares / np.maximum(count - 1, 1))
    mean = np.where(count > 0, mean, scale.mean)
    # Equal values differ from their mean by its rounding at most.
    std = np.where(std <= 1e-12 * np.abs(mean), scale.std, std)
    return mean.astype(np.float32), std.astype(np.float32)
