"""What holds at this point of a program: one context variable names the newest `Level`.

Entering a scope puts a level over it, leaving puts the one below back, and a write puts a changed copy in its place. So
whoever inherited the old level, an asyncio task or a copied context, never notices.

Python gives threads and tasks a context of their own, but not generators: what a generator enters would hold in its
consumer after each `yield`. A level entered by a generator therefore knows its frame, and counts while that runs.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

from sequifier.params.bottom import bottom
from sequifier.params.level import Home, Level, WatchedLevel, new_level, over

GENERATOR: Final = 0x20 | 0x200
"""inspect.CO_GENERATOR | CO_ASYNC_GENERATOR, without the 10 ms that importing inspect takes."""

_DRIVERS = frozenset({"contextlib", "_pytest.fixtures"})
"""Modules that run a generator as a context manager: what it enters is meant for whoever asked for it."""

_NOTHING_YET = WatchedLevel()
_NOTHING_YET.values, _NOTHING_YET.rest, _NOTHING_YET.owner, _NOTHING_YET.outer = {}, None, None, None
_NOTHING_YET.home, _NOTHING_YET.inside = None, ()

newest_level: ContextVar[Level] = ContextVar("sequifier.params", default=_NOTHING_YET)
"""The level that holds, or, if it is watched, the one with which `resolve` begins to look for it."""


def resolve(newest: Level) -> Level:
    """The level that holds, given the newest one where that is watched."""
    if newest is _NOTHING_YET:
        newest = bottom()
        newest_level.set(newest)
    return _innermost(newest)


def current() -> Level:
    """The level that holds."""
    newest = newest_level.get()
    return resolve(newest) if newest.is_watched else newest


def level_of(owner: object) -> Level | None:
    """The level at which a scope is entered in this context."""
    level: Level | None = newest_level.get()
    while level is not None:
        if level.owner is owner and (level.home is None or level.home.is_running()):
            return level
        level = level.outer
    return None


def enter(owner: object, values: dict[str, Any], *, is_empty: bool, frame: FrameType) -> Home | None:
    """Put a level over the others.

    Args:
        owner: the scope.
        values: its values by key.
        is_empty: whether nothing from around it holds.
        frame: of the `with` statement.

    Returns:
        The generator that did so, if it was one.
    """
    around = current()
    newest = _without_closed(newest_level.get())
    inside = tuple(level.home for level in _watched(newest) if level.home is not None and level.home.is_running())
    held, rest = (values, None) if is_empty else over(around, values)
    home = _home(frame)
    newest_level.set(new_level(held, rest, owner, newest, home, inside))
    return home


def leave(owner: object, frame: FrameType) -> bool:
    """Take a scope's level away, wherever it lies.

    Args:
        owner: the scope.
        frame: of the `with` statement.

    Returns:
        Whether this context has such a level.
    """
    newest = level = newest_level.get()
    while level.owner is not owner or (level.home is not None and not is_left_in(level.home, frame)):
        if level.outer is None:
            return False
        level = level.outer
    assert level.outer is not None
    newest_level.set(_with(level.outer, newest, level))
    return True


def is_left_in(home: Home, frame: FrameType) -> bool:
    """Whether a scope is left in this frame for the same generator that entered it."""
    if home.entered_in is frame:
        return True
    leaving = _home(frame)  # an ExitStack leaves in another frame than it enters
    return leaving is not None and leaving.frame is home.frame


def write(level: Level, values: dict[str, Any], rest: Level | None) -> None:
    """Let a level of this context hold other values until it is left."""
    changed = new_level(values, rest, level.owner, level.outer, level.home, level.inside)
    newest_level.set(_with(changed, newest_level.get(), level))


def _with(new: Level, newest: Level, old: Level) -> Level:
    """The newest level when a new one stands in the place of an old one."""
    above = []
    level = newest
    while level is not old:
        above.append(level)
        assert level.outer is not None
        level = level.outer
    for level in reversed(above):
        new = new_level(level.values, level.rest, level.owner, new, level.home, level.inside)
    return new


def _watched(level: Level) -> Iterator[Level]:
    """From the newest to the last watched level."""
    while level.is_watched:
        yield level
        assert level.outer is not None
        level = level.outer


def _without_closed(newest: Level) -> Level:
    """Forget the levels of generators that were closed in another context."""
    for level in list(_watched(newest)):
        if level.home is not None and level.home.frame is None:
            assert level.outer is not None
            return _without_closed(_with(level.outer, newest, level))
    return newest


def _innermost(newest: Level) -> Level:
    """The innermost of the levels that count: all but those of generators that are suspended.

    They lie in the order in which they were entered. A generator that was resumed after a later one had been entered is
    inside that one all the same.
    """
    innermost: Level | None = None
    level = newest
    while level.is_watched:
        if level.home is None:
            innermost = innermost or level
        elif level.home.is_running() and (innermost is None or _is_resumed_inside(level.home, innermost)):
            innermost = level
        assert level.outer is not None
        level = level.outer
    return innermost or level


def _is_resumed_inside(home: Home, level: Level) -> bool:
    """Whether a running generator was resumed inside a level that was entered later than its own."""
    if level.home is None:
        return home not in level.inside
    frame = None if home.frame is None else home.frame.f_back
    while frame is not None and frame is not level.home.frame:
        frame = frame.f_back
    return frame is not None


def _home(frame: FrameType) -> Home | None:
    """The generator for which a `with` statement in this frame is executed, if it is one.

    For a context manager written as a generator, and for an ExitStack, that is the one that uses it.
    """
    asking: FrameType | None = frame
    while asking is not None:
        caller = asking.f_back
        is_driver = asking.f_globals.get("__name__") in _DRIVERS
        if not is_driver and not asking.f_code.co_flags & GENERATOR:
            return None
        if not is_driver and (caller is None or caller.f_globals.get("__name__") not in _DRIVERS):
            return Home(frame, asking)
        asking = caller
    return None
