"""Ctrl-C: the first one asks for an end after the current epoch, the second one ends at once."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """While entered, the first SIGINT sets a flag and the second raises KeyboardInterrupt; SIGTERM raises it at once.

    Args:
        on_first: called by the first SIGINT.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self._on_first = on_first
        self._is_set = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Whether SIGINT was received."""
        return self._is_set

    def __enter__(self) -> Self:
        self._before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupted),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminated),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._is_set:
            raise KeyboardInterrupt
        self._is_set = True
        self._on_first()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt
