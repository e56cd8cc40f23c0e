"""Fill in what a train config leaves to its data and its length, and check that they fit together."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from sequifier.config.architecture import architecture
from sequifier.config.base import ColumnType, category_text
from sequifier.config.catalogue.distributions import DISTRIBUTION_SHAPES, DistributionName
from sequifier.config.catalogue.metric_names import MOST_ORDERED, ORDERING_METRICS, metric_problems
from sequifier.config.catalogue.schedules import (
    length_error,
    length_warning,
    momentum_error,
    plateau_warning,
    resolve_auto,
)
from sequifier.config.catalogue.torch_names import DEFAULT_CRITERIA, check_criterion
from sequifier.config.horizon import horizon_problems
from sequifier.config.known_future import known_future_problems, with_calendar
from sequifier.config.memory import positions_at_once
from sequifier.config.observation import Observation
from sequifier.config.preprocess_fields import WHOLE_SEQUENCES, SplitMethod
from sequifier.config.ranking import Ranking, SampledCandidates
from sequifier.config.scoring import Scoring
from sequifier.config.train import TargetPosition, TrainConfig
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError, Problem, did_you_mean


class WindowSettings(Protocol):
    """The settings by which preprocess cuts windows, and the numbers of events and sequences."""

    @property
    def rows(self) -> list[int]: ...

    @property
    def sequences(self) -> list[int]: ...

    @property
    def seq_length(self) -> int: ...

    @property
    def stride_by_split(self) -> list[int]: ...

    @property
    def end_event(self) -> list[str]: ...

    @property
    def observation(self) -> Observation | None: ...

    @property
    def split_method(self) -> SplitMethod: ...

    @property
    def context_events(self) -> int: ...

    @property
    def open_columns(self) -> dict[str, str]: ...


class DataSchema(Protocol):
    """What a config needs of preprocessed data; implemented by `artifacts.metadata.Metadata`."""

    @property
    def columns(self) -> list[str]: ...

    @property
    def input_columns(self) -> list[str]: ...

    @property
    def n_classes(self) -> Mapping[str, int]: ...

    @property
    def id_maps(self) -> Mapping[str, Mapping[str, int]]: ...

    @property
    def sequence_columns(self) -> list[str]: ...

    @property
    def by_sequence(self) -> list[str]: ...

    @property
    def calendar_columns(self) -> list[str]: ...

    @property
    def split_paths(self) -> list[str]: ...

    @property
    def sequifier(self) -> WindowSettings: ...

    @property
    def fingerprint(self) -> str: ...

    def default_criterion(self, target: str) -> str: ...

    def kind(self, column: str) -> ColumnType: ...


def resolve(config: TrainConfig, data: DataSchema) -> TrainConfig:
    """The config with every null that the data decides filled in.

    Raises:
        ConfigError: columns, kinds or sizes that do not fit the data, all at once.
    """
    labels = [target for target in config.target_columns if target in data.sequence_columns]
    positions: dict[str, TargetPosition] = {target: config.target_positions.get(target, "last") for target in labels}
    problems = [*_label_problems(config, data, labels)]
    inputs = config.input_columns or [column for column in data.input_columns if column not in labels]
    filled = {"target_positions": positions, "input_columns": inputs}
    config = config.model_copy(update=filled | {"known_future": with_calendar(config, inputs, data)})
    try:
        architecture(config, data)
    except ConfigError as error:
        problems += error.problems
    problems += [*_misfits(config, data), *horizon_problems(config, data), *_standardise_problems(config, data)]
    problems += known_future_problems(config, inputs, data)
    if problems:
        raise ConfigError(problems)
    seq_length = config.seq_length or data.sequifier.seq_length
    splits, stride = data.split_paths, min(data.sequifier.stride_by_split[0], seq_length)
    return config.model_copy(
        update={
            "target_column_types": {target: data.kind(target) for target in config.target_columns},
            "seq_length": seq_length,
            "window_stride": config.window_stride or (1 if config.predicts_from_last else stride),
            "training_data_path": config.training_data_path or splits[0],
            "validation_data_path": config.validation_data_path or splits[min(1, len(splits) - 1)],
        }
    )


def _label_problems(config: TrainConfig, data: DataSchema, labels: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of targets that belong to whole sequences, and of fields that are about them."""
    for field in ("target_positions", "positive_class"):
        for target in getattr(config, field):
            if target in data.columns and target not in labels:
                yield Problem(
                    f"{field}.{target}",
                    f"`{target}` has a value for each event; this field is about targets of whole sequences",
                    fix="leave it out, or name the column in sequence_columns of the preprocess config",
                )
    method = data.sequifier.split_method
    for target in labels:
        if target in (config.input_columns or ()):
            yield Problem(
                "input_columns",
                f"`{target}` is a target of the whole sequence, and all its events have the value to predict",
                fix="leave it out of input_columns or of target_columns",
            )
        if method not in WHOLE_SEQUENCES:
            yield Problem(
                "target_columns",
                f"`{target}` belongs to whole sequences, which split_method: {method} cuts: the training split has the "
                "values to predict in validation",
                fix="preprocess with split_method: between_sequence or given",
            )
        if target in config.positive_class:
            if data.kind(target) == "real":
                yield Problem(f"positive_class.{target}", f"`{target}` is real: it has no classes", fix="leave it out")
            elif config.positive_class[target] not in data.id_maps[target]:
                yield Problem(
                    f"positive_class.{target}",
                    f"`{target}` has no class `{config.positive_class[target]}`",
                    fix=did_you_mean(config.positive_class[target], [*data.id_maps[target]]),
                )
        ordered = [f"val_{target}_{name}" for name in ORDERING_METRICS]
        n_classes = data.n_classes.get(target, 0) - 1
        if config.metric in ordered and n_classes > MOST_ORDERED:
            yield Problem(
                "metric",
                f"{config.metric} is computed for {MOST_ORDERED} classes at most, and `{target}` has {n_classes:,}",
                fix=f"another metric, for example val_{target}_log_loss",
            )
    if config.input_columns is None and set(data.input_columns) <= {*labels}:
        what = f"the data have no column to read: {', '.join(data.columns)} may only be predicted"
        yield Problem("input_columns", what, fix="preprocess other columns too")


