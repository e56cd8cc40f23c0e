"""The activity of a process: its processor time, and the bytes that it reads and writes. Standard library only."""

import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BUSY_FRACTION = 0.01
"""Fraction of a core above which a process is busy."""
_TICKS = os.sysconf("SC_CLK_TCK")
_COUNTERS = ("rchar:", "read_bytes:", "write_bytes:")  # reads from the page cache, reads from and writes to disks


@dataclass(frozen=True)
class Activity:
    """The activity of a process since it started."""

    cpu_seconds: float  # of all its threads and of its children, such as compilers
    moved: int  # bytes read and written on Linux; blocks and pages elsewhere


class ActivityMeter:
    """Measures this process, without the bytes that the measurement itself reads."""

    def __init__(self) -> None:
        self._own = 0
        try:
            self._file = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
            os.read(self._file, 1)  # some systems do not permit it
            self._own += 1
        except OSError:
            self._file = -1

    def now(self) -> Activity:
        """Return the activity until now."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = time.process_time() + ended.ru_utime + ended.ru_stime + self._children(os.getpid())
        if self._file < 0:
            own = resource.getrusage(resource.RUSAGE_SELF)
            return Activity(cpu, own.ru_inblock + own.ru_oublock + own.ru_majflt)
        content = os.pread(self._file, 4096, 0)
        words = content.decode("ascii").split()
        moved = sum(int(words[words.index(name) + 1]) for name in _COUNTERS) - self._own
        self._own += len(content)
        return Activity(cpu, moved)

    def _children(self, process: int) -> float:
        """Return the processor seconds of all running descendants of a process (Linux)."""
        seconds = 0.0
        with suppress(OSError, ValueError, IndexError):  # a child that ends meanwhile
            for thread in Path(f"/proc/{process}/task").iterdir():
                for child in map(int, self._read(thread / "children").split()):
                    fields = self._read(Path(f"/proc/{child}/stat")).rpartition(")")[2].split()
                    seconds += sum(map(int, fields[11:15])) / _TICKS + self._children(child)
        return seconds

    def _read(self, path: Path) -> str:
        content = path.read_bytes()
        self._own += len(content)
        return content.decode("utf-8", "replace")


class IdleTime:
    """The time for which a process has been idle, from a series of measurements.

    Args:
        interval: seconds between two measurements. A longer gap, in which a process was stopped, counts as two.

    Attributes:
        seconds: the idle time until the last measurement.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._before: Activity | None = None
        self._last = time.monotonic()
        self.seconds = 0.0

    def add(self, now: Activity, *, counts: bool = True) -> float:
        """Add a measurement and return the idle seconds; a measurement that does not count adds none."""
        clock = time.monotonic()
        here = self.seconds + min(clock - self._last, 2 * self._interval)
        self._last = clock
        before = self._before
        worked = 0.0 if before is None else now.cpu_seconds - before.cpu_seconds  # negative where a child ended
        if before is None or now.moved != before.moved or worked >= _BUSY_FRACTION * here or worked < 0:
            self._before, self.seconds = now, 0.0
        elif counts:
            self.seconds = here
        return self.seconds

    def ignore(self, now: Activity) -> None:
        """Ignore the activity since the last measurement."""
        self._before = now

    def reset(self) -> None:
        """Start again from 0, after other evidence of progress."""
        self._before, self.seconds, self._last = None, 0.0, time.monotonic()
