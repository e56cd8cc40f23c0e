"""What is declared of a field, in words: its values, default, limits and flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sequifier.config.base import NO_UNIT, Named, field_about, form_of, is_section
from sequifier.config.dump import inline
from sequifier.config.identity import plain
from sequifier.config.searched import ValuesOf

IN_ITS_FIELDS = "see its fields"
"""The default of a section."""


@dataclass(frozen=True)
class Described:
    """What is declared of a field.

    Attributes:
        purpose: its description.
        default: as a config writes it, or in words; "" for a mandatory field.
        values: type, range and unit.
        interacts: other fields that limit it or change its meaning.
        change: when a user would change it.
        limits: why only the default is accepted, where that is so.
        unused: whether it is accepted without effect.
    """

    purpose: str
    default: str
    values: str
    interacts: str
    change: str
    limits: str
    unused: bool

    @property
    def advice(self) -> list[str]:
        """Interactions, when to change it, and limits, a sentence each."""
        return [
            *([f"Interacts with {self.interacts}."] if self.interacts else []),
            *([f"Change it {self.change}."] if self.change else []),
            *([self.limits] if self.limits else []),
        ]


def describe(field: FieldInfo) -> Described:
    """What is declared of a field."""
    declared = field_about(field)
    refused = declared.get("refused")
    limits = f"Only the default is accepted: {refused}." if refused else ""
    unit = declared.get("unit", NO_UNIT)
    bounds = ", ".join(_bounds(field.metadata) + ([unit] if unit != NO_UNIT else []))
    return Described(
        purpose=field.description or "",
        default=default_text(field),
        values=type_text(field) + (f" ({bounds})" if bounds else ""),
        interacts=declared.get("interacts", ""),
        change=declared.get("change", ""),
        limits=limits,
        unused=bool(declared.get("unused")),
    )


def default_text(field: FieldInfo) -> str:
    """The default as a config writes it, or in words; "" for a mandatory field."""
    if field.is_required():
        return ""
    if said := field_about(field).get("default"):
        return said
    if field.default is PydanticUndefined and field.default_factory_takes_validated_data:
        return "see there"
    default = field.get_default(call_default_factory=True)
    return IN_ITS_FIELDS if is_section(type(default)) else inline(plain(default))


def is_in_words(field: FieldInfo) -> bool:
    """Whether the default is described instead of written."""
    return "default" in field_about(field) or default_text(field).startswith("see ")


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


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without null; a string of a form that has a title stays annotated."""
    if get_origin(annotation) is Annotated:
        if form_of(annotation):
            return (annotation,)
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for member in get_args(annotation) for inner in members(member))
    return () if annotation is NoneType else (annotation,)


def _bounds(metadata: list[Any]) -> list[str]:
    signs: dict[type[BaseMetadata], str] = {Gt: "above", Ge: "at least", Lt: "below", Le: "at most"}
    return [
        f"{sign} {_number(getattr(bound, kind.__name__.lower()))}"
        for bound in metadata
        for kind, sign in signs.items()
        if isinstance(bound, kind)
    ]


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:,}"


def _type(annotation: Any, *, plural: bool = False) -> str:
    s = "s" if plural else ""
    names = {
        int: f"integer{s}",
        float: f"float{s}",
        bool: "true or false",
        str: f"string{s}",
        Any: f"any value{s}",
        Named: f"name{s} with options",
    }
    described = []
    for member in members(annotation):
        origin, arguments = get_origin(member), get_args(member)
        if origin is Annotated:
            described.append(form_of(member))
        elif origin is Literal:
            described.append(", ".join(map(inline, arguments)))
        elif origin in (list, tuple, Sequence):
            described.append(f"list{s} of {_type(arguments[0], plural=True)}")
        elif origin is dict:
            described.append(f"map{s} of {_type(arguments[1], plural=True)}")
        else:
            described.append(names.get(member, f"map{s}"))
    null = ["null"] if NoneType in get_args(annotation) else []
    return " or ".join(dict.fromkeys(described + null))
