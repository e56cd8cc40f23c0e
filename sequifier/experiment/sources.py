"""What the text of an experiment's module says of its parameters and hooks: types, and comments.

# :param NUM_WORDS:
#       How many words are drawn each time.
NUM_WORDS: int = 50
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TAG = re.compile(r"\s*:(param|hook)\s+(\w+)\s*:\s*(.*)")


@dataclass(frozen=True)
class Module:
    """What a module's text says.

    Attributes:
        types: parameter -> its annotation as written.
        kinds: parameter -> its annotation as a type; those that cannot be told are missing.
        parameters: parameter -> its comment.
        hooks: hook -> its comment.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    hooks: Mapping[str, str] = field(default_factory=dict)


def read_module(variables: Mapping[str, Any]) -> Module:
    """Read the source of a module.

    Args:
        variables: its globals. Without a file, in a notebook say, their `__annotations__` are what is known.
    """
    text = _text(variables)
    if text is None:
        given = {name: kind for name, kind in dict(variables.get("__annotations__", {})).items() if name.isupper()}
        resolved = {name: _resolved(kind, variables) for name, kind in given.items()}
        types = {
            name: kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
            for name, kind in given.items()
        }
        return Module(types, {name: kind for name, kind in resolved.items() if kind is not None})
    annotations = dict(_annotations(ast.parse(text).body))
    kinds = {name: _resolved(ast.unparse(node), variables) for name, node in annotations.items()}
    comments = list(_comments(text))
    return Module(
        types={name: ast.unparse(node).strip("'\"") for name, node in annotations.items()},
        kinds={name: kind for name, kind in kinds.items() if kind is not None},
        parameters={name: text for tag, name, text in comments if tag == "param"},
        hooks={name: text for tag, name, text in comments if tag == "hook"},
    )


def _text(variables: Mapping[str, Any]) -> str | None:
    file = variables.get("__file__")
    if not file or Path(file).suffix != ".py":
        return None
    try:
        with tokenize.open(file) as source:
            return source.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _annotations(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Name and annotation of each annotated variable of the module, also inside `if` and `try`."""
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if statement.target.id.isupper():
                yield statement.target.id, statement.annotation
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in ("body", "orelse", "finalbody"):
                yield from _annotations(getattr(statement, part, []))


def _resolved(annotation: Any, variables: Mapping[str, Any]) -> Any:
    """The type that an annotation of the module's own source stands for; None where it cannot be told."""
    try:
        for _ in range(2):  # an annotation may be written as text
            if isinstance(annotation, str):
                annotation = eval(annotation, dict(variables))
    except Exception:  # names that exist for type checkers alone, syntax of later versions
        return None
    return None if isinstance(annotation, str) else annotation


def _comments(text: str) -> Iterator[tuple[str, str, str]]:
    """Tag, name and text of each comment `# :param NAME: text`, which may go on in the comment lines below it."""
    found: list[str] | None = None
    tag = name = ""
    last_row = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.line[: token.start[1]].strip():
            continue
        line = token.string.lstrip("#")
        match = _TAG.match(line)
        if found is not None and (match or token.start[0] != last_row + 1):
            yield tag, name, " ".join(found).strip()
            found = None
        if match:
            tag, name, found = match[1], match[2], [match[3].strip()]
        elif found is not None:
            found.append(line.strip())
        last_row = token.start[0]
    if found is not None:
        yield tag, name, " ".join(found).strip()
