"""Trials, configurations and what is computed from them as values that JSON has."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from sequifier.results.ranking import Configuration
from sequifier.results.trials import Table, Trial, finite

_OF_ROW = (
    *("rank", "first", "value", "standard_error", "standard_error_by", "degrees", "skill", "n_seeds"),
    *("is_indistinguishable", "beats_baselines", "n_parameters", "seconds"),
)
_LEFT_OUT = ("values", "varied", "curves", "sums")
"""Fields of trials and tables whose content is in others, or which only locate files."""


def plain(value: Any) -> Any:
    """Return maps, lists, strings, numbers, booleans and None; NaN and infinity as None."""
    if isinstance(value, Configuration):
        return {"trials": list(value.numbers), "parameters": plain(value.settings)} | {
            name: plain(getattr(value, name)) for name in _OF_ROW
        }
    if is_dataclass(value) and not isinstance(value, type):
        left_out = _LEFT_OUT if isinstance(value, Trial | Table) else ()
        names = [field.name for field in fields(value) if field.name not in left_out]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return finite(value)
    return value
