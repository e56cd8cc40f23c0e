"""The shape of a model in plain numbers, from config and metadata, without torch.

A search counts weights with it, `model/` builds the model from it, and exported files contain it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sequifier.config.base import ColumnType
from sequifier.config.catalogue.distributions import DISTRIBUTION_SHAPES, POINT, DistributionShape
from sequifier.config.catalogue.layers import ActivationName, NormName
from sequifier.config.model import ModelSpec
from sequifier.config.train import TrainConfig, WindowNormalization
from sequifier.errors import ConfigError, Problem, did_you_mean

EVENT_COUNT = "n_events"  # the exported model's input beside the columns
EMBEDDING = "embedding"  # the output of an exported embedding model
DROPOUT_RATIO = "dropout_ratio"  # the optional input of a model that is exported with dropout


def future_input(column: str) -> str:
    """Return the exported model's input with the values of a column at the steps to come."""
    return f"future_{column}"


@dataclass(frozen=True)
class Target:
    """One column to predict."""

    name: str
    kind: ColumnType
    n_classes: int  # known categories + 1 for id 0, which is never predicted; 0 for a real target
    of_sequence: bool = False  # it belongs to the whole sequence, and is predicted once, from the last event
    distribution: str | None = None  # of a real target; None: its value is predicted

    @property
    def shape(self) -> DistributionShape | None:
        """The sizes of its distribution; None: it has none."""
        return None if self.distribution is None else DISTRIBUTION_SHAPES[self.distribution]

    @property
    def output_width(self) -> int:
        """Width of the head: a logit for each class from id 1, one value, or the parameters of a distribution."""
        if self.kind == "categorical":
            return self.n_classes - 1
        return 1 if self.shape is None else self.shape.n_parameters

    @property
    def quantiles_name(self) -> str | None:
        """The name of its quantiles in an exported model; None: it has none."""
        return None if self.shape is None else f"{self.name}_quantiles"

    @property
    def parameters_name(self) -> str | None:
        """The name of its parameters in an exported model; None: it has none."""
        return f"{self.name}_parameters" if self.shape is not None and self.shape.shows_parameters else None

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of this target's outputs in an exported model."""
        if self.kind == "categorical":
            return f"{self.name}_probabilities", f"{self.name}_id"
        return f"{self.name}_value", *filter(None, [self.quantiles_name, self.parameters_name])

    @property
    def end_to_end_names(self) -> tuple[str, ...]:
        """The names of this target's outputs in the exported model that takes raw values."""
        if self.kind == "categorical":
            return f"{self.name}_label", f"{self.name}_probabilities"
        return f"{self.name}_value", *filter(None, [self.quantiles_name])

    @property
    def top_names(self) -> tuple[str, str]:
        """The names of the most probable classes of a categorical target in that model, see `export_top_k`."""
        return f"{self.name}_top_labels", f"{self.name}_top_probabilities"


