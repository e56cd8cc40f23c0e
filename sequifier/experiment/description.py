"""Descriptions of parameters and hooks, from the modules of an experiment: for metadata and `--help`.

# :param NUM_WORDS:
#       Number of words drawn each time.
NUM_WORDS: int = 50
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sequifier.experiment.parameters import SPECIAL, Variables

_TYPES = {"bool": bool, "str": str}
_TAG = re.compile(r"\s*:(param|hook)\s+(\w+)\s*:\s*(.*)")


@dataclass(frozen=True)
class About:
    """The description of a parameter."""

    kind: Any = None  # its annotation, as a type
    type: str = ""  # its annotation, as written
    description: str = ""


def about_parameters(modules: Iterable[Variables]) -> dict[str, About]:
    """Return the description of each parameter; later modules take precedence."""
    about = {name: About(_TYPES[kind], kind, text) for name, (_, kind, text) in SPECIAL.items()}
    for read in map(_read_module, modules):
        for name in {*read.types, *read.parameters}:
            known = about.get(name, About())
            about[name] = About(
                read.kinds.get(name, known.kind),
                read.types.get(name, known.type),
                read.parameters.get(name, known.description),
            )
    return about


def description(modules: Sequence[Variables]) -> str:
    """Return the docstring of the last module that has one."""
    return next((str(text) for module in reversed(modules) if (text := module.get("__doc__"))), "").strip()


def described(
    modules: Sequence[Variables], parameters: Iterable[str], hooks: Mapping[str, Sequence[Callable[..., Any]]]
) -> dict[str, Any]:
    """Return the descriptions of the experiment, its parameters and its hooks, for its metadata."""
    text = description(modules)
    about = about_parameters(modules)
    return {
        "description": text,
        "short_description": " ".join(text.split("\n\n")[0].split()),
        "parameter_info": {
            name: {"type": about[name].type, "description": about[name].description}
            for name in parameters
            if name in about
        },
        "hooks": _described_hooks(modules, hooks),
    }


def files_of(modules: Sequence[Variables], others: Iterable[Path] = ()) -> dict[str, Path]:
    """Return the file of each module by its name in code/, the last first; a repeated name includes the folder.

    Args:
        modules: the modules of the experiment.
        others: further files.
    """
    files = [Path(module["__file__"]) for module in reversed(modules) if module.get("__file__")]
    found: dict[str, Path] = {}
    for file in [*others, *files]:
        name = file.name if file.name not in found else f"{file.absolute().parent.name}/{file.name}"
        found[name] = file
    return found


def _described_hooks(
    modules: Iterable[Variables], hooks: Mapping[str, Sequence[Callable[..., Any]]]
) -> dict[str, dict[str, Any]]:
    """Return the functions of each hook, and its comment `# :hook NAME:`."""
    comments = {name: text for read in map(_read_module, modules) for name, text in read.hooks.items()}
    return {
        name: {
            "functions": [getattr(function, "__qualname__", str(function)) for function in hooks.get(name, ())],
            "description": comments.get(name, ""),
        }
        for name in {**hooks, **comments}
    }


@dataclass(frozen=True)
class _Module:
    """Annotations and comments in the source of a module.

    Attributes:
        types: parameter -> its annotation as written.
        kinds: parameter -> its annotation as a type, where it can be resolved.
        parameters: parameter -> its comment.
        hooks: hook -> its comment.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    hooks: Mapping[str, str] = field(default_factory=dict)


def _read_module(variables: Mapping[str, Any]) -> _Module:
    """Read the source of a module.

    Args:
        variables: its globals. Without a file, as in a notebook, their `__annotations__` are used.
    """
    text = _text(variables)
    if text is None:
        given = {name: kind for name, kind in dict(variables.get("__annotations__", {})).items() if name.isupper()}
        resolved = {name: _resolved(kind, variables) for name, kind in given.items()}
        types = {
            name: kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
            for name, kind in given.items()
        }
        return _Module(types, {name: kind for name, kind in resolved.items() if kind is not None})
    annotations = dict(_annotations(ast.parse(text).body))
    kinds = {name: _resolved(ast.unparse(node), variables) for name, node in annotations.items()}
    comments = list(_comments(text))
    return _Module(
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
    """Yield name and annotation of each annotated variable of the module, also inside `if` and `try`."""
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if statement.target.id.isupper():
                yield statement.target.id, statement.annotation
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in ("body", "orelse", "finalbody"):
                yield from _annotations(getattr(statement, part, []))


def _resolved(annotation: Any, variables: Mapping[str, Any]) -> Any:
    """Return an annotation of the module's own source as a type; None where it cannot be resolved."""
    try:
        for _ in range(2):  # an annotation may be a string
            if isinstance(annotation, str):
                annotation = eval(annotation, dict(variables))
    except Exception:  # names that exist for type checkers alone, syntax of later versions
        return None
    return None if isinstance(annotation, str) else annotation


def _comments(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield tag, name and text of each comment `# :param NAME: text`, which may continue on the next lines."""
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
