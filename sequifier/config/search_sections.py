"""The sections of a search, derived from those of a run, and which fields a search may vary."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sequifier.config.base import KeyPath, StrictModel, field_about, plain_type
from sequifier.config.fields import searchable
from sequifier.config.model import ModelSpec
from sequifier.config.placed_errors import problem, relocated
from sequifier.config.ranges import Range
from sequifier.config.searched import ValuesOf
from sequifier.config.training import TrainingSpec
from sequifier.errors import did_you_mean

LINKED: dict[str, tuple[str, ...]] = {
    "backbone": ("dim_model", "n_head", "initial_embedding_dim", "joint_embedding_dim", "feature_embedding_dims"),
    "schedule": ("learning_rate", "epochs", "scheduler"),
    "data": ("input_columns", "column_types"),
}
"""Groups of fields whose lists are paired by index: a number of heads belongs to a width."""


class Section(StrictModel):
    """Base of the two derived sections."""

    @classmethod
    def searchable(cls) -> list[str]:
        """The fields that take several values, in declared order."""
        return [name for name, field in cls.model_fields.items() if _values_of(field).searched]


def _values_of(field: FieldInfo) -> ValuesOf:
    return next(item for item in field.metadata if isinstance(item, ValuesOf))


def section(
    title: str,
    about_it: str,
    owner: type[BaseModel],
    *,
    left_out: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> type[Section]:
    """Derive a section of a search from one of a run.

    Args:
        title: name of the new model.
        about_it: its docstring.
        owner: the section of a run.
        left_out: fields that a search does not have.
        defaults: of fields that have another default in a search.
    """
    fields: dict[str, Any] = {}
    for name, field in owner.model_fields.items():
        if name in left_out:
            continue
        searched = field_about(field).get("searchable", False)
        kind: Any = field.annotation
        default: Any = None  # a default that follows from other fields: each run takes its own
        if field.default is not PydanticUndefined or not field.default_factory_takes_validated_data:
            default = (defaults or {}).get(name, field.get_default(call_default_factory=True))
            default = [default] if searched else default
        several: Any = list.__class_getitem__(kind)
        if plain_type(kind) in (int, float):
            several = several | Range
        fields[name] = (
            Annotated[several if searched else kind, ValuesOf(owner, name, searched=searched)],
            Field(default, description=field.description, json_schema_extra=copy(field.json_schema_extra)),
        )
    return create_model(title, __base__=Section, __doc__=about_it, **fields)


if TYPE_CHECKING:

    class ModelSampling(Section): ...

    class TrainingSampling(Section): ...

else:
    ModelSampling = section(
        "ModelSampling",
        "The models to try: each field of model_spec as a list of values or a range.",
        ModelSpec,
    )
    TrainingSampling = section(
        "TrainingSampling",
        "The training settings to try: each field of training_spec as a list of values or a range.",
        TrainingSpec,
        left_out=("effective_batch_size",),  # the search writes it
        defaults={"keep_checkpoints": 1},
    )


def searchable_fields() -> list[str]:
    """Every searchable field in the order of the grid, the slowest first, ignoring groups."""
    data = [
        *LINKED["data"],
        "seq_length",
        "window_stride",
        "window_normalization",
        "prediction_horizon",
        "known_future",
    ]
    first = [*LINKED["schedule"], "batch_size", "dropout", "optimizer", "accumulation_steps"]
    training = [*first, *(field for field in TrainingSampling.searchable() if field not in first)]
    model = [*LINKED["backbone"], "dim_feedforward", "num_layers", "activation_fn", "normalization"]
    model += ["positional_encoding", "attention_type", "norm_first", "n_kv_heads", "rope_theta"]
    model += [field for field in ModelSampling.searchable() if field not in model]
    return [*data, *training, *model]


def train_key(field: str) -> str:
    """The dotted key of `train.yaml` that a searchable field sets."""
    return searchable()[field].key


def run_values(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The searchable fields of one run as validated values by dotted key of `train.yaml`.

    Args:
        raw: one value per field, nested or under dotted keys.

    Raises:
        ValidationError: all problems.
    """
    given: dict[str, tuple[KeyPath, Any]] = {}
    for key, value in raw.items():
        if key in ("model_spec", "training_spec") and isinstance(value, Mapping):
            given |= {f"{key}.{name}": ((key, name), below) for name, below in value.items()}
        else:
            given[key] = ((key,), value)
    fields = {field.key: field for field in searchable().values()}
    values, errors = {}, []
    for key, (at, value) in given.items():
        if key not in fields:
            hint = f"did you mean `{train_key(key)}`?" if key in searchable() else did_you_mean(key, fields)
            errors.append(problem(at, f"`{key}` is not a searchable field of a run; {hint}", value))
            continue
        field = fields[key]
        try:
            values[key] = ValuesOf(field.owner, field.name, searched=False).validate_one(value)
        except ValidationError as error:
            errors += relocated(error, drop=0, prefix=at)
    if errors:
        raise ValidationError.from_exception_data("run", errors)
    return values


def is_whole(field: str) -> bool:
    """Whether a searchable field takes integers."""
    return plain_type(searchable()[field].info.annotation) is int
