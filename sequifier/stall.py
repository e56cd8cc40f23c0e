"""Stalls: a command that neither computes nor moves data for minutes reports what it waits for, and then ends.

A call into a library may never return without any error: one of about 10,000 lazy reads of polars parks all its threads
for ever (its issue 27969), and a dead network disk has the same effect. Time in which the process was stopped or the
machine slept does not count, nor does time in a user's own code (`stalls_ignored`).

`preprocess`, `train`, `infer` and the planning of a search are watched by a thread (`StallWatch`). A worker sends its
activity with its heartbeat, and the search process decides. Standard library only.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sequifier.activity import ActivityMeter, IdleTime
from sequifier.errors import RunError

REPORT_SECONDS = 60.0
"""Idle seconds after which a command reports what it waits for."""

STALL_SECONDS = 300.0
"""Idle seconds after which a command or a worker is ended."""

INTERVAL_SECONDS = 2.0
"""Seconds between two measurements."""

_GRACE_SECONDS = 5.0
"""Seconds for the main thread to raise an error before the process exits."""

_PACKAGE = str(Path(__file__).parent)

_current_work: list[str] = []
_n_ignoring = 0


@contextmanager
def working_on(what: str) -> Iterator[None]:
    """Name the work inside the block, such as `reading data/a.parquet`, for the message of a stall."""
    _current_work.append(what)
    try:
        yield
    finally:
        _current_work.remove(what)


@contextmanager
def stalls_ignored() -> Iterator[None]:
    """Do not count the time of the block, which runs a user's code: it may wait for anything."""
    global _n_ignoring
    _n_ignoring += 1
    try:
        yield
    finally:
        _n_ignoring -= 1


def are_stalls_checked() -> bool:
    """Whether idle time counts at this moment."""
    return _n_ignoring == 0


def current_call() -> str:
    """Return the current work of the main thread, and its innermost line of this package."""
    place, frame = "", sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and not place:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE) and code.co_filename != __file__:
            file = Path(code.co_filename).relative_to(Path(_PACKAGE).parent)
            place = f"{code.co_name}, {file}:{frame.f_lineno}"
        frame = frame.f_back
    what = _current_work[-1] if _current_work else ""
    return f"{what} ({place})" if what and place else what or place or "an unknown call"


class StallWatch:
    """While entered, reports what an idle process waits for, and ends the process if it remains idle.

    The end is a `RunError` in the main thread where Python can raise one. A call that never returns to Python cannot be
    interrupted; then the process exits with the same message and exit code 1.

    Args:
        report: shows a line to the user.
        report_seconds: idle seconds before the report.
        stall_seconds: idle seconds before the end.
        interval: seconds between two measurements.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        *,
        report_seconds: float | None = None,
        stall_seconds: float | None = None,
        interval: float | None = None,
    ) -> None:
        self._report = report
        self._report_seconds = REPORT_SECONDS if report_seconds is None else report_seconds
        self._stall_seconds = STALL_SECONDS if stall_seconds is None else stall_seconds
        self._interval = INTERVAL_SECONDS if interval is None else interval
        self._idle = IdleTime(self._interval)
        self._ended = threading.Event()
        self._has_progressed = False
        self._error: RunError | None = None
        self._before: Any = None
        self._thread = threading.Thread(target=self._watch, name="stall watch", daemon=True)

    def progressed(self) -> None:
        """Note progress that costs this process no activity, such as a step on another device."""
        self._has_progressed = True

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGALRM, self._raise)
        with suppress(RuntimeError):  # no thread is available: code that needs one reports it
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._before is not None:
            signal.signal(signal.SIGALRM, self._before)

    def _watch(self) -> None:
        meter, has_reported = ActivityMeter(), False
        while not self._ended.wait(self._interval):
            if self._has_progressed:
                self._has_progressed = False
                self._idle.reset()
            seconds = self._idle.add(meter.now(), counts=are_stalls_checked())
            if seconds < self._report_seconds:
                has_reported = False
            elif not has_reported:
                has_reported = True
                self._report(f"no progress for {seconds:.0f} s: waiting for {current_call()}")
                self._idle.ignore(meter.now())  # without the bytes that the report itself wrote
            if seconds >= self._stall_seconds:
                self._end(seconds)
                return

    def _end(self, seconds: float) -> None:
        self._error = RunError(
            f"no progress for {seconds:.0f} s (no processor time, no bytes read): {current_call()} never ended",
            fix="run the same command again; if it stops there again, check the disk that it reads",
        )
        if self._before is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            if self._ended.wait(_GRACE_SECONDS):
                return
        print(f"error: {self._error}", file=sys.stderr, flush=True)
        os._exit(1)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._error is not None:
            raise self._error
