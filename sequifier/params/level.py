"""What holds inside a scope: an immutable record of values by dotted key.

A level takes over the values around it where those are few and refers to them where they are many: a lookup then passes
one dict, seldom two or three, and entering a scope copies at most `FEW` keys, however many are around.
"""

from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

FEW: Final = 8
"""So many values are copied into a level; more are referred to."""

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "MISSING", "__slots__": ()})()


class Home:
    """The generator that entered a level.

    Attributes:
        entered_in: the frame of the `with` statement.
        frame: the generator's; None after the scope was left in another context.
    """

    __slots__ = ("entered_in", "frame")

    def __init__(self, entered_in: FrameType, frame: FrameType) -> None:
        self.entered_in: FrameType | None = entered_in
        self.frame: FrameType | None = frame

    def is_running(self) -> bool:
        """Whether the generator was resumed and has not yielded since."""
        return self.frame is not None and self.frame.f_back is not None  # one that is suspended has no caller

    def close(self) -> None:
        """Let go of the frames: the level will never count again."""
        self.entered_in = self.frame = None


class Level:
    """One entered scope; never changed once it is in a context.

    Attributes:
        values: its own, over those around it where these were few.
        rest: where the others are looked up.
        owner: the scope that was entered; None at the bottom.
        outer: what holds again when it is left; None at the bottom.
    """

    __slots__ = ("outer", "owner", "rest", "values")  # and no __init__, which would double the time to make one
    values: dict[str, Any]
    rest: "Level | None"
    owner: object
    outer: "Level | None"
    is_watched = False
    home: Home | None = None
    inside: tuple[Home, ...] = ()


class WatchedLevel(Level):
    """A level that a generator entered, or that lies over such a one: what holds has to be found out at each reading.

    Attributes:
        home: the generator that entered it, if one did.
        inside: generators with open scopes that ran when it was entered.
    """

    __slots__ = ("home", "inside")
    is_watched = True


def new_level(
    values: dict[str, Any],
    rest: Level | None = None,
    owner: object = None,
    outer: Level | None = None,
    home: Home | None = None,
    inside: tuple[Home, ...] = (),
) -> Level:
    """A level; watched if a generator enters it or the level below is watched."""
    if home is None and (outer is None or not outer.is_watched):
        level = Level()
    else:
        level = WatchedLevel()
        level.home, level.inside = home, inside
    level.values, level.rest, level.owner, level.outer = values, rest, owner, outer
    return level


def over(around: Level, values: dict[str, Any]) -> tuple[dict[str, Any], Level | None]:
    """`values` and `rest` of a level that lays values over those of another one."""
    if len(around.values) > FEW:
        return values, around
    return around.values | values, around.rest


def find(level: Level | None, key: str) -> Any:
    """The value of a key at a level, or MISSING."""
    while level is not None:
        value = level.values.get(key, MISSING)
        if value is not MISSING:
            return value
        level = level.rest
    return MISSING


def flat(level: Level) -> dict[str, Any]:
    """All values at a level, as a new dict; keys from outside come first."""
    parts = []
    here: Level | None = level
    while here is not None:
        parts.append(here.values)
        here = here.rest
    found: dict[str, Any] = {}
    for values in reversed(parts):
        found |= values
    return found


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted key; the same dict where no value is a dict."""
    for value in values.values():
        if isinstance(value, dict):
            return dict(_dotted(values, ""))
    return values


def _dotted(values: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
