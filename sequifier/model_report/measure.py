"""Measuring what a model does well: from a checkpoint to the numbers of the page."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, scale_at
from sequifier.artifacts.metadata import Metadata
from sequifier.callbacks import Log
from sequifier.config.base import category_text
from sequifier.config.catalogue.distributions import LEVELS, Q10, Q90
from sequifier.config.catalogue.metric_names import higher_is_better, split_step, step_name
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.export.checkpoints import Checkpoint
from sequifier.export.models import Version
from sequifier.metrics.predictions import SCORED
from sequifier.model_report.found import Bin, ModelReport, OfTarget, Shuffled, Steps, Worst
from sequifier.model_report.groups import (
    Grouping,
    by_class,
    by_frequency,
    by_length,
    by_step,
    by_unit,
    by_value,
    grouping,
    of_group,
    units_of,
)
from sequifier.model_report.positions import Positions, Rows, predict
from sequifier.prepare import Prepared, prepare
from sequifier.training.baselines import categorical, labels, series
from sequifier.training.baselines.scores import PREFIX
from sequifier.training.evaluation_batch import evaluation_batch
from sequifier.training.forecasts import some_forecasts
from sequifier.training.losses import DistributionLoss
from sequifier.training.shared import Shared

MOST_ORIGINS, MOST_TARGETS = 500_000, 2_000_000
"""Maximum numbers of origins, and of targets at all steps of a horizon, that are measured; of a larger split, those of
windows that are evenly spaced."""

MOST_SHUFFLED = 20_000
"""Targets that are predicted from shuffled histories, each of which takes a row of a batch."""

MOST_COLUMNS = 12
"""Input columns by whose values the metrics are shown."""

N_WORST = 10
N_BINS = 10
SHOWN_LEVELS = (0, *range(Q10, Q90 + 1, 2), len(LEVELS) - 1)
"""Places in LEVELS: 5 %, 10 %, 20 % and so on."""

SHOWN = (
    *("accuracy", "log_loss", "brier"),
    *("mae", "rmse", "mase", "mse_standardised", "crps", "coverage_80", "nll", "nll_per_event"),
)
"""Metrics of a target beside its main one."""

Floats = NDArray[np.float64]


def measure(checkpoint: Checkpoint, version: Version, log: Log) -> ModelReport:
    """Measure the weights of a checkpoint on the validation split, on the CPU.

    Raises:
        ConfigError, DataError: as `prepare`; the splits have changed, for instance.
    """
    config = checkpoint.config
    spec = config.training_spec.model_copy(update={"device": "cpu", "load_full_data_to_ram": True})
    config = config.model_copy(update={"training_spec": spec, "export_end_to_end": False, "export_top_k": None})
    shared = Shared()

    def emit(event: str, **fields: Any) -> None:
        if event == "stage":
            log(f"report: {fields['stage']}")

    ready = prepare(config, shared, emit, data=checkpoint.metadata.fingerprint, requires_metric=False)
    ready.state.model.load_state_dict(dict(version.weights))
    log(f"report: predicting {ready.valid.windows.n_targets * ready.valid.horizon:,} targets")
    found = _predicted(ready, ready.valid, min(MOST_ORIGINS, MOST_TARGETS // ready.valid.horizon))
    log("report: predicting from shuffled histories")
    shuffled = {"none": _predicted(ready, ready.valid, MOST_SHUFFLED)}
    for which in ("all", "before_last"):
        spec = ready.config.training_spec.model_copy(update={"shuffle_history": which})
        other = prepare(config.model_copy(update={"training_spec": spec}), shared, requires_metric=False)
        shuffled[which] = _predicted(ready, other.valid, MOST_SHUFFLED)
    events, paths = ready.valid.events, checkpoint.metadata.split_paths
    forecasts = some_forecasts(ready.state.model, ready.train.events, ready.valid, ready.objective)
    return ModelReport(
        run=config.model_name,
        weights=f"{version.name} weights, epoch {version.epoch}",
        split=config.validation_data_path or paths[min(1, len(paths) - 1)],
        n_events=int(events.offsets[-1] - np.asarray(events.n_context).sum()),
        n_sequences=len(events.n_context),
        is_part=any(len(found[target]) < ready.valid.of(target).n_known_targets(target).sum() for target in found),
        errors_by=ready.valid.units.by,
        targets=tuple(
            _of_target(target, found[target], ready, {name: each[target] for name, each in shuffled.items()})
            for target in found
        ),
        forecasts=tuple(forecasts) if config.prediction_horizon > 1 else (),
    )


def _predicted(ready: Prepared, split: Split, limit: int) -> dict[str, Positions]:
    size = evaluation_batch(ready.state.model, split, ready.config.training_spec.batch_size)
    return predict(ready.state.model, split, ready.objective, batch_size=size, limit=limit)


def _of_target(name: str, found: Positions, ready: Prepared, shuffled: Mapping[str, Positions]) -> OfTarget:
    overall = of_group("all", found, slice(None), "loss")
    main = _main_metric(name, found, ready.config, overall.metrics)
    overall = of_group("all", found, slice(None), main)
    maximize = higher_is_better(f"val_{name}_{main}")
    metrics = tuple(dict.fromkeys([main, *(metric for metric in SHOWN if metric in overall.metrics)]))
    keys, part = {metric: f"val_{name}_{metric}" for metric in metrics}, ready.valid.of(name)
    own = _baselines(name, ready)
    baselines = {
        baseline: {metric: values[key] for metric, key in keys.items() if key in values}
        for baseline, values in own.items()
    }
    return OfTarget(
        name=name,
        main=main,
        maximize=maximize,
        metrics=metrics,
        overall=overall,
        n_unknown=int((part.n_targets() * part.horizon - part.n_known_targets(name)).sum()),
        baselines={baseline: values for baseline, values in baselines.items() if values},
        steps=_steps(name, found, ready, main, own),
        groupings=tuple(each for each in _groupings(name, found, ready, main) if len(each.groups) > 1),
        bins=tuple(_bins(found)),
        coverage=_coverage(found),
        worst=tuple(_worst(name, found, ready)),
        shuffled=tuple(_shuffled(shuffled, main, maximize=maximize)),
    )


def _main_metric(name: str, found: Positions, config: TrainConfig, known: Mapping[str, float]) -> str:
    """Return the run's metric where it is about this target and a mean, and else accuracy or the mean error."""
    key, _ = split_step(config.metric)
    own = key.removeprefix(f"val_{name}_")
    if own != key and own in known and units_of(found, slice(None), own) is not None:
        return own
    return next(metric for metric in ("accuracy", "mae", "loss") if metric in known)


