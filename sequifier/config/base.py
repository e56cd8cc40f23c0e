"""What every config model shares: strictness, field metadata, and the types that several configs use.

Fields are declared once, with bounds, a description and `about(...)`. Validation, `config explain`, the reference
and the comments in YAML files are all read from these declarations.
"""

import math
import os
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypedDict, TypeVar, Union, Unpack, cast, get_args, get_origin

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

KeyPath = tuple[str | int, ...]
"""Where a value is in a config: keys of maps and places in lists, from the top level."""


ALONE = "nothing else"
"""For `about(interacts=...)`: no other field interacts with this one."""


NO_UNIT = "no unit"
"""For `about(unit=...)`: the number counts and measures nothing."""


class About(TypedDict, total=False):
    """What is declared of a field beside its type, bounds and description.

    The first six are for people. The flags after them apply to fields of a run (`train.yaml`); all are False unless
    declared, so a new field counts in the identity, must be equal when a run resumes, and has one value in a search.
    """

    unit: str
    """What a number counts or measures: "epochs", "optimizer steps"."""
    interacts: str
    """Other fields that limit this one or change its meaning; `ALONE`: there are none."""
    change: str
    """When a user would change it."""
    default: str
    """The default in words, where it follows from other fields."""
    refused: str
    """Why every value but the default is refused."""
    unused: bool
    """Accepted without effect, because configs of older versions have it."""

    outside_identity: bool
    """Another value is the same run: names, paths, outputs, hardware."""
    may_differ_on_resume: bool
    """A run may resume from a checkpoint that was written with another value."""
    searchable: bool
    """A search may try several values."""
    from_metadata: bool
    """The metadata has it; the config's value counts with --skip-metadata alone."""

    old_names: tuple[str, ...]
    """Names in older versions; accepted with a note."""
    second_names: tuple[str, ...]
    """Other names of today; accepted without a note."""
    synonyms: str
    """Names in other libraries, separated by spaces: not accepted, but known to `config explain` and error messages."""


def about(**declared: Unpack[About]) -> dict[str, Any]:
    """What is declared of a field, for `json_schema_extra`."""
    return dict(declared)


def field_about(field: FieldInfo) -> About:
    """The `about(...)` of a field."""
    return cast(About, field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}


def _plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Check that JSON, and so the identity of a run and its record, can hold each value of a free map."""
    for place, value in _leaves(values, ""):
        is_plain = math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int | None)
        if not is_plain:
            raise ValueError(f"`{place}`: {value!r} cannot be stored; write it as a string")
    return values


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted place and the value of each leaf of nested maps and lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f"{place}.{key}" if place else f"{key}")
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _leaves(below, f"{place}[{index}]")
    else:
        yield place, value


FreeMap = Annotated[dict[str, Any], AfterValidator(_plain_values)]
"""Keys and values of the user's own, without a schema."""


class StrictModel(BaseModel):
    """A frozen config model: unknown keys, yes/no words and booleans in place of numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_as_number(cls, values: Any) -> Any:
        # Pydantic reads `epochs: true` as 1, which is not what was meant.
        if isinstance(values, dict):
            for name in _number_fields(cls):
                if isinstance(values.get(name), bool):
                    values = values | {name: _BooleanForNumber(values[name])}
        return values

    # For each field: a check of the whole model would not run while another field is wrong, nor have the field's place.
    @field_validator("*")
    @classmethod
    def _available(cls, value: Any, info: ValidationInfo) -> Any:
        reason, default = _default_only(cls).get(str(info.field_name), ("", value))
        if value != default:
            raise ValueError(f"{_written(value)} is refused: {reason}; leave it out (default: {_written(default)})")
        return value


def _written(value: Any) -> str:
    """A value as a config writes it."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)


