"""Words of a command line, converted to the type of a parameter. Nothing is evaluated.

The type is the parameter's annotation, or else the type of its present value.
"""

import ast
import collections.abc
import json
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

from sequifier.artifacts.read_file import parse_json
from sequifier.params.convert import convert as convert_to_default

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NOTHING = ("none", "null")
_SEQUENCES: dict[Any, Any] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    tuple: tuple,
    set: set,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_OF_TEXT: dict[Any, Any] = {
    **{kind: kind.fromisoformat for kind in (datetime, date, time)},
    Decimal: Decimal,
    complex: complex,
    Path: Path,
    PurePath: PurePath,
}


def convert(words: list[str], kind: Any) -> Any:
    """Convert words to a value of type `kind`.

    Args:
        words: one word; for a list, tuple or set any number of words, `64 32`, or one like `"[64, 32]"`.
        kind: a type or a type hint. `Any` accepts numbers, true, false, null, JSON and Python literals; everything else
            is a string.

    Raises:
        ValueError: the words do not fit; the message names what is allowed.
    """
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return _of_union(words, members)
    origin = get_origin(kind) or kind
    if origin in _SEQUENCES:
        return _sequence(words, origin, get_args(kind))
    if len(words) != 1:
        raise ValueError("expected one word")
    return _scalar(words[0], kind, origin)


def fit(value: Any, kind: Any) -> Any:
    """Check a value from code or YAML against a type, and convert a string as a word of the command line.

    Args:
        value: any value. Numbers are converted like words: 32.0 is the integer 32, and 1.5 is not an integer.
        kind: a type or a type hint. A type that no word can represent accepts every value.

    Raises:
        ValueError: the value does not fit; the message names what is allowed.
    """
    kind = _bare(kind)
    origin = get_origin(kind) or kind
    if not is_known(kind) or kind is Any or isinstance(kind, TypeVar):
        return convert([value], kind) if isinstance(value, str) and is_known(kind) else value
    if isinstance(value, str):
        return convert([value], kind)
    members = _members(kind)
    if members is not None:
        return _fit_one_of(value, members)
    if origin in _SEQUENCES:
        return _fit_sequence(value, origin, get_args(kind))
    if origin in _MAPPINGS:
        if not isinstance(value, collections.abc.Mapping):
            raise ValueError("expected a map")
        return value
    if origin is Literal:
        if any(type(choice) is type(value) and choice == value for choice in get_args(kind)):
            return value
        return _scalar(str(value), kind, origin)
    if type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    if kind in (str, Path, PurePath):
        raise ValueError("expected a string")
    return _scalar(str(value), kind, origin)


def takes_several(kind: Any) -> bool:
    """Whether a parameter of this type accepts several words."""
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return any(takes_several(member) for member in members)
    return (get_origin(kind) or kind) in _SEQUENCES


def kind_of(value: Any) -> Any:
    """Return the type of a parameter that has this value and no annotation."""
    if isinstance(value, bool) or not isinstance(value, int):
        return Any if value is None else type(value)
    return int | float  # `DROPOUT = 0` does not mean that it stays an integer


def is_known(kind: Any) -> bool:
    """Whether a word can represent a value of this type."""
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return all(is_known(member) for member in members)
    origin = get_origin(kind) or kind
    known = (Any, Literal, bool, int, float, str, type(None), timedelta, *_SEQUENCES, *_MAPPINGS, *_OF_TEXT)
    return origin in known or isinstance(kind, TypeVar) or (isinstance(origin, type) and issubclass(origin, Enum))


def _bare(kind: Any) -> Any:
    """Return a type hint without Annotated, Final, ClassVar and NewType."""
    while True:
        if get_origin(kind) is Annotated or (get_origin(kind) in (Final, ClassVar) and get_args(kind)):
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif kind in (Final, ClassVar, object):
            return Any
        elif kind is None:
            return type(None)
        else:
            return kind


def _members(kind: Any) -> tuple[Any, ...] | None:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else None


def _of_union(words: list[str], members: tuple[Any, ...]) -> Any:
    # str accepts everything, so it comes last; bool accepts 0 and 1, so numbers come before it.
    order = [type(None), int, float, bool]
    plain = sorted(
        (member for member in members if member is not str), key=lambda m: order.index(m) if m in order else 9
    )
    return _first_that_fits([*plain, *(member for member in members if member is str)], partial(convert, words))


def _first_that_fits(kinds: Iterable[Any], convert_to: Callable[[Any], Any]) -> Any:
    """Convert to the first type of a union that fits; the error combines all: `expected None or an integer`."""
    problems = []
    for kind in kinds:
        try:
            return convert_to(kind)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(" or ".join(dict.fromkeys(problems)).replace(" or expected ", " or "))