@dataclass(frozen=True)
class Architecture:
    """Everything that determines the shape of a model. The weights of equal architectures are interchangeable.

    Input columns are in the order of concatenation: categorical columns, then real ones.
    """

    categorical: tuple[tuple[str, int], ...]  # (column, n_classes)
    real: tuple[str, ...]
    embedding_widths: tuple[int, ...]  # of each input column
    targets: tuple[Target, ...]
    seq_length: int  # events
    prediction_length: int  # events
    dim_model: int
    n_head: int
    n_kv_heads: int  # n_head for mha, 1 for mqa
    num_layers: int
    dim_feedforward: int
    joint_embedding: bool
    activation_fn: ActivationName
    normalization: NormName
    norm_first: bool
    positional_encoding: str  # learned or rope
    rope_theta: float
    dropout: float
    tied: tuple[str, ...] = ()  # targets that are decoded by their embedding
    window_normalization: WindowNormalization = "none"  # of the columns in `normalized`
    horizon: int = 1  # number of next events that are predicted at once
    known_future: tuple[str, ...] = ()  # input columns that are also read at the steps of the horizon

    @property
    def tied_columns(self) -> tuple[int, ...]:
        """Numbers of the categorical columns whose embeddings decode the tied targets."""
        names = [name for name, _ in self.categorical]
        return tuple(names.index(name) for name in self.tied)

    @property
    def normalized(self) -> dict[str, int]:
        """Targets whose values are normalized in each window -> numbers of their columns among the real ones."""
        if self.window_normalization == "none":
            return {}
        return {name: self.real.index(name) for name in _normalizable(self.targets) if name in self.real}

    @property
    def known_categorical(self) -> tuple[tuple[str, int], ...]:
        """The categorical columns that are read at the steps of the horizon, in order of the inputs."""
        return tuple((name, n_classes) for name, n_classes in self.categorical if name in self.known_future)

    @property
    def known_real(self) -> tuple[str, ...]:
        """The real columns that are read at the steps of the horizon, in order of the inputs."""
        return tuple(name for name in self.real if name in self.known_future)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Names of the input columns, categorical ones first."""
        return (*(name for name, _ in self.categorical), *self.real)

    def as_json(self) -> dict[str, Any]:
        """As JSON values, which `architecture_from_json` reads."""
        values = asdict(self)
        # What earlier releases do not know is left out where it is not used, so that they can read the file.
        if not self.tied:
            del values["tied"]
        if self.window_normalization == "none":
            del values["window_normalization"]
        if self.horizon == 1:
            del values["horizon"]
        if not self.known_future:
            del values["known_future"]
        for target in values["targets"]:
            for key in ("of_sequence", "distribution"):
                if not target[key]:
                    del target[key]
        return values


def architecture_from_json(values: Mapping[str, Any]) -> Architecture:
    """The architecture that `as_json` wrote.

    Raises:
        TypeError, KeyError, ValueError: the values do not describe an architecture.
    """
    return Architecture(
        **{
            **values,
            "categorical": tuple((str(name), int(n_classes)) for name, n_classes in values["categorical"]),
            "real": tuple(values["real"]),
            "embedding_widths": tuple(values["embedding_widths"]),
            "targets": tuple(Target(**target) for target in values["targets"]),
            "tied": tuple(values.get("tied", ())),
            "known_future": tuple(values.get("known_future", ())),
        }
    )


class _WindowLength(Protocol):
    @property
    def seq_length(self) -> int: ...


class Schema(Protocol):
    """What an architecture needs of the metadata."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def input_columns(self) -> Sequence[str]: ...

    @property
    def n_classes(self) -> Mapping[str, int]: ...

    @property
    def sequifier(self) -> _WindowLength: ...

    def kind(self, column: str) -> ColumnType: ...


def architecture(config: TrainConfig, metadata: Schema) -> Architecture:
    """The shape of the model that a config, whose `target_positions` are resolved, describes on a data set.

    Raises:
        ConfigError: columns that the data lacks, widths that do not fit them, names that would collide in an
            exported model. All at once.
    """
    if problems := [*_column_problems(config, metadata)]:
        raise ConfigError(problems)

    spec = config.model_spec
    inputs = config.input_columns or metadata.input_columns
    categorical = [column for column in inputs if metadata.kind(column) == "categorical"]
    real = [column for column in inputs if metadata.kind(column) == "real"]
    targets = [
        Target(
            name,
            metadata.kind(name),
            metadata.n_classes.get(name, 0),
            name in config.target_positions,
            spec.distribution_of(name),
        )
        for name in config.target_columns
    ]
    seq_length = config.seq_length or metadata.sequifier.seq_length

    problems += _target_problems(config, targets)
    problems += _distribution_problems(config, targets)
    of_widths = [*_width_problems(spec, [*categorical, *real])]
    problems += of_widths or _tie_problems(spec, [*categorical, *real], targets)
    problems += _normalization_problems(config, real, targets, metadata)
    problems += _export_problems(config, inputs, targets)
    if spec.prediction_length > seq_length:
        problems.append(
            Problem("model_spec.prediction_length", f"{spec.prediction_length} exceeds seq_length: {seq_length}")
        )
    if problems:
        raise ConfigError(problems)

    return Architecture(
        categorical=tuple((column, metadata.n_classes[column]) for column in categorical),
        real=tuple(real),
        embedding_widths=_embedding_widths(spec, [*categorical, *real]),
        targets=tuple(targets),
        seq_length=seq_length,
        prediction_length=spec.prediction_length,
        dim_model=spec.dim_model,
        n_head=spec.n_head,
        n_kv_heads=spec.kv_heads,
        num_layers=spec.num_layers,
        dim_feedforward=spec.dim_feedforward,
        joint_embedding=spec.joint_embedding_dim is not None,
        activation_fn=spec.activation_fn,
        normalization=spec.normalization,
        norm_first=spec.norm_first,
        positional_encoding=spec.positional_encoding,
        rope_theta=spec.rope_theta,
        dropout=config.training_spec.dropout,
        tied=tuple(target.name for target in targets if target.name in spec.tie_weights),
        window_normalization=config.window_normalization,
        horizon=config.prediction_horizon,
        known_future=tuple(config.known_future),
    )


