"""From a YAML file, a section, `-D` and flags to a validated config that knows where each value came from.

Strongest first: explicit flag, `-D`, section, file, `base_config_path`, default. Validation comes after all of them are
merged, and reports every problem at once with its place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sequifier.config.base import allows_none, field_about, is_model, is_section, plain_type
from sequifier.config.loading.merged import NOT_GIVEN, Merged, value_at
from sequifier.config.loading.old_names import renames
from sequifier.config.loading.paths import root_problem
from sequifier.config.loading.problems import (
    annotation_at,
    as_written,
    in_order,
    located_in,
    path_in,
    problems_of,
    shown,
)
from sequifier.config.loading.written_names import in_file, names_as_written, takes_names
from sequifier.config.loading.yaml12 import KeyPath, dotted, parse_file, parse_words
from sequifier.errors import ConfigError, Problem, did_you_mean, nearest

Model = TypeVar("Model", bound=BaseModel)
PLACEHOLDER = "PLEASE FILL"
MOST_KEYS = 10  # inside each other


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """A validated config and where its values came from."""

    config: Model
    merged: Merged
    path: Path
    notes: tuple[Problem, ...] = ()
    """What a user should know: keys of older versions, and keys without effect."""

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems, each with the place of its key: for checks that need more than the file."""
        problems = [as_written(located_in(problem, self.merged), self.merged) for problem in error.problems]
        return ConfigError(in_order(problems, self.path), where=str(self.path))


@dataclass(frozen=True)
class Repaired:
    """A config whose wrong values were replaced by defaults, to look for what they hid."""

    loaded: Loaded[Any]
    names: frozenset[str]  # of the replaced values and of what follows from them

    def is_new(self, problem: Problem) -> bool:
        """Whether a problem has nothing to do with what was replaced."""
        return not self.names & set(re.findall(r"\w+", f"{problem.key} {problem.message}"))


