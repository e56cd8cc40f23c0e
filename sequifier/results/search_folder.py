"""What a search stores beside its ledger, in `logs/[hp_search_name]`: its config, its baselines, the test score."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sequifier.artifacts.read_file import object_or_none

CONFIG_FILE = "search.yaml"
"""The config of the search, in one piece."""

BASELINES_FILE = "baselines.json"
TEST_FILE = "test.json"


def order_sums(folder: Path, run: int) -> Path:
    """The file of artifacts/sequence_losses.py with the sums of a run of `order_check` on the test split."""
    return folder / f"order_losses-run-{run}.npz"


def read_baselines(folder: Path) -> dict[str, dict[str, float]]:
    """Baseline -> metrics; empty where the file is missing or damaged: the next run computes them again."""
    content = object_or_none(folder / BASELINES_FILE) or {}
    scores = {name: values for name in content if (values := _scores(content[name])) and "val_loss" in values}
    return scores if len(scores) == len(content) else {}


def is_better_baseline(one: Mapping[str, float], other: Mapping[str, float], metric: str, *, maximize: bool) -> bool:
    """Whether one result of a baseline is better than another one of the same name.

    Args:
        one, other: metrics.
        metric: that ranks; val_loss decides where a result lacks it, and between equal ones.
        maximize: whether higher is better.
    """
    if metric not in one or metric not in other or one[metric] == other[metric]:
        return one["val_loss"] < other["val_loss"]
    return one[metric] > other[metric] if maximize else one[metric] < other[metric]


def read_test(folder: Path) -> dict[str, Any]:
    """`run` and `metrics` of the winner on the test split; empty where the file is missing or damaged."""
    found = object_or_none(folder / TEST_FILE) or {}
    metrics = _scores(found.get("metrics"))
    return found if isinstance(found.get("run"), int) and metrics is not None and "val_loss" in metrics else {}


def _scores(values: Any) -> dict[str, float] | None:
    """A map of finite numbers, else None."""
    return values if isinstance(values, dict) and all(map(_is_number, values.values())) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
