"""Some forecasts of the validation split beside the truth, for pictures: `forecasts.json` in the record of a run."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.read_file import read_object, wrap_read_errors

FILE = "forecasts.json"
_DIGITS = 7
"""Significant digits of a value: those of float32, and more than a picture shows."""

Values = Sequence[float | None]
"""In original units; None where there is no finite value."""


@dataclass(frozen=True)
class Forecast:
    """What a model predicts from one origin, the last event that it reads.

    Attributes:
        target: the column.
        sequence: to which the origin belongs.
        origin: its position.
        before: values up to the origin, this one included.
        truth: values of the horizon, one for each step.
        predicted: by the model; of a distribution the median.
        seasonal: mean of the same season over earlier periods; None where the data have no period.
        low, high: the quantiles of 10 and 90 %; None without a distribution.
    """

    target: str
    sequence: str
    origin: str
    before: Values
    truth: Values
    predicted: Values
    seasonal: Values | None = None
    low: Values | None = None
    high: Values | None = None

    def __post_init__(self) -> None:
        optional = [values for values in (self.seasonal, self.low, self.high) if values is not None]
        if {len(values) for values in (self.predicted, *optional)} != {len(self.truth)}:
            raise ValueError(f"the forecast of `{self.target}` has series of different lengths")


def write_forecasts(folder: Path, forecasts: Iterable[Forecast]) -> Path:
    """Write the file into the record of a run; returns its path."""
    path = folder / FILE
    content = {
        "forecasts": [
            {
                name: _rounded(value) if isinstance(value, list | tuple) else value
                for name, value in asdict(each).items()
            }
            for each in forecasts
        ]
    }
    write_text(path, json.dumps(content, allow_nan=False) + "\n")
    return path


def read_forecasts(folder: Path) -> list[Forecast]:
    """Return the forecasts in the record of a run; none where it has no such file.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    fix = "train the run again"
    content = read_object("the forecasts", path, fix=fix)
    with wrap_read_errors("the forecasts", path, fix=fix):
        return [
            Forecast(**{name: _checked(name, value) for name, value in each.items()}) for each in content["forecasts"]
        ]


def _rounded(values: Values) -> list[float | None]:
    return [
        None if value is None or not math.isfinite(value) else float(f"{float(value):.{_DIGITS}g}") for value in values
    ]


def _checked(name: str, value: Any) -> Any:
    """Return a value of the file, if it has the type of its field."""
    if name in ("target", "sequence", "origin"):
        is_valid = isinstance(value, str)
    elif value is None:
        is_valid = name in ("seasonal", "low", "high")
    else:
        is_valid = isinstance(value, list) and all(
            each is None or (isinstance(each, int | float) and math.isfinite(each)) for each in value
        )
    if not is_valid:
        raise ValueError(f"`{name}` of a forecast has no valid value")
    return value
