"""A callback that drops what it receives, for `emit` and `log`."""

from typing import Any


def quiet(*_: Any, **__: Any) -> None: ...
