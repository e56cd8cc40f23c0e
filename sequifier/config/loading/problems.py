"""Pydantic's errors as problems of a file: place, key, value, what is allowed, how to fix it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sequifier.config.base import KeyPath, Named, fields_with_paths, form_of, is_model, plain_type
from sequifier.config.loading.merged import Merged
from sequifier.config.loading.old_names import ELSEWHERE, ELSEWHERE_IN, SPELLINGS, called, today
from sequifier.config.loading.yaml12 import dotted
from sequifier.errors import ConfigError, Problem, did_you_mean, nearest

_PARTS = re.compile(r"([^.\[\]]+)|\[(\d+)\]")  # of a dotted key: `a.b[2]`


MOST_ERRORS = 200
"""Further ones are only counted: nobody reads them, and similar names are searched for each."""


def config_error(problems: list[Problem], path: Path) -> ConfigError:
    """The error of a config: the problems in order, in the file or in the settings that the command line changed."""
    problems = in_order(problems, path)
    flags = ", ".join(sorted({problem.source for problem in problems if problem.source.startswith("-")}))
    return ConfigError(problems, where=f"the settings ({path} with {flags})" if flags else str(path))


def in_order(problems: list[Problem], path: Path) -> list[Problem]:
    """Problems in the order of the file, each with a place: problems of the whole file first, of other files last."""

    def place(problem: Problem) -> tuple[bool, str, int]:
        file, _, line = problem.source.partition(" ")[0].rpartition(":")
        return (file or problem.source) != str(path), file, int(line) if line.isdigit() else 0

    placed = [problem if problem.source else replace(problem, source=str(path)) for problem in problems]
    return sorted(placed, key=place)


def problems_of(error: ValidationError, model: type[BaseModel], merged: Merged) -> list[Problem]:
    """Pydantic's errors as problems with file, line and key."""
    by_path: dict[KeyPath, list[Any]] = {}
    every = error.errors(include_url=False)
    for detail in every[:MOST_ERRORS]:
        if detail["type"] != "default_factory_not_called":  # the consequence of another problem
            path = path_in(merged.values, detail["loc"], is_missing=detail["type"] == "missing")
            if not path and detail["loc"] and detail["loc"][0] in model.model_fields:
                path = (detail["loc"][0],)  # about a default
            by_path.setdefault(path, []).append(detail)
    problems: list[Problem] = []
    for path, details in by_path.items():
        if any(other[: len(path)] == path and other != path for other in by_path) and details[0]["type"] in _KINDS:
            continue  # another member of a union matched further down, and its error says more
        # A choice of words and of strings of one form: the words, which are the better hint.
        if any(detail["type"] == "literal_error" for detail in details):
            details = [detail for detail in details if not detail["type"].startswith("string_")]
        # A union reports one error per member: all of them where each names a kind of value, else the first.
        kinds = [_KINDS[detail["type"]] for detail in details if detail["type"] in _KINDS]
        words = [_allowed(detail) for detail in details if detail["type"] == "literal_error"]
        if kinds and words and len(kinds) + len(words) == len(details):
            allowed = list(dict.fromkeys([*(["a number"] if "a number" in kinds else kinds), *words]))
            message = f"got {shown(details[0]['input'])}, allowed: {', '.join(allowed)}"
            problem = Problem(dotted(path), message, merged.source(path))
        else:
            problem = _problem(details[0], path, model, merged)
        if not any(known.key == problem.key for known in problems):
            problems.append(problem)
    if len(every) > MOST_ERRORS:
        problems.append(Problem("", f"and {len(every) - MOST_ERRORS:,} more problems, of other keys"))
    return problems


_KINDS = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
}
"""What pydantic expected, by the type of its error."""


def shown(value: Any) -> str:
    """A value in a message: as a config writes it, cut to 80 characters."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def path_in(values: Any, location: tuple[str | int, ...], *, is_missing: bool = False) -> KeyPath:
    """A pydantic location as a path in the file, without the names of union members and validators.

    The last part of what `is_missing` is not in the file either, but belongs to the path.
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
        known = is_model(owner := plain_type(annotation_at(model, path[:-1]))) and path[-1] in owner.model_fields
        fix = f"write it; `sequifier config explain {key}` describes it" if known else ""
        return Problem(key, "is missing, and has no default", parent, fix)
    if kind == "extra_forbidden":
        return Problem(key, "unknown key", source, _nearest_key(model, path))
    if kind == "value_error":
        return located_in(Problem(key, str(detail["ctx"]["error"])), merged)
    said, fix = shown(given), _fix_of(given, model, path)
    if kind == "literal_error":
        annotation = annotation_at(model, path)
        choices = [str(choice) for choice in _choices(annotation)]
        forms = "".join(f", or {form}" for member in get_args(annotation) if (form := form_of(member)))
        meant = _MEANT.get(str(given).lower(), "")
        if meant in choices:
            fix = f"write `{meant}`"
        elif nearest(str(given), choices):
            fix = did_you_mean(str(given), choices)
        return Problem(key, f"got {said}, allowed: {_allowed(detail)}{forms}", source, fix)
    if kind in _KINDS:
        is_named = kind == "model_type" and detail["ctx"].get("class_name") == Named.__name__
        wanted = "a name, or a map with one: {name: ...}" if is_named else _KINDS[kind]
        return Problem(key, f"should be {wanted}, got {said}", source, fix)
    if kind == "too_short":
        return Problem(key, f"needs at least {detail['ctx']['min_length']} entry, got {said}", source, fix)
    message = detail["msg"][0].lower() + detail["msg"][1:]
    message = message.removeprefix("input ").replace("a valid integer", "an integer")
    return Problem(key, f"{message}, got {said}", source, fix)


