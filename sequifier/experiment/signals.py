"""SIGTERM ends an experiment as Ctrl-C does, so that its record says `interrupted`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """The process was asked to end, and does with the exit code that the signal alone would have given."""


@contextmanager
def ends_when_asked_to() -> Iterator[None]:
    """End on SIGTERM by an exception, where nobody else handles it."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not is_ours:
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
