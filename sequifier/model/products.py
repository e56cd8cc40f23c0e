"""How a GPU multiplies float32 matrices: exactly, or with operands that are cut to TF32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def float32_products(device_type: str, *, tf32: bool) -> Iterator[None]:
    """Compute products of float32 matrices on CUDA in TF32 inside, or exactly, whatever this process has chosen.

    TF32 is float32 with operands of 11 bits instead of 24. Nothing happens on another device.
    """
    if device_type != "cuda":
        yield
        return
    flags: Any = torch.backends.cuda.matmul
    name: str = "fp32_precision"
    value: str | bool = "tf32" if tf32 else "ieee"
    if not hasattr(flags, name):  # torch before 2.9
        name, value = "allow_tf32", tf32
    before = getattr(flags, name)
    setattr(flags, name, value)
    try:
        yield
    finally:
        setattr(flags, name, before)
