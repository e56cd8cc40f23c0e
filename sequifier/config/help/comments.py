"""Comments in YAML files: each key with what its field is for, read from the declarations."""

import re
import textwrap

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import KeyPath, is_section, plain_type
from sequifier.config.help.describe import IN_ITS_FIELDS, describe
from sequifier.config.loading.yaml12 import parse

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
    keys: dict[int, KeyPath] = {}
    for path, number in parse("\n".join(lines)).lines.items():
        if path and (number not in keys or len(path) < len(keys[number])):
            keys[number] = path
    annotated: list[str] = []
    for number, line in enumerate(lines, start=1):
        field = field_at(model, keys.get(number, ()))
        comment = "" if field is None else full_comment(field) if full else summary(field)
        annotated += _with_comment(line, comment) if comment else [line]
    return "\n".join(annotated) + "\n"


def field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
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
    if found.default == IN_ITS_FIELDS:
        return summary(field)
    default = f"Default {found.default}" if found.default else "Mandatory"
    change = f" Change it {found.change}." if found.change else ""
    return f"{summary(field)} {default}; {found.values}.{change}"


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
