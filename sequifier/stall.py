"""Whether a process still does something: its processor time, and what it reads and writes.

A call into a library may never return without any error: one of about 10,000 lazy reads of polars parks all its threads
for ever (its issue 27969), and a dead network disk does the same. A process that neither computes nor moves data for
minutes is taken for stalled. Time in which it was stopped or the machine slept does not count, and neither does what a
user's own code waits for (`not_counted`).

A worker sends these figures with its heartbeat and its search decides; `preprocess`, `train`, `infer` and
the planning of a search are watched by a thread of their own (`Watch`). Standard library only.
"""

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from sequifier.errors import RunError

SAID_SECONDS = 60.0
"""Seconds without progress after which a command reports what it waits for."""

STALL_SECONDS = 300.0
"""Seconds without progress after which it is ended."""

LOOK_SECONDS = 2.0
_BUSY = 0.01  # of one core
_GRACE_SECONDS = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGE = str(Path(__file__).parent)
_COUNTERS = ("rchar:", "read_bytes:", "write_bytes:")  # what the page cache gave, what disks gave and took

_doing: list[str] = []
_not_counted = 0


@dataclass(frozen=True)
class Activity:
    """What a process has done since it started."""

    cpu_seconds: float  # of all its threads and of what it started, such as compilers
    moved: int  # bytes read and written on Linux; elsewhere blocks and pages


class Meter:
    """Measures this process; what it reads for that is left out."""

    def __init__(self) -> None:
        self._own = 0
        try:
            self._file = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
            os.read(self._file, 1)  # not allowed everywhere
            self._own += 1
        except OSError:
            self._file = -1

    def now(self) -> Activity:
        """What it has done until now."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = time.process_time() + ended.ru_utime + ended.ru_stime + self._started(os.getpid())
        if self._file < 0:
            own = resource.getrusage(resource.RUSAGE_SELF)
            return Activity(cpu, own.ru_inblock + own.ru_oublock + own.ru_majflt)
        content = os.pread(self._file, 4096, 0)
        words = content.decode("ascii").split()
        moved = sum(int(words[words.index(name) + 1]) for name in _COUNTERS) - self._own
        self._own += len(content)
        return Activity(cpu, moved)

    def _started(self, process: int) -> float:
        """Processor seconds of a process's living children and theirs (Linux)."""
        seconds = 0.0
        with suppress(OSError, ValueError, IndexError):  # one that ends meanwhile
            for thread in Path(f"/proc/{process}/task").iterdir():
                for child in map(int, self._read(thread / "children").split()):
                    fields = self._read(Path(f"/proc/{child}/stat")).rpartition(")")[2].split()
                    seconds += sum(map(int, fields[11:15])) / _TICKS + self._started(child)
        return seconds

    def _read(self, path: Path) -> str:
        content = path.read_bytes()
        self._own += len(content)
        return content.decode("utf-8", "replace")


class Idle:
    """For how long a process has done nothing, from one look at it to the next.

    Args:
        look_seconds: about how far the looks are apart; a longer gap, in which somebody was stopped, counts as two.
    """

    def __init__(self, look_seconds: float) -> None:
        self._look_seconds = look_seconds
        self._before: Activity | None = None
        self._last = time.monotonic()
        self.seconds = 0.0

    def add(self, now: Activity, *, counts: bool = True) -> float:
        """Take another look; returns the seconds of doing nothing up to it."""
        clock = time.monotonic()
        here = self.seconds + min(clock - self._last, 2 * self._look_seconds)
        self._last = clock
        before = self._before
        worked = 0.0 if before is None else now.cpu_seconds - before.cpu_seconds  # below 0: a child ended
        if before is None or now.moved != before.moved or worked >= _BUSY * here or worked < 0:
            self._before, self.seconds = now, 0.0
        elif counts:
            self.seconds = here
        return self.seconds

    def ignore(self, now: Activity) -> None:
        """Leave out what was done since the last look."""
        self._before = now

    def reset(self) -> None:
        """Something was heard of it: begin anew."""
        self._before, self.seconds, self._last = None, 0.0, time.monotonic()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what goes on inside, for the case that it never ends: `reading data/a.parquet`."""
    _doing.append(what)
    try:
        yield
    finally:
        _doing.remove(what)


@contextmanager
def not_counted() -> Iterator[None]:
    """Code of the user's runs inside: it may wait for whatever it likes."""
    global _not_counted
    _not_counted += 1
    try:
        yield
    finally:
        _not_counted -= 1


def counts() -> bool:
    """Whether doing nothing would be a fault just now."""
    return _not_counted == 0


def waiting_for() -> str:
    """What the main thread is busy with, in words and as the innermost line of ours."""
    place, frame = "", sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and not place:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE) and code.co_filename != __file__:
            file = Path(code.co_filename).relative_to(Path(_PACKAGE).parent)
            place = f"{code.co_name}, {file}:{frame.f_lineno}"
        frame = frame.f_back
    what = _doing[-1] if _doing else ""
    return f"{what} ({place})" if what and place else what or place or "an unknown call"


class Watch:
    """While entered, says what this process waits for when it does nothing, and ends it after the same again.

    The end is a `RunError` in the main thread where Python can raise one; a call that never returns to Python cannot be
    left, so then the process ends at once, with the same message and exit code 1.

    Args:
        say: takes lines for the user.
        said_seconds: until it says so.
        stall_seconds: until it ends.
        look_seconds: from one look to the next.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        said_seconds: float | None = None,
        stall_seconds: float | None = None,
        look_seconds: float | None = None,
    ) -> None:
        self._say = say
        self._said_seconds = SAID_SECONDS if said_seconds is None else said_seconds
        self._stall_seconds = STALL_SECONDS if stall_seconds is None else stall_seconds
        self._idle = Idle(LOOK_SECONDS if look_seconds is None else look_seconds)
        self._look_seconds = LOOK_SECONDS if look_seconds is None else look_seconds
        self._ended = threading.Event()
        self._heard = False
        self._error: RunError | None = None
        self._before: Any = None
        self._thread = threading.Thread(target=self._look, name="stall watch", daemon=True)

    def heard(self) -> None:
        """Something went forward that costs this process nothing: a step on another device."""
        self._heard = True

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGALRM, self._raise)
        with suppress(RuntimeError):  # no thread to be had: whoever needs one says so
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._before is not None:
            signal.signal(signal.SIGALRM, self._before)

    def _look(self) -> None:
        meter, said = Meter(), False
        while not self._ended.wait(self._look_seconds):
            if self._heard:
                self._heard = False
                self._idle.reset()
            seconds = self._idle.add(meter.now(), counts=counts())
            if seconds < self._said_seconds:
                said = False
            elif not said:
                said = True
                self._say(f"nothing moved for {seconds:.0f} s: waiting for {waiting_for()}")
                self._idle.ignore(meter.now())  # what saying it wrote to a file
            if seconds >= self._stall_seconds:
                self._end(seconds)
                return

    def _end(self, seconds: float) -> None:
        self._error = RunError(
            f"nothing moved for {seconds:.0f} s (no processor time, nothing read): {waiting_for()} never ended",
            fix="run the same command again; if it stops there again, look at the disk that it reads",
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