def look_further(
    error: ValidationError, model: type[BaseModel], merged: Merged, path: Path
) -> tuple[list[Problem], Repaired | None]:
    """Problems that are not looked for while others are there: rules between fields of a section with a wrong value.

    Returns:
        What is wrong with the rest, and the rest as a config; None when that cannot be one.
    """
    values = deepcopy(merged.values)
    names: set[str] = set()
    for detail in error.errors(include_url=False):
        place = path_in(values, detail["loc"], is_missing=detail["type"] == "missing")
        place = tuple(takewhile(lambda part: isinstance(part, str), place))
        holder = value_at(values, place[:-1])
        if not place or not isinstance(holder, dict):
            names.update(map(str, detail["loc"][:1]))
            continue
        holder.pop(place[-1], None)
        names.add(str(place[-1]))
        owner = plain_type(annotation_at(model, place[:-1]))
        if is_model(owner):
            names |= {
                name
                for name, known in owner.model_fields.items()
                if str(place[-1]) in field_about(known).get("default", "").split()
            }
    rest = Merged(values, merged.sources, merged.written)
    try:
        repaired = Repaired(Loaded(model.model_validate(values), merged, path), frozenset(names))
    except ValidationError as second:
        blank = Repaired(Loaded(model.model_construct(), merged, path), frozenset(names))
        found = [problem for problem in problems_of(second, model, rest) if "is missing" not in problem.message]
        return [problem for problem in found if blank.is_new(problem)], None
    return [], repaired


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
    problems = [] if section is not None else _section_problems(merged, sections)
    if section is not None:
        merged.merge(_section(merged, sections, section, path))
    problems += [problem for word in defines if (problem := _define(merged, model, word))]
    for key, value in (flags or {}).items():
        merged.put(tuple(key.split(".")), value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    in_one_piece = getattr(model, "in_one_piece", None)  # of a config that can be spread over two files
    if in_one_piece is not None:
        merged = in_one_piece(merged, path)
    problems += _placeholders(merged)
    unfilled = {problem.key for problem in problems}
    repaired: Repaired | None = None
    try:
        config = model.model_validate(merged.values)
    except ValidationError as error:
        further, repaired = look_further(error, model, merged, path)
        for found in (*problems_of(error, model, merged), *further):
            if found.key not in unfilled and found not in problems:
                problems.append(found)
    problems += _root_problems(merged)
    if problems or merged.problems:
        problems = [*merged.problems, *(as_written(problem, merged) for problem in problems)]
        failure = ConfigError(in_order(problems, path), where=str(path))
        failure.repaired = repaired
        raise failure
    return Loaded(config, merged, path, (*merged.notes, *_without_effect(config, merged)))


def read_values(path: Path) -> dict[str, Any]:
    """The keys of a file over those it inherits, as they stand there; nothing is validated.

    Raises:
        ConfigError: the file is not there, or no YAML.
    """
    return _read(path, BaseModel, seen=()).values


def section_names(path: Path) -> list[str]:
    """The entries of `sections:` in a file and those it inherits.

    Raises:
        ConfigError: the file is not there, or no YAML.
    """
    sections = read_values(path).get("sections")
    return list(sections) if isinstance(sections, dict) else []


def _without_effect(config: BaseModel, merged: Merged) -> Iterator[Problem]:
    """One note on all keys that are accepted because older versions have them."""
    found = [
        path
        for path, known in _fields_with_paths(type(config))
        if field_about(known).get("unused") and value_at(merged.values, path) not in (NOT_GIVEN, known.default)
    ]
    if found:
        places = ", ".join(dict.fromkeys(merged.source(path).rpartition(":")[2] for path in found))
        file = merged.source(found[0]).rpartition(":")[0]
        keys = ", ".join(f"`{dotted(path)}`" for path in found)
        have = "has" if len(found) == 1 else "have"
        yield Problem("", f"{keys} {have} no effect and may be left out", f"{file}:{places}".lstrip(":"))


def _fields_with_paths(model: type[BaseModel], path: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    for name, known in model.model_fields.items():
        yield (*path, name), known
        kind = plain_type(known.annotation)
        if is_section(kind):
            yield from _fields_with_paths(kind, (*path, name))


def _root_problems(merged: Merged) -> Iterator[Problem]:
    """A project_root that is not there, for every config that has one."""
    root = merged.values.get("project_root", ".")
    if isinstance(root, str) and PLACEHOLDER not in root and (found := root_problem(root)) is not None:
        yield Problem("project_root", found[0], merged.source(("project_root",)), found[1])


def _section_problems(merged: Merged, sections: Any) -> list[Problem]:
    """What is wrong with sections although none is used."""
    if sections is None:
        return []
    what = "should be `key: value` lines, got"
    if not isinstance(sections, dict):
        return [Problem("sections", f"{what} {shown(sections)}", merged.source(("sections",)))]
    return [
        Problem(f"sections.{name}", f"{what} {shown(values)}", merged.source(("sections", name)))
        for name, values in sections.items()
        if not isinstance(values, dict | None)
    ]


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
        raise ConfigError([Problem(key, f"expected `key: value` lines, found {shown(values)}", place)])
    sources = {
        known[2:]: f"{text} (section {name})"
        for known, text in merged.sources.items()
        if known[:2] == ("sections", name)
    }
    own = f"sections.{name}."
    written = {key.removeprefix(own): text for key, text in merged.written.items() if key.startswith(own)}
    return Merged(values, sources, written)


def _read(path: Path, model: type[BaseModel], seen: tuple[Path, ...]) -> Merged:
    """A file over the files it inherits from."""
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
    values = in_file(values, document.texts, model)
    own = Merged(values, {known: f"{path}:{line}" for known, line in document.lines.items() if known})
    own.use_names_of_today(model)
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
        raise ConfigError([Problem("base_config_path", f"should be one path, got {shown(given)}", place)])
    base = Path(given).expanduser()
    candidates = [base, path.parent / base]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        looked = " and ".join(dict.fromkeys(str(candidate) for candidate in candidates))
        others = [other.name for folder in candidates for other in folder.parent.glob("*.y*ml") if other != path]
        fix = did_you_mean(base.name, sorted(set(others))) if nearest(base.name, others) else ""
        raise ConfigError([Problem("base_config_path", f"no such file; looked for {looked}", place, fix)])
    if found.resolve() in (*seen, path.resolve()):
        message = f"{given} inherits from this file: they inherit from each other in a circle"
        raise ConfigError([Problem("base_config_path", message, place, "leave base_config_path out of one of them")])
    return _read(found, model, (*seen, path.resolve()))


def _define(merged: Merged, model: type[BaseModel], word: str) -> Problem | None:
    key, equals, text = word.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        return Problem("", f"`{word}` is not key=value", "-D", "write -D training_spec.epochs=3")
    if len(path) > MOST_KEYS:
        return Problem("", f"a key of {len(path):,} parts, where configs have {MOST_KEYS} at most", "-D")
    length = len(path) - 1
    if (renamed := renames(model, path[:length]).get(path[length])) is not None:
        path = (*path[:length], renamed.field)
        if renamed.is_old:
            message = f"is called `{renamed.field}` now"
            merged.notes.append(Problem(key, message, "-D", f"write -D {'.'.join(path)}=..."))
    annotation = annotation_at(model, path)
    value = _by_type(annotation, text)
    if isinstance(value, str) and text.startswith(("[", "{")) and not (_is_text(annotation) or _is_prompt(annotation)):
        return Problem(key, f"`{text}` is not a whole list or map", "-D", "close its brackets, and quote the word")
    merged.put(path, value, "-D")
    return None


def _by_type(annotation: Any, text: str) -> Any:
    """Text of the command line as the field's type requires it; never evaluated."""
    if allows_none(annotation) and text in ("None", "null", "~", ""):
        return None
    if _is_text(annotation):
        return text
    if text in ("None", ""):
        return None
    document = parse_words(text)
    if not takes_names(annotation) or isinstance(document.values, list):
        return names_as_written(document.values, document.texts, annotation)
    # `ROMEO:`, `a # b` and `{x}` are other things in YAML, where this field takes text (or a list).
    is_quoted = isinstance(document.values, str) and text.startswith(('"', "'"))
    return document.values if is_quoted else text


def _is_text(annotation: Any) -> bool:
    kind = plain_type(annotation)
    return kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))


def _is_prompt(annotation: Any) -> bool:
    """Whether any text will do, brackets included, where a list is possible too."""
    return takes_names(annotation) and get_origin(plain_type(annotation)) is not list


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
