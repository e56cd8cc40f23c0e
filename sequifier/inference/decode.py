"""From ids and standardised values back to what was in the table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

UNKNOWN = "unknown"


def labels(ids: NDArray[np.int64], vocabulary: Sequence[str | int | bool]) -> "pl.Series":
    """The categories of (M,) ids; id 0 is null. The type is that of the raw column."""
    import polars as pl

    return pl.Series([None, *vocabulary]).gather(ids)


def probability_headers(vocabulary: Sequence[str | int | bool]) -> list[str]:
    """A column name for each class in id order, id 0 first. Categories called like it or alike get their id."""
    names = [UNKNOWN, *(str(category) for category in vocabulary)]
    return [
        name if names.count(name) == 1 or index == 0 else f"{name} (id {index})" for index, name in enumerate(names)
    ]


def original_units(values: NDArray[np.float32], statistics: dict[str, float] | Any) -> NDArray[np.float64]:
    """z * std + mean."""
    result: NDArray[np.float64] = values.astype(np.float64) * statistics["std"] + statistics["mean"]
    return result
