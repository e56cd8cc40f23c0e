"""Splits that stay in memory, or mapped, between the runs of one process."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sequifier.artifacts.events import Events, Format
from sequifier.artifacts.mapped import MappedEvents, map_events
from sequifier.artifacts.shard_folder import content_stat
from sequifier.artifacts.split_file import read_events

_KEPT = 6
"""Number of splits: those of three feature sets. The oldest is dropped."""


class EventCache:
    """Reads or maps each split once, until its file changes."""

    def __init__(self) -> None:
        self._events: dict[tuple[object, ...], Events | MappedEvents] = {}

    def read(
        self,
        path: Path,
        columns: Sequence[str],
        *,
        expected_hashes: Mapping[str, str] | None,
        format: Format | None,
        mapped: bool = False,
    ) -> Events | MappedEvents:
        """Return the events as `read_events` or `map_events` does; path, size and modification time identify a file."""
        hashes = tuple((expected_hashes or {}).items())
        key = (mapped, str(path.resolve()), content_stat(path), tuple(columns), hashes)
        if key not in self._events:
            while len(self._events) >= _KEPT:
                del self._events[next(iter(self._events))]
            load = map_events if mapped else read_events
            self._events[key] = load(path, columns, expected_hashes=expected_hashes, format=format)
        return self._events[key]
