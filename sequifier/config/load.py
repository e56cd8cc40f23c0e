"""From a YAML file, a section, `-D` and flags to a validated config that knows where each value came from.

Strongest first: explicit flag, `-D`, section, file, `base_config_path`, default. Validation comes after all of them are
merged, and reports every problem at once with its place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sequifier.config.base import Named, allows_none, plain_type
from sequifier.config.paths import root_problem
from sequifier.config.yaml12 import KeyPath, dotted, parse_file, parse_value
from sequifier.errors import ConfigError, Problem, did_you_mean, nearest

Model = TypeVar("Model", bound=BaseModel)
PLACEHOLDER = "PLEASE FILL"
_PARTS = re.compile(r"([^.\[\]]+)|\[(\d+)\]")  # of a dotted key: `a.b[2]`


@dataclass
class Merged:
    """Raw values from all sources, the source of each key, and how keys were written that now have another place."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    def put(self, path: KeyPath, value: Any, source: str) -> None:
        """Set one key; maps on the way are made."""
        here = self.values
        for length, part in enumerate(path[:-1], start=1):
            if not isinstance(here.get(str(part)), dict):
                here[str(part)] = {}
                self.sources[path[:length]] = source
            here = here[str(part)]
        here[str(path[-1])] = value
        for known in [known for known in self.sources if known[: len(path)] == path]:
            del self.sources[known]
        self.sources[path] = source

    def merge(self, other: "Merged", *, at: KeyPath = ()) -> None:
        """Lay another tree over this one: maps are merged, everything else is replaced."""
        values: Any = other.values
        for part in at:
            values = values[part]
        for key, value in values.items():
            path = (*at, key)
            mine: Any = self.values
            for part in path:
                mine = mine.get(part) if isinstance(mine, dict) else None
            # Options belong to their class: those of another optimizer or scheduler are not inherited.
            other_class = isinstance(mine, dict) and isinstance(value, dict) and value.get("name") != mine.get("name")
            if isinstance(value, dict) and isinstance(mine, dict) and value and not other_class:
                self.merge(other, at=path)
                continue
            self.put(path, value, other.source(path))
            self.sources |= {known: text for known, text in other.sources.items() if known[: len(path)] == path}

    def source(self, path: KeyPath) -> str:
        """The source of a key, or of the nearest one above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.sources:
                return self.sources[path[:length]]
        return ""


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """A validated config and where its values came from."""

    config: Model
    merged: Merged
    path: Path

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems, each with the place of its key: for checks that need more than the file."""
        problems = [_as_written(_located(problem, self.merged), self.merged) for problem in error.problems]
        return ConfigError(problems, where=str(self.path))


