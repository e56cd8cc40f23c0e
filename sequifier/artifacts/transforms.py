"""The scale of a real column: an optional transform, then standardisation, and the way back to original units.

The same functions work on NumPy arrays and on torch tensors, in float64; `export/end_to_end.py` has them as ONNX nodes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sequifier.config.preprocess_fields import Transform

Array = Any  # of NumPy or of torch

LOWEST: Mapping[Transform | None, float] = {"log1p": 0.0, "asinh": -math.inf, None: -math.inf}
"""The lowest value that a transform takes, in original units. log1p is defined down to -1, but is for amounts: with it
a column has no negative values, in the data or in predictions."""


@dataclass(frozen=True)
class Scale:
    """From values in original units to standardised values z, and back.

    Attributes:
        mean: mean of the training values, after the transform.
        std: their standard deviation.
        transform: what is applied before standardisation.
        unit: the unit of predictions and errors, in original units: 3600 where seconds are shown in hours.
        by_sequence: whether each sequence has a mean and std of its own (`standardize: per_sequence`). `at` gives the
            scale at some positions; until then mean and std are those of all values, and lead nowhere.
    """

    mean: Array = 0.0  # a number, or (M,) of positions
    std: Array = 1.0
    transform: Transform | None = None
    unit: float = 1.0
    by_sequence: bool = False

    def at(self, mean: Array, std: Array) -> Self:
        """Return the scale at M positions, from the mean and std of their sequences, (M,) float64 each."""
        return replace(self, mean=mean, std=std)

    @property
    def of_rows(self) -> Self:
        """The scale of several values at each position, (M, Q)."""
        if isinstance(self.mean, float):
            return self
        return replace(self, mean=self.mean[:, None], std=self.std[:, None])

    @property
    def _is_linear(self) -> bool:
        """Whether errors are the same multiple of differences of z at all positions."""
        return self.transform is None and not self.by_sequence

    def _check_place(self) -> None:
        if self.by_sequence and isinstance(self.mean, float):
            raise ValueError("each sequence has a scale of its own: `at` gives it")

    def standardised(self, values: Array) -> Array:
        """Return z of values in original units."""
        self._check_place()
        return (transformed(values, self.transform) - self.mean) / self.std

    def original(self, z: Array) -> Array:
        """Return values in multiples of `unit`; of a log1p column they are never negative, whatever z is."""
        self._check_place()
        return restored(z * self.std + self.mean, self.transform) / self.unit

    def error(self, predicted: Array, truth: Array) -> Array:
        """Return predicted less true values, in units of `error_unit`; both are given as z."""
        if self._is_linear:
            return predicted - truth
        return self.original(predicted) - self.original(truth)

    @property
    def error_unit(self) -> float:
        """The unit of `error`, in multiples of `unit`: the standard deviation, where z is linear in the values."""
        return float(self.std / self.unit) if self._is_linear else 1.0

    @property
    def lowest(self) -> Array:
        """The z of the lowest value that the column can have, at all positions or at each, (M,)."""
        self._check_place()
        return (LOWEST[self.transform] - self.mean) / self.std  # transformed, 0 is 0 and -infinity stays


def transformed(values: Array, transform: Transform | None) -> Array:
    """Apply a transform.

    >>> transformed(np.array([0.0, 1.0]), "log1p").round(3).tolist()
    [0.0, 0.693]
    """
    match transform:
        case "log1p":
            return _apply("log1p", values)
        case "asinh":
            return _apply("arcsinh", values)
    return values


def restored(values: Array, transform: Transform | None) -> Array:
    """Undo a transform.

    >>> restored(np.log([0.9, 1.0, 2.0]), "log1p").tolist()
    [0.0, 0.0, 1.0]
    """
    match transform:
        case "log1p":
            return _apply("expm1", values).clip(LOWEST[transform])
        case "asinh":
            return _apply("sinh", values)
    return values


def _apply(function: str, values: Array) -> Array:
    if not isinstance(values, np.ndarray | float):
        return getattr(values, function)()
    with np.errstate(over="ignore"):  # a prediction that is far off becomes infinite
        return getattr(np, function)(values)
