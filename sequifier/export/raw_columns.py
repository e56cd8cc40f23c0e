"""The columns of a model that takes raw values: type, vocabulary or statistics, and treatment of missing values.

Values are filled and encoded as in `preprocess`, here on arrays and without polars. The exported graph is compared with
this code, and tests compare both with `preprocess`.
Shapes: N windows, T steps of the window.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np

from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.transforms import LOWEST, Scale
from sequifier.config.architecture import Architecture
from sequifier.config.base import Category, category_text
from sequifier.config.preprocess_fields import END, FillNull

Array = np.ndarray[Any, Any]
FAR_FROM_ZERO = 1000.0
"""A real column whose mean is more standard deviations than this from 0 is float64 as an input and output. float32
would round it by more than 6e-5 deviations, a Unix time by minutes."""
SCALES_OF_FLOAT32 = (1e-30, 1e30)
"""A column whose standard deviation is outside this range is float64 too."""
LARGEST_LOGARITHM = 80.0
"""So is a column with a transform that may reach the exponential of this: float32 ends at exp(88)."""

NO_TEXT, NO_INTEGER = "", -(2**63)
"""A missing text and a missing integer, unless the vocabulary has these values; a missing real number is NaN."""
YES, NO = ("true", "True", "TRUE"), ("false", "False", "FALSE")
"""Spellings of true and false in a table, and in the text input of a boolean column that has a fill rule."""

_KINDS: Mapping[str, type[np.generic]] = {"String": np.str_, "Int64": np.int64, "Boolean": np.bool_}


@dataclass(frozen=True)
class RawColumn:
    """One column of the raw table.

    Attributes:
        kind: str_, int64 or bool_ for categories, float32 or float64 for real values.
        categories: in id order, the first has id 1, without END; empty for a real column.
        scale: transform, mean and standard deviation of a real column.
        fill: replacement of a missing value; None: preprocess refused missing values, and here they become the mean or
            unknown.
        has_end: whether END is the class after those of the categories; it is never an input.
    """

    kind: type[np.generic]
    categories: tuple[Category, ...] = ()
    scale: Scale = field(default_factory=Scale)
    fill: FillNull | None = None
    has_end: bool = False

    @property
    def labels(self) -> tuple[Category, ...]:
        """The classes as outputs, in id order: the categories, or where END is one of them, all as text."""
        return (*map(category_text, self.categories), END) if self.has_end else self.categories

    @property
    def label_kind(self) -> type[np.generic]:
        """Type of its labels as an output."""
        return np.str_ if self.has_end else self.kind

    @property
    def input_kind(self) -> type[np.generic]:
        """Type of its values as an input. A boolean that may be missing is text, because ONNX booleans cannot be."""
        return np.str_ if self.kind is np.bool_ and self.fill is not None else self.kind

    @cached_property
    def ids(self) -> dict[Category, int]:
        """Ids of a categorical input by value, the value of a missing one included.

        The id of a missing value is -1 where the last known value is carried forward.
        """
        ids: dict[Category, int] = dict(zip(self.categories, count(1), strict=False))
        if self.kind is np.bool_ and self.input_kind is np.str_:
            ids = {text: ids[value] for value, texts in ((True, YES), (False, NO)) if value in ids for text in texts}
        if self.missing is not None and self.fill is not None:
            of_missing = -1 if self.fill == "forward" else 0
            if isinstance(self.fill, int):
                of_missing = ids.get(self.fill, 0)
            ids.setdefault(self.missing, of_missing)
        return ids

    def label_ids(self, labels: Array) -> Array:
        """Convert labels that the graph returned to int64 ids, 0 for a label that is not in the vocabulary."""
        ids = self._ids_of_labels
        return np.array([ids.get(label, 0) for label in labels.ravel().tolist()], np.int64).reshape(labels.shape)

    @cached_property
    def _ids_of_labels(self) -> dict[Category, int]:
        return dict(zip(self.labels, count(1), strict=False))

    @property
    def missing(self) -> str | int | None:
        """The category of a missing value; None for booleans, and for real values, where it is NaN."""
        if self.input_kind is np.str_:
            return NO_TEXT
        return NO_INTEGER if self.input_kind is np.int64 else None

    @property
    def replacement(self) -> float:
        """What a missing real value becomes before it is standardised; NaN: it becomes the mean, or the one before."""
        return math.nan if self.fill is None or isinstance(self.fill, str) else float(self.fill)

    @property
    def is_real(self) -> bool:
        """Whether its values are real numbers, not categories."""
        return self.kind in (np.float32, np.float64)

    def encoded(self, values: Array, is_event: Array | None = None) -> Array:
        """Encode raw values: to int64 ids, 0 for unknown values, or to float32 standardised values, 0 for the mean.

        Args:
            values: (N, T) of the input's type.
            is_event: (N, T) bool; values of events alone are carried forward. None: every step is an event.
        """
        numbers: Array
        if self.is_real:
            exact = values.astype(np.float64)
            is_missing = ~np.isfinite(exact) | (exact < LOWEST[self.scale.transform])
            exact = np.where(is_missing, self.replacement, exact)
            with np.errstate(over="ignore"):
                numbers = self.scale.standardised(exact).astype(np.float32)
            numbers = np.where(np.isfinite(numbers), numbers, np.float32(0))
        else:
            ids = self.ids
            numbers = np.array([ids.get(value, 0) for value in values.ravel().tolist()], np.int64).reshape(values.shape)
            is_missing = numbers < 0
        if self.fill != "forward":
            return numbers
        is_known = ~is_missing if is_event is None else ~is_missing & is_event
        last = np.maximum.accumulate(np.where(is_known, np.arange(values.shape[1]), -1), axis=1)
        return np.where(last < 0, numbers.dtype.type(0), np.take_along_axis(numbers, np.maximum(last, 0), axis=1))

    def decoded(self, numbers: Array) -> Array:
        """Decode ids or standardised values. Id 0, and that of END, become a value that is not in the vocabulary.

        A column with both true and false has no such value: id 0 becomes one of the two.
        """
        if self.is_real:
            with np.errstate(over="ignore"):
                return self.scale.original(numbers.astype(np.float64)).astype(self.kind)  # type: ignore[no-any-return]
        found: Array = self._by_id[numbers]
        return found

    @cached_property
    def _by_id(self) -> Array:
        values: list[Category] = [self._unknown(), *self.categories]
        if self.input_kind is not self.kind:
            values = ["neither", *(YES[0] if value else NO[0] for value in self.categories)]
        return np.array([*values, *values[: self.has_end]], self.numpy_type)

    @property
    def rounding(self) -> float:
        """Rounding error of a value near the mean, in standard deviations; 0 for categories."""
        if not self.is_real:
            return 0.0
        middle, unit = float(self.scale.original(0.0)), self.scale.unit
        above = middle + float(np.spacing(np.array(abs(middle), self.kind)))
        return float(self.scale.standardised(above * unit) - self.scale.standardised(middle * unit))

    @property
    def numpy_type(self) -> type[np.generic]:
        """Type of an array of its values as an input: text is stored as objects."""
        return np.object_ if self.input_kind is np.str_ else self.input_kind

    def _unknown(self) -> Category:
        if self.kind is np.str_:
            return max(map(str, self.categories), key=len, default="") + "?"
        candidates: Iterable[Category] = (True, False) if self.kind is np.bool_ else count()
        return next((value for value in candidates if value not in self.categories), True)


def raw_columns(architecture: Architecture, metadata: Metadata) -> dict[str, RawColumn]:
    """Return the input and target columns of a model by name."""
    found, fills = {}, metadata.sequifier.reading.fill_null
    for name in dict.fromkeys([*architecture.input_columns, *(target.name for target in architecture.targets)]):
        if name in metadata.id_maps:
            kind = _KINDS[metadata.column_types[name]]
            has_end = name in metadata.sequifier.end_event
            found[name] = RawColumn(kind, tuple(metadata.raw_categories(name)), fill=fills.get(name), has_end=has_end)
            continue
        scale = metadata.scale(name)
        found[name] = RawColumn(np.float32 if _fits_float32(scale) else np.float64, (), scale, fills.get(name))
    return found


def _fits_float32(scale: Scale) -> bool:
    if scale.transform is not None:  # rounding moves a logarithm by as much as a value of 1, and its range is small
        return bool(FAR_FROM_ZERO * scale.std >= 1 and abs(scale.mean) + 10 * scale.std < LARGEST_LOGARITHM)
    smallest, largest = SCALES_OF_FLOAT32
    return bool(abs(scale.mean) <= FAR_FROM_ZERO * scale.std and smallest < scale.std < largest)
