"""Splits that stay in memory, or mapped, from one run to the next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sequifier.artifacts.events import Events, Format, read_events
from sequifier.artifacts.mapped import MappedEvents, map_events
from sequifier.artifacts.shard_folder import content_stat

_KEPT = 6
"""Splits of three feature sets; older ones are dropped."""


class EventCache:
    """Reads or maps a split once, as long as its file stays the same."""

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
        """As `read_events` or `map_events`; a file is known again by its path, size and time of change."""
        hashes = tuple((expected_hashes or {}).items())
        key = (mapped, str(path.resolve()), content_stat(path), tuple(columns), hashes)
        if key not in self._events:
            while len(self._events) >= _KEPT:
                del self._events[next(iter(self._events))]
            load = map_events if mapped else read_events
            self._events[key] = load(path, columns, expected_hashes=expected_hashes, format=format)
        return self._events[key]
