"""What a model that takes raw values knows of each column: its type, its vocabulary or its statistics.

The same encoding as in `preprocess.encode`, here one value at a time and without polars: the exported graph is compared
with it, and tests compare both with `preprocess`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from sequifier.artifacts.metadata import Category, Metadata
from sequifier.config.architecture import Architecture

Array = np.ndarray[Any, Any]
FAR_FROM_ZERO = 1000.0
"""A real column whose mean is more standard deviations than this from 0 is float64 in and out. In float32 it would be
rounded by more than 6e-5 deviations: minutes of a Unix time."""
SCALES_OF_FLOAT32 = (1e-30, 1e30)
"""A column whose deviation is outside is float64 too."""

_KINDS: Mapping[str, type[np.generic]] = {"String": np.str_, "Int64": np.int64, "Boolean": np.bool_}


@dataclass(frozen=True)
class RawColumn:
    """One column as it was in the raw table.

    Attributes:
        kind: str_, int64 or bool_ for categories, float32 or float64 for real values.
        categories: in id order, the first has id 1; empty for a real column.
        mean: of a real column.
        std: the same.
    """

    kind: type[np.generic]
    categories: tuple[Category, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def is_real(self) -> bool:
        """Whether its values are measured, not counted off."""
        return self.kind in (np.float32, np.float64)

    def encoded(self, values: Array) -> Array:
        """Raw values -> int64 ids, 0 for what is unknown, or float32 standardised values, 0 for NaN."""
        if self.is_real:
            z = ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)
            return np.where(np.isnan(z), np.float32(0), z)
        ids = {category: number for number, category in enumerate(self.categories, start=1)}
        return np.array([ids.get(value, 0) for value in values.ravel().tolist()], np.int64).reshape(values.shape)

    def decoded(self, numbers: Array) -> Array:
        """Ids or standardised values -> raw ones. Id 0 becomes a value that is not in the vocabulary; a column of true
        and false has none, and gets one of them."""
        if self.is_real:
            return (numbers.astype(np.float64) * self.std + self.mean).astype(self.kind)
        values = [self._unknown(), *self.categories]
        return np.array([values[number] for number in numbers.ravel()], self.numpy_type).reshape(numbers.shape)

    @property
    def rounding(self) -> float:
        """How far rounding moves a value near the mean, in standard deviations; 0 for categories."""
        return float(np.spacing(np.array(abs(self.mean), self.kind))) / self.std if self.is_real else 0.0

    @property
    def numpy_type(self) -> type[np.generic]:
        """Of an array of its values: text is kept as objects."""
        return np.object_ if self.kind is np.str_ else self.kind

    def _unknown(self) -> Category:
        if self.kind is np.str_:
            return max(map(str, self.categories), key=len, default="") + "?"
        candidates: Iterable[Category] = (True, False) if self.kind is np.bool_ else count()
        return next((value for value in candidates if value not in self.categories), True)


def raw_columns(architecture: Architecture, metadata: Metadata) -> dict[str, RawColumn]:
    """The input and target columns of a model."""
    found = {}
    for name in dict.fromkeys([*architecture.input_columns, *(target.name for target in architecture.targets)]):
        if name in metadata.id_maps:
            found[name] = RawColumn(_KINDS[metadata.column_types[name]], tuple(metadata.categories(name)))
            continue
        mean, std = (metadata.selected_columns_statistics[name][key] for key in ("mean", "std"))
        smallest, largest = SCALES_OF_FLOAT32
        is_plain = abs(mean) <= FAR_FROM_ZERO * std and smallest < std < largest
        found[name] = RawColumn(np.float32 if is_plain else np.float64, (), mean, std)
    return found
