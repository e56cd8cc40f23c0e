"""From a cell to its run: a validated config in canonical form, and its identity. Pure.

A plan expands thousands of cells, most of whose parts recur: many cells have the same model. So each part of a run (its
root, `model_spec`, `training_spec`) is validated once for each distinct choice, and rules between parts are checked
once for each distinct pair: root and model, and root and the training's fields by target (criterion, weights). No rule
of `TrainConfig` or of `resolve` reads other fields of the training that may vary, or both sections.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from sequifier.config.architecture import Architecture, architecture
from sequifier.config.base import plain_type
from sequifier.config.catalogue.metric_names import training_metric
from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import differing, identity_of, setting_of
from sequifier.config.resolve import DataSchema, resolve
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import ModelSampling, TrainingSampling
from sequifier.config.size import dense_parameter_count, parameter_count
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError
from sequifier.search.cell_problems import CellProblems
from sequifier.search.run_parts import (
    MODEL,
    ROOT,
    TRAINING,
    Model,
    NormalPart,
    PartSettings,
    Root,
    Training,
    expand_model,
    expand_training,
    normal_part,
    normal_parts,
    part_settings,
    scheduled,
    section_and_field,
    validation_problems,
)
from sequifier.search.space import Cell, Space

StepsOf = Callable[[TrainConfig], int]
"""The number of optimizer steps of a run, which depends on its data."""


_Key = tuple[tuple[int, tuple[float, ...]], ...]
"""The choices that decide one part of a run."""


class DoesNotFitError(ConfigError):
    """Freely combined fields of the backbone do not fit together in this cell: a plan leaves it out."""


@dataclass(frozen=True)
class Expanded:
    """One cell as a run.

    Attributes:
        config: resolved, in canonical form; its `model_name` is not set yet.
        identity: see config/identity.py.
        n_parameters: number of the model's weights.
        n_dense: number of those with which every event is multiplied.
        changes: how it differs from the cell: reverted n_kv_heads, settings without effect.
        warnings: for the user.
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
    n_dense: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    normal: TrainConfig
    merge_key: str
    spelled_out: tuple[str, ...]
    settings: Mapping[str, Any]
    proposed: Mapping[str, Any]
    fixed: Mapping[str, Any]
    configuration: str

    def setting(self, key: str) -> Any:
        """The value of a field that counts in the identity, by dotted key."""
        return setting_of(self.settings, self.fixed, key)


