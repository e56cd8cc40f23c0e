"""Ctrl-C: the first one ends the command after the current epoch, the second one at once or after the current step."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """While entered, the first SIGINT sets a flag. The second one and SIGTERM raise KeyboardInterrupt.

    Python gives signals to the main thread alone: entered in another one, nothing changes.

    Args:
        on_first: called by the first SIGINT.

    Attributes:
        is_deferred: what runs now must not be left in the middle, such as an optimizer step. The second SIGINT or
            SIGTERM then sets a second flag, and only another one raises KeyboardInterrupt.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.is_deferred = False
        self._on_first = on_first
        self._is_set = self._is_urgent = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Whether the command must end after the current epoch, or earlier."""
        return self._is_set

    def is_urgent(self) -> bool:
        """Whether the command must end as soon as possible: the second signal came while `is_deferred` was set."""
        return self._is_urgent

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupted),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._end_now),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._is_set:
            self._end_now(number, frame)
        else:
            self._is_set = True
            self._on_first()

    def _end_now(self, number: int, frame: FrameType | None) -> None:
        if self._is_urgent or not self.is_deferred:
            raise KeyboardInterrupt
        self._is_set = self._is_urgent = True
