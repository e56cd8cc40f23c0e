"""What every config model shares: strictness, field metadata, and the types that several configs use.

Fields are declared once, with bounds, a description and `about(...)`. Validation, `config explain`, the reference
and the comments in YAML files are all read from these declarations.
"""

import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

ColumnType = Literal["categorical", "real"]


ALONE = "nothing else"
"""Says of a field that no other one bears on it."""


def about(
    *,
    unit: str = "",
    interacts: str = "",
    change: str = "",
    default: str = "",
    not_yet: bool | tuple[object, ...] = False,
    unused: bool = False,
) -> dict[str, Any]:
    """Field metadata beyond its type: for `json_schema_extra`.

    Args:
        unit: what a number counts or measures ("epochs", "optimizer steps").
        interacts: other fields that this one must fit or that change its meaning; `ALONE`: there are none.
        change: when a user would change it.
        default: the default in words, where it follows from other fields.
        not_yet: True when only the default is available in this version, or the values that are not.
        unused: accepted, because configs of older versions have it, and without effect.
    """
    named = {"unit": unit, "interacts": interacts, "change": change, "default": default}
    return {key: value for key, value in {**named, "not_yet": not_yet, "unused": unused}.items() if value}


def field_about(field: FieldInfo) -> Mapping[str, Any]:
    """The `about(...)` of a field."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


class StrictModel(BaseModel):
    """A frozen config model: unknown keys are errors, and so are yes/no words and booleans given as numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_as_number(cls, values: Any) -> Any:
        # Pydantic reads `epochs: true` as 1; a person who wrote it meant something else.
        if isinstance(values, dict):
            for name in _number_fields(cls):
                if isinstance(values.get(name), bool):
                    values = values | {name: _BooleanForNumber(values[name])}
        return values

    # For each field by itself: a model's own check would not run while another field is wrong, and would not have the
    # field's place.
    @field_validator("*")
    @classmethod
    def _available(cls, value: Any, info: ValidationInfo) -> Any:
        not_yet, default = _unavailable_fields(cls).get(str(info.field_name), ((), None))
        if value != default and (not_yet is True or value in not_yet):
            shown = value.model_dump() if isinstance(value, BaseModel) else value
            raise ValueError(
                f"{_written(shown)} is not available in this version; leave it out (default: {_written(default)})"
            )
        return value


def _written(value: Any) -> str:
    """A value as a config writes it."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)


class _BooleanForNumber:
    """Stands for a boolean in a number's place, so that pydantic refuses it at the right key."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return str(self.value).lower()


@cache
def _number_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if _is_number(field.annotation))


@cache
def _unavailable_fields(model: type[BaseModel]) -> dict[str, tuple[Any, Any]]:
    """Field -> (what is not available, the default)."""
    return {
        name: (field_about(field)["not_yet"], field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if field_about(field).get("not_yet")
    }


def plain_type(annotation: Any) -> Any:
    """An annotation without `Annotated[...]` and `| None`: `Annotated[int, ...] | None` is `int`."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kept = [member for member in get_args(annotation) if member is not NoneType]
        if len(kept) == 1:
            return plain_type(kept[0])
    return annotation


def allows_none(annotation: Any) -> bool:
    """Whether `null` is a value of this type."""
    if get_origin(annotation) is Annotated:
        return allows_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(allows_none(member) for member in get_args(annotation))
    return annotation is NoneType


def _is_number(annotation: Any) -> bool:
    return plain_type(annotation) in (int, float)


def list_of_one(value: Any) -> Any:
    """A single name as a list."""
    return [value] if isinstance(value, str) else value


NameList = Annotated[list[str], BeforeValidator(list_of_one)]
"""Names; a single one counts as a list of one."""

Columns = Annotated[NameList, Field(min_length=1)]
"""Column names, at least one."""

Fraction = Annotated[float, Field(ge=0, lt=1)]

NAME_BYTES = 100
"""Longest name of a run: files add what they are to it, and a file's name has 255 bytes at most."""


def _in_words(command: str) -> str:
    try:
        shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error} ({command!r})") from error
    return command


Command = Annotated[str, AfterValidator(_in_words)]
"""A program with its arguments, quoted as for a shell."""


def usable_name(name: str, *, longest: int = NAME_BYTES) -> str:
    """A name that can be part of file names, unchanged.

    Args:
        name: of a run or a search.
        longest: in bytes of UTF-8; less where a number will follow.

    Raises:
        ValueError: it cannot.
    """
    if not name.isprintable():
        raise ValueError(f"{name!r} has a line break or another character that cannot be printed; leave it out")
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be part of a file name; leave out `/`, `\\` and a leading dot")
    if "embedding" in name:
        raise ValueError(f'{name!r} contains "embedding", which marks embedding models; choose another name')
    if (length := len(name.encode())) > longest:
        raise ValueError(f"has {length} bytes; file names have room for {longest}: choose a shorter name")
    return name


class Named(BaseModel):
    """A class of a library by name, with its options: `{name: AdamW, weight_decay: 0.01}`."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments given beside the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _plain_options(self) -> Self:
        for option, value in self.options.items():
            if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
                meant = "true" if value.lower() in ("yes", "on") else "false"
                raise ValueError(f"{option}: `{value}` is text here; write `{meant}`")
        return self

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.options.items()))))


class ProjectConfig(StrictModel):
    """The root fields that every config has."""

    project_root: str = Field(
        ".",
        description="Folder of the project. Outputs are written below it; inputs are looked for below it, "
        "then below the working folder.",
        json_schema_extra=about(
            interacts="every relative path of the config", change="to run a command from outside the project's folder"
        ),
    )
    user: dict[str, Any] = Field(
        default_factory=dict,
        description="Free keys of your own (`-D user.threshold=0.8`): hooks, experiments and evaluation scripts "
        "read them; they enter a run's YAML and identity.",
        json_schema_extra=about(
            interacts="other values are another run: they enter its identity",
            change="your hooks, experiments or scripts need settings of their own",
        ),
    )

    @property
    def root(self) -> Path:
        """The project's folder, `~` being the home folder: outputs are written below it."""
        return Path(self.project_root).expanduser()
