"""Values and series of a run, by names with slashes, saved to a file soon after they change."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from sequifier.errors import did_you_mean
from sequifier.experiment.json_values import check_storable

INTERVAL_SECONDS = 0.5
"""Shortest time between two writes of the data."""
_WRITING_FRACTION = 1 / 20
"""Largest fraction of the time that goes into writing, however large the data is."""


class Data:
    """Values and series of a run: `metrics/loss` is `loss` in the group `metrics`.

    Attributes:
        data: the values in nested dicts. Names that begin with _ are not saved.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._saver: Saver | None = None

    def __getitem__(self, name: str) -> Any:
        """Return the value or the group of a name: `e["metrics/loss"]` is a list, `e["metrics"]` a dict."""
        return _look_up(self.data, name)

    def __setitem__(self, name: str, value: Any) -> None:
        """Store a value; slashes in the name make groups.

        Raises:
            TypeError: JSON cannot represent the value, and the name does not begin with _.
            ValueError: a part of the name is a value, not a group.
        """
        check_storable(name, value)
        with self._lock:
            group, last = _group(self.data, name)
            group[last] = value
        if self._saver is not None:
            self._saver.changed()

    def __contains__(self, name: str) -> bool:
        try:
            _look_up(self.data, name)
        except KeyError:
            return False
        return True

    __iter__: ClassVar[None] = None  # otherwise Python would try e[0], e[1], ...

    def track(self, name: str, value: Any) -> None:
        """Append a value to a series; slashes in the name make groups.

        Args:
            name: `metrics/loss` is the series `loss` in the group `metrics`.
            value: a value that JSON can represent.

        Raises:
            ValueError: the name belongs to a group or to a single value.
            TypeError: JSON cannot represent the value.
        """
        check_storable(name, value)
        with self._lock:
            group, last = _group(self.data, name)
            series = group.setdefault(last, [])
            if not isinstance(series, list):
                raise ValueError(f"{name!r} is not a series")
            series.append(value)
        if self._saver is not None:
            self._saver.changed()

    def track_many(self, data: Mapping[str, Any]) -> None:
        """Append a value to each of several series."""
        for name, value in data.items():
            self.track(name, value)


class Saver:
    """Writes changes from a thread of its own, soon and seldom, so that a killed process loses at most a moment.

    Args:
        save: writes all values; called from the thread.
        failed: receives the first exception that `save` raises.
    """

    def __init__(self, save: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        self._save, self._failed = save, failed
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def changed(self) -> None:
        """Have the thread write soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="experiment-saver", daemon=True)
            self._thread.start()
        self._changed.set()

    def stop(self) -> None:
        """End the thread; the caller writes the last changes."""
        self._stopped.set()
        self._changed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def _work(self) -> None:
        has_failed = False
        while True:
            self._changed.wait()
            if self._stopped.wait(INTERVAL_SECONDS):
                return
            self._changed.clear()
            before = time.perf_counter()
            try:
                self._save()
            except Exception as error:
                # A full disk may have room again later; otherwise the last write raises the error.
                if not has_failed:
                    self._failed(error)
                has_failed = True
            if self._stopped.wait((time.perf_counter() - before) / _WRITING_FRACTION):
                return


def _look_up(data: Mapping[str, Any], name: str) -> Any:
    """Return the value or the group of a name like `metrics/train/loss`.

    Raises:
        KeyError: the name does not exist; the message lists the names that do.
    """
    here: Any = data
    for part in _parts(name):
        if not isinstance(here, Mapping) or part not in here:
            known = [str(key) for key in here] if isinstance(here, Mapping) else []
            raise KeyError(
                f"{name}: there is no `{part}`; {did_you_mean(part, known) if known else 'the group is empty'}"
            )
        here = here[part]
    return here


def _group(data: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    *groups, last = _parts(name)
    here: Any = data
    for group in groups:
        here = here.setdefault(group, {})
        if not isinstance(here, dict):
            raise ValueError(f"{name!r}: `{group}` is not a group")
    return here, last


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if not all(parts):
        raise ValueError(f"{name!r} is not a name: write `group/name`")
    return parts
