"""How a command reports to its caller while it works: lines of text, or events with fields."""

from collections.abc import Callable
from typing import Any, Protocol

Log = Callable[[str], None]
"""Receives lines for the user."""


class Emit(Protocol):
    """Receives events: `emit("epoch", epoch=3, val_loss=1.2)`."""

    def __call__(self, event: str, **fields: Any) -> None: ...
