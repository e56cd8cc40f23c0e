"""The declared fields, for people: comments in YAML files, and the reference `docs/hyperparameters.md`.

Both are read from the descriptions in the config models, so there is nothing to keep in step by hand.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sequifier.config.base import Named, field_about, is_section, plain_type
from sequifier.config.dump import inline
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.yaml12 import parse
from sequifier.config.model import ModelSpec
from sequifier.config.search_sections import Section, searchable_fields
from sequifier.config.searched import ValuesOf
from sequifier.config.training import TrainingSpec

COLUMN = 40
"""Where comments start; a line that reaches this far gets its comment on the next one."""

WIDTH = 116
"""Comments are wrapped to end here."""

_GENERATED = re.compile(rf"(?:^ {{{COLUMN}}}|  +)# .*$")


def annotate(text: str, model: type[BaseModel], *, full: bool = False) -> str:
    """Give each key of a YAML file the first sentence of its description as a comment, replacing earlier ones.

    With `full`, default, values and when to change it follow.

    Comments on a line of their own that begin before `COLUMN` are the author's and stay; those behind a value (two
    or more spaces, then `#`) are replaced. What this returns is a fixed point: annotating it again changes nothing.
    """
    lines = [line for line in (_without_comment(line) for line in text.splitlines()) if line is not None]
    keys: dict[int, tuple[str | int, ...]] = {}
    for path, number in parse("\n".join(lines)).lines.items():
        if path and (number not in keys or len(path) < len(keys[number])):
            keys[number] = path
    annotated: list[str] = []
    for number, line in enumerate(lines, start=1):
        field = field_at(model, keys.get(number, ()))
        comment = "" if field is None else full_comment(field) if full else summary(field)
        annotated += _with_comment(line, comment) if comment else [line]
    return "\n".join(annotated) + "\n"


def field_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """The field that a key path leads to, `None` inside free maps and lists and for unknown keys."""
    field = model.model_fields.get(str(path[0])) if path else None
    if field is None or len(path) == 1:
        return field
    inner = plain_type(field.annotation)
    return field_at(inner, path[1:]) if is_section(inner) else None


def summary(field: FieldInfo) -> str:
    """The first sentence of a field's description."""
    return re.split(r"(?<=\.)\s+(?=[A-Z])", field.description or "")[0]


def full_comment(field: FieldInfo) -> str:
    """The first sentence of a field's description, its default and values, and when to change it."""
    found = describe(field)
    if found.default == "see below":  # a section, whose fields say it themselves
        return summary(field)
    default = f"default {found.default}" if found.default else "mandatory"
    change = f" When to change: {found.change}." if found.change else ""
    return f"{summary(field)} {default[0].upper()}{default[1:]}; {found.values}.{change}"


def reference() -> str:
    """Every field of every config, as Markdown."""
    return hyperparameters({f"{kind}.yaml": model for kind, model in KINDS.items()})


def hyperparameters(models: Mapping[str, type[BaseModel]]) -> str:
    """The reference of all fields, as Markdown: one section per config file, one table per model in it.

    Args:
        models: the config model of each file, `{"train.yaml": TrainConfig}`.
    """
    parts = [
        "# Every field of every config\n\nGenerated from the descriptions in `sequifier/config`; "
        "`make docs` writes it anew. **Fields without a default are mandatory.** What every field of "
        "`model_spec` and `training_spec` takes in a search, and how sources override each other: "
        "[configuration.md](configuration.md). One field on the command line: `sequifier config explain FIELD`."
    ]
    described: set[type[BaseModel]] = set()
    for file, model in models.items():
        places: dict[type[BaseModel], list[str]] = {}
        for name, part in models_in(model, ""):
            places.setdefault(part, []).append(name)
        parts += [f"## {file}"]
        parts += [_section(", ".join(names), part) for part, names in places.items() if part not in described]
        described |= set(places)
    return "\n\n".join(parts) + "\n"


def _without_comment(line: str) -> str | None:
    """A line without what `annotate` added; `None` for a line that was nothing else."""
    is_authors_own = line.lstrip().startswith("#") and len(line) - len(line.lstrip()) < COLUMN
    if is_authors_own or not line.strip():
        return line
    return _GENERATED.sub("", line).rstrip() or None


def _with_comment(line: str, comment: str) -> list[str]:
    wrapped = textwrap.wrap(comment, WIDTH - COLUMN - 2)
    margin = " " * COLUMN
    beside = [f"{line:<{COLUMN}}# {wrapped[0]}"] if len(line) <= COLUMN - 2 else [line, f"{margin}# {wrapped[0]}"]
    return beside + [f"{margin}# {more}" for more in wrapped[1:]]


