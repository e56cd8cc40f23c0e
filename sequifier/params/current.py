"""The current parameters: one context variable holds the innermost `Level`.

Entering a scope sets a level, leaving it sets the one outside, and a write replaces a level by a changed copy. An
asyncio task or a copied context that inherited the old level therefore does not see the change. Threads and tasks have
a context of their own; a generator shares that of its consumer, see docs/params.md.

Python does not report when a thread starts. `freeze` therefore notes which threads exist, and a thread looks itself up
when it first reads or enters a scope.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from sequifier.params.level import Level, flat, flattened, new_level

PARAMS_FILE = "SEQUIFIER_PARAMS"
"""Environment variable: path of a JSON file whose map `parameters` holds the starting values of the process, such as
the experiment_meta.json of a run. Sequifier sets it for evaluation scripts."""

innermost: ContextVar[Level | None] = ContextVar("sequifier.params", default=None)
"""The level of the innermost scope; None before a thread first needs one: `innermost.get() or start()`."""

_lock = threading.Lock()
_frozen: dict[object, Level] = {}
"""Starting values of new threads: the newest entry. The first is that of the process (its key is None; missing before
the first use), the others belong to open `frozen_scope`s, which may end in any order."""

_older_threads: "WeakKeyDictionary[threading.Thread, Level]" = WeakKeyDictionary()
"""Starting values of the threads that existed when others were frozen."""


def current() -> Level:
    """Return the level of the innermost scope."""
    return innermost.get() or start()


def start() -> Level:
    """Give this thread its starting values."""
    newest = _of_new_threads()
    level = _older_threads.get(threading.current_thread(), newest) if _older_threads else newest
    innermost.set(level)
    return level


def level_of(owner: object) -> Level | None:
    """Return the innermost level of a scope; None where it is not entered in this context."""
    level = innermost.get()
    while level is not None and level.owner is not owner:
        level = level.outer
    return level


def leave(owner: object) -> None:
    """Remove the innermost level of a scope, also from below others; without effect where it is not entered."""
    level = level_of(owner)
    if level is not None and level.outer is not None:
        replace(level, level.outer)


def replace(old: Level, new: Level) -> None:
    """Replace a level of this context; the levels inside it are copied, never changed."""
    inside = []
    level: Level | None = current()
    while level is not old:
        assert level is not None
        inside.append(level)
        level = level.outer
    for level in reversed(inside):
        new = new_level(level.values, level.rest, level.owner, new)
    innermost.set(new)


def freeze(level: Level, owner: object | None = None) -> None:
    """Make the values of a level the starting values of threads that start from now on.

    Args:
        level: the values.
        owner: what `thaw` ends later; None replaces the newest starting values.
    """
    with _changed():
        _frozen[next(reversed(_frozen)) if owner is None else owner] = new_level(flat(level))


def thaw(owner: object) -> None:
    """End what was frozen for an owner."""
    with _changed():
        del _frozen[owner]


@contextmanager
def _changed() -> Iterator[None]:
    """Let the threads that exist keep their starting values, and change those of new threads."""
    with _lock:
        before = _of_new_threads()
        for thread in threading.enumerate():
            _older_threads.setdefault(thread, before)
        yield


def _of_new_threads() -> Level:
    if not _frozen:
        path = os.environ.get(PARAMS_FILE)
        _frozen[None] = new_level(_read(path) if path else {})
    return next(reversed(_frozen.values()))


def _read(path: str) -> dict[str, Any]:
    import json
    from pathlib import Path

    try:
        return flattened(json.loads(Path(path).read_text(encoding="utf-8"))["parameters"])
    except Exception as error:
        from sequifier.errors import RunError

        raise RunError(
            f"cannot read the parameters of this process: {type(error).__name__}: {error}",
            where=f"{PARAMS_FILE}={path}",
            fix=f"unset {PARAMS_FILE}, or set it to the experiment_meta.json of a run",
        ) from error