class Expander:
    """Turns the cells of a space into runs.

    Args:
        config: the search.
        space: of that search.
        data: the data set.
        seed: training seed of the runs.
        steps_of: gives the optimizer steps of a run, for schedules that count them; without it their `auto` stays.
    """

    def __init__(
        self, config: SearchConfig, space: Space, data: DataSchema, *, seed: int, steps_of: StepsOf | None = None
    ) -> None:
        self._config, self._data, self._steps_of = config, data, steps_of
        self.space, self.seed = space, seed
        self._problems = CellProblems(config, space)
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
            section, name = section_and_field(key)
            self._fixed[section][name] = value
        shortest, longest = config.horizons
        if shortest < longest and self._fixed[TRAINING]["evaluation_horizon"] is None:
            self._fixed[TRAINING]["evaluation_horizon"] = longest  # the same origins for all runs
        self._dimensions = {
            part: [
                index
                for index, dimension in enumerate(space.dimensions)
                if any(section_and_field(key)[0] == part for key in dimension.keys)
            ]
            for part in self._fixed
        }
        by_target = {f"{TRAINING}.{name}" for name, kind in _kinds(TrainingSpec).items() if get_origin(kind) is dict}
        self._by_target = [
            index for index in self._dimensions[TRAINING] if by_target & set(space.dimensions[index].keys)
        ]
        self._searched = [key for dimension in space.dimensions for key in dimension.keys if key not in FROM_METADATA]
        self._models: dict[_Key, Model] = {}
        self._trainings: dict[_Key, Training] = {}
        self._with_steps: dict[tuple[_Key, _Key], Training] = {}
        self._roots: dict[_Key, Root] = {}
        self._sizes: dict[tuple[_Key, _Key], tuple[int, int]] = {}
        self._normal: dict[tuple[str, _Key, _Key], NormalPart] = {}
        self._settings: dict[tuple[str, _Key, _Key], PartSettings] = {}
        self._fitting: set[tuple[_Key, _Key]] = set()  # root, and the fields of the training by target

    def expand(self, cell: Cell) -> Expanded:
        """The run of a cell.

        Raises:
            DoesNotFitError: the cell is to be left out.
            ConfigError: the cell is not a valid run; keys are those of the search config.
        """
        at_root, at_model, at_training = (self._key(cell, self._dimensions[part]) for part in (ROOT, MODEL, TRAINING))
        by_target = self._key(cell, self._by_target)
        try:
            if at_model not in self._models:
                self._models[at_model] = self._model(cell)
            if at_training not in self._trainings:
                self._trainings[at_training] = expand_training(self._values(cell, TRAINING))
            model, training = self._models[at_model], self._trainings[at_training]
            if (at_root, at_model) not in self._sizes or (at_root, by_target) not in self._fitting:
                self._fit_together(cell, at_root, at_model, at_training)
                self._fitting.add((at_root, by_target))
            root = self._roots[at_root]
            if self._steps_of is not None and training.spec.scheduler_step_on == "batch":
                training = self._with_steps.get((at_root, at_training)) or self._count_steps(at_root, at_training)
        except ValidationError as error:
            raise ConfigError(
                [self._problems.located(problem, cell) for problem in validation_problems(error)]
            ) from error
        except DoesNotFitError:
            raise
        except ConfigError as error:
            raise ConfigError([self._problems.located(problem, cell) for problem in error.problems]) from error
        config = root.config.model_copy(update={MODEL: model.spec, TRAINING: training.spec})
        normal, settings = [], []
        for part, at, plain_part in ((ROOT, (), root), (MODEL, at_model, model), (TRAINING, at_training, training)):
            if (part, at_root, at) not in self._normal:
                self._normal[part, at_root, at] = normal_part(part, config, plain_part.differing, self._data)
                values = self.space.values(cell)
                self._settings[part, at_root, at] = part_settings(part, config, plain_part.differing, values)
            normal.append(self._normal[part, at_root, at])
            settings.append(self._settings[part, at_root, at])
        sizes = self._sizes[at_root, at_model]
        return self._expanded(config, root.differing, model, training, normal, sizes, settings)

    def _expanded(
        self,
        config: TrainConfig,
        root: Mapping[str, Any],
        model: Model,
        training: Training,
        normal: Sequence[NormalPart],
        sizes: tuple[int, int],
        settings: Sequence[PartSettings],
    ) -> Expanded:
        fingerprint = self._data.fingerprint
        identity = identity_of(root, model.differing, training.differing, fingerprint)
        of_root, of_model, of_training = normal
        spelled_out = tuple(reason for part in normal for reason in part.reasons)
        update = {"input_columns": of_root.value, MODEL: of_model.value, TRAINING: of_training.value}
        merge_key = identity
        if spelled_out:
            merge_key = identity_of(of_root.differing, of_model.differing, of_training.differing, fingerprint)
        configuration = merge_key
        if "seed" in of_root.differing:
            without_seed = {name: value for name, value in of_root.differing.items() if name != "seed"}
            configuration = identity_of(without_seed, of_model.differing, of_training.differing, fingerprint)
        searched = {key: value for part in settings for key, value in part.searched.items()}
        return Expanded(
            config=config,
            identity=identity,
            n_parameters=sizes[0],
            n_dense=sizes[1],
            changes=model.changes,
            warnings=training.warnings,
            normal=config.model_copy(update=update) if spelled_out else config,
            merge_key=merge_key,
            spelled_out=spelled_out,
            settings={**{key: searched[key] for key in self._searched}, **searched},
            proposed={key: value for part in settings for key, value in part.proposed.items()},
            fixed={key: value for part in settings for key, value in part.fixed.items()},
            configuration=configuration,
        )

    def expand_values(self, given: Mapping[str, Any]) -> Expanded:
        """The run with some given values, which need not be those of a cell; `Space.around` fills in the others.

        Args:
            given: validated values by dotted key of `train.yaml`.

        Raises:
            ConfigError: this is not a valid run; keys are those of `train.yaml`.
        """
        parts = {part: dict(fixed) for part, fixed in self._fixed.items()}
        values = self.space.around(given)
        for key, value in values.items():
            section, name = section_and_field(key)
            parts[section][name] = value
        try:
            model, training = expand_model(parts[MODEL]), expand_training(parts[TRAINING])
            root = self._as_one_run(parts[ROOT], model, training)
        except ValidationError as error:
            raise ConfigError(validation_problems(error)) from error
        if self._steps_of is not None and training.spec.scheduler_step_on == "batch":
            training = scheduled(training.spec, steps=self._steps_of(root))
        config = root.model_copy(update={TRAINING: training.spec})
        sizes = _sizes_of(architecture(config, self._data))
        normal = normal_parts(config, self._data)
        own = {key: values[key] for key in (*self._searched, *given)}
        of_parts = ((ROOT, differing(config)), (MODEL, model.differing), (TRAINING, training.differing))
        settings = [part_settings(part, config, counted, own) for part, counted in of_parts]
        return self._expanded(config, differing(config), model, training, normal, sizes, settings)

    def _key(self, cell: Cell, dimensions: Sequence[int]) -> _Key:
        return tuple((cell.digits[index], cell.draws[index]) for index in dimensions)

    def _values(self, cell: Cell, part: str) -> dict[str, Any]:
        values = dict(self._fixed[part])
        for index in self._dimensions[part]:
            found = self.space.dimensions[index].values(cell.digits[index], cell.draws[index])
            for key, value in found.items():
                section, name = section_and_field(key)
                if section == part:
                    values[name] = value
        return values

    def _model(self, cell: Cell) -> Model:
        try:
            return expand_model(self._values(cell, MODEL))
        except ConfigError as error:
            # Each value was checked by itself when the config was read, so the problem is between fields.
            raise DoesNotFitError(error.problems) if self._config.is_free_backbone() else error from error

    def _count_steps(self, at_root: _Key, at_training: _Key) -> Training:
        """A schedule that counts optimizer steps, with the number of them."""
        assert self._steps_of is not None
        spec = self._trainings[at_training].spec
        steps = self._steps_of(self._roots[at_root].config.model_copy(update={TRAINING: spec}))
        self._with_steps[at_root, at_training] = training = scheduled(spec, steps=steps)
        return training

    def _fit_together(self, cell: Cell, at_root: _Key, at_model: _Key, at_training: _Key) -> None:
        """Check root, model and training as one run."""
        resolved = self._as_one_run(self._values(cell, ROOT), self._models[at_model], self._trainings[at_training])
        if at_root not in self._roots:
            self._roots[at_root] = Root(resolved, differing(resolved))
        if (at_root, at_model) not in self._sizes:
            self._sizes[at_root, at_model] = _sizes_of(architecture(resolved, self._data))

    def _as_one_run(self, root: Mapping[str, Any], model: Model, training: Training) -> TrainConfig:
        values = {name: value for name, value in root.items() if name not in FROM_METADATA}
        return resolve(TrainConfig.model_validate(values | {MODEL: model.spec, TRAINING: training.spec}), self._data)


def _fixed_fields(section: ModelSampling | TrainingSampling, searchable: list[str]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in type(section).model_fields if name not in searchable}


def _kinds(model: type[BaseModel]) -> dict[str, Any]:
    return {name: plain_type(field.annotation) for name, field in model.model_fields.items()}


def _sizes_of(shape: Architecture) -> tuple[int, int]:
    """The number of a model's weights, and of the dense ones among them."""
    return parameter_count(shape), dense_parameter_count(shape)
