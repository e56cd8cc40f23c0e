"""Reading the events of a worker: the pipe that brings them, and how long nothing came."""

import json
import os
import selectors
import time
from collections.abc import Iterator
from typing import Any

LOOK_SECONDS = 1.0
"""How long one look for events waits for them."""


class EventPipe:
    """The reading end of the pipe that brings events, one JSON object per line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._unfinished = b""
        self.has_ended = False

    def read(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The events that are there or that come within these seconds; none when nothing comes."""
        if self.has_ended or not self._selector.select(seconds):
            return
        content = os.read(self._descriptor, 1 << 16)
        self.has_ended = not content
        # A line that a dying process did not finish is not an event.
        *lines, self._unfinished = (self._unfinished + content).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def has_more(self) -> bool:
        """Whether something is there to read."""
        return not self.has_ended and bool(self._selector.select(0))

    def close(self) -> None:
        """Close the pipe."""
        self._selector.close()
        os.close(self._descriptor)


class AwakeTime:
    """Seconds since it was made in which this process was awake.

    After Ctrl-Z and `fg`, or after the machine slept, that time does not count: `seconds` is called about once a
    second, and from one call to the next at most two seconds count.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """The seconds until now."""
        now = time.monotonic()
        self._seconds += min(now - self._last, 2 * LOOK_SECONDS)
        self._last = now
        return self._seconds
