"""What a thread begins with: nothing, what was frozen when it started, or what the process was told.

Python gives no notice when a thread starts. So whoever freezes notes which threads are there already, and a thread
looks for itself among them when it first reads or enters anything.
"""

import os
import threading
from typing import Any
from weakref import WeakKeyDictionary

from sequifier.params.level import Level, flat, flattened, new_level

PARAMS_FILE = "SEQUIFIER_PARAMS"
"""Environment variable: a JSON file, with the values of whose map `parameters` a process begins. Such a file is the
experiment_meta.json of a run; an evaluation script is told that of the run it evaluates."""

_lock = threading.Lock()
_frozen: Level | None = None
"""What new threads begin with; None before anybody asked."""

_begun_before: "WeakKeyDictionary[threading.Thread, Level]" = WeakKeyDictionary()
"""What threads begin with that were there when something was frozen."""


def freeze(level: Level) -> Level:
    """Let threads that start from now on begin with the values of a level.

    Returns:
        What they began with before.
    """
    global _frozen
    with _lock:
        before = _of_new_threads()
        for thread in threading.enumerate():
            _begun_before.setdefault(thread, before)
        _frozen = new_level(flat(level))
        return before


def bottom() -> Level:
    """What this thread begins with."""
    newest = _of_new_threads()
    return _begun_before.get(threading.current_thread(), newest) if _begun_before else newest


def _of_new_threads() -> Level:
    global _frozen
    if _frozen is None:
        path = os.environ.get(PARAMS_FILE)
        _frozen = new_level(_read(path) if path else {})
    return _frozen


def _read(path: str) -> dict[str, Any]:
    import json
    from pathlib import Path

    try:
        return flattened(json.loads(Path(path).read_text(encoding="utf-8"))["parameters"])
    except Exception as error:
        from sequifier.errors import RunError

        raise RunError(
            f"the parameters of this process cannot be read: {type(error).__name__}: {error}",
            where=f"{PARAMS_FILE}={path}",
            fix=f"unset {PARAMS_FILE}, or let it name the experiment_meta.json of a run",
        ) from error
