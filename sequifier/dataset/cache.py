"""Splits that stay in memory from one run to the next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sequifier.artifacts.events import Events, Format, read_events

_KEPT = 6
"""Splits of three feature sets; older ones are dropped."""


class EventCache:
    """Reads a split once, as long as its file stays the same."""

    def __init__(self) -> None:
        self._events: dict[tuple[object, ...], Events] = {}

    def read(
        self, path: Path, columns: Sequence[str], *, expected_hashes: Mapping[str, str] | None, format: Format | None
    ) -> Events:
        """As `read_events`; a file is known again by its path, size and time of change."""
        stat = path.stat()
        hashes = tuple((expected_hashes or {}).items())
        key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size, tuple(columns), hashes)
        if key not in self._events:
            while len(self._events) >= _KEPT:
                del self._events[next(iter(self._events))]
            self._events[key] = read_events(path, columns, expected_hashes=expected_hashes, format=format)
        return self._events[key]
