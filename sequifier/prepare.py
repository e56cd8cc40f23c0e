"""Prepare a run: read the data, build model, optimizer and scheduler, and check them against each other."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.metadata import Metadata, check_planned, find_metadata, read_metadata
from sequifier.callbacks import Emit
from sequifier.config.architecture import Architecture, architecture
from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import ignored_fields
from sequifier.config.horizon import origins_input
from sequifier.config.ranking import positive_inputs, ranking_inputs
from sequifier.config.resolve import check_schedule, resolve, unused_min_events
from sequifier.config.scoring import scoring_input
from sequifier.config.size import parameter_count, size_text
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.errors import ConfigError, DataError, Problem, SequifierError
from sequifier.export.raw_times import name_clash
from sequifier.machine import memory_bytes
from sequifier.metrics.scoring import scored_targets
from sequifier.model.build import build_model
from sequifier.model.deterministic import use_deterministic_algorithms
from sequifier.model.device import NoDeviceError, choose_device
from sequifier.model.transformer import Transformer
from sequifier.training.class_weights import class_weights
from sequifier.training.compiling import compiles
from sequifier.training.distributions import distribution_losses
from sequifier.training.labels import build_labels, missing_metrics, positive_classes
from sequifier.training.losses import TargetLoss, build_losses
from sequifier.training.memory import keep_freed_memory
from sequifier.training.objective import Objective
from sequifier.training.optimizers import build_optimizer
from sequifier.training.precision import build_precision, kept_in_float32
from sequifier.training.sampled_softmax import ClassSampler
from sequifier.training.samples import check_sampling
from sequifier.training.schedules import build_schedule
from sequifier.training.shared import Shared, find_baselines, find_candidates, find_naive_errors
from sequifier.training.splits import (
    check_scored,
    check_targets,
    cut,
    evaluation_index,
    map_from_disk,
    padding_warnings,
    read_split,
    training_index,
    undescribed,
)
from sequifier.training.state import TrainState
from sequifier.training.tally import Evaluation
from sequifier.training.threads import set_threads


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to train."""

    config: TrainConfig  # resolved
    metadata: Metadata
    architecture: Architecture
    device: torch.device
    train: Split
    valid: Split
    objective: Objective
    state: TrainState
    baselines: dict[str, Evaluation]
    baseline_seconds: float  # 0 where an earlier run of this process had computed them
    warnings: list[str]
    inputs: dict[str, str]  # what comparable runs have in common, besides the fingerprint: field -> value or digest

    def check_unchanged(self) -> None:
        """Check that splits mapped from disk have not changed since they were checked.

        Raises:
            DataError: the file was written to.
        """
        with _shared_by_all_runs():
            for split in (self.train, self.valid):
                if isinstance(split.events, MappedEvents):
                    split.events.file.check_unchanged()