def metric_kinds(
    targets: Sequence[str], data: DataSchema, distributions: Mapping[str, DistributionName]
) -> dict[str, str]:
    """The kind of each target, by which it has metrics (see `metric_names`)."""
    return {target: _metric_kind(target, data, distributions) for target in targets}


def _metric_kind(target: str, data: DataSchema, distributions: Mapping[str, DistributionName]) -> str:
    kind = data.kind(target)
    if kind == "categorical":
        return "label" if target in data.sequence_columns else kind
    shape = DISTRIBUTION_SHAPES.get(distributions.get(target, ""))
    if shape is None or not shape.has_density:
        return kind if shape is None else "quantiles"
    return "observed" if target in data.sequifier.open_columns else "density"


def still_open(config: TrainConfig, data: DataSchema) -> dict[str, str]:
    """Return the targets whose value after the last event is known to be larger than the one stored in a column.

    The likelihood of a density has it; other targets ignore it.
    """
    shapes = {name: DISTRIBUTION_SHAPES.get(kind) for name, kind in config.model_spec.distribution.items()}
    return {
        target: column
        for target, column in data.sequifier.open_columns.items()
        if target in config.target_columns and (shape := shapes.get(target)) is not None and shape.has_density
    }


def _standardise_problems(config: TrainConfig, data: DataSchema) -> Iterator[Problem]:
    """Yield what a config asks that columns standardised by sequence (`standardize: per_sequence`) cannot do."""
    inputs = config.input_columns or data.input_columns
    columns = [column for column in data.by_sequence if column in (*inputs, *config.target_columns)]
    if not columns:
        return
    names = ", ".join(f"`{column}`" for column in columns)
    for target in (column for column in columns if column not in inputs):
        yield Problem(
            "target_columns",
            f"`{target}` is standardised by sequence, and new events without it do not show the level of theirs",
            fix=f"add `{target}` to input_columns, or preprocess with standardize: global",
        )
    if config.export_end_to_end:
        yield Problem(
            "export_end_to_end",
            f"that model sees a window, not the sequence, by which {names} would be standardised",
            fix="leave it out, or preprocess with standardize: global (see window_normalization: mean_std)",
        )
    for target, kind in config.model_spec.distribution.items():
        shape = DISTRIBUTION_SHAPES.get(kind)
        if target in columns and shape is not None and not shape.is_standardised:
            yield Problem(
                f"model_spec.distribution.{target}",
                f"`{target}` is standardised by sequence, and {kind} is a distribution of values of one scale",
                fix="quantiles, or preprocess with standardize: global",
            )
    if config.training_spec.sampling_interval_steps is not None:
        yield Problem(
            "training_spec.sampling_interval_steps",
            f"a prompt is not part of a sequence, by which {names} would be standardised",
            fix="leave it out, or preprocess with standardize: global",
        )