def models_in(model: type[BaseModel], name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and the models of its fields, with their dotted names."""
    yield name, model
    for key, field in model.model_fields.items():
        inner = [member for member in members(field.annotation) if is_section(member)]
        for member in inner if not issubclass(model, Section) else ():
            yield from models_in(member, f"{name}.{key}" if name else key)


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without null."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for member in get_args(annotation) for inner in members(member))
    return () if annotation is NoneType else (annotation,)


@dataclass(frozen=True)
class Described:
    """What is to know of a field.

    Attributes:
        purpose: what it is for.
        default: as a config writes it, or in words; "" for a mandatory field.
        values: type, range and unit.
        interacts: other fields that bear on it.
        change: when a user would change it.
        limits: what of it is not available in this version.
        unused: whether it is accepted without effect.
    """

    purpose: str
    default: str
    values: str
    interacts: str
    change: str
    limits: str
    unused: bool


def describe(field: FieldInfo) -> Described:
    """What is declared of a field."""
    extra = field_about(field)
    not_yet = extra.get("not_yet")
    limits = "Only the default is available in this version." if not_yet is True else ""
    if isinstance(not_yet, tuple):
        limits = f"Not available in this version: {', '.join(map(inline, not_yet))}."
    bounds = ", ".join(_bounds(field.metadata) + ([extra["unit"]] if "unit" in extra else []))
    return Described(
        purpose=field.description or "",
        default=_default(field),
        values=type_text(field) + (f" ({bounds})" if bounds else ""),
        interacts=extra.get("interacts", ""),
        change=extra.get("change", ""),
        limits=limits,
        unused=bool(extra.get("unused")),
    )


def type_text(field: FieldInfo) -> str:
    """The type of a field in words: of one that may be searched, that of each value, as a list or a range."""
    values = next((item for item in field.metadata if isinstance(item, ValuesOf)), None)
    if values is None:
        return _type(field.annotation)
    owned = values.owner.model_fields[values.name]
    one = ", ".join([_type(owned.annotation), *_bounds(owned.metadata)])
    if not values.searched:
        return one
    return f"one value, a list of values{' or {low, high}' if values.is_number else ''}; each {one}"


def _section(name: str, model: type[BaseModel]) -> str:
    heading = f"### {name}\n\n" if name else ""
    about_it = (model.__doc__ or "").strip().split("\n")[0]
    if issubclass(model, Section):  # the fields of another section, described there
        fixed = [f"`{key}`" for key in model.model_fields if key not in model.searchable()]
        return f"{heading}{about_it} One value only: {', '.join(fixed)}."
    rows = [_row(key, field) for key, field in model.model_fields.items()]
    head = "| field | default | purpose | values | interacts with | when to change |"
    return "\n".join([f"{heading}{about_it}{_searched(model)}\n", head, "|---|---|---|---|---|---|", *rows])


def _searched(model: type[BaseModel]) -> str:
    """Which fields of a section of a run may be searched."""
    if model not in (ModelSpec, TrainingSpec):
        return ""
    fixed = [f"`{key}`" for key in model.model_fields if key not in searchable_fields()]
    return f" A search may vary all but {', '.join(fixed)}."


def _row(key: str, field: FieldInfo) -> str:
    found = describe(field)
    in_words = "default" in field_about(field) or found.default.startswith("see ")
    default = f"`{found.default}`" if found.default and not in_words else found.default
    purpose = " ".join(part for part in (found.purpose, found.limits) if part)
    cells = [f"`{key}`", default, purpose, found.values, found.interacts, found.change]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    if said := field_about(field).get("default"):
        return str(said)
    if field.default is PydanticUndefined and field.default_factory_takes_validated_data:
        return "see there"
    default = field.get_default(call_default_factory=True)
    return "see below" if is_section(type(default)) else inline(_plain(default))


def _plain(value: Any) -> Any:
    """A default without our own classes, as it is written in YAML."""
    if isinstance(value, Named):
        return {"name": value.name} | value.options
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _bounds(metadata: list[Any]) -> list[str]:
    signs: dict[type[BaseMetadata], str] = {Gt: "above", Ge: "at least", Lt: "below", Le: "at most"}
    return [
        f"{sign} {getattr(bound, kind.__name__.lower())}"
        for bound in metadata
        for kind, sign in signs.items()
        if isinstance(bound, kind)
    ]


def _type(annotation: Any) -> str:
    names = {
        int: "integer",
        float: "number",
        bool: "true or false",
        str: "text",
        Any: "any value",
        Named: "name with its options",
    }
    described = []
    for member in members(annotation):
        origin, arguments = get_origin(member), get_args(member)
        if origin is Literal:
            described.append(", ".join(map(inline, arguments)))
        elif origin in (list, tuple, Sequence):
            described.append(f"list of {_type(arguments[0])}")
        elif origin is dict:
            described.append(f"map of {_type(arguments[1])}")
        else:
            described.append(names.get(member, "map"))
    null = ["null"] if NoneType in get_args(annotation) else []
    return " or ".join(dict.fromkeys(described + null))