_MEANT = {"gpu": "cuda", "max": "maximize", "min": "minimize", "step": "batch", "topk": "top_k", "topp": "top_p"}
"""Values that people write -> values of today."""


def _allowed(detail: Any) -> str:
    """The values of a choice as a config writes them."""
    return str(detail["ctx"]["expected"]).replace("True", "true").replace("False", "false")


def _fix_of(given: Any, model: type[BaseModel], path: KeyPath) -> str:
    """How to fix a value of a wrong type."""
    parent = plain_type(annotation_at(model, path[:-1]))
    if given is None:
        field = getattr(parent, "model_fields", {}).get(path[-1])
        if field is not None and field.is_required():
            return 'write a value; put a name that is null or ~ in quotes: "null"'
        return "leave the line out to use the default"
    if isinstance(given, list) and hasattr(parent, "searchable") and path[-1] not in parent.searchable():
        return "it cannot be searched: write one value for all runs"
    return ""


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, type(int | str)):
        for member in get_args(annotation):
            yield from _choices(member)
    elif (kind := plain_type(annotation)) is not annotation:
        yield from _choices(kind)


def _nearest_key(model: type[BaseModel], path: KeyPath) -> str:
    """Where a misplaced or misspelt key belongs, or what is meant by a name of another version or library."""
    word, here = str(path[-1]), dotted(path[:-1])
    parent = plain_type(annotation_at(model, path[:-1]))
    parent = next((member for member in (parent, *get_args(parent)) if is_model(member)), None)
    siblings = list(parent.model_fields) if parent is not None else []
    every: dict[str, str] = {}
    for known, _ in fields_with_paths(model):
        every.setdefault(str(known[-1]), dotted(known))
    if word in ELSEWHERE_IN.get(model.__name__, {}) and len(path) == 1:
        return ELSEWHERE_IN[model.__name__][word]
    if (key := SPELLINGS.get(word, word)) in ELSEWHERE and word not in siblings:
        return f"`{key}` {ELSEWHERE[key]}"
    if len(places := today(word)) == 1 and "model_spec" in model.model_fields:
        return f"it is `{places[0]}` now"
    if word in every:
        place = every[word].rpartition(".")[0]
        return f"it belongs under `{place}`" if place else f"`{word}` belongs at the top level"
    if meant := called(model, word):
        beside = [key.rpartition(".")[2] for key in meant if key.rpartition(".")[0] == here]
        return "it is called " + " or ".join(f"`{key}`" for key in beside or meant) + " here"
    if near := nearest(word, siblings):
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    if near := nearest(word, every):
        return "did you mean " + " or ".join(f"`{every[name]}`" for name in near) + "?"
    return did_you_mean(word, siblings) if len(siblings) <= 12 else "`sequifier config reference` lists every key"


def located_in(problem: Problem, merged: Merged) -> Problem:
    """A problem with the source of its key.

    A check of a whole section starts its message with the field it is about ("dim_model: 5 ..."); the problem then gets
    the line of that field.
    """
    path: KeyPath = tuple(int(number) if number else name for name, number in _PARTS.findall(problem.key))
    path = path_in(merged.values, path)
    first = problem.message.split(":")[0].split(" ")[0]
    named = (*path, *first.split("."))
    if named in merged.sources:
        message = problem.message.removeprefix(f"{first}: ")  # the key says it
        return replace(problem, source=merged.sources[named], key=dotted(named), message=message)
    return replace(problem, source=problem.source or merged.source(path))


def as_written(problem: Problem, merged: Merged) -> Problem:
    """A problem under the key that is written in the file."""
    for place in sorted(merged.written, key=len, reverse=True):
        rest = problem.key.removeprefix(place)
        if rest != problem.key and rest[:1] in ("", ".", "["):
            return replace(problem, key=merged.written[place] + rest)
    return problem


def annotation_at(model: Any, path: KeyPath) -> Any:
    """The declared type at a dotted key, or Any."""
    kind = plain_type(model)
    if not path:
        return model
    if is_model(kind):
        known = kind.model_fields.get(str(path[0]))
        return annotation_at(known.annotation, path[1:]) if known else Any
    if get_origin(kind) is dict:
        return annotation_at(get_args(kind)[1], path[1:])
    return Any