class _BooleanForNumber:
    """A boolean in place of a number, which pydantic refuses at the right key."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return str(self.value).lower()


@cache
def _number_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if _is_number(field.annotation))


@cache
def _default_only(model: type[BaseModel]) -> dict[str, tuple[str, Any]]:
    """Field -> (why it takes its default only, the default)."""
    return {
        name: (reason, field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if (reason := field_about(field).get("refused", ""))
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


def form_of(annotation: Any) -> str:
    """The form that a string has to have, as its declaration names it: `cuda:N`; "" for any other type."""
    return next((item.title or "" for item in get_args(annotation)[1:] if isinstance(item, FieldInfo)), "")


def is_model(kind: Any) -> bool:
    """Whether a type is a pydantic model."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_section(kind: Any) -> bool:
    """Whether a type is a config's own model, whose fields are declared: not a class of a library with its options."""
    return is_model(kind) and not issubclass(kind, Named)


def fields_with_paths(model: type[BaseModel], path: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every field of a config and of its sections, in declared order."""
    for name, field in model.model_fields.items():
        yield (*path, name), field
        if is_section(kind := plain_type(field.annotation)):
            yield from fields_with_paths(kind, (*path, name))


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


Category = str | int | bool
"""A category as in the raw data, or a class as it is predicted."""


def category_text(value: Category) -> str:
    """Return a category as a key of the metadata's id_maps; booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


Name = TypeVar("Name", bound=str)

NameList = Annotated[list[str], BeforeValidator(list_of_one)]
"""Names; a single name counts as a list of one."""

Columns = Annotated[NameList, Field(min_length=1)]
"""Column names, at least one."""


def each_once(names: list[Name]) -> list[Name]:
    """Return names; ValueError where one is given more than once."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} given more than once")
    return names


DistinctNames = Annotated[NameList, AfterValidator(each_once)]
"""Names, each once."""

DistinctColumns = Annotated[DistinctNames, Field(min_length=1)]
"""Column names, at least one, each once."""

Device = Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Field(pattern="^cuda:[0-9]{1,3}$", title="cuda:N")]
"""A device that computes: `cuda:1` is the second GPU, `cuda` the current one of the process, which is the first."""

Fraction = Annotated[float, Field(ge=0, lt=1)]

NAME_BYTES = 100
"""Longest name of a run: file names add to it, and a file name has at most 255 bytes."""


def _in_words(command: str) -> str:
    try:
        shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error} ({command!r})") from error
    return command


Command = Annotated[str, AfterValidator(_in_words)]
"""A program with its arguments, quoted as for a shell."""


def usable_name(name: str, *, longest: int = NAME_BYTES) -> str:
    """Check that a name can be part of file names; returns it unchanged.

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


def inside_project(path: str) -> str:
    """Check that a folder to write to does not lead out of the project by `..`; returns it unchanged.

    Raises:
        ValueError: it does. An absolute path is allowed.
    """
    if Path(os.path.normpath(path)).parts[:1] == (os.pardir,):
        raise ValueError(f"{path} is outside project_root: write a path below it, or an absolute one")
    if any(ord(letter) < 0x20 for letter in path):
        raise ValueError(f"{path!r} contains control characters")
    return path


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
        description="Folder of the project. Outputs are written below it; inputs are looked for below it, then below "
        "the working folder.",
        json_schema_extra=about(
            interacts="every relative path of the config",
            change="to run a command from outside the project's folder",
            outside_identity=True,
            may_differ_on_resume=True,
            old_names=("project_path",),
            synonyms="root base_dir root_dir output_dir work_dir",
        ),
    )
    user: FreeMap = Field(
        default_factory=dict,
        description="Free keys of your own (`-D user.threshold=0.8`), which hooks, experiments and scripts (that "
        "evaluate or judge) read. They are part of a run's identity.",
        json_schema_extra=about(
            interacts="hooks and evaluation_script, which read them",
            change="when your hooks, experiments or scripts need settings of their own",
            synonyms="custom extra",
        ),
    )

    @property
    def root(self) -> Path:
        """The project's folder, `~` being the home folder: outputs are written below it."""
        return Path(self.project_root).expanduser()
