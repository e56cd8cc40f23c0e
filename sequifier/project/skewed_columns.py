"""Real columns with few large values, which are better predicted by their logarithm."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sequifier.project.column_choice import Choice
from sequifier.project.column_facts import COLUMNS_AT_ONCE

if TYPE_CHECKING:
    import polars as pl

SKEWED = 2.0
"""Skewness above which a column is skewed: that of the exponential distribution."""


def with_transforms(choices: Sequence[Choice], rows: "pl.LazyFrame") -> list[Choice]:
    """Choose log1p for real columns that are skewed, are never negative, and whose logarithm is half as skewed or less.

    Args:
        choices: the use of each column.
        rows: the rows with the types of their values.
    """
    amounts = [choice.column for choice in choices if choice.use == "real" and choice.facts.lowest >= 0]
    found: dict[str, tuple[float, float]] = {}
    for start in range(0, len(amounts), COLUMNS_AT_ONCE):
        found |= _skewness(amounts[start : start + COLUMNS_AT_ONCE], rows)
    result = []
    for choice in choices:
        plain, of_logarithm = found.get(choice.column, (0.0, 0.0))
        if plain > SKEWED and abs(of_logarithm) <= plain / 2:
            why = f"its values are skewed (skewness {plain:.1f}), their logarithm is less so ({of_logarithm:.1f})"
            choice = replace(choice, transform="log1p", skewed=why)
        result.append(choice)
    return result


def _skewness(columns: Sequence[str], rows: "pl.LazyFrame") -> dict[str, tuple[float, float]]:
    """Return the skewness of each column and of its logarithm, in two passes that do not hold the columns in memory."""
    import polars as pl

    numbers = rows.select(pl.col(columns).cast(pl.Float64))
    known = [pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in columns]
    both = [values for number in known for values in (number, number.log1p())]
    moments = _row(numbers, (each for values in both for each in (values.mean(), values.std(ddof=0))))
    means, stds = moments[::2], moments[1::2]
    thirds = _row(
        numbers,
        (
            (((values - mean) / std) ** 3).mean() if std else pl.lit(0.0)
            for values, mean, std in zip(both, means, stds, strict=True)
        ),
    )
    return {name: (thirds[2 * number], thirds[2 * number + 1]) for number, name in enumerate(columns)}


def _row(rows: "pl.LazyFrame", expressions: "Iterable[pl.Expr]") -> list[float]:
    named = [expression.alias(str(number)) for number, expression in enumerate(expressions)]
    return list(rows.select(named).collect(engine="streaming").row(0))
