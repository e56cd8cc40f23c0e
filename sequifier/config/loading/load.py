"""Load a config: merge a YAML file, a section, `-D` and flags, validate, and keep the place of each value.

Precedence, highest first: explicit flag, `-D`, section, file, `base_config_path`, default. Validation follows the merge
and reports all problems at once, each with its place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from sequifier.config.base import KeyPath, field_about, fields_with_paths, is_model, plain_type
from sequifier.config.loading.define import define
from sequifier.config.loading.merged import NOT_GIVEN, Merged, value_at
from sequifier.config.loading.paths import root_problem
from sequifier.config.loading.problems import (
    annotation_at,
    as_written,
    config_error,
    located_in,
    path_in,
    problems_of,
)
from sequifier.config.loading.read import read_file, read_section, section_problems
from sequifier.config.loading.search_base import in_one_piece
from sequifier.config.loading.yaml12 import dotted
from sequifier.errors import ConfigError, Problem

Model = TypeVar("Model", bound=BaseModel)
PLACEHOLDER = "PLEASE FILL"


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """A validated config and where its values came from."""

    config: Model
    merged: Merged
    path: Path
    notes: tuple[Problem, ...] = ()
    """For the user: keys of older versions, and keys without effect."""

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems, each with the place of its key, for checks that run after loading."""
        problems = [as_written(located_in(problem, self.merged), self.merged) for problem in error.problems]
        return config_error(problems, self.path)


@dataclass(frozen=True)
class Repaired:
    """A config whose wrong values were replaced by defaults, to find problems that they hid."""

    loaded: Loaded[Any]
    names: frozenset[str]  # of the replaced values and of what follows from them

    def is_new(self, problem: Problem) -> bool:
        """Whether a problem does not involve a replaced value."""
        return not self.names & set(re.findall(r"\w+", f"{problem.key} {problem.message}"))


def look_further(
    error: ValidationError, model: type[BaseModel], merged: Merged, path: Path
) -> tuple[list[Problem], Repaired | None]:
    """Find problems that pydantic does not check while others exist: rules between fields of a section.

    Returns:
        The problems of the rest, and the rest as a config, or None when it is not a valid one.
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
        section: name of the entry of `sections:` that is merged into the file.
        defines: `key.path=value` words of `-D`, each parsed by the type of its field.
        flags: values of explicit command-line flags by dotted key.

    Raises:
        ConfigError: all problems, each with file and line.
    """
    merged = read_file(path, model, seen=())
    sections = merged.values.pop("sections", None)
    problems = [] if section is not None else section_problems(merged, sections)
    if section is not None:
        merged.merge(read_section(merged, sections, section, path))
    problems += [problem for word in defines if (problem := define(merged, model, word))]
    for key, value in (flags or {}).items():
        merged.put(tuple(key.split(".")), value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    if "base_config_path" in model.model_fields:  # the base is a config of another kind
        merged = in_one_piece(merged, path, set(model.model_fields))
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
        failure = config_error(problems, path)
        failure.repaired = repaired
        raise failure
    return Loaded(config, merged, path, (*merged.notes, *_without_effect(config, merged)))


def _without_effect(config: BaseModel, merged: Merged) -> Iterator[Problem]:
    """One note on all keys of older versions that have no effect."""
    found = [
        path
        for path, known in fields_with_paths(type(config))
        if field_about(known).get("unused") and value_at(merged.values, path) not in (NOT_GIVEN, known.default)
    ]
    if found:
        places = ", ".join(dict.fromkeys(merged.source(path).rpartition(":")[2] for path in found))
        file = merged.source(found[0]).rpartition(":")[0]
        keys = ", ".join(f"`{dotted(path)}`" for path in found)
        have = "has" if len(found) == 1 else "have"
        yield Problem("", f"{keys} {have} no effect and may be left out", f"{file}:{places}".lstrip(":"))


def _root_problems(merged: Merged) -> Iterator[Problem]:
    """A project_root that does not exist."""
    root = merged.values.get("project_root", ".")
    if isinstance(root, str) and PLACEHOLDER not in root and (found := root_problem(root)) is not None:
        yield Problem("project_root", found[0], merged.source(("project_root",)), found[1])


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
        yield Problem(dotted(path), f"is still {PLACEHOLDER}", merged.source(path), "write your own value")
