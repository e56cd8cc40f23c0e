"""The splits of a run: finding, reading and checking them, and cutting them into windows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from sequifier.artifacts.events import Events, is_known, statistics_columns
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.metadata import Metadata, find_split
from sequifier.artifacts.shard_folder import content_digest, content_stat
from sequifier.artifacts.split_file import n_rows_of, read_events
from sequifier.config.horizon import horizon_problem
from sequifier.config.loading.paths import find_input
from sequifier.config.memory import reading_memory
from sequifier.config.resolve import still_open
from sequifier.config.train import TargetPosition, TrainConfig
from sequifier.dataset.batches import Split, in_batches
from sequifier.dataset.cache import EventCache
from sequifier.dataset.shuffled import ShuffledSplit
from sequifier.dataset.units import UnitIndex
from sequifier.dataset.windows import (
    WindowIndex,
    evaluation_windows,
    label_windows,
    most_steps,
    rows_from,
    training_windows,
)
from sequifier.errors import ConfigError, DataError, Problem
from sequifier.metrics.scoring import Scored

Digests = dict[tuple[Path, tuple[int, int]], str]
"""Path, size and modification time of a split -> digest of its content."""

DataPath = Literal["training_data_path", "validation_data_path"]
DATA_PATHS: tuple[DataPath, ...] = ("training_data_path", "validation_data_path")


def find_data(config: TrainConfig, key: DataPath) -> Path:
    """Return the file or folder of a split that a config names."""
    return find_input(getattr(config, key), config.project_root, key)


def map_from_disk(config: TrainConfig, metadata: Metadata) -> tuple[bool, list[str]]:
    """Return whether the splits are mapped from disk, and a warning if the config did not request it."""
    spec = config.training_spec
    if not spec.load_full_data_to_ram or spec.max_ram_gb is None:
        return not spec.load_full_data_to_ram, []
    found = {find_data(config, key) for key in DATA_PATHS}
    rows = [n_rows_of(path, config.read_format) for path in found]
    needed = reading_memory(sum(rows), len(_columns(config, metadata))) / 1e9
    if needed <= spec.max_ram_gb:
        return False, []
    warning = f"reading the splits would take about {needed:.3g} GB, max_ram_gb is {spec.max_ram_gb:g}: "
    return True, [warning + "they are mapped from disk instead, which changes no result"]


def _columns(config: TrainConfig, metadata: Metadata) -> list[str]:
    """Return input and target columns, in stored order, then what is stored beside the targets."""
    used = {*(config.input_columns or ()), *config.target_columns}
    by_sequence = [target for target in config.target_columns if target in metadata.by_sequence]
    beside = [name for target in by_sequence for name in statistics_columns(target)]
    beside += still_open(config, metadata).values()
    return [column for column in metadata.columns if column in used] + beside


def read_split(
    config: TrainConfig, key: DataPath, metadata: Metadata, cache: EventCache, *, mapped: bool
) -> Events | MappedEvents:
    """Read the events of a split, and compare them with the hashes of the metadata if these describe it."""
    path = find_split(metadata, getattr(config, key), config.project_root, key)
    hashes = _described(config, metadata).get(path.resolve())
    return cache.read(
        path,
        _columns(config, metadata),
        expected_hashes=hashes,
        format=config.read_format,
        mapped=mapped,
    )


def read_whole(config: TrainConfig, metadata: Metadata, column: str) -> Events:
    """Read one column of the validation split into memory, with ids and positions."""
    return _read_column(find_data(config, "validation_data_path"), config, metadata, column)


def read_earlier(config: TrainConfig, metadata: Metadata, column: str) -> list[Events]:
    """Read one column of the splits before the validation split, in which the histories of its sequences begin.

    Raises:
        DataError: the metadata do not say which splits these are.
    """
    path, splits = find_data(config, "validation_data_path").resolve(), [*_described(config, metadata)]
    if path not in splits:
        raise DataError(
            f"`{column}` cannot be ranked by the history of its sequences, which is not known: they have up to "
            f"{metadata.sequifier.context_events} events of context here, and the metadata do not name this split",
            where=str(path),
            fix="evaluate a split of the metadata, or preprocess with context_events above the longest sequence",
        )
    return [_read_column(split, config, metadata, column) for split in splits[: splits.index(path)]]


def _read_column(path: Path, config: TrainConfig, metadata: Metadata, column: str) -> Events:
    hashes = _described(config, metadata).get(path.resolve())
    return read_events(path, [column], expected_hashes=hashes, format=config.read_format)


def _described(config: TrainConfig, metadata: Metadata) -> dict[Path, dict[str, str]]:
    """Return the column hashes of the splits that the metadata describe."""
    known = [(config.root / split).resolve() for split in metadata.split_paths]
    return dict(zip(known, metadata.sequifier.column_hashes, strict=True))


def undescribed(config: TrainConfig, metadata: Metadata, digests: Digests) -> dict[str, str]:
    """Return what comparable runs have in common besides the data fingerprint, by field.

    These are digests of splits that the metadata do not describe, and how the metadata say that windows are cut.

    Args:
        config: resolved.
        metadata: of the data.
        digests: of earlier runs of this process; new ones are added.
    """
    found: dict[str, str] = {"subsequence_start_mode": metadata.sequifier.subsequence_start_mode}
    if config.training_spec.evaluation_context == "split":
        found["stride_by_split"] = repr(metadata.sequifier.stride_by_split)
    for key in DATA_PATHS:
        path = find_data(config, key).resolve()
        if path not in _described(config, metadata):
            place = (path, content_stat(path))
            if place not in digests:
                digests[place] = content_digest(path)
            found[key] = digests[place]
    return found


def padding_warnings(config: TrainConfig, *splits: Events | MappedEvents) -> list[str]:
    """Warn of windows that are longer than every sequence."""
    assert config.seq_length
    longest = max(int(np.diff(np.asarray(events.offsets)).max(initial=0)) for events in splits)
    if config.seq_length <= longest:
        return []
    return [
        f"seq_length {config.seq_length:,} exceeds the longest sequence, of {longest:,} events: every window begins "
        f"with padding, which costs time and memory; {longest} is enough"
    ]


def training_index(events: Events | MappedEvents, config: TrainConfig, metadata: Metadata) -> WindowIndex:
    """Return the training windows of a split, for targets of events."""
    assert config.seq_length and config.window_stride
    return training_windows(
        events.offsets,
        events.n_context,
        seq_length=config.seq_length,
        stride=config.window_stride,
        mode=metadata.sequifier.subsequence_start_mode,
        only_last=config.predicts_from_last,
        horizon=config.prediction_horizon,
    )


def evaluation_index(events: Events | MappedEvents, config: TrainConfig, metadata: Metadata) -> WindowIndex:
    """Return the evaluation windows of a split, for targets of events."""
    assert config.seq_length
    spec = config.training_spec
    horizon = config.prediction_horizon
    room = spec.evaluation_horizon or horizon
    if spec.evaluation_context == "split":
        strides = metadata.sequifier.stride_by_split
        windows = training_windows(
            events.offsets,
            events.n_context,
            seq_length=config.seq_length,
            stride=1 if config.predicts_from_last else strides[min(1, len(strides) - 1)],
            mode=metadata.sequifier.subsequence_start_mode,
            only_last=config.predicts_from_last,
            horizon=room,
        )
        return replace(windows.in_int64(), horizon=horizon)
    windows = evaluation_windows(
        events.offsets,
        events.n_context,
        seq_length=config.seq_length,
        stride=spec.evaluation_stride or max(config.seq_length // 2, 1),
        only_last=config.predicts_from_last,
        horizon=room,
    )
    return replace(windows, horizon=horizon)


def cut(
    events: Events | MappedEvents,
    index: Callable[[Events | MappedEvents, TrainConfig, Metadata], WindowIndex],
    config: TrainConfig,
    metadata: Metadata,
    device: torch.device,
) -> Split:
    """Return a split with its windows, ready to be gathered into batches.

    Args:
        events: of the split.
        index: returns the windows of targets of events, `training_index` or `evaluation_index`.
        config: resolved.
        metadata: of the data.
        device: of the batches.
    """
    assert config.input_columns and config.seq_length
    kinds = {column: metadata.kind(column) for column in config.input_columns}
    units = None
    if config.target_positions:  # the same sequences for all targets, those of one event included
        starts = np.asarray(events.offsets[:-1])
        units = UnitIndex(starts[np.diff(events.offsets) > events.n_context], "sequences")
    split = partial(
        _kind_of_split(config),
        events,
        categorical=[column for column, kind in kinds.items() if kind == "categorical"],
        real=[column for column, kind in kinds.items() if kind == "real"],
        seq_length=config.seq_length,
        device=device,
        units=units,
        still_open=still_open(config, metadata),
        known_future=config.known_future,
    )
    parts = [(targets, index(events, config, metadata)) for targets in [config.targets_at(None)] if targets]
    for position in get_args(TargetPosition):
        if targets := config.targets_at(position):
            parts.append((targets, label_windows(events, targets[0], every=position == "every")))
    (targets, windows), *rest = parts
    return split(
        windows, targets=targets, others=[split(others, targets=names, still_open={}) for names, others in rest]
    )


def _kind_of_split(config: TrainConfig) -> Callable[..., Split]:
    shuffled = config.training_spec.shuffle_history
    if shuffled == "none":
        return Split
    assert config.seed is not None
    return partial(ShuffledSplit, seed=config.seed, keeps_last=shuffled == "before_last")


def check_targets(split: Split, config: TrainConfig, name: str) -> None:
    """Check that a split has targets.

    Raises:
        DataError: the split has no known value of a target.
        ConfigError: all classes that it has have the weight 0.
    """
    for target in config.target_columns:
        part = split.of(target)
        if len(part) == 0 or int(part.n_known_targets(target).sum()) == 0:
            if target in config.target_positions:
                raise DataError(
                    f"the {name} split has no sequence with a known `{target}`", fix="add sequences to that split"
                )
            _check_horizon(part, config, name)
            raise DataError(
                f"the {name} split has no event of `{target}` to predict",
                fix="a target needs an event before it and a known value; add events to that split",
            )
        weights = (config.training_spec.class_weights or {}).get(target)
        if weights is not None and weights != "balanced" and 0 in weights[1:]:
            counts = part.n_targets_of_class(target, len(weights))
            if not any(count and weight for count, weight in zip(counts[1:], weights[1:], strict=True)):
                raise ConfigError(
                    [
                        Problem(
                            f"training_spec.class_weights.{target}",
                            f"every class of `{target}` that the {name} split has to predict has the weight 0",
                            fix="give one of them a weight above 0",
                        )
                    ]
                )


def _check_horizon(part: Split, config: TrainConfig, name: str) -> None:
    """Raise ConfigError where a split has no target because the horizon is too long for it."""
    horizon, spec = config.prediction_horizon, config.training_spec
    if is_valid := name == "validation":
        horizon = spec.evaluation_horizon or horizon
    sees_context = is_valid and spec.evaluation_context == "full"
    most = most_steps(part.events.offsets, part.events.n_context, sees_context=sees_context)
    if horizon > max(most, 1):
        raise ConfigError([horizon_problem(horizon, most, name)])


def check_scored(split: Split, scored: Mapping[str, Scored]) -> None:
    """Check that an evaluation split has a target of each column that counts in metrics.

    Raises:
        ConfigError: `scoring` leaves out all of them.
    """
    for target, rules in scored.items():
        part = split.of(target)
        for numbers in in_batches(np.arange(len(part)), 1 << 16):
            counts = part.n_targets(numbers)
            rows = rows_from(part.windows.counted[numbers], counts)
            n_before = rows - np.repeat(part.windows.first[numbers], counts)
            rows = (rows[n_before >= rules.min_events, None] + np.arange(part.horizon)).ravel()
            truth = part.events.columns[target][rows]
            if (is_known(truth) & ~np.isin(truth, rules.left_out)).any():
                break
        else:
            raise ConfigError(
                [
                    Problem(
                        "scoring",
                        f"no event of `{target}` in the validation split counts in metrics",
                        fix="a smaller min_events, or fewer classes in except",
                    )
                ]
            )