def load(
    model: type[Model],
    path: Path,
    *,
    section: str | None = None,
    defines: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Loaded[Model]:
    """Read, merge and validate a config.

    Args:
        model: the config's pydantic model.
        path: the YAML file.
        section: name under `sections:` to lay over the file.
        defines: `key.path=value` words of `-D`, each parsed by the type of its field.
        flags: values of explicit command-line flags by dotted key.

    Raises:
        ConfigError: everything that is wrong, each problem with file and line.
    """
    merged = _read(path, model, seen=())
    sections = merged.values.pop("sections", None)
    if section is not None:
        merged.merge(_section(merged, sections, section, path))
    problems = [problem for word in defines if (problem := _define(merged, model, word))]
    for key, value in (flags or {}).items():
        merged.put(tuple(key.split(".")), value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    in_one_piece = getattr(model, "in_one_piece", None)  # of a config that can be spread over two files
    if in_one_piece is not None:
        merged = in_one_piece(merged, path)
    problems += list(_placeholders(merged))
    unfilled = {problem.key for problem in problems}
    try:
        config = model.model_validate(merged.values)
    except ValidationError as error:
        for found in problems_of(error, model, merged):
            if found.key not in unfilled:
                problems.append(found)
    problems += _root_problems(merged)
    if problems:
        raise ConfigError([_as_written(problem, merged) for problem in problems], where=str(path))
    return Loaded(config, merged, path)


def _root_problems(merged: Merged) -> Iterator[Problem]:
    """A project_root that is not there, for every config that has one."""
    root = merged.values.get("project_root", ".")
    if isinstance(root, str) and PLACEHOLDER not in root and (found := root_problem(root)) is not None:
        yield Problem("project_root", found[0], merged.source(("project_root",)), found[1])


def _section(merged: Merged, sections: Any, name: str, path: Path) -> Merged:
    """The keys of one entry of `sections:`."""
    place = merged.source(("sections",)) or str(path)
    if not isinstance(sections, dict) or name not in sections:
        known = sections if isinstance(sections, dict) else {}
        fix = did_you_mean(name, known) if known else "write `sections:` with a map of names to keys"
        raise ConfigError([Problem("sections", f"there is no section `{name}`", place, fix)])
    values = {} if sections[name] is None else sections[name]
    if not isinstance(values, dict):
        place, key = merged.source(("sections", name)), f"sections.{name}"
        raise ConfigError([Problem(key, f"expected `key: value` lines, found {_shown(values)}", place)])
    sources = {
        known[2:]: f"{text} (section {name})"
        for known, text in merged.sources.items()
        if known[:2] == ("sections", name)
    }
    return Merged(values, sources)


def _read(path: Path, model: type[BaseModel], seen: tuple[Path, ...]) -> Merged:
    """A file over the files it inherits from."""
    if path.resolve() in seen:
        raise ConfigError([Problem("base_config_path", "files inherit from each other in a circle", str(path))])
    if not path.exists():
        others = sorted(str(other) for other in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise ConfigError(
            [
                Problem(
                    "",
                    "there is no such config file",
                    str(path),
                    did_you_mean(str(path), others) if others else "give --config-path, or begin with `sequifier make`",
                )
            ]
        )
    document = parse_file(path)
    values = {} if document.values is None else document.values
    if not isinstance(values, dict):
        raise ConfigError([Problem("", f"expected `key: value` lines, found {type(values).__name__}", str(path))])
    own = Merged(values, {known: f"{path}:{line}" for known, line in document.lines.items() if known})
    if "base_config_path" not in values or "base_config_path" in model.model_fields:
        return own
    place = own.source(("base_config_path",))
    given = values.pop("base_config_path")
    if given is None:
        return own
    inherited = read_base(given, path, model, place=place, seen=seen)
    inherited.merge(own)
    return inherited


def read_base(given: Any, path: Path, model: type[BaseModel], *, place: str, seen: tuple[Path, ...] = ()) -> Merged:
    """The file that a `base_config_path` names, over those it inherits from itself.

    Args:
        given: the path as written: from the working folder, or from that of the file.
        path: the file that names it.
        model: of the named file.
        place: where it is named.
        seen: files that inherit from this one.
    """
    if not isinstance(given, str):
        raise ConfigError([Problem("base_config_path", f"should be one path, got {_shown(given)}", place)])
    base = Path(given).expanduser()
    candidates = [base, path.parent / base]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        looked = " and ".join(dict.fromkeys(str(candidate) for candidate in candidates))
        raise ConfigError([Problem("base_config_path", f"no such file; looked for {looked}", place)])
    return _read(found, model, (*seen, path.resolve()))


def _define(merged: Merged, model: type[BaseModel], word: str) -> Problem | None:
    key, equals, text = word.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        return Problem("", f"`{word}` is not key=value", "-D", "write -D training_spec.epochs=3")
    annotation = _annotation(model, path)
    value = _by_type(annotation, text)
    if isinstance(value, str) and text.startswith(("[", "{")) and not _is_text(annotation):
        return Problem(key, f"`{text}` is not a whole list or map", "-D", "close its brackets, and quote the word")
    merged.put(path, value, "-D")
    return None


def _by_type(annotation: Any, text: str) -> Any:
    """Text of the command line as the field's type wants it; never evaluated."""
    if allows_none(annotation) and text in ("None", "null", "~", ""):
        return None
    return text if _is_text(annotation) else (None if text == "None" else parse_value(text))


def _is_text(annotation: Any) -> bool:
    kind = plain_type(annotation)
    return kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))


def _annotation(model: Any, path: KeyPath) -> Any:
    """The declared type at a dotted key, or Any."""
    kind = plain_type(model)
    if not path:
        return model
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        known = kind.model_fields.get(str(path[0]))
        return _annotation(known.annotation, path[1:]) if known else Any
    if get_origin(kind) is dict:
        return _annotation(get_args(kind)[1], path[1:])
    return Any


def _placeholders(merged: Merged) -> Iterator[Problem]:
    def walk(value: Any, path: KeyPath) -> Iterator[KeyPath]:
        if isinstance(value, dict):
            for key, below in value.items():
                yield from walk(below, (*path, key))
        elif isinstance(value, list):
            for index, below in enumerate(value):
                yield from walk(below, (*path, index))
        elif isinstance(value, str) and value.strip().upper() == PLACEHOLDER:
            yield path

    for path in walk(merged.values, ()):
        yield Problem(dotted(path), f"still says {PLACEHOLDER}", merged.source(path), "write your own value")


def problems_of(error: ValidationError, model: type[BaseModel], merged: Merged) -> list[Problem]:
    """Pydantic's errors in the words of the file."""
    by_path: dict[KeyPath, list[Any]] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] != "default_factory_not_called":  # follows from another problem, which is reported itself
            path = _path_in(merged.values, detail["loc"], is_missing=detail["type"] == "missing")
            by_path.setdefault(path, []).append(detail)
    problems: list[Problem] = []
    for path, details in by_path.items():
        if any(other[: len(path)] == path and other != path for other in by_path) and details[0]["type"] in _KINDS:
            continue  # another member of a union came further, and says more
        # A union reports one error per member: together where each names a kind of value, else the first says enough.
        kinds = [_KINDS[detail["type"]] for detail in details if detail["type"] in _KINDS]
        words = [detail["ctx"]["expected"] for detail in details if detail["type"] == "literal_error"]
        if kinds and words and len(kinds) + len(words) == len(details):
            allowed = list(dict.fromkeys([*(["a number"] if "a number" in kinds else kinds), *words]))
            message = f"got {_shown(details[0]['input'])}, allowed: {', '.join(allowed)}"
            problem = Problem(dotted(path), message, merged.source(path))
        else:
            problem = _problem(details[0], path, model, merged)
        if not any(known.key == problem.key for known in problems):
            problems.append(problem)
    return problems


