"""The parts of a run, its root, `model_spec` and `training_spec`: validated, in canonical form and in normal form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import (
    MODEL_DEFAULTS,
    canonical_attention,
    canonical_model,
    canonical_training,
    differing,
    identity_of,
    plain,
)
from sequifier.config.model import ModelSpec
from sequifier.config.normal_form import normal_inputs, normal_model, normal_training
from sequifier.config.resolve import DataSchema, check_schedule
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError, Problem
from sequifier.results.settings import NO_SETTINGS, values_of

ROOT, MODEL, TRAINING = "", "model_spec", "training_spec"
"""The parts of a run, as the first part of a dotted key."""

_Section = TypeVar("_Section", ModelSpec, TrainingSpec)


@dataclass(frozen=True)
class PartSettings:
    """The settings of a part of a run.

    Attributes:
        searched: searched values by dotted key, as the run has them.
        proposed: those that the search config writes in another form: null for what the data fill in, gqa for mha.
        fixed: other values that count in the identity and are not the default, by dotted key.
    """

    searched: Mapping[str, Any]
    proposed: Mapping[str, Any]
    fixed: Mapping[str, Any]


@dataclass(frozen=True)
class NormalPart:
    """A part of a run in normal form.

    Attributes:
        value: the input columns for the root, else a `ModelSpec` or `TrainingSpec`.
        differing: its values that are not at their defaults.
        reasons: why it is not as the run has it; empty where it is.
    """

    value: Any
    differing: Mapping[str, Any]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model with its values that are not at their defaults, and the changes that the canonical form made."""

    spec: ModelSpec
    differing: Mapping[str, Any]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """A training with its values in the identity that are not at their defaults, and warnings for the user."""

    spec: TrainingSpec
    differing: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Root:
    """A run whose sections are those of the first cell with this root, and its root values that are not defaults."""

    config: TrainConfig
    differing: Mapping[str, Any]


def expand_model(values: Mapping[str, Any]) -> Model:
    """A model from its values, in canonical form."""
    defaults = {**MODEL_DEFAULTS, **values}
    # Before validation: heads that do not divide are an error in a model, but mean mha in a search.
    attention_type, n_kv_heads, reason = canonical_attention(
        defaults["attention_type"], defaults["n_kv_heads"], defaults["n_head"]
    )
    given = _validated(ModelSpec, MODEL, {**values, "attention_type": attention_type, "n_kv_heads": n_kv_heads})
    spec = canonical_model(given)
    changes = [reason] if reason else []
    if spec.rope_theta != given.rope_theta:
        changes.append(f"rope_theta {given.rope_theta:g} cannot matter with learned positions")
    return Model(spec, differing(spec), tuple(changes))


def expand_training(values: Mapping[str, Any]) -> Training:
    """A training from its values, in canonical form; schedule lengths in optimizer steps are not filled in yet."""
    return scheduled(_validated(TrainingSpec, TRAINING, values), steps=None)


def scheduled(spec: TrainingSpec, *, steps: int | None) -> Training:
    """A training with the lengths of its schedule, as far as they are known; `steps` as in `check_schedule`."""
    spec, warning = check_schedule(spec, steps=steps)
    return Training(spec, counted(spec), (warning,) if warning else ())


def counted(spec: TrainingSpec) -> dict[str, Any]:
    """The values in the identity. Schema 1 takes `layer_autocast: false` for true; the run itself keeps false."""
    return differing(canonical_training(spec))


def _validated(model: type[_Section], section: str, values: Mapping[str, Any]) -> _Section:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, section)) from error


def validation_problems(error: ValidationError, section: str = "") -> list[Problem]:
    """The problems that pydantic found in a cell."""
    problems = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another problem
        key = ".".join(part for part in (section, *map(str, detail["loc"])) if part)
        reason = detail.get("ctx", {}).get("error")
        problems.append(Problem(key, str(reason) if reason else f"{detail['msg']}, got {detail['input']!r}"))
    return problems


def merge_key_of(config: TrainConfig, data: DataSchema) -> str:
    """The identity of the normal form of a resolved run in canonical form."""
    root, model, training = (part.differing for part in normal_parts(config, data))
    return identity_of(root, model, training, data.fingerprint)


def part_settings(part: str, config: TrainConfig, counted: Mapping[str, Any], given: Mapping[str, Any]) -> PartSettings:
    """The settings of a part of a run.

    Args:
        part: its section.
        config: the run.
        counted: the fields of the section that `differing` returns.
        given: searched values of all parts as they are written, by dotted key.
    """
    written = {
        key: plain(value)
        for key, value in given.items()
        if section_and_field(key)[0] == part and key not in FROM_METADATA
    }
    searched = values_of(config, [*written])
    left_out = {*searched, *NO_SETTINGS}
    by_key = {f"{part}.{name}" if part else name: value for name, value in counted.items()}
    return PartSettings(
        searched,
        proposed={key: value for key, value in written.items() if value != searched[key]},
        fixed={key: value for key, value in by_key.items() if key not in left_out},
    )


def normal_parts(config: TrainConfig, data: DataSchema) -> list[NormalPart]:
    """Root, model and training of a resolved run in normal form."""
    parts = {
        ROOT: differing(config),
        MODEL: differing(config.model_spec),
        TRAINING: counted(config.training_spec),
    }
    return [normal_part(part, config, values, data) for part, values in parts.items()]


def normal_part(part: str, config: TrainConfig, plain_part: Mapping[str, Any], data: DataSchema) -> NormalPart:
    """A part of a resolved run in normal form; `plain_part` is `differing` of the part as it is."""
    assert config.input_columns and config.seq_length and config.target_column_types
    inputs = normal_inputs(config.input_columns, {column: data.kind(column) for column in config.input_columns})
    if part == ROOT:
        if inputs == config.input_columns:
            return NormalPart(inputs, plain_part, ())
        reason = "a model reads categorical input columns before real ones"
        return NormalPart(inputs, differing(config.model_copy(update={"input_columns": inputs})), (reason,))
    spec: ModelSpec | TrainingSpec
    if part == MODEL:
        spec, found = config.model_spec, normal_model(config.model_spec, inputs)
    else:
        spec = config.training_spec
        criteria = {target: data.default_criterion(target) for target in config.target_column_types}
        found = normal_training(config.training_spec, config.seq_length, config.prediction_horizon, criteria)
    if not found.reasons:
        return NormalPart(spec, plain_part, ())
    spec = spec.model_copy(update=found.update)
    return NormalPart(spec, counted(spec) if isinstance(spec, TrainingSpec) else differing(spec), tuple(found.reasons))


def section_and_field(key: str) -> tuple[str, str]:
    """Section and field of a dotted key."""
    section, _, name = key.rpartition(".")
    return section, name
