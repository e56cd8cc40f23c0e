"""(search config, cell) -> the run it stands for: a validated config in canonical form, and its identity. Pure.

A plan expands thousands of cells, most of whose parts recur: the model of one cell is the model of many. So each
part of a run (its root, `model_spec`, `training_spec`) is validated once for each distinct choice, and what holds
between parts once for each distinct pair: between root and model, and between root and what the training says about
single targets (criterion, weights). No rule of `TrainConfig` or of `resolve` reads more of the training that may vary,
or both sections.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from sequifier.config.architecture import architecture
from sequifier.config.base import plain_type
from sequifier.config.catalogue.metric_names import training_metric
from sequifier.config.fields import FROM_METADATA, SEARCH_SECTIONS
from sequifier.config.identity import (
    MODEL_DEFAULTS,
    by_key,
    canonical_attention,
    canonical_model,
    canonical_training,
    differing,
    identity_of,
    plain,
)
from sequifier.config.model import ModelSpec
from sequifier.config.normal_form import normal_inputs, normal_model, normal_training
from sequifier.config.ranges import Range
from sequifier.config.resolve import DataSchema, check_schedule, resolve
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import ModelSampling, TrainingSampling
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError, Problem
from sequifier.results.settings import NO_SETTINGS, shown, values_of
from sequifier.search.space import Axis, Cell, Dimension, Space

StepsOf = Callable[[TrainConfig], int]
"""Optimizer steps of a run, which depend on its data."""

INVOLVED = {
    "scheduler": ("epochs", "batch_size", "accumulation_steps", "seq_length", "window_stride"),
    "feature_embedding_dims": ("input_columns",),
    "initial_embedding_dim": ("input_columns",),
}
"""Fields that a problem of another one follows from without naming them."""

WITH = " (with "
"""Begins what a message says of the cell in which it was met first."""

ROOT, MODEL, TRAINING = "", "model_spec", "training_spec"

_Section = TypeVar("_Section", ModelSpec, TrainingSpec)

_Key = tuple[tuple[int, tuple[float, ...]], ...]
"""The choices that decide one part of a run."""


class DoesNotFitError(ConfigError):
    """Fields of the backbone that are combined freely make no model in this cell: a plan leaves it out."""


@dataclass(frozen=True)
class Expanded:
    """One cell as a run.

    Attributes:
        config: resolved, in canonical form; its `model_name` is still to be given.
        identity: see config/identity.py.
        n_parameters: number of the model's weights.
        changes: why it is not quite what the cell says: reverted n_kv_heads, settings that cannot matter.
        warnings: what is odd but allowed.
        normal: the run in normal form, see config/normal_form.py.
        merge_key: the identity of the normal form: equal for runs that train alike, however they are written.
        spelled_out: settings that the normal form leaves out.
        settings: searched values by dotted key, as the run has them.
        proposed: those that the cell writes in another form: null for what follows from the data, gqa for mha.
        fixed: values by dotted key that are not searched and not their default.
        configuration: the merge key without the training seed: equal for repeats.
    """

    config: TrainConfig
    identity: str
    n_parameters: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    normal: TrainConfig
    merge_key: str
    spelled_out: tuple[str, ...]
    settings: Mapping[str, Any]
    proposed: Mapping[str, Any]
    fixed: Mapping[str, Any]
    configuration: str


@dataclass(frozen=True)
class _Normal:
    """A part of a run in normal form."""

    value: Any  # root columns, `ModelSpec` or `TrainingSpec`
    differing: Mapping[str, Any]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Model:
    spec: ModelSpec
    differing: Mapping[str, Any]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class _Training:
    spec: TrainingSpec
    differing: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Root:
    config: TrainConfig  # its sections are those of the first cell that had this root
    differing: Mapping[str, Any]


class Expander:
    """Turns the cells of a space into runs.

    Args:
        config: the search.
        space: of that search.
        data: the data set.
        seed: that the runs train with.
        steps_of: gives the optimizer steps of a run, for schedules that count them. Without it `auto` stays in those.
    """

    def __init__(
        self, config: SearchConfig, space: Space, data: DataSchema, *, seed: int, steps_of: StepsOf | None = None
    ) -> None:
        self._config, self._space, self._data, self._steps_of = config, space, data, steps_of
        shared = set(TrainConfig.model_fields) & set(SearchConfig.model_fields) - {*FROM_METADATA}
        scripted = {} if config.evaluation_script is None else config.evaluation_script.metrics
        metric, direction = training_metric(config.metric, config.direction, scripted)
        self._fixed: dict[str, dict[str, Any]] = {
            ROOT: {name: getattr(config, name) for name in shared}
            | {"seed": seed, "model_name": "run", "metric": metric, "direction": direction},
            MODEL: _fixed_fields(config.model_hyperparameter_sampling, ModelSampling.searchable()),
            TRAINING: _fixed_fields(config.training_hyperparameter_sampling, TrainingSampling.searchable()),
        }
        for key, value in space.fixed.items():
            section, name = _split(key)
            self._fixed[section][name] = value
        self._dimensions = {
            part: [
                index
                for index, dimension in enumerate(space.dimensions)
                if any(_split(key)[0] == part for key in dimension.keys)
            ]
            for part in self._fixed
        }
        by_target = {f"{TRAINING}.{name}" for name, kind in _kinds(TrainingSpec).items() if get_origin(kind) is dict}
        self._by_target = [
            index for index in self._dimensions[TRAINING] if by_target & set(space.dimensions[index].keys)
        ]
        self._models: dict[_Key, _Model] = {}
        self._trainings: dict[_Key, _Training] = {}
        self._with_steps: dict[tuple[_Key, _Key], _Training] = {}
        self._roots: dict[_Key, _Root] = {}
        self._parameters: dict[tuple[_Key, _Key], int] = {}
        self._normal: dict[tuple[str, _Key, _Key], _Normal] = {}
        self._fitting: set[tuple[_Key, _Key]] = set()  # root, and what the training says by target

    def expand(self, cell: Cell) -> Expanded:
        """The run of a cell.

        Raises:
            DoesNotFitError: the cell is to be left out.
            ConfigError: the cell is no valid run; keys are those of the search config.
        """
        at_root, at_model, at_training = (self._key(cell, self._dimensions[part]) for part in (ROOT, MODEL, TRAINING))
        by_target = self._key(cell, self._by_target)
        try:
            if at_model not in self._models:
                self._models[at_model] = self._model(cell)
            if at_training not in self._trainings:
                self._trainings[at_training] = _training(self._values(cell, TRAINING))
            model, training = self._models[at_model], self._trainings[at_training]
            if (at_root, at_model) not in self._parameters or (at_root, by_target) not in self._fitting:
                self._fit_together(cell, at_root, at_model, at_training)
                self._fitting.add((at_root, by_target))
            root = self._roots[at_root]
            if self._steps_of is not None and training.spec.scheduler_step_on == "batch":
                training = self._with_steps.get((at_root, at_training)) or self._count_steps(at_root, at_training)
        except ValidationError as error:
            raise ConfigError([self._in_lists(problem, cell) for problem in _problems(error)]) from error
        except DoesNotFitError:
            raise
        except ConfigError as error:
            raise ConfigError([self._in_lists(problem, cell) for problem in error.problems]) from error
        config = root.config.model_copy(update={MODEL: model.spec, TRAINING: training.spec})
        parts = []
        for part, at, plain_part in ((ROOT, (), root), (MODEL, at_model, model), (TRAINING, at_training, training)):
            if (part, at_root, at) not in self._normal:
                self._normal[part, at_root, at] = _normal_part(part, config, plain_part.differing, self._data)
            parts.append(self._normal[part, at_root, at])
        size = self._parameters[at_root, at_model]
        return self._expanded(config, root.differing, model, training, parts, size, self._space.values(cell))

    def _expanded(
        self,
        config: TrainConfig,
        root: Mapping[str, Any],
        model: _Model,
        training: _Training,
        normal: Sequence[_Normal],
        n_parameters: int,
        values: Mapping[str, Any],
    ) -> Expanded:
        fingerprint = self._data.fingerprint
        identity = identity_of(root, model.differing, training.differing, fingerprint)
        of_root, of_model, of_training = normal
        settings = values_of(config, [key for key in values if key not in FROM_METADATA])
        written = {key: plain(values[key]) for key in settings}
        left_out = {*settings, *NO_SETTINGS}
        spelled_out = tuple(reason for part in normal for reason in part.reasons)
        update = {"input_columns": of_root.value, MODEL: of_model.value, TRAINING: of_training.value}
        merge_key = identity
        if spelled_out:
            merge_key = identity_of(of_root.differing, of_model.differing, of_training.differing, fingerprint)
        configuration = merge_key
        if "seed" in of_root.differing:
            without_seed = {name: value for name, value in of_root.differing.items() if name != "seed"}
            configuration = identity_of(without_seed, of_model.differing, of_training.differing, fingerprint)
        differing_values = by_key(root, model.differing, training.differing)
        return Expanded(
            config=config,
            identity=identity,
            n_parameters=n_parameters,
            changes=model.changes,
            warnings=training.warnings,
            normal=config.model_copy(update=update) if spelled_out else config,
            merge_key=merge_key,
            spelled_out=spelled_out,
            settings=settings,
            proposed={key: value for key, value in written.items() if value != settings[key]},
            fixed={key: value for key, value in differing_values.items() if key not in left_out},
            configuration=configuration,
        )

    def expand_values(self, given: Mapping[str, Any]) -> Expanded:
        """The run of some values, which need not be those of a cell; the rest is as `Space.around` fills it in.

        Args:
            given: validated values by dotted key of `train.yaml`.

        Raises:
            ConfigError: this is no valid run; keys are those of `train.yaml`.
        """
        parts = {part: dict(fixed) for part, fixed in self._fixed.items()}
        values = self._space.around(given)
        for key, value in values.items():
            section, name = _split(key)
            parts[section][name] = value
        try:
            model, training = _model(parts[MODEL]), _training(parts[TRAINING])
            root = self._as_one_run(parts[ROOT], model, training)
        except ValidationError as error:
            raise ConfigError(_problems(error)) from error
        if self._steps_of is not None and training.spec.scheduler_step_on == "batch":
            training = _scheduled(training.spec, steps=self._steps_of(root))
        config = root.model_copy(update={TRAINING: training.spec})
        n_parameters = parameter_count(architecture(config, self._data))
        normal = _normal_parts(config, self._data)
        searched = {key for dimension in self._space.dimensions for key in dimension.keys}
        own = {key: value for key, value in values.items() if key in searched or key in given}
        return self._expanded(config, differing(config), model, training, normal, n_parameters, own)

    def _in_lists(self, problem: Problem, cell: Cell) -> Problem:
        """A problem of a cell at the key of the search config, with the list entries that met there.

        Its own entry is in the key, `dropout[2]`, so that the line found is that of the value; the entries of other
        fields that the message is about stand behind it.
        """
        first = problem.message.split(":")[0].split(" ")[0]
        if not problem.key and _split(first)[0] in (MODEL, TRAINING):  # a rule of the whole run
            problem = replace(problem, key=first, message=problem.message.removeprefix(f"{first}: "))
        entries = self._entries(cell)
        own = next((key for key in (problem.key, f"{problem.key}.{first}".lstrip(".")) if key in entries), None)
        own = own or next((key for key in entries if problem.key.startswith(f"{key}.")), None)
        words = {*re.findall(r"\w+", problem.message), *INVOLVED.get((own or problem.key).rpartition(".")[2], ())}
        others = [
            entry
            for key, (_, entry) in entries.items()
            if key != own and key.rpartition(".")[2] in words and entry.replace(" ", ": ", 1) not in problem.message
        ]
        message = problem.message + (f"{WITH}{', '.join(others)})" if others else "")
        if own is None:
            return _of_search(replace(problem, message=message))
        below = problem.key.removeprefix(own) if problem.key.startswith(own) else ""
        message = message.removeprefix(f"{first}: ") if own.endswith(f".{first}") else message  # the key says it
        return _of_search(replace(problem, key=f"{own}{entries[own][0]}{below}", message=message))

    def _entries(self, cell: Cell) -> dict[str, tuple[str, str]]:
        """Of each field with several values: its index as `[2]`, "" in a range, and the entry with its value."""
        entries = {}
        for dimension, digit, draws in zip(self._space.dimensions, cell.digits, cell.draws, strict=True):
            place, _ = dimension.parts(digit)
            values = dimension.values(digit, draws)
            for key in dimension.keys:
                name = key.rpartition(".")[2]
                several = self._config.searched(name)
                is_list = isinstance(several, list) and len(several) > 1
                if is_list or isinstance(several, Range) or any(axis.key == key for axis in _axes(dimension, place)):
                    index = f"[{place}]" if is_list else ""
                    entries[key] = index, f"{name}{index} {shown(values[key])}"
        return entries

    def _key(self, cell: Cell, dimensions: Sequence[int]) -> _Key:
        return tuple((cell.digits[index], cell.draws[index]) for index in dimensions)

    def _values(self, cell: Cell, part: str) -> dict[str, Any]:
        values = dict(self._fixed[part])
        for index in self._dimensions[part]:
            found = self._space.dimensions[index].values(cell.digits[index], cell.draws[index])
            for key, value in found.items():
                section, name = _split(key)
                if section == part:
                    values[name] = value
        return values

    def _model(self, cell: Cell) -> _Model:
        try:
            return _model(self._values(cell, MODEL))
        except ConfigError as error:
            # Each value was checked by itself when the config was read: what is wrong is between fields.
            raise DoesNotFitError(error.problems) if self._config.is_free_backbone() else error from error

    def _count_steps(self, at_root: _Key, at_training: _Key) -> _Training:
        """A schedule that counts optimizer steps, with the number of them."""
        assert self._steps_of is not None
        spec = self._trainings[at_training].spec
        steps = self._steps_of(self._roots[at_root].config.model_copy(update={TRAINING: spec}))
        self._with_steps[at_root, at_training] = training = _scheduled(spec, steps=steps)
        return training

    def _fit_together(self, cell: Cell, at_root: _Key, at_model: _Key, at_training: _Key) -> None:
        """Check root, model and training as one run."""
        resolved = self._as_one_run(self._values(cell, ROOT), self._models[at_model], self._trainings[at_training])
        if at_root not in self._roots:
            self._roots[at_root] = _Root(resolved, differing(resolved))
        if (at_root, at_model) not in self._parameters:
            self._parameters[at_root, at_model] = parameter_count(architecture(resolved, self._data))

    def _as_one_run(self, root: Mapping[str, Any], model: _Model, training: _Training) -> TrainConfig:
        values = {name: value for name, value in root.items() if name not in FROM_METADATA}
        return resolve(TrainConfig.model_validate(values | {MODEL: model.spec, TRAINING: training.spec}), self._data)


def merge_key_of(config: TrainConfig, data: DataSchema) -> str:
    """The identity of the normal form of a run, resolved and in canonical form."""
    root, model, training = (part.differing for part in _normal_parts(config, data))
    return identity_of(root, model, training, data.fingerprint)


def _normal_parts(config: TrainConfig, data: DataSchema) -> list[_Normal]:
    parts = {
        ROOT: differing(config),
        MODEL: differing(config.model_spec),
        TRAINING: _counted(config.training_spec),
    }
    return [_normal_part(part, config, counted, data) for part, counted in parts.items()]


def _normal_part(part: str, config: TrainConfig, plain_part: Mapping[str, Any], data: DataSchema) -> _Normal:
    """A part of a resolved run in normal form; `plain_part` is what `differing` says of it as it is."""
    assert config.input_columns and config.seq_length and config.target_column_types
    inputs = normal_inputs(config.input_columns, {column: data.kind(column) for column in config.input_columns})
    if part == ROOT:
        if inputs == config.input_columns:
            return _Normal(inputs, plain_part, ())
        reason = "a model reads categorical input columns before real ones"
        return _Normal(inputs, differing(config.model_copy(update={"input_columns": inputs})), (reason,))
    spec: ModelSpec | TrainingSpec
    if part == MODEL:
        spec, found = config.model_spec, normal_model(config.model_spec, inputs)
    else:
        spec = config.training_spec
        found = normal_training(config.training_spec, config.seq_length, config.target_column_types)
    if not found.reasons:
        return _Normal(spec, plain_part, ())
    spec = spec.model_copy(update=found.update)
    return _Normal(spec, _counted(spec) if isinstance(spec, TrainingSpec) else differing(spec), tuple(found.reasons))


def _axes(dimension: Dimension, place: int) -> Sequence[Axis]:
    return dimension.alternatives[place].axes


def _model(values: Mapping[str, Any]) -> _Model:
    """A model from its values, in canonical form."""
    defaults = {**MODEL_DEFAULTS, **values}
    # Before validation: a model with heads that do not divide is none, but this search means mha then.
    attention_type, n_kv_heads, reason = canonical_attention(
        defaults["attention_type"], defaults["n_kv_heads"], defaults["n_head"]
    )
    given = _validated(ModelSpec, MODEL, {**values, "attention_type": attention_type, "n_kv_heads": n_kv_heads})
    spec = canonical_model(given)
    changes = [reason] if reason else []
    if spec.rope_theta != given.rope_theta:
        changes.append(f"rope_theta {given.rope_theta:g} cannot matter with learned positions")
    return _Model(spec, differing(spec), tuple(changes))


def _training(values: Mapping[str, Any]) -> _Training:
    """A training from its values, in canonical form; lengths in optimizer steps are still to be filled in."""
    return _scheduled(_validated(TrainingSpec, TRAINING, values), steps=None)


def _scheduled(spec: TrainingSpec, *, steps: int | None) -> _Training:
    """A training with the lengths of its schedule, as far as they are known; `steps` as in `check_schedule`."""
    spec, warning = check_schedule(spec, steps=steps)
    return _Training(spec, _counted(spec), (warning,) if warning else ())


def _counted(spec: TrainingSpec) -> dict[str, Any]:
    """What counts in the identity. Schema 1 takes `layer_autocast: false` for true; the run is as the cell says."""
    return differing(canonical_training(spec))


def _fixed_fields(section: ModelSampling | TrainingSampling, searchable: list[str]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in type(section).model_fields if name not in searchable}


def _kinds(model: type[BaseModel]) -> dict[str, Any]:
    return {name: plain_type(field.annotation) for name, field in model.model_fields.items()}


def _split(key: str) -> tuple[str, str]:
    """Section and field of a dotted key."""
    section, _, name = key.rpartition(".")
    return section, name


def _validated(model: type[_Section], section: str, values: Mapping[str, Any]) -> _Section:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_problems(error, section)) from error


def _problems(error: ValidationError, section: str = "") -> list[Problem]:
    """Pydantic's errors about a cell."""
    problems = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another problem
        key = ".".join(part for part in (section, *map(str, detail["loc"])) if part)
        reason = detail.get("ctx", {}).get("error")
        problems.append(Problem(key, str(reason) if reason else f"{detail['msg']}, got {detail['input']!r}"))
    return problems


def _of_search(problem: Problem) -> Problem:
    """A problem of a run at the key of the search config."""
    for section, searched in SEARCH_SECTIONS.items():
        if problem.key == section or problem.key.startswith(f"{section}."):
            return replace(problem, key=searched + problem.key.removeprefix(section))
    return problem