def _baselines(name: str, ready: Prepared) -> dict[str, Mapping[str, float]]:
    """Return the metrics of each method for one target: rows of several targets have one method for each of them.

    A row in which this target has the method of another row is left out.
    """
    methods: tuple[str, ...] = categorical.NAMES
    if name in ready.objective.labels:
        methods = labels.NAMES
    elif name not in ready.metadata.n_classes:
        has_distribution = isinstance(ready.objective.losses[name], DistributionLoss)
        methods = tuple(method for method in series.NAMES if has_distribution or method not in series.OF_DISTRIBUTIONS)
    found: dict[str, Mapping[str, float]] = {}
    for row, each in ready.baselines.items():
        own = [method for method in row.removeprefix(PREFIX).split(", ") if method in methods]
        loss = each.metrics.get(f"val_{name}_loss")
        if own and all(loss != other[f"val_{name}_loss"] for other in found.values()):
            found[own[0]] = each.metrics
    return found


def _steps(
    name: str, found: Positions, ready: Prepared, main: str, baselines: Mapping[str, Mapping[str, float]]
) -> Steps | None:
    """Return the metrics by step; of a baseline those of all targets, also where only a part was measured."""
    if found.step is None:
        return None
    keys = [f"val_{name}_{step_name(main, step + 1)}" for step in range(ready.valid.horizon)]
    by_baseline = {method: tuple(values.get(key) for key in keys) for method, values in baselines.items()}
    known = {method: values for method, values in by_baseline.items() if any(value is not None for value in values)}
    return Steps(grouping("step", found, *by_step(found.step, ready.valid.horizon), main), known)


