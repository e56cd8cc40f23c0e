"""The declared fields, for people: comments in YAML files, and the reference `docs/hyperparameters.md`.

Both are read from the descriptions in the config models, so there is nothing to keep in step by hand.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sequifier.config.base import Named, field_about, plain_type
from sequifier.config.dump import inline
from sequifier.config.search import Section
from sequifier.config.yaml12 import parse

COLUMN = 40
"""Where comments start; a line that reaches this far gets its comment on the next one."""

WIDTH = 116
"""Comments are wrapped to end here."""

_GENERATED = re.compile(rf"(?:^ {{{COLUMN}}}|  +)# .*$")


def annotate(text: str, model: type[BaseModel]) -> str:
    """Give each key of a YAML file the first sentence of its description as a comment, replacing earlier ones.

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
        annotated += [line] if field is None else _with_comment(line, summary(field))
    return "\n".join(annotated) + "\n"


def field_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """The field that a key path leads to, `None` inside free maps and lists and for unknown keys."""
    field = model.model_fields.get(str(path[0])) if path else None
    if field is None or len(path) == 1:
        return field
    inner = plain_type(field.annotation)
    return field_at(inner, path[1:]) if _is_model(inner) else None


def summary(field: FieldInfo) -> str:
    """The first sentence of a field's description."""
    return re.split(r"(?<=\.)\s+(?=[A-Z])", field.description or "")[0]


def hyperparameters(models: Mapping[str, type[BaseModel]]) -> str:
    """The reference of all fields, as Markdown: one section per config file, one table per model in it.

    Args:
        models: the config model of each file, `{"train.yaml": TrainConfig}`.
    """
    parts = [
        "# Every field of every config\n\nGenerated from the descriptions in `sequifier/config`; "
        "`make docs` writes it anew. **Fields without a default are mandatory.**"
    ]
    described: set[type[BaseModel]] = set()
    for file, model in models.items():
        places: dict[type[BaseModel], list[str]] = {}
        for name, part in _models_in(model, ""):
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


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, Named)


def _models_in(model: type[BaseModel], name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and the models of its fields, with their dotted names."""
    yield name, model
    for key, field in model.model_fields.items():
        inner = [member for member in _members(field.annotation) if _is_model(member)]
        for member in inner if not issubclass(model, Section) else ():
            yield from _models_in(member, f"{name}.{key}" if name else key)


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without null."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for member in get_args(annotation) for inner in _members(member))
    return () if annotation is NoneType else (annotation,)


def _section(name: str, model: type[BaseModel]) -> str:
    heading = f"### {name}\n\n" if name else ""
    about_it = (model.__doc__ or "").strip().split("\n")[0]
    if issubclass(model, Section):  # the fields of another section, described there
        fixed = [f"`{key}`" for key in model.model_fields if key not in model.searchable()]
        return f"{heading}{about_it} One value only: {', '.join(fixed)}."
    rows = [f"| `{key}` | {_default(field)} | {_details(field)} |" for key, field in model.model_fields.items()]
    table = "\n".join(["| field | default | meaning |", "|---|---|---|", *rows])
    return f"{heading}{about_it}\n\n{table}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    if field.default is PydanticUndefined and field.default_factory_takes_validated_data:
        return "see there"
    default = field.get_default(call_default_factory=True)
    if _is_model(type(default)):
        return "see below"
    return f"`{inline(_plain(default))}`"


def _plain(value: Any) -> Any:
    """A default without our own classes, as it is written in YAML."""
    if isinstance(value, Named):
        return {"name": value.name} | value.options
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _details(field: FieldInfo) -> str:
    """Description, allowed values, unit, interactions, when to change it, and what is not available yet."""
    extra = field_about(field)
    not_yet = extra.get("not_yet")
    limits = ", ".join(_bounds(field.metadata) + ([extra["unit"]] if "unit" in extra else []))
    sentences = [
        field.description or "",
        f"*{_type(field.annotation)}{f' ({limits})' if limits else ''}*.",
        f"Mind: {extra['interacts']}." if "interacts" in extra else "",
        f"Change it: {extra['change']}." if "change" in extra else "",
        "Only the default is available in this version." if not_yet is True else "",
        f"Not available in this version: {', '.join(map(inline, not_yet))}." if isinstance(not_yet, tuple) else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence).replace("|", "\\|")


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
    for member in _members(annotation):
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
