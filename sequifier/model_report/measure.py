"""Measuring what a model does well: from a checkpoint to the numbers of the page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from sequifier.artifacts.events import Events
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.sequence_losses import Units
from sequifier.callbacks import Log
from sequifier.config.base import category_text
from sequifier.config.catalogue.metric_names import higher_is_better
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.errors import RunError
from sequifier.export.checkpoints import Checkpoint
from sequifier.export.models import Version
from sequifier.model_report.groups import (
    Group,
    Grouping,
    by_class,
    by_frequency,
    by_length,
    by_value,
    grouping,
    of_group,
    units_of,
)
from sequifier.model_report.positions import Positions, predict
from sequifier.prepare import Prepared, prepare
from sequifier.training.baselines.scores import PREFIX
from sequifier.training.evaluation_batch import evaluation_batch
from sequifier.training.shared import Shared

MOST_TARGETS = 500_000
"""Targets that are measured; of a larger split, windows that are evenly spaced."""

MOST_SHUFFLED = 20_000
"""Targets that are predicted from shuffled histories, each of which takes a row of a batch."""

MOST_COLUMNS = 12
"""Input columns by whose values the metrics are shown."""

N_WORST = 10
N_BINS = 10
SURE = 3.0
"""Standard errors by which a group must be worse than all targets to be named first."""


@dataclass(frozen=True)
class Bin:
    """Targets of similar confidence.

    Attributes:
        confidence: mean probability of the predicted class.
        accuracy: fraction of correct predictions.
        error: standard error of the accuracy, over sequences.
        n: number of targets.
    """

    confidence: float
    accuracy: float
    error: float | None
    n: int


@dataclass(frozen=True)
class Worst:
    """A sequence that is predicted badly.

    Attributes:
        sequence: its name.
        n: number of its targets.
        loss: mean loss of them.
        event: number of the event with the largest loss, from 1.
        truth: its true value; empty for a number.
        predicted: the predicted class.
    """

    sequence: str
    n: int
    loss: float
    event: int
    truth: str
    predicted: str


@dataclass(frozen=True)
class Shuffled:
    """The main metric of this model when it reads histories in random order.

    Attributes:
        events: which events are shuffled.
        ordered: the metric on the same targets in their true order.
        value: the metric on shuffled histories.
        worse: by how much it is worse.
        error: standard error of the difference, over sequences.
        n: number of targets.
    """

    events: Literal["all", "before_last"]
    ordered: float
    value: float
    worse: float
    error: float | None
    n: int


@dataclass(frozen=True)
class OfTarget:
    """What the model does well for one target.

    Attributes:
        name: the column.
        main: the metric that has standard errors.
        maximize: whether it is better when it is higher.
        metrics: the metrics that are shown, the main one first.
        overall: of all targets.
        n_unknown: number of targets that are left out, because their class is unknown (a miss in the run's metrics).
        baselines: name -> the metrics of a baseline.
        groupings: the targets in groups.
        bins: confidence and accuracy; empty for a real target.
        worst: the sequences with the largest losses.
        shuffled: what happens without the order; empty where nothing can be shuffled.
    """

    name: str
    main: str
    maximize: bool
    metrics: tuple[str, ...]
    overall: Group
    n_unknown: int
    baselines: Mapping[str, Mapping[str, float]]
    groupings: tuple[Grouping, ...]
    bins: tuple[Bin, ...]
    worst: tuple[Worst, ...]
    shuffled: tuple[Shuffled, ...]

    def weak(self) -> Iterator[tuple[Grouping, Group]]:
        """Yield the worst group of each grouping, where it is certainly worse than all targets together."""
        sign = -1 if self.maximize else 1
        all_of_them = self.overall.metrics[self.main]
        for each in self.groupings:
            known = [group for group in each.groups if group.error and self.main in group.metrics]
            if len(known) < 2:
                continue
            worst = max(known, key=lambda group: sign * group.metrics[self.main])
            assert worst.error is not None
            if sign * (worst.metrics[self.main] - all_of_them) > SURE * worst.error:
                yield each, worst


@dataclass(frozen=True)
class ModelReport:
    """What a model does well.

    Attributes:
        run: name of the run.
        weights: which weights: `best weights of epoch 3`.
        split: path of the split.
        n_events, n_sequences: of the split, without context.
        is_part: whether only a part of its targets was measured.
        targets: by target.
    """

    run: str
    weights: str
    split: str
    n_events: int
    n_sequences: int
    is_part: bool
    targets: tuple[OfTarget, ...]


def measure(checkpoint: Checkpoint, version: Version, log: Log) -> ModelReport:
    """Measure the weights of a checkpoint on the validation split, on the CPU.

    Raises:
        RunError: the run has a horizon, which this does not support.
        ConfigError, DataError: as `prepare`; the splits have changed, for instance.
    """
    config = checkpoint.config
    if config.prediction_horizon > 1:
        raise RunError(
            f"the report does not support prediction_horizon (here {config.prediction_horizon})",
            where=str(checkpoint.path),
            fix="leave out --report; metrics by step are in the run's log and card",
        )
    spec = config.training_spec.model_copy(update={"device": "cpu", "load_full_data_to_ram": True})
    config = config.model_copy(update={"training_spec": spec, "export_end_to_end": False, "export_top_k": None})
    shared = Shared()

    def emit(event: str, **fields: Any) -> None:
        if event == "stage":
            log(f"report: {fields['stage']}")

    ready = prepare(config, shared, emit, data=checkpoint.metadata.fingerprint, requires_metric=False)
    ready.state.model.load_state_dict(dict(version.weights))
    log(f"report: predicting {ready.valid.windows.n_targets:,} targets")
    found = _predicted(ready, ready.valid, MOST_TARGETS)
    log("report: predicting from shuffled histories")
    shuffled = {"none": _predicted(ready, ready.valid, MOST_SHUFFLED)}
    for which in ("all", "before_last"):
        spec = ready.config.training_spec.model_copy(update={"shuffle_history": which})
        other = prepare(config.model_copy(update={"training_spec": spec}), shared, requires_metric=False)
        shuffled[which] = _predicted(ready, other.valid, MOST_SHUFFLED)
    events, paths = ready.valid.events, checkpoint.metadata.split_paths
    return ModelReport(
        run=config.model_name,
        weights=f"{version.name} weights, epoch {version.epoch}",
        split=config.validation_data_path or paths[min(1, len(paths) - 1)],
        n_events=int(events.offsets[-1] - np.asarray(events.n_context).sum()),
        n_sequences=len(events.n_context),
        is_part=any(len(found[target]) < ready.valid.of(target).n_known_targets(target).sum() for target in found),
        targets=tuple(
            _of_target(target, found[target], ready, {name: each[target] for name, each in shuffled.items()})
            for target in found
        ),
    )


def _predicted(ready: Prepared, split: Split, limit: int) -> dict[str, Positions]:
    size = evaluation_batch(ready.state.model, split, ready.config.training_spec.batch_size)
    return predict(ready.state.model, split, ready.objective, batch_size=size, limit=limit)


def _of_target(name: str, found: Positions, ready: Prepared, shuffled: Mapping[str, Positions]) -> OfTarget:
    overall = of_group("all", found, slice(None), "loss")
    main = _main_metric(name, found, ready.config, overall.metrics)
    overall = of_group("all", found, slice(None), main)
    maximize = higher_is_better(f"val_{name}_{main}")
    others = ("accuracy", "log_loss", "mae", "rmse", "crps", "coverage_80", "nll", "brier")
    metrics = tuple(dict.fromkeys([main, *(metric for metric in others if metric in overall.metrics)]))
    keys, part = {metric: f"val_{name}_{metric}" for metric in metrics}, ready.valid.of(name)
    baselines = {
        baseline.removeprefix(PREFIX): {
            metric: each.metrics[key] for metric, key in keys.items() if key in each.metrics
        }
        for baseline, each in ready.baselines.items()
    }
    return OfTarget(
        name=name,
        main=main,
        maximize=maximize,
        metrics=metrics,
        overall=overall,
        n_unknown=int((part.n_targets() - part.n_known_targets(name)).sum()),
        baselines={baseline: values for baseline, values in baselines.items() if values},
        groupings=tuple(each for each in _groupings(name, found, ready, main) if len(each.groups) > 1),
        bins=tuple(_bins(found)),
        worst=tuple(_worst(name, found, ready)),
        shuffled=tuple(_shuffled(shuffled, main, maximize=maximize)),
    )


def _main_metric(name: str, found: Positions, config: TrainConfig, known: Mapping[str, float]) -> str:
    """Return the run's metric where it is about this target and a mean, and else accuracy or the mean error."""
    asked = config.metric.removeprefix(f"val_{name}_")
    if asked != config.metric and asked in known and units_of(found, slice(None), asked) is not None:
        return asked
    return next(metric for metric in ("accuracy", "mae", "loss") if metric in known)


def _groupings(name: str, found: Positions, ready: Prepared, main: str) -> Iterator[Grouping]:
    metadata, columns = ready.metadata, ready.valid.events.columns
    if found.truth is not None:
        classes = _classes(metadata, name)
        yield grouping("true class", found, *by_class(found.truth, classes), main)
        counts = ready.train.of(name).n_targets_of_class(name, metadata.n_classes[name])[1:]
        if len(classes) > len(by_class(found.truth, classes)[1]):
            yield grouping("frequency of the true class", found, *by_frequency(found.truth, counts), main)
    else:
        values = _original(metadata, name, columns[name][found.rows])
        yield grouping("true value", found, *by_value(values), main)
    yield grouping("events before it", found, *by_length(found.history), main)
    for column in list(ready.config.input_columns or ())[:MOST_COLUMNS]:
        values = columns[column][found.rows - found.ahead]
        by = f"{column} of the last event"
        if metadata.kind(column) == "categorical":
            yield grouping(by, found, *by_class(values.astype(np.int64) - 1, _classes(metadata, column)), main)
        else:
            yield grouping(by, found, *by_value(_original(metadata, column, values)), main)


def _classes(metadata: Metadata, column: str) -> list[str]:
    return [category_text(category) for category in metadata.categories(column)]


def _original(metadata: Metadata, column: str, values: Any) -> Any:
    scale = metadata.scale(column)
    return np.asarray(scale.original(np.asarray(values, np.float64)), np.float64)


def _bins(found: Positions) -> Iterator[Bin]:
    """Targets in bins of about equal size by confidence."""
    if found.confidence is None:
        return
    order = np.argsort(found.confidence, kind="stable")
    edges = np.linspace(0, len(order), min(N_BINS, len(order)) + 1).astype(np.int64)
    for start, end in pairwise(edges):
        chosen = order[start:end]
        units = units_of(found, chosen, "accuracy")
        assert units is not None
        yield Bin(float(found.confidence[chosen].mean()), units.value, units.standard_error, len(chosen))


def _worst(name: str, found: Positions, ready: Prepared) -> Iterator[Worst]:
    loss, events = found.parts["loss"].value, ready.valid.events
    assert isinstance(events, Events)
    n = np.bincount(found.sequence)
    mean = np.divide(np.bincount(found.sequence, loss), n, out=np.full(len(n), -np.inf), where=n > 0)
    classes = None if found.truth is None else _classes(ready.metadata, name)
    for sequence in np.argsort(-mean, kind="stable")[:N_WORST]:
        if not n[sequence]:
            return
        own = np.flatnonzero(found.sequence == sequence)
        worst = own[loss[own].argmax()]
        row = found.rows[worst]
        truth, predicted = "", ""
        if classes is not None:
            assert found.truth is not None and found.predicted is not None
            truth, predicted = classes[found.truth[worst]], classes[found.predicted[worst]]
        else:
            truth = f"{float(_original(ready.metadata, name, events.columns[name][row])):.4g}"
        place = int(row - events.offsets[sequence]) + 1
        of_sequence = str(events.sequence_ids[sequence])
        yield Worst(of_sequence, int(n[sequence]), float(mean[sequence]), place, truth, predicted)


def _shuffled(found: Mapping[str, Positions], main: str, *, maximize: bool) -> Iterator[Shuffled]:
    ordered = units_of(found["none"], slice(None), main)
    if ordered is None or not (found["none"].history > 1).any():
        return
    for events in ("all", "before_last"):
        units = units_of(found[events], slice(None), main)
        assert units is not None
        sign = 1 if maximize else -1
        paired = Units(sign * (ordered.total - units.total), ordered.count, "sequences")
        yield Shuffled(
            "all" if events == "all" else "before_last",
            ordered.value,
            units.value,
            paired.value,
            paired.standard_error,
            len(found[events]),
        )
