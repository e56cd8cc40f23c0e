"""Markdown in which names and values of the data are text, whatever they contain.

A backtick in a category would end a code span, a pipe would end a cell, a line of backticks a block; the rest would be
read as Markdown or HTML. So all text that is not plain is written as character references.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_PLAIN = re.compile(r"[\w .,:;+=/()@%-]*")
_LONGEST = 200  # characters of a value


def text(value: str) -> str:
    """Escape text.

    >>> text("a_b *c*")
    'a&#95;b &#42;c&#42;'
    """
    return "".join(char if char.isalnum() or char in " .,:;()/+-=%" else f"&#{ord(char)};" for char in _visible(value))


def code(value: str) -> str:
    """Return a name or a value as a code span.

    >>> code("item 1"), code("`<b>"), code("")
    ('`item 1`', '<code>&#96;&#60;b&#62;</code>', '`""`')
    """
    shown = _visible(value)
    if not shown:
        return '`""`'
    if _PLAIN.fullmatch(shown) and shown == shown.strip():
        return f"`{shown}`"
    return f"<code>{text(value).replace(' ', '&#32;')}</code>"


def literal(value: Any) -> str:
    """Return a value as a Python literal without characters that Markdown or HTML interprets."""
    if not isinstance(value, str):
        return repr(value)
    written = json.dumps(value, ensure_ascii=False)
    return "".join(f"\\U{ord(char):08x}" if char in "`<>&" or not char.isprintable() else char for char in written)


def block(language: str, lines: Iterable[str]) -> Iterator[str]:
    """Return a block of code. Its fence is longer than any run of backticks in it."""
    found = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", found)), default=0))
    yield from (f"{fence}{language}", found, fence)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return a table of cells that are Markdown already."""
    yield _row(header)
    yield _row(["---"] * len(header))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _visible(value: str) -> str:
    """Return the value in one line; invisible characters are written as their numbers."""
    short = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in short)
