"""Sums of a metric over the sampling units of a split: the basis of standard errors and comparisons of models.

Units are the sequences of the split. A split of fewer than `FEWEST` sequences is divided into contiguous blocks of
targets. A metric that is not a sum over targets has jackknife pseudo-values of groups of sequences (or of the blocks).
Units and their order are the same for all models that are evaluated on the same targets.

One .npz file has the sums of one or several models: `index`, a JSON list of {"model", "metric", "by"}, and for entry i
the arrays `total_i` (U,) float64 and `count_i` (U,). Files of earlier versions have `loss` and `targets` instead: the
val_loss of one model, by sequences.
"""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.read_file import parse_json, wrap_read_errors
from sequifier.errors import DataError
from sequifier.regular_file import read_bytes

FILE = "sequence_losses.npz"
"""File with the sums of a run, in its record."""
OF_BASELINES = "baseline_losses.npz"
"""File with the sums of the baselines, in the record of a run and in the folder of a search."""
OF_TEST = "test_losses.npz"
"""File with the sums of the best run and the baselines on the test split, in the folder of a search."""
ONE_MODEL = ""
"""Name of the model in a file of one model."""

FEWEST = 5
"""Smallest number of units for a standard error."""
BLOCKS = 20
"""Number of blocks of a split with fewer sequences, and of groups of the jackknife."""
BLOCK_TARGETS = 10
"""Smallest number of targets of a block."""

By = Literal["sequences", "blocks", "groups"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Units:
    """A metric of one model, by unit: the ratio estimator over clusters (Cochran 1977, section 6.3).

    Attributes:
        total: (U,) the metric summed over the targets of each unit; a pseudo-value where `by` is groups.
        count: (U,) number of targets of each unit; 1 for each group.
        by: the kind of units. Blocks of a metric without sums have pseudo-values too.
    """

    total: Floats
    count: Floats
    by: By

    @cached_property
    def value(self) -> float:
        """The metric: a mean over targets."""
        return float(self.total.sum() / self.count.sum())

    @cached_property
    def n(self) -> int:
        """Number of units with a target."""
        return int((self.count > 0).sum())

    @property
    def is_usable(self) -> bool:
        """Whether there are enough units for a standard error, and every number is finite."""
        return self.n >= FEWEST and bool(np.isfinite(self.total).all())

    @cached_property
    def residual(self) -> Floats:
        """(U,) total minus the mean times the count."""
        return self.total - self.value * self.count

    def error_of(self, residual: Floats) -> Floats:
        """Return the standard errors of mean differences, from their residuals (..., U)."""
        squares = np.square(residual).sum(axis=-1)
        result: Floats = np.sqrt(squares * (self.n / (self.n - 1))) / self.count.sum()
        return result

    @property
    def standard_error(self) -> float | None:
        """Standard error of the metric; None for too few units, or units that do not differ."""
        if not self.is_usable:
            return None
        error = float(self.error_of(self.residual))
        # A rounding difference between equal numbers is not an error.
        return error if error > 1e-12 * abs(self.value) else None

    @property
    def degrees(self) -> float:
        """Degrees of freedom; units of unequal size count as fewer."""
        if self.by == "blocks":
            return float(self.n - 1)
        return float(self.count.sum() ** 2 / np.square(self.count).sum() - 1)

    def pairs_with(self, other: "Units") -> bool:
        """Whether both have the same targets, so that differences can be computed unit by unit."""
        return self.by == other.by and np.array_equal(self.count, other.count)


UnitSums = Mapping[str, Units]
"""Metric -> units of one model."""


def write_unit_sums(path: Path, models: Mapping[str, UnitSums]) -> None:
    """Write the sums of models by name, atomically; a single model has the name `ONE_MODEL`.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    entries = [(model, metric, units) for model, sums in models.items() for metric, units in sums.items()]
    arrays: dict[str, NDArray[Any]] = {}
    for place, (_, _, units) in enumerate(entries):
        arrays |= {f"total_{place}": units.total, f"count_{place}": units.count}
    index = [{"model": model, "metric": metric, "by": units.by} for model, metric, units in entries]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, index=np.array(json.dumps(index)), **arrays)


def read_unit_sums(path: Path) -> dict[str, dict[str, Units]]:
    """Return the sums of each model by metric; empty where the file is missing or damaged."""
    with suppress(DataError), wrap_read_errors("the sums", path, fix=""):
        arrays = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        if "index" not in arrays:
            return {ONE_MODEL: {"val_loss": _units(arrays["loss"], arrays["targets"], "sequences")}}
        found: dict[str, dict[str, Units]] = {}
        for place, entry in enumerate(parse_json(str(arrays["index"]))):
            units = _units(arrays[f"total_{place}"], arrays[f"count_{place}"], entry["by"])
            found.setdefault(entry["model"], {})[entry["metric"]] = units
        return found
    return {}


def _units(total: NDArray[Any], count: NDArray[Any], by: str) -> Units:
    if total.ndim != 1 or total.shape != count.shape or by not in get_args(By) or not (count >= 0).all():
        raise ValueError("total and count are not one number for each unit")
    return Units(total.astype(np.float64), count.astype(np.float64), by)  # type: ignore[arg-type]
