"""A word of the command line -> a value of a parameter's type. Nothing is ever evaluated.

The type is the parameter's annotation. Without one it is the type of the value that it has now.
"""

import ast
import collections.abc
import json
import types
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

from sequifier.artifacts.read_file import parse_json

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NOTHING = ("none", "null")
_MOST_DIGITS = 4_000  # of a whole number; Python itself refuses some more
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
    """The value that was given for a parameter of type `kind`.

    Args:
        words: one word, or for a list, tuple or set any number of them: `64 32`, or `"[64, 32]"`.
        kind: a type or a type hint; `Any` takes numbers, true, false, null, JSON and Python literals for what they are
            and everything else as text.

    Raises:
        ValueError: they are no such value; the message says what is allowed.
    """
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return _of_union(words, members)
    origin = get_origin(kind) or kind
    if origin in _SEQUENCES:
        return _sequence(words, origin, get_args(kind))
    if len(words) != 1:
        raise ValueError("give one word")
    return _scalar(words[0], kind, origin)


def fit(value: Any, kind: Any) -> Any:
    """A value that was given in code or YAML for a parameter of type `kind`: text as a word, others as they are.

    Args:
        value: any; numbers are converted like words, so 32.0 is the whole number 32, and 1.5 is none.
        kind: a type or a type hint. Where no word can be one, every value is taken.

    Raises:
        ValueError: it is no such value; the message says what is allowed.
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
            raise ValueError("a map is needed")
        return value
    if origin is Literal:
        if any(type(choice) is type(value) and choice == value for choice in get_args(kind)):
            return value
        return _scalar(str(value), kind, origin)
    if type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    if kind in (str, Path, PurePath):
        raise ValueError("text is needed")
    return _scalar(str(value), kind, origin)


def takes_several(kind: Any) -> bool:
    """Whether a parameter of this type takes several words."""
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return any(takes_several(member) for member in members)
    return (get_origin(kind) or kind) in _SEQUENCES


def kind_of(value: Any) -> Any:
    """The type to give a parameter that has this value and no annotation."""
    if isinstance(value, bool) or not isinstance(value, int):
        return Any if value is None else type(value)
    return int | float  # `DROPOUT = 0` is no promise that it stays a whole number


def is_known(kind: Any) -> bool:
    """Whether a value of this type can be written in a word."""
    kind = _bare(kind)
    members = _members(kind)
    if members is not None:
        return all(is_known(member) for member in members)
    origin = get_origin(kind) or kind
    known = (Any, Literal, bool, int, float, str, type(None), timedelta, *_SEQUENCES, *_MAPPINGS, *_OF_TEXT)
    return origin in known or isinstance(kind, TypeVar) or (isinstance(origin, type) and issubclass(origin, Enum))


def _bare(kind: Any) -> Any:
    """Without Annotated, Final, ClassVar and NewType around it."""
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
    # Text takes anything, so it is asked last; a truth value takes 0 and 1, so numbers come before it.
    order = [type(None), int, float, bool]
    plain = sorted(
        (member for member in members if member is not str), key=lambda m: order.index(m) if m in order else 9
    )
    problems = []
    for member in [*plain, *(member for member in members if member is str)]:
        try:
            return convert(words, member)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(" or ".join(dict.fromkeys(problems)))


def _fit_one_of(value: Any, members: tuple[Any, ...]) -> Any:
    if any(type(value) is member for member in members):
        return value
    problems = []
    for member in members:
        try:
            return fit(value, member)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(" or ".join(dict.fromkeys(problems)))


def _fit_sequence(value: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    make = _SEQUENCES[origin]
    if not isinstance(value, list | tuple | set | frozenset):
        if isinstance(value, origin) and not isinstance(value, bytes | collections.abc.Mapping):
            return value  # a range or an array is a Sequence or an Iterable of its own
        raise ValueError("a list is needed")
    kinds = _kinds_of_elements(len(value), make, arguments)
    return make(each if kind is Any else fit(each, kind) for each, kind in zip(value, kinds, strict=True))


def _kinds_of_elements(n: int, make: Any, arguments: tuple[Any, ...]) -> list[Any]:
    if make is tuple and arguments and Ellipsis not in arguments:
        if n != len(arguments):
            raise ValueError(f"{len(arguments)} values are needed, {n} were given")
        return list(arguments)
    return [arguments[0] if arguments else Any] * n


def _sequence(words: list[str], origin: Any, arguments: tuple[Any, ...]) -> Any:
    make = _SEQUENCES[origin]
    values: list[Any] = list(words)
    if len(words) == 1 and words[0].lstrip()[:1] in ("[", "(", "{"):
        parsed = _literal(words[0])
        if not isinstance(parsed, list | tuple | set):
            raise ValueError("it is no list: write 1 2 3, or [1, 2, 3]")
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
        return _whole(word)
    if kind is float:
        return _number(word)
    if kind is type(None):
        if word.lower() in _NOTHING:
            return None
        raise ValueError("allowed: None")
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
            raise ValueError(f"it is no {kind.__name__}") from None
    raise ValueError(f"a value of type {getattr(kind, '__name__', kind)} cannot be given on the command line")


def _truth(word: str) -> bool:
    if word.lower() in TRUE:
        return True
    if word.lower() in FALSE:
        return False
    raise ValueError("allowed: true, false (or yes, no, on, off, 1, 0)")


def _whole(word: str) -> int:
    with suppress(ValueError):
        return int(word)
    with suppress(InvalidOperation):
        number = Decimal(word)  # 1e3 and 32.0 are whole, and exactly so
        if number.is_finite() and number.adjusted() < _MOST_DIGITS and number == number.to_integral_value():
            return int(number)
    raise ValueError("a whole number is needed")


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError("a number is needed") from None


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
        raise ValueError('write a map as JSON: {"name": 1}')
    return value


def _guess(word: str) -> Any:
    """Numbers, true, false, null, lists and maps for what they are; everything else is text."""
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
    """A JSON or Python literal: constants, lists, maps. `literal_eval` builds constants and calls nothing."""
    with suppress(ValueError, RecursionError):
        return parse_json(word)
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("it cannot be read: write it as JSON") from None
