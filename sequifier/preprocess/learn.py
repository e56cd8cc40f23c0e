"""What encoding needs to know: the vocabulary of each category, mean and standard deviation of each real.

Both are learnt part by part and merged; the result does not depend on how the sequences were parted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

VALUE, COUNT = "value", "count"


def count_values(values: pl.Series) -> pl.DataFrame:
    """How often each category occurs: columns value and count; nulls are left out."""
    return values.drop_nulls().alias(VALUE).value_counts(name=COUNT)


def choose_categories(
    counts: Sequence[pl.DataFrame], *, min_count: int = 1, max_categories: int | None = None
) -> pl.Series:
    """The vocabulary: sorted distinct values, of those frequent enough.

    Args:
        counts: of each part.
        min_count: rarer values are left out.
        max_categories: how many of the most frequent to keep; of equally frequent ones the smaller.

    Returns:
        Values in id order: the first has id 1.
    """
    merged = pl.concat(counts).group_by(VALUE).agg(pl.col(COUNT).sum()) if len(counts) > 1 else counts[0]
    kept = merged.filter(pl.col(COUNT) >= min_count)
    if max_categories is not None and kept.height > max_categories:
        kept = kept.sort(COUNT, VALUE, descending=[True, False]).head(max_categories)
    return kept[VALUE].sort()


@dataclass(frozen=True)
class Moments:
    """Sums of real values, one entry for each sequence that has any; Chan, Golub and LeVeque 1979 merge them.

    Kept by sequence until the end, so that merging does not depend on parts: 24 bytes a sequence and column.
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]  # sum of squared distances from the sequence's own mean
    lowest: float
    highest: float


def moments(values: NDArray[np.float64], n_rows: NDArray[np.int64]) -> Moments:
    """Count, mean and M2 of each sequence. NaN values (to be filled with the mean) are left out.

    Args:
        values: (N,) of consecutive sequences.
        n_rows: (S,) rows of each; they sum to N.
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
    with np.errstate(over="ignore", invalid="ignore"):  # mean_and_std finds a spread that is not finite
        mean = np.add.reduceat(values, starts) / n_rows
        distance = values - np.repeat(mean, n_rows)
        m2 = np.add.reduceat(distance * distance, starts)
    return Moments(n_rows.astype(np.float64), mean, m2, float(values.min()), float(values.max()))


def mean_and_std(parts: Sequence[Moments]) -> tuple[float, float]:
    """Mean and sample standard deviation of all values; a constant column has exactly its value and 1.

    Sums over sequences are exact (fsum), so they do not depend on their order either.

    Raises:
        OverflowError: squares of the values exceed float64.
    """
    lowest, highest = min(part.lowest for part in parts), max(part.highest for part in parts)
    if lowest >= highest:
        return (lowest if math.isfinite(lowest) else 0.0), 1.0
    count, mean, m2 = (np.concatenate([getattr(part, name) for part in parts]) for name in ("count", "mean", "m2"))
    total = math.fsum(count)
    center = math.fsum(count * mean) / total
    with np.errstate(over="ignore", invalid="ignore"):
        between = count * (mean - center) ** 2
    if not (np.isfinite(m2).all() and np.isfinite(between).all()):
        raise OverflowError(f"values from {lowest:g} to {highest:g}")
    std = math.sqrt((math.fsum(m2) + math.fsum(between)) / (total - 1))
    return center, std or 1.0  # squares of differences below 1e-154 underflow: constant for every purpose