def _misfits(config: TrainConfig, data: DataSchema) -> Iterator[Problem]:
    spec = config.training_spec
    observed = still_open(config, data)
    about_the_end = {*data.sequifier.end_event} | {*data.columns} - {*data.input_columns}  # a class END; time_remaining
    about_the_end |= observed.keys()
    for target in observed if config.prediction_horizon > 1 else ():
        yield Problem(
            "prediction_horizon",
            f"{config.prediction_horizon} steps of `{target}` are not predicted where observation has an end: the time "
            "after the last event has one",
            fix="leave it out, or write quantiles as its distribution",
        )
    for target in config.target_columns:
        if target not in data.columns:
            continue
        kind = data.kind(target)
        if target in about_the_end and config.model_spec.positional_encoding == "learned":
            yield Problem(
                "model_spec.positional_encoding",
                f"where a window ends with its sequence, learned positions show how many events follow, and `{target}` "
                "is about just that",
                fix="positional_encoding: rope",
            )
        if target in spec.class_share_log_columns and kind == "real":
            yield Problem(
                "training_spec.class_share_log_columns", f"`{target}` is real: it has no classes", fix="leave it out"
            )
        if target in spec.criterion:
            try:
                check_criterion(spec.criterion[target], kind)
            except ValueError as error:
                yield Problem(f"training_spec.criterion.{target}", str(error))
        weights = (spec.class_weights or {}).get(target)
        if weights is not None and kind == "real":
            yield Problem(
                f"training_spec.class_weights.{target}", f"`{target}` is real: it has no classes", fix="leave it out"
            )
        elif weights not in (None, "balanced") and len(weights) != data.n_classes[target]:
            yield Problem(
                f"training_spec.class_weights.{target}",
                f"has {len(weights)} weights, the column has {data.n_classes[target]} classes",
                fix="one weight for each class, that of id 0 (unknown) first",
            )
        yield from _softmax_problems(spec, target, kind, data)
        n_classes = data.n_classes.get(target, 1) - 1
        if positions_at_once(n_classes, spec.loss_memory_mb) == 0:
            least = next(mb for mb in itertools.count(1) if positions_at_once(n_classes, mb))
            yield Problem(
                "training_spec.loss_memory_mb",
                f"{spec.loss_memory_mb} MB are too little for one position of `{target}`, which has {n_classes:,} "
                "classes",
                fix=f"at least {least}",
            )
    targets = [target for target in config.target_columns if target in data.columns]
    if targets == config.target_columns:
        kinds = metric_kinds(targets, data, config.model_spec.distribution)
        if config.scoring is not None:
            yield from _scoring_problems(config.scoring, data)
        of_ranking = [*_ranking_problems(config.ranking, data, kinds)]
        yield from of_ranking
        if not of_ranking:
            yield from metric_problems(
                config.metric,
                config.direction,
                kinds,
                config.ranking,
                may_be_sampled=config.metric_is_sampled,
                n_steps=config.horizon_metrics,
            )
    seq_length = config.seq_length or data.sequifier.seq_length
    stride = spec.evaluation_stride
    if stride is not None and stride > seq_length:
        yield Problem("training_spec.evaluation_stride", f"{stride} exceeds seq_length: {seq_length}")


def _softmax_problems(spec: TrainingSpec, target: str, kind: ColumnType, data: DataSchema) -> Iterator[Problem]:
    asked, place = spec.softmax.get(target, "full"), f"training_spec.softmax.{target}"
    if asked == "full":
        return
    if kind == "real":
        yield Problem(place, f"`{target}` is real: it has no classes to sample", fix="leave it out")
        return
    n_classes = data.n_classes[target] - 1
    if asked.sampled > n_classes:
        yield Problem(
            f"{place}.sampled",
            f"{asked.sampled:,} exceeds the {n_classes:,} classes of `{target}`",
            fix="a smaller one, or full, which is exact and not slower with so few classes",
        )
    if target in (spec.class_weights or {}):
        yield Problem(place, f"`{target}` has class_weights, which a sample cannot have", fix="full, or no weights")
    criterion = check_criterion(spec.criterion[target], kind) if target in spec.criterion else None
    if criterion is not None and (criterion.options or criterion.name != DEFAULT_CRITERIA[kind]):
        name = DEFAULT_CRITERIA[kind]
        yield Problem(place, f"`{target}` has another criterion than {name} without options", fix=f"full, or {name}")


