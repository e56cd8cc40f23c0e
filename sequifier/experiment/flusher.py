"""Writes what changed to disk soon, from a thread of its own, so that a killed process loses at most a moment."""

import threading
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.5
_SHARE = 20
"""At most one part in so many of the time goes into writing, however large the data has grown."""


class Flusher:
    """Calls `flush` after changes, at most every INTERVAL_SECONDS.

    Args:
        flush: writes everything; may be called from another thread.
        failed: is told, once, what it raised.
    """

    def __init__(self, flush: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        self._flush, self._failed = flush, failed
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def changed(self) -> None:
        """There is something to write."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="experiment-flusher", daemon=True)
            self._thread.start()
        self._changed.set()

    def stop(self) -> None:
        """End the thread; what is left is for the caller to write."""
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
                self._flush()
            except Exception as error:
                # A full disk may have room again later, and the last write says what is wrong.
                if not has_failed:
                    self._failed(error)
                has_failed = True
            if self._stopped.wait(_SHARE * (time.perf_counter() - before)):
                return