_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
}
"""What pydantic wanted, by the type of its error."""


def _shown(value: Any) -> str:
    """A value in a message, in few characters and as a config writes it."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path_in(values: Any, location: tuple[str | int, ...], *, is_missing: bool = False) -> KeyPath:
    """A pydantic location without the names of union members and validators, which are no keys of the file.

    The last part of what `is_missing` is no key of the file either, but must be named.
    """
    path: list[str | int] = []
    here = values
    for index, part in enumerate(location):
        if isinstance(here, dict):
            if part in here:
                here = here[part]
            elif not (is_missing and index == len(location) - 1):
                continue
            path.append(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            path.append(part)
    return tuple(path)


def _problem(detail: Any, path: KeyPath, model: type[BaseModel], merged: Merged) -> Problem:
    kind, given = detail["type"], detail["input"]
    source, key = merged.source(path), dotted(path)
    if kind == "missing":
        parent = merged.source(path[:-1]) if path[:-1] else source
        return Problem(key, "is missing, and there is no default for it", parent)
    if kind == "extra_forbidden":
        return Problem(key, "unknown key", source, _nearest_key(model, path))
    if kind == "value_error":
        return _located(Problem(key, str(detail["ctx"]["error"])), merged)
    shown = _shown(given)
    if kind == "literal_error":
        annotation = _annotation(model, path)
        choices = [str(choice) for choice in _choices(annotation)]
        fix = did_you_mean(str(given), choices) if nearest(str(given), choices) else ""
        return Problem(key, f"got {shown}, allowed: {detail['ctx']['expected']}", source, fix)
    if kind in _KINDS and kind != "int_from_float":
        return Problem(key, f"should be {_KINDS[kind]}, got {shown}", source)
    message = detail["msg"][0].lower() + detail["msg"][1:]
    message = message.removeprefix("input ").replace("a valid integer", "a whole number")
    return Problem(key, f"{message}, got {shown}", source)


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, type(int | str)):
        for member in get_args(annotation):
            yield from _choices(member)
    elif (kind := plain_type(annotation)) is not annotation:
        yield from _choices(kind)


def _nearest_key(model: type[BaseModel], path: KeyPath) -> str:
    """Where a misplaced or misspelt key belongs."""
    word = str(path[-1])
    parent = plain_type(_annotation(model, path[:-1]))
    siblings = list(parent.model_fields) if isinstance(parent, type) and issubclass(parent, BaseModel) else []
    if near := nearest(word, siblings):
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    for place, name in _all_keys(model):
        if name == word:
            return f"it belongs under `{place}`" if place else f"`{name}` belongs at the top level"
    every = {name: f"{place}.{name}" if place else name for place, name in _all_keys(model)}
    if near := nearest(word, every):
        return "did you mean " + " or ".join(f"`{every[name]}`" for name in near) + "?"
    return did_you_mean(word, siblings) if len(siblings) <= 30 else "docs/hyperparameters.md lists the known keys"


def _all_keys(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, str]]:
    for name, known in model.model_fields.items():
        yield place, name
        kind = plain_type(known.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Named):
            yield from _all_keys(kind, f"{place}.{name}" if place else name)


def _located(problem: Problem, merged: Merged) -> Problem:
    """A problem with the source of its key.

    A check of a whole section starts its message with the field it is about ("dim_model: 5 ..."); that field's line is
    the better place.
    """
    path: KeyPath = tuple(int(number) if number else name for name, number in _PARTS.findall(problem.key))
    path = _path_in(merged.values, path)
    first = problem.message.split(":")[0].split(" ")[0]
    named = (*path, *first.split("."))
    if named in merged.sources:
        message = problem.message.removeprefix(f"{first}: ")  # the key says it
        return replace(problem, source=merged.sources[named], key=dotted(named), message=message)
    return replace(problem, source=problem.source or merged.source(path))


def _as_written(problem: Problem, merged: Merged) -> Problem:
    """A problem under the key that stands in the file."""
    for place in sorted(merged.written, key=len, reverse=True):
        rest = problem.key.removeprefix(place)
        if rest != problem.key and rest[:1] in ("", ".", "["):
            return replace(problem, key=merged.written[place] + rest)
    return problem
