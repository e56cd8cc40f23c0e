"""The parameters of one scope: an immutable record of values by dotted key.

A level copies the values of the scope around it where they are few, and refers to that scope where they are many. A
lookup then reads one dict, seldom two or three, and entering a scope copies at most `FEW` keys.
"""

from collections.abc import Iterator
from typing import Any, Final

FEW: Final = 8
"""The number of values up to which a level copies them from the scope around it."""

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()


class Unread:
    """Base of `Path`: a parameter that stands for its key until it is read, and so is not a value."""

    __slots__ = ()


class Level:
    """One entered scope. No attribute changes once the level is in a context.

    Attributes:
        values: the scope's own values, merged with those around it where these were few.
        rest: the level in which the other values are looked up.
        owner: the scope that was entered; None for the starting values of a thread.
        outer: the level that becomes current again when the scope is left; None for starting values.
    """

    __slots__ = ("outer", "owner", "rest", "values")  # no __init__: it would double the time to make one
    values: dict[str, Any]
    rest: "Level | None"
    owner: object
    outer: "Level | None"


def new_level(
    values: dict[str, Any], rest: Level | None = None, owner: object = None, outer: Level | None = None
) -> Level:
    """Return a level with these attributes."""
    level = Level()
    level.values, level.rest, level.owner, level.outer = values, rest, owner, outer
    return level


def over(around: Level, values: dict[str, Any], owner: object) -> Level:
    """Return the level of a scope with these values that is entered inside another one."""
    level = Level()
    outside = around.values
    if len(outside) > FEW:
        level.values, level.rest = values, around
    else:
        level.values, level.rest = outside | values if outside else values, around.rest
    level.owner, level.outer = owner, around
    return level


def find(level: Level | None, key: str) -> Any:
    """Return the value of a key at a level, or MISSING."""
    while level is not None:
        value = level.values.get(key, MISSING)
        if value is not MISSING:
            return value
        level = level.rest
    return MISSING


def flat(level: Level | None) -> dict[str, Any]:
    """Return all values at a level as a new dict, those of outer scopes first."""
    parts = []
    while level is not None:
        parts.append(level.values)
        level = level.rest
    found: dict[str, Any] = {}
    for values in reversed(parts):
        found |= values
    return found


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by dotted key; the same dict where no value is a dict.

    Raises:
        TypeError: a value is a parameter that was not read, as in `dict(scope)`.
    """
    for value in values.values():
        if isinstance(value, _NOT_PLAIN):
            return dict(_dotted(values, ""))
    return values


_NOT_PLAIN = (dict, Unread)


def _dotted(values: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        elif isinstance(value, Unread):
            raise TypeError(f"`{prefix}{key}` was given a parameter, not a value; read it, or copy `scope.as_dict()`")
        else:
            yield f"{prefix}{key}", value