def prepare(
    config: TrainConfig,
    shared: Shared,
    emit: Emit | None = None,
    *,
    data: str | None = None,
    requires_metric: bool = True,
) -> Prepared:
    """Read the data, check that config and data fit, and build the model with its optimizer.

    Args:
        config: as `run`.
        shared: as `run`.
        emit: notified when the baselines are computed; None: they are not needed.
        data: the required data fingerprint; None: any.
        requires_metric: whether the metric that ranks runs must have a value on the validation split.

    Raises:
        ConfigError, DataError: as `run`.
    """
    with _shared_by_all_runs():
        metadata = _metadata(config, data)
    config = resolve(config, metadata)
    _check_end_to_end(config, metadata)
    if config.training_spec.sampling_interval_steps is not None:
        check_sampling(metadata, config, config.training_spec.sampling_prompt)
    with _shared_by_all_runs():
        device, of_device = find_device(config.training_spec.device)
    seed = config.seed
    assert seed is not None
    _prepare_torch(config, seed, device)
    splits = _read_splits(config, metadata, shared, device)
    train, valid = splits.train, splits.valid
    config, of_schedule = _of_data(config, metadata, train)
    inputs = _common_inputs(config, metadata, shared)
    spec = config.training_spec
    shape = architecture(config, metadata)
    if device.type == "cpu":
        _check_weights_fit(shape)
    model = build_model(shape, torch.Generator().manual_seed(seed)).to(device)
    objective = _objective(config, metadata, shape, splits, model, shared)
    if requires_metric:
        _check_mase(config, shape, objective.naive)
    check_scored(valid, objective.scored)
    of_scoring = unused_min_events(config, metadata)
    odd = [of_schedule, ignored_fields(spec.optimizer), kept_in_float32(spec), of_scoring]
    warnings = [*filter(None, odd), *splits.why_mapped]
    if of_device is not None and of_device not in shared.said:
        shared.said.add(of_device)
        warnings.append(of_device)
    if config.cpu_threads is not None and config.cpu_threads > (processors := os.cpu_count() or 1):
        warnings.append(f"cpu_threads {config.cpu_threads} exceeds the {processors} processors of this machine")
    warnings += padding_warnings(config, splits.train_events, splits.valid_events)
    warnings += missing_metrics(objective.labels, valid, config.metric if requires_metric else None)
    optimizer = build_optimizer(spec.optimizer, model, learning_rate=spec.learning_rate, decay_all=spec.decay_all)
    n_steps = spec.optimizer_steps(train.n_windows)
    schedule = build_schedule(
        spec.scheduler,
        optimizer,
        epochs=spec.epochs,
        steps=n_steps,
        step_on=spec.scheduler_step_on,
        warmup_steps=spec.warmup_steps,
    )
    batch_numbers = spec.batch_size * shape.seq_length * shape.dim_model
    precision = build_precision(spec, device.type, batch_numbers=batch_numbers, dim_model=shape.dim_model)
    state = TrainState(model, optimizer, schedule, precision)
    if compiles(spec, shape, n_windows=train.n_windows, device_type=device.type):
        model.compile_blocks(spec.batch_size)
    started = time.perf_counter()
    scores = {}
    if emit is not None:
        scores = find_baselines(shared, splits.train_events, valid, objective, metadata, config, emit)
    seconds = time.perf_counter() - started
    return Prepared(config, metadata, shape, device, train, valid, objective, state, scores, seconds, warnings, inputs)


@dataclass(frozen=True)
class _Splits:
    """The training and the validation split of a run: the events, and the windows cut from them."""

    train_events: Events | MappedEvents
    valid_events: Events | MappedEvents
    train: Split
    valid: Split
    why_mapped: list[str]  # warnings on how they are read


def _read_splits(config: TrainConfig, metadata: Metadata, shared: Shared, device: torch.device) -> _Splits:
    with _shared_by_all_runs():
        mapped, why_mapped = map_from_disk(config, metadata)
        train_events = read_split(config, "training_data_path", metadata, shared.events, mapped=mapped)
        valid_events = read_split(config, "validation_data_path", metadata, shared.events, mapped=mapped)
    train = cut(train_events, training_index, config, metadata, device)
    valid = cut(valid_events, evaluation_index, config, metadata, device)
    check_targets(train, config, "training")
    check_targets(valid, config, "validation")
    return _Splits(train_events, valid_events, train, valid, why_mapped)


def _of_data(config: TrainConfig, metadata: Metadata, train: Split) -> tuple[TrainConfig, str | None]:
    """Return a config with what follows from the training windows, and a warning about its schedule."""
    spec = config.training_spec
    spec, warning = check_schedule(spec, steps=spec.optimizer_steps(train.n_windows))
    positive_class = positive_classes(config, train, metadata)
    return config.model_copy(update={"training_spec": spec, "positive_class": positive_class}), warning


def _common_inputs(config: TrainConfig, metadata: Metadata, shared: Shared) -> dict[str, str]:
    """Return what comparable runs have in common, besides the fingerprint: field -> value or digest."""
    with _shared_by_all_runs():
        return {
            **undescribed(config, metadata, shared.digests),
            **ranking_inputs(config.ranking),
            **scoring_input(config.scoring),
            **origins_input(config.training_spec.evaluation_horizon or config.prediction_horizon),
            **positive_inputs(config.positive_class),
        }


