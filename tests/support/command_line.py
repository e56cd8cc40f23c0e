"""What a command came to, for tests."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    """Exit code and both streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