def _scoring_problems(scoring: Scoring, data: DataSchema) -> Iterator[Problem]:
    ours = data.sequifier
    if scoring.min_events > ours.context_events and ours.split_method not in WHOLE_SEQUENCES:
        yield Problem(
            "scoring.min_events",
            f"{scoring.min_events:,} exceeds the {ours.context_events:,} earlier events that the splits store",
            fix="a smaller one, or preprocess with more context_events",
        )
    for target, labels in scoring.left_out.items():
        place = f"scoring.except.{target}"
        if data.kind(target) == "real":
            yield Problem(place, f"`{target}` is real: it has no classes", fix="leave it out")
            continue
        if target in data.sequence_columns:
            what = f"`{target}` belongs to the whole sequence; only targets of events can be left out"
            yield Problem(place, what, fix="leave it out")
            continue
        for label in labels:
            if (text := category_text(label)) not in data.id_maps[target]:
                yield Problem(place, f"`{target}` has no class {text!r}", fix=did_you_mean(text, data.id_maps[target]))


def _ranking_problems(ranking: Mapping[str, Ranking], data: DataSchema, kinds: Mapping[str, str]) -> Iterator[Problem]:
    for target, asked in ranking.items():
        place = f"ranking.{target}"
        if target in data.sequence_columns:
            yield Problem(
                place, f"`{target}` belongs to the whole sequence; only events are ranked", fix="leave it out"
            )
            continue
        if data.kind(target) == "real":
            yield Problem(place, f"`{target}` is real: it has no classes to rank", fix="leave it out")
            continue
        n_classes = data.n_classes[target] - 1 - (target in data.sequifier.end_event)
        if isinstance(asked.candidates, SampledCandidates) and asked.candidates.negatives >= n_classes:
            yield Problem(
                f"{place}.candidates.negatives",
                f"{asked.candidates.negatives:,} candidates besides the true class, but `{target}` has "
                f"{n_classes:,} classes",
                fix=f"at most {n_classes - 1:,}, or candidates: all",
            )
        elif asked.k[-1] > (most := asked.n_candidates(n_classes)):
            yield Problem(
                f"{place}.k", f"{asked.k[-1]:,} exceeds the number of candidates: {most:,}", fix="a smaller k"
            )


def unused_min_events(config: TrainConfig, data: DataSchema) -> str | None:
    """A note where no target counts by `scoring.min_events`; None where one does, or where it is not given.

    It is no error: runs of an earlier release may have it, and a part of their identity is how they are scored.
    """
    scoring, targets = config.scoring, config.target_columns
    if scoring is None or scoring.min_events == 1 or not {*targets} <= {*data.sequence_columns}:
        return None
    return (
        f"scoring.min_events: {scoring.min_events:,} has no effect: {', '.join(targets)} belong to whole sequences, "
        "whose metrics by number of events are in metric_by_length"
    )


def check_schedule(spec: TrainingSpec, *, steps: int | None) -> tuple[TrainingSpec, str | None]:
    """Check the scheduler against the optimizer and the length of the run, and replace `auto` by numbers.

    Args:
        spec: of the run.
        steps: optimizer steps of the run; None: not known, so a scheduler that counts them keeps `auto`.

    Returns:
        The training with all lengths as numbers, and a warning when a length does not match that of the run.

    Raises:
        ConfigError: the scheduler cannot be used with this optimizer, or is too short for the run.
    """
    step_on, scheduler, warning = spec.scheduler_step_on, spec.scheduler, None
    wrong = [momentum_error(spec.optimizer, scheduler)]
    if steps is not None or step_on == "epoch":
        try:
            scheduler = resolve_auto(scheduler, spec.epochs, steps or 0, step_on)
            wrong.append(length_error(scheduler, spec.epochs, steps or 0, step_on))
            warning = length_warning(scheduler, spec.epochs, steps or 0, step_on)
        except ValueError as error:
            wrong.append(str(error))
    if problems := [Problem("training_spec.scheduler", message) for message in wrong if message]:
        raise ConfigError(problems)
    warning = warning or plateau_warning(scheduler)
    return (spec if scheduler == spec.scheduler else spec.model_copy(update={"scheduler": scheduler})), warning