def _objective(
    config: TrainConfig, metadata: Metadata, shape: Architecture, splits: _Splits, model: Transformer, shared: Shared
) -> Objective:
    spec, train = config.training_spec, splits.train
    of_classes = class_weights(spec.class_weights, train, metadata.id_maps)
    scales = {column: metadata.scale(column) for column in metadata.real_columns}
    of_distributions = distribution_losses(
        model, shape, train.events, scales, config.target_positions, metadata.sequifier
    )
    others = [target for target in shape.targets if target.distribution is None]
    criteria = {target.name: Named(name=metadata.default_criterion(target.name)) for target in others} | spec.criterion
    losses: dict[str, TargetLoss] = {**build_losses(others, criteria, of_classes), **of_distributions}
    of_events = [target.name for target in shape.targets if not target.of_sequence]
    events = splits.train_events, splits.valid_events
    with _shared_by_all_runs():
        candidates = find_candidates(shared, *events, metadata, config)
        naive = find_naive_errors(shared, *events, shape, metadata, config)
    return Objective(
        losses={target.name: losses[target.name] for target in shape.targets},
        weights={target.name: 1.0 for target in shape.targets} | (spec.loss_weights or {}),
        scales=scales,
        ranked_by=config.metric,
        candidates=candidates,
        labels=build_labels(config, metadata),
        scored=scored_targets(config.scoring, of_events, metadata.end_ids, metadata.id_maps),
        loss_memory_mb=spec.loss_memory_mb,
        n_steps=config.horizon_metrics,
        samplers={
            target: ClassSampler.of(
                asked, train.of(target).n_targets_of_class(target, metadata.n_classes[target])[1:], train.device
            )
            for target, asked in spec.softmax.items()
            if asked != "full"
        },
        naive=naive,
    )


def _prepare_torch(config: TrainConfig, seed: int, device: torch.device) -> None:
    set_threads(config.cpu_threads)
    keep_freed_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device takes this one: pinned memory, Triton, autocast
    use_deterministic_algorithms(config.training_spec.enforce_determinism)
    torch.manual_seed(seed)  # dropout alone draws from torch's default generator; a GPU in use is seeded too


def find_device(name: str) -> tuple[torch.device, str | None]:
    """The device of this name, and a warning about the choice, as `model.device.choose_device`.

    Raises:
        ConfigError: this machine has no such device, or it cannot be used.
    """
    try:
        return choose_device(name)
    except NoDeviceError as error:
        raise ConfigError([Problem("training_spec.device", str(error), fix=error.fix)]) from error


@contextmanager
def _shared_by_all_runs() -> Iterator[None]:
    """Mark errors inside as shared: they concern what every run of a search needs, data or a device."""
    try:
        yield
    except SequifierError as error:
        error.is_shared = True
        raise
    except OSError as error:  # a file that was removed meanwhile
        if error.errno in (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT):
            raise
        missing = DataError(
            f"the data cannot be read: {error.strerror or error}",
            where=str(error.filename or ""),
            fix="restore the file, or run `sequifier preprocess` again",
        )
        missing.is_shared = True
        raise missing from error


def _metadata(config: TrainConfig, data: str | None) -> Metadata:
    path = find_metadata(config.metadata_config_path, config.project_root)
    metadata = read_metadata(path)
    if data is not None:
        check_planned(metadata, data, path)
    return metadata


def _check_end_to_end(config: TrainConfig, metadata: Metadata) -> None:
    """Raise ConfigError where a column has the name of an input for dates in the graph that takes raw values."""
    inputs = config.input_columns or metadata.input_columns
    times = metadata.sequifier.only(inputs)
    clash = name_clash((name for name in inputs if name not in times.derived), times)
    if config.export_end_to_end and clash is not None:
        what = f"column `{clash}` has the name of an input for dates in that model"
        raise ConfigError([Problem("export_end_to_end", what, fix="rename it in the raw data and preprocess again")])


def _check_weights_fit(shape: Architecture) -> None:
    """Refuse a model whose weights alone exceed the memory: the system would end the process without a message.

    Raises:
        ConfigError: the weights do not fit.
    """
    weights, available = 4 * parameter_count(shape), memory_bytes()
    if weights > available:
        of_classes = dict(shape.categorical) | {t.name: t.n_classes for t in shape.targets}
        most = max(of_classes, key=of_classes.__getitem__, default="")
        classes = f" (column `{most}` has {of_classes[most]:,} classes)" if of_classes.get(most) else ""
        message = f"the model's weights take {size_text(weights)}{classes}; this machine has {size_text(available)}"
        fix = "a smaller model, or fewer categories: min_count or max_categories in the preprocess config"
        raise ConfigError([Problem("model_spec", message, fix=fix)])


def _check_mase(config: TrainConfig, shape: Architecture, naive: Mapping[str, Any]) -> None:
    """Raise ConfigError where `metric` is a mase that has no value."""
    for target in shape.targets:
        if config.metric == f"val_{target.name}_mase" and target.name not in naive:
            why = "belongs to the whole sequence" if target.of_sequence else "has no training values that differ"
            what = f"`{target.name}` {why}, so there is no seasonal naive forecast to compare with"
            raise ConfigError([Problem("metric", what, fix=f"write metric: val_{target.name}_mae")])