def _groupings(name: str, found: Positions, ready: Prepared, main: str) -> Iterator[Grouping]:
    metadata, columns = ready.metadata, ready.valid.events.columns
    if found.truth is not None:
        classes = _classes(metadata, name)
        yield grouping("true class", found, *by_class(found.truth, classes), main)
        counts = ready.train.of(name).n_targets_of_class(name, metadata.n_classes[name])[1:]
        if len(classes) > len(by_class(found.truth, classes)[1]):
            yield grouping("frequency of the true class", found, *by_frequency(found.truth, counts), main)
    else:
        yield grouping("true value", found, *by_value(_original(ready, name, found.rows)), main)
    history = found.history - metadata.sequifier.has_start
    yield grouping("events before it", found, *by_length(history), main)
    of_last = [(column, "of the last event", found.read) for column in ready.config.input_columns or ()]
    of_step = [(column, "at the predicted step", found.rows) for column in ready.config.known_future]
    for column, place, rows in [*of_last[:MOST_COLUMNS], *of_step[:MOST_COLUMNS]]:
        if metadata.kind(column) == "categorical":
            ids = columns[column][rows].astype(np.int64) - 1
            group = by_class(ids, _classes(metadata, column))
        else:
            group = by_value(_original(ready, column, rows))
        yield grouping(f"{column} {place}", found, *group, main)


def _classes(metadata: Metadata, column: str) -> list[str]:
    return [category_text(category) for category in metadata.categories(column)]


def _original(ready: Prepared, column: str, rows: Rows) -> Floats:
    """Return the values of a real column in some rows, in original units; NaN where there is none."""
    columns = ready.valid.events.columns
    scale = scale_at(ready.metadata.scale(column), column, columns, rows)
    found: Floats = np.asarray(scale.original(columns[column][rows].astype(np.float64)))
    return found


def _bins(found: Positions) -> Iterator[Bin]:
    """Yield the targets in bins of about equal size by confidence, or of a distribution the levels of its quantiles."""
    if found.level is not None:
        for number, level in enumerate(LEVELS):
            if number in SHOWN_LEVELS:
                yield _fraction(level, found, found.level <= number)
    elif found.confidence is not None:
        order = np.argsort(found.confidence, kind="stable")
        edges = np.linspace(0, len(order), min(N_BINS, len(order)) + 1).astype(np.int64)
        for start, end in pairwise(edges):
            chosen = order[start:end]
            units = units_of(found, chosen, "accuracy")
            assert units is not None
            yield Bin(float(found.confidence[chosen].mean()), units.value, units.standard_error, len(chosen))


def _coverage(found: Positions) -> Bin | None:
    """Return how often the interval of 80 % of a distribution has the true value."""
    if found.level is None:
        return None
    return _fraction(LEVELS[Q90] - LEVELS[Q10], found, found.parts["coverage_80"].value > 0)


def _fraction(expected: float, found: Positions, is_true: NDArray[np.bool_]) -> Bin:
    """Return the fraction of the targets that count for which something is true."""
    counted = found.parts.get(SCORED)
    weights = np.ones(len(found)) if counted is None else counted.value
    units = by_unit(found, slice(None), is_true * weights, weights)
    return Bin(expected, units.value, units.standard_error, int(weights.sum()))


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
        predicted = ""
        if classes is not None:
            assert found.truth is not None and found.predicted is not None
            truth, predicted = classes[found.truth[worst]], classes[found.predicted[worst]]
        else:
            (value,) = _original(ready, name, found.rows[worst : worst + 1])
            truth = f"{value:.4g}" if np.isfinite(value) else "none until the end"
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
        paired = replace(ordered, total=sign * (ordered.total - units.total))
        yield Shuffled(
            "all" if events == "all" else "before_last",
            ordered.value,
            units.value,
            paired.value,
            paired.standard_error,
            len(found[events]),
        )
