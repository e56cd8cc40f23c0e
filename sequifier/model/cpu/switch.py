"""The switch of the hand-written functions: on, unless a benchmark or a test turns some of them off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Part = Literal["norms", "attention", "dropout"]

_on: frozenset[Part] = frozenset({"norms", "attention", "dropout"})


def is_on(part: Part, x: Tensor) -> bool:
    """Whether the functions of this part may compute with x."""
    return part in _on and x.device.type == "cpu"


@contextmanager
def only(*parts: Part) -> Iterator[None]:
    """Turn all other parts off."""
    global _on
    before, _on = _on, frozenset(parts)
    try:
        yield
    finally:
        _on = before


def product_format(x: Tensor) -> torch.dtype:
    """The number format in which products with x are computed: autocast's where it is on, else that of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
