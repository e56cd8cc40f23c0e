"""Check that the splits have the targets that a search needs, before anything trains."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.event_parts import read_event_parts
from sequifier.artifacts.events import Events, is_known
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.split_file import format_of, read_events
from sequifier.config.base import category_text
from sequifier.config.horizon import horizon_problem
from sequifier.config.loading.paths import find_input
from sequifier.config.search import SearchConfig
from sequifier.dataset.windows import evaluation_windows, label_windows, most_steps, training_windows
from sequifier.errors import ConfigError, Problem

Array = NDArray[Any]

TEST = 2
"""Number of the split on which the winner is scored."""


def check_splits(config: SearchConfig, metadata: Metadata) -> None:
    """Check the lengths of the sequences, if a run of the search has a horizon, and the targets of a test split.

    A split that is missing is reported elsewhere, when the search starts.

    Raises:
        ConfigError: a split has no target for the longest horizon, or the test split none that counts.
        DataError: a split cannot be read.
    """
    _check_horizons(config, metadata)
    if len(metadata.split_paths) > TEST and (test := _found(config, metadata.split_paths[TEST], "test")) is not None:
        _check_test(config, metadata, test)


def _check_horizons(config: SearchConfig, metadata: Metadata) -> None:
    spec = dict(config.training_hyperparameter_sampling)
    longest = config.horizons[1]
    needed = (("training", 0, longest), ("validation", 1, _room(config)))
    if max(steps for _, _, steps in needed) == 1:
        return
    splits = metadata.split_paths
    for name, number, steps in needed:
        key = f"{name}_data_path"
        path = _found(config, getattr(config, key) or splits[min(number, len(splits) - 1)], key)
        if path is None:
            continue
        events = read_events(path, [], expected_hashes=None, format=config.read_format)
        sees_context = number == 1 and spec["evaluation_context"] == "full"
        most = most_steps(events.offsets, events.n_context, sees_context=sees_context)
        if steps > max(most, 1):
            raise ConfigError([horizon_problem(steps, most, name)])


def _found(config: SearchConfig, path: str, key: str) -> Path | None:
    try:
        return find_input(path, config.project_root, key)
    except ConfigError:
        return None


def _check_test(config: SearchConfig, metadata: Metadata, path: Path) -> None:
    """Raise ConfigError where a target has no value in the test split that counts; it is read until each has one."""
    if format_of(path) == "pt":  # which only torch can read
        return
    missing, unscored = [target for target in config.target_columns if target in metadata.columns], set()
    for events in read_event_parts(path, tuple(missing)):
        for target in tuple(missing):
            truth, n_before = _targets(config, metadata, events, target)
            known = is_known(truth)
            if known.any():
                unscored.add(target)
            if (known & _is_scored(config, metadata, target, truth, n_before)).any():
                missing.remove(target)
        if not missing:
            return
    target, where = missing[0], "in the test split, on which the best run is scored,"
    if target in unscored:
        what = f"no event of `{target}` {where} counts in metrics"
        raise ConfigError([Problem("scoring", what, fix="a smaller min_events, or fewer classes in except")])
    steps, fix = _room(config), "preprocess with a larger test split, or without one"
    ahead = f" of the {steps} steps of prediction_horizon" if steps > 1 else ""
    what = f"there is no event{ahead} {where} of which `{target}` is to be predicted"
    raise ConfigError([Problem("target_columns", what, fix=fix)])


def _targets(config: SearchConfig, metadata: Metadata, events: Events, target: str) -> tuple[Array, Array]:
    """Return the true values of some targets at all steps, (M, H), and the number of events before each, (M, 1)."""
    if target in metadata.sequence_columns:
        windows, steps = label_windows(events, target, every=False), 1
    else:
        steps = _room(config)
        sees_context = dict(config.training_hyperparameter_sampling)["evaluation_context"] == "full"
        cut = evaluation_windows if sees_context else training_windows
        windows = cut(events.offsets, events.n_context, seq_length=1, stride=1, only_last=True, horizon=steps)
    rows = windows.last[:, None] + np.arange(steps)
    return events.columns[target][rows], (windows.last - windows.first)[:, None]


def _is_scored(config: SearchConfig, metadata: Metadata, target: str, truth: Array, n_before: Array) -> Array:
    """Return which targets count in metrics, (M, H)."""
    scoring = config.scoring
    if scoring is None or target in metadata.sequence_columns:
        return np.full_like(truth, True, dtype=bool)
    ids = [metadata.id_maps[target][category_text(label)] for label in scoring.left_out.get(target, ())]
    return (n_before >= scoring.min_events) & ~np.isin(truth, ids)


def _room(config: SearchConfig) -> int:
    """Return the number of steps that the best run is scored on."""
    evaluated: int | None = dict(config.training_hyperparameter_sampling)["evaluation_horizon"]
    return evaluated or config.horizons[1]
