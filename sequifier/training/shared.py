"""What the runs of one process share: data, and what follows from the data and a few fields alone.

A search trains many models on the same splits. The key of each entry holds all that its value depends on.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.shard_folder import content_stat
from sequifier.artifacts.split_file import read_sequence_ids
from sequifier.callbacks import Emit
from sequifier.config.architecture import Architecture
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.dataset.cache import EventCache
from sequifier.dataset.naive import naive_errors
from sequifier.dataset.ranking.candidates import Candidates, build_candidates
from sequifier.training.baselines.history import TrainingData
from sequifier.training.baselines.scores import baselines
from sequifier.training.baselines.time_to_event import clock_of
from sequifier.training.objective import Objective
from sequifier.training.splits import DATA_PATHS, Digests, find_data, read_earlier, read_whole
from sequifier.training.tally import Evaluation


@dataclass
class Shared:
    """What the runs of one process share; a warm worker keeps one."""

    events: EventCache = field(default_factory=EventCache)
    baselines: dict[tuple[Any, ...], dict[str, Evaluation]] = field(default_factory=dict)
    digests: Digests = field(default_factory=dict)
    candidates: dict[tuple[Any, ...], dict[str, Candidates]] = field(default_factory=dict)  # of the last splits
    naive: dict[tuple[Any, ...], dict[str, NDArray[np.float64]]] = field(default_factory=dict)  # of the last splits
    said: set[str] = field(default_factory=set)  # warnings that were reported already


def find_candidates(
    shared: Shared,
    train: Events | MappedEvents,
    valid: Events | MappedEvents,
    metadata: Metadata,
    config: TrainConfig,
) -> dict[str, Candidates]:
    """Return the candidates of ranked targets in the evaluated split."""
    if not config.ranking:
        return {}
    key = (*_of_data(config, metadata), repr(config.ranking))
    if key not in shared.candidates:
        shared.candidates.clear()
        shared.candidates[key] = build_candidates(
            config.ranking,
            # Mapped columns are without ids and positions.
            split=lambda target: valid if isinstance(valid, Events) else read_whole(config, metadata, target),
            earlier=lambda target: read_earlier(config, metadata, target),
            train=train,
            n_classes=metadata.n_classes,
            context_events=metadata.sequifier.context_events,
            fingerprint=metadata.fingerprint,
            end_ids=metadata.end_ids,
        )
    return shared.candidates[key]


def find_naive_errors(
    shared: Shared,
    train: Events | MappedEvents,
    valid: Events | MappedEvents,
    shape: Architecture,
    metadata: Metadata,
    config: TrainConfig,
) -> dict[str, NDArray[np.float64]]:
    """Return the errors of the seasonal naive forecast of each real target in the evaluated sequences."""
    targets = [target.name for target in shape.targets if target.kind == "real" and not target.of_sequence]
    if not targets:
        return {}
    key = (*_of_data(config, metadata), *targets)
    if key not in shared.naive:
        shared.naive.clear()
        train_ids, ids = (
            events.sequence_ids if isinstance(events, Events) else read_sequence_ids(path, config.read_format)
            for events, path in zip((train, valid), _paths(config), strict=True)
        )
        has_start = metadata.sequifier.has_start
        found = {
            name: naive_errors(train, name, metadata.scale(name), train_ids, has_start=has_start) for name in targets
        }
        shared.naive[key] = {name: errors.of(ids) for name, errors in found.items() if errors is not None}
    return shared.naive[key]


def find_baselines(
    shared: Shared,
    train: Events | MappedEvents,
    valid: Split,
    objective: Objective,
    metadata: Metadata,
    config: TrainConfig,
    emit: Emit,
) -> dict[str, Evaluation]:
    """Return the evaluations of the baselines, and notify `emit` where they must be computed."""
    spec = config.training_spec
    assert config.input_columns
    key = (
        *_of_data(config, metadata),
        spec.evaluation_context,
        config.seq_length,  # what a window shows of the past
        spec.evaluation_stride,
        (frozenset(config.input_columns), frozenset(config.known_future)),
        repr((config.ranking, config.scoring)),
        repr((config.target_columns, spec.criterion, spec.class_weights, objective.weights, objective.ranked_by)),
        repr(config.model_spec.distribution),
        repr((config.target_positions, config.positive_class)),
        (config.prediction_horizon, config.horizon_metrics, spec.evaluation_horizon, config.predicts_from_last),
    )
    if key not in shared.baselines:
        emit("stage", stage="baselines")
        data = TrainingData(train, config.input_columns, metadata.n_classes, valid.seq_length, config.known_future)
        clock = clock_of(metadata, config.input_columns)
        shared.baselines[key] = baselines(data, valid, objective, config.target_positions, clock)
    return shared.baselines[key]


def _paths(config: TrainConfig) -> list[Path]:
    return [find_data(config, key) for key in DATA_PATHS]


def _of_data(config: TrainConfig, metadata: Metadata) -> tuple[Any, ...]:
    """Return the part of a key that holds the splits."""
    return (metadata.fingerprint, *((path, content_stat(path)) for path in _paths(config)))