def _column_problems(config: TrainConfig, metadata: Schema) -> Iterable[Problem]:
    of_keys = {"input_columns": config.input_columns or (), "target_columns": config.target_columns}
    for key, columns in of_keys.items():
        for column in columns:
            if column not in metadata.columns:
                fix = did_you_mean(column, metadata.columns)
                yield Problem(key, f"column `{column}` is not in the preprocessed data", fix=fix)
    for column in config.input_columns or ():
        if column in metadata.columns and column not in metadata.input_columns:
            what = f"`{column}` is not known before its sequence has ended, so it may only be a target"
            yield Problem("input_columns", what, fix="leave it out of input_columns")


def _export_problems(config: TrainConfig, inputs: Sequence[str], targets: Sequence[Target]) -> Iterable[Problem]:
    """Yield names of columns that would collide in an exported model, and what it could not return."""
    outputs = [name for target in targets for name in target.output_names]
    if config.export_end_to_end:
        outputs += [name for target in targets for name in target.end_to_end_names]
    if config.export_top_k is not None:
        outputs += [name for target in targets if target.kind == "categorical" for name in target.top_names]
        yield from _top_problems(config, config.export_top_k, inputs, targets)
    yield from _name_problems(inputs, outputs + [EMBEDDING] * config.export_embedding_model)
    yield from _future_name_problems(config.known_future, [*inputs, *outputs])
    if config.export_with_dropout and DROPOUT_RATIO in inputs:
        yield Problem(
            "input_columns",
            f"input column `{DROPOUT_RATIO}` has the name of an input that a model exported with dropout has",
            fix="rename the column in the raw data and preprocess again, or leave out export_with_dropout",
        )


def automatic_widths(n_columns: int, total: int) -> tuple[int, ...]:
    """Divide `total` over columns: an equal part each, the remainder one by one to the first.

    >>> automatic_widths(3, 8)
    (3, 3, 2)
    """
    share, remainder = divmod(total, n_columns)
    return tuple(share + (index < remainder) for index in range(n_columns))


def _embedding_widths(spec: ModelSpec, columns: Sequence[str]) -> tuple[int, ...]:
    if spec.feature_embedding_dims is None:
        return automatic_widths(len(columns), spec.initial_embedding_dim)
    return tuple(spec.feature_embedding_dims[column] for column in columns)


def _width_problems(spec: ModelSpec, columns: Sequence[str]) -> Iterable[Problem]:
    given = spec.feature_embedding_dims
    if given is None:
        if spec.initial_embedding_dim < len(columns):
            yield Problem(
                "model_spec.initial_embedding_dim",
                f"{spec.initial_embedding_dim} is too small for {len(columns)} input columns",
                fix=f"at least {len(columns)}, or fewer input_columns",
            )
        return
    key = "model_spec.feature_embedding_dims"
    for column in given:
        if column not in columns:
            yield Problem(key, f"`{column}` is not an input column", fix=did_you_mean(column, columns))
    for column in columns:
        if column not in given:
            yield Problem(key, f"input column `{column}` has no width", fix=f"add `{column}: <width>`")


def _tie_problems(spec: ModelSpec, columns: Sequence[str], targets: Sequence[Target]) -> Iterable[Problem]:
    kinds = {target.name: target.kind for target in targets}
    widths = dict(zip(columns, _embedding_widths(spec, columns), strict=True))
    for name in spec.tie_weights:
        message, fix = "", ""
        if name not in kinds:
            message, fix = f"`{name}` is not a target", f"name a target column: {', '.join(kinds)}"
        elif kinds[name] == "real":
            message, fix = f"`{name}` is real: it has no table of classes to share", "leave it out"
        elif name not in widths:
            message = f"`{name}` is not an input column, so it has no embedding to share"
            fix = f"add `{name}` to input_columns, or leave it out"
        elif spec.joint_embedding_dim is None and widths[name] != spec.dim_model:
            message = f"the embedding of `{name}` has width {widths[name]}, its decoder dim_model: {spec.dim_model}"
            fix = f"joint_embedding_dim: {spec.dim_model}, or `{name}` as the only input column"
        if message:
            yield Problem("model_spec.tie_weights", message, fix=fix)


def _normalizable(targets: Sequence[Target]) -> list[str]:
    """Names of the targets that window_normalization is about: real ones of events."""
    return [target.name for target in targets if target.kind == "real" and not target.of_sequence]