def _fit_one_of(value: Any, members: tuple[Any, ...]) -> Any:
    if any(type(value) is member for member in members):
        return value
    return _first_that_fits(members, partial(fit, value))


def _fit_sequence(value: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    make = _SEQUENCES[origin]
    if not isinstance(value, list | tuple | set | frozenset):
        if isinstance(value, origin) and not isinstance(value, bytes | collections.abc.Mapping):
            return value  # a range or an array is a Sequence or an Iterable already
        raise ValueError("expected a list")
    kinds = _kinds_of_elements(len(value), make, arguments)
    return make(each if kind is Any else fit(each, kind) for each, kind in zip(value, kinds, strict=True))


def _kinds_of_elements(n: int, make: Any, arguments: tuple[Any, ...]) -> list[Any]:
    if make is tuple and arguments and Ellipsis not in arguments:
        if n != len(arguments):
            raise ValueError(f"expected {len(arguments)} values, got {n}")
        return list(arguments)
    return [arguments[0] if arguments else Any] * n


def _sequence(words: list[str], origin: Any, arguments: tuple[Any, ...]) -> Any:
    make = _SEQUENCES[origin]
    values: list[Any] = list(words)
    if len(words) == 1 and words[0].lstrip()[:1] in ("[", "(", "{"):
        parsed = _literal(words[0])
        if not isinstance(parsed, list | tuple | set):
            raise ValueError("it is not a list: write 1 2 3, or [1, 2, 3]")
        values = list(parsed)
    kinds = _kinds_of_elements(len(values), make, arguments)
    return make(_element(value, kind) for value, kind in zip(values, kinds, strict=True))


def _element(value: Any, kind: Any) -> Any:
    if isinstance(value, str):
        return convert([value], kind)
    if _bare(kind) is Any:
        return value
    if isinstance(value, list | tuple | set):
        return convert([json.dumps(list(value))], kind)
    return convert([value if isinstance(value, str) else json.dumps(value)], kind)


def _scalar(word: str, kind: Any, origin: Any) -> Any:
    if kind is Any or isinstance(kind, TypeVar):
        return _guess(word)
    if kind is str:
        return word
    if kind is bool:
        return _truth(word)
    if kind is int:
        return _integer(word)
    if kind is float:
        return _number(word)
    if kind is type(None):
        if word.lower() in _NOTHING:
            return None
        raise ValueError("expected None")
    if origin is Literal:
        return _one_of(word, {str(choice): choice for choice in get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        by_value = {str(member.value): member for member in kind}
        return _one_of(word, by_value | dict(kind.__members__))
    if origin in _MAPPINGS:
        return _mapping(word)
    if kind is timedelta:
        return timedelta(seconds=_number(word))
    if kind in _OF_TEXT:
        try:
            return _OF_TEXT[kind](word)
        except (ValueError, InvalidOperation):
            raise ValueError(f"it is not a {kind.__name__}") from None
    raise ValueError(f"a value of type {getattr(kind, '__name__', kind)} cannot be given on the command line")


def _truth(word: str) -> bool:
    if word.lower() in TRUE:
        return True
    if word.lower() in FALSE:
        return False
    raise ValueError("allowed: true, false (or yes, no, on, off, 1, 0)")


def _integer(word: str) -> int:
    number = convert_to_default(word, 0)
    if isinstance(number, str):
        raise ValueError("expected an integer")
    return int(number)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError("expected a number") from None


def _one_of(word: str, choices: dict[str, Any]) -> Any:
    if word in choices:
        return choices[word]
    matches = {id(value): value for name, value in choices.items() if name.lower() == word.lower()}
    if len(matches) == 1:
        return next(iter(matches.values()))
    raise ValueError("allowed: " + ", ".join(dict.fromkeys(choices)))


def _mapping(word: str) -> Any:
    value = _literal(word)
    if not isinstance(value, dict):
        raise ValueError('it is not a map: write JSON, {"name": 1}')
    return value


def _guess(word: str) -> Any:
    """Convert numbers, true, false, null, lists and maps; everything else is a string."""
    lower = word.lower()
    if lower in _NOTHING:
        return None
    if lower in ("true", "false"):
        return lower == "true"
    for number in (int, float):
        with suppress(ValueError):
            return number(word)
    if word[:1] in ("[", "(", "{", '"', "'"):
        with suppress(ValueError):
            return _literal(word)
    return word


def _literal(word: str) -> Any:
    """Return a JSON or Python literal: constants, lists, maps. `literal_eval` calls no code."""
    with suppress(ValueError, RecursionError):
        return parse_json(word)
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("it cannot be read: write it as JSON") from None
