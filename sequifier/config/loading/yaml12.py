"""YAML by the core schema of version 1.2, with the line of every value.

Differs from PyYAML: `3e-4` is a number; `no`, `off`, `yes` and dates are strings; keys are always strings; a key given
twice is an error.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sequifier.config.base import KeyPath
from sequifier.errors import ConfigError, Problem
from sequifier.regular_file import check_is_file

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")
_PATTERNS = {"null": [_NULL], "bool": [_BOOL], "int": [_INT], "float": [_FLOAT, _NOT_FINITE]}
_COLLECTIONS = {"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_MOST_DEPTH = 100
_MOST_REPEATED = 100_000  # values that aliases repeat: a few lines can expand to billions
_MOST_DIGITS = 100  # of an integer; Python itself refuses more than 4,300


class _Loader(yaml.CSafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2; only its node tree is used."""

    yaml_implicit_resolvers = {}  # noqa: RUF012
    _depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Called by PyYAML for each node. Without a limit, its composer in C overflows the stack: the process ends."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            mark = None if current_node is None else current_node.start_mark
            raise yaml.MarkedYAMLError(
                problem=f"more than {_MOST_DEPTH} lists or maps inside each other", problem_mark=mark
            )

    def ascend_resolver(self) -> None:
        """Called by PyYAML after each node."""
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """The tag of a node, cached for short words: a search reads thousands of files with the same words."""
        if kind is yaml.ScalarNode and implicit[0] and value is not None and len(value) < _MOST_DIGITS:
            return _tag_of(value)
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return tag


@lru_cache(maxsize=4096)
def _tag_of(word: str) -> str:
    """The tag of a word without quotes."""
    if word == "<<":
        return "tag:yaml.org,2002:merge"
    found = (kind for kind, patterns in _PATTERNS.items() if any(pattern.match(word) for pattern in patterns))
    return f"tag:yaml.org,2002:{next(found, 'str')}"


for _tag, _patterns in _PATTERNS.items():
    for _pattern in _patterns:
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


@dataclass
class Document:
    """A parsed YAML file.

    Attributes:
        values: maps, lists and scalars.
        lines: the line of each value, from 1.
        texts: the text of each unquoted word that was parsed as a number, a boolean or null.
    """

    values: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)


def parse(text: str, *, name: str = "") -> Document:
    """Parse one YAML document.

    Raises:
        ConfigError: the text is not YAML, a key is given twice, or an alias contains itself.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        context = f" {error.context}" if error.context else ""
        if error.context_mark and error.context_mark.line + 1 != line:
            context += f" that begins on line {error.context_mark.line + 1}"
        written = text.splitlines()[line - 1 : line]
        fix = ""
        if written and "\t" in written[0]:
            fix = "indent with spaces: YAML takes no tabs"
        elif "expected <" in str(error.problem) or "mapping values" in str(error.problem):
            fix = f"check the indentation at and above line {line}"
        raise ConfigError([Problem("", f"not valid YAML: {error.problem}{context}", f"{name}:{line}", fix)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"{error.reason} (character {error.character:#04x})"
        raise ConfigError([Problem("", f"not valid YAML: {reason}", f"{name}:{line}")]) from error
    builder = _Builder(name)
    values = None if node is None else builder.build(node, ())
    if builder.problems:
        raise ConfigError(builder.problems)
    return Document(values, builder.lines, builder.texts)


def parse_file(path: Path) -> Document:
    """Parse a YAML file; see `parse`."""
    try:
        if path.parent != Path("/dev/fd") and path != Path("/dev/stdin"):  # these are open: a shell's <(command)
            check_is_file(path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem("", f"cannot read the file: {error.strerror}", str(path))]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem("", f"not UTF-8 text (byte {error.start})", str(path), "save it as UTF-8")]
        ) from error
    return parse(text, name=str(path))


def parse_words(text: str) -> Document:
    """A YAML fragment, as after `-D key=`; text that is not YAML stays a string."""
    try:
        return parse(text)
    except ConfigError:
        return Document(text)


class _Builder:
    """Turns a node tree into plain values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._repeated = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        # Keep the line of the key, which the mapping has set: a person looks for it.
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._repeated += id(node) in self._seen
        if self._repeated > _MOST_REPEATED:
            self._problem(
                node, path, f"aliases (`*name`) repeat more than {_MOST_REPEATED:,} values", "write less of them"
            )
            raise ConfigError(self.problems)
        self._seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._problem(node, path, "an alias that contains itself")
            return None
        if node.tag not in _COLLECTIONS:
            self._problem(node, path, f"the tag {node.tag} is not supported", "write a plain value")
        self._open.add(id(node))
        value: Any
        if isinstance(node, yaml.SequenceNode):
            value = [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = self._mapping(node, path)
        self._open.discard(id(node))
        return value

    def _mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a key must be a string")
                continue
            if key_node.tag.endswith(":merge"):
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        self._problem(source, path, "`<<` merges maps only")
                        continue
                    for key, value in self.build(source, path).items():
                        merged.setdefault(key, value)  # the first of several wins, as in the YAML merge key
                continue
            key = key_node.value
            if key in own:
                first = self.lines[(*path, key)]
                self._problem(key_node, (*path, key), f"given twice, first on line {first}", "keep one of them")
                continue
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            own[key] = self.build(value_node, (*path, key))
        return {**merged, **own}

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind, text = node.tag.rpartition(":")[2], node.value
        if kind in _PATTERNS and text:
            self.texts[path] = text
        # An explicit tag (`!!int x`) may stand before any text.
        if kind in _PATTERNS and not any(pattern.match(text) for pattern in _PATTERNS[kind]):
            self._problem(node, path, f"`{text}` is not {kind}", "leave the tag out")
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            if len(text) > _MOST_DIGITS:
                self._problem(node, path, f"a number of {len(text)} digits")
                return text
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float":
            return float(
                text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").replace(".nan", "nan")
            )
        if kind != "str":
            self._problem(node, path, f"the tag {node.tag} is not supported", "write a plain value")
        return text

    def _problem(self, node: yaml.Node, path: KeyPath, message: str, fix: str = "") -> None:
        self.problems.append(Problem(dotted(path), message, f"{self.name}:{node.start_mark.line + 1}", fix))


def dotted(path: KeyPath) -> str:
    """A key path as a dotted key: ("a", "b", 2) is `a.b[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