def _normalization_problems(
    config: TrainConfig, real: Sequence[str], targets: Sequence[Target], metadata: Schema
) -> Iterable[Problem]:
    if config.window_normalization == "none":
        return
    names = [name for name in _normalizable(targets) if name in metadata.input_columns]
    for name in names:
        if name not in real:
            yield Problem(
                "window_normalization",
                f"target `{name}` is not an input column, so a window has no values of it to normalize by",
                fix=f"add `{name}` to input_columns, or window_normalization: none",
            )
    if not names:
        others = ", ".join(f"`{target.name}` ({_unfit(target)})" for target in targets)
        yield Problem(
            "window_normalization",
            f"{config.window_normalization} is for real targets of events, and there is none: {others}",
            fix="none, or a real column in target_columns",
        )


def _unfit(target: Target) -> str:
    """Return why windows of a target cannot be normalized."""
    if target.kind == "categorical":
        return "categorical"
    return "of the whole sequence" if target.of_sequence else "never an input"


def _target_problems(config: TrainConfig, targets: Sequence[Target]) -> Iterable[Problem]:
    for target in targets:
        declared = (config.target_column_types or {}).get(target.name, target.kind)
        if declared != target.kind:
            yield Problem(
                "target_column_types",
                f"`{target.name}` is declared {declared} but was preprocessed as {target.kind}",
                fix=f"write {target.kind}, or declare it in `column_types` of the preprocess config",
            )
        if target.kind == "categorical" and target.n_classes < 2:
            yield Problem("target_columns", f"`{target.name}` has no known category: nothing to predict")


def _distribution_problems(config: TrainConfig, targets: Sequence[Target]) -> Iterable[Problem]:
    known = {target.name: target for target in targets}
    for name, distribution in config.model_spec.distribution.items():
        place = f"model_spec.distribution.{name}"
        if name not in known:
            yield Problem(place, f"`{name}` is not a target", fix=did_you_mean(name, known))
        elif known[name].kind == "categorical":
            what = f"`{name}` is categorical: the model predicts the probability of each class anyway"
            yield Problem(place, what, fix="leave it out; distributions are for real targets")
        elif distribution != POINT and name in config.training_spec.criterion:
            yield Problem(
                f"training_spec.criterion.{name}",
                f"the loss of `{name}` follows from its distribution, {distribution}",
                fix=f"leave it out, or write model_spec.distribution.{name}: point",
            )
        elif (
            config.window_normalization != "none"
            and distribution != POINT
            and not DISTRIBUTION_SHAPES[distribution].is_standardised
        ):
            what = f"{distribution} describes `{name}` itself, not its difference from a window"
            yield Problem(place, what, fix="write quantiles, or window_normalization: none")


def _top_problems(config: TrainConfig, k: int, inputs: Sequence[str], targets: Sequence[Target]) -> Iterable[Problem]:
    categorical = [target for target in targets if target.kind == "categorical"]
    outputs = {name for target in targets for name in target.end_to_end_names}
    for name in (name for target in categorical for name in target.top_names if name in outputs):
        yield Problem(
            "export_top_k",
            f"two outputs of the model would have the name `{name}`",
            fix="leave it out, or rename a target in the raw data and preprocess again",
        )
    most = max((target.output_width for target in categorical), default=0)
    if k > most:
        names = ", ".join(f"`{target.name}`" for target in categorical or targets)
        what = f"{k:,} exceeds the {most:,} classes of {names}" if most else f"no target has classes ({names} is real)"
        yield Problem("export_top_k", what, fix="a smaller one" if most else "leave it out")
    for target in categorical:
        asked = config.ranking.get(target.name)
        if asked is not None and asked.exclude_seen and target.name not in inputs:
            yield Problem(
                "export_top_k",
                f"ranking leaves out the seen classes of `{target.name}`, which the model does not read",
                fix=f"add `{target.name}` to input_columns, or leave out export_top_k",
            )


def _name_problems(inputs: Sequence[str], outputs: Sequence[str]) -> Iterable[Problem]:
    for column in inputs:
        if column == EVENT_COUNT or column in outputs:
            yield Problem(
                "input_columns",
                f"input column `{column}` has the name of an {'input' if column == EVENT_COUNT else 'output'} "
                "that every exported model of these targets has",
                fix="rename the column in the raw data and preprocess again, or leave it out of input_columns",
            )


def _future_name_problems(known: Sequence[str], others: Sequence[str]) -> Iterable[Problem]:
    for column in known:
        if (name := future_input(column)) in others:
            yield Problem(
                "known_future",
                f"an exported model reads the values of `{column}` to come as `{name}`, which another column or output "
                "is called",
                fix="rename one of the two in the raw data and preprocess again",
            )
