"""Dropout with a fast generator of random numbers.

Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html. On a CPU torch samples the numbers to drop with
a serial generator, which doubles the time of a training step. Here SFC64 (numpy's, by Doty-Humphrey) generates 16 bits
for each number. Each call seeds it from torch's default generator, so a resumed run drops the same numbers as an
uninterrupted one. The fraction dropped is exact to 1 / 65536.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.cpu.switch import is_on

LEVELS = 1 << 16


def drop(x: Tensor, fraction: float, *, training: bool) -> Tensor:
    """Set this fraction of the numbers of x to zero and scale the others up, in training; else return x."""
    if not training or fraction == 0:
        return x
    if is_on("dropout", x) and not torch.compiler.is_compiling():
        return x * keep_mask(x.shape, fraction, x.dtype)
    return F.dropout(x, fraction)


def keep_mask(shape: Sequence[int], fraction: float, dtype: torch.dtype) -> Tensor:
    """Return the factors of dropout on the CPU: 0 for about `fraction` of them, 1 / (1 - fraction) for the others.

    Args:
        shape: shape of the mask.
        fraction: fraction of numbers dropped, from 0 to below 1.
        dtype: a floating-point format.
    """
    mask = torch.empty(shape, dtype=dtype)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    bits = np.random.SFC64(seed).random_raw(-(-mask.numel() // 4)).view(np.int16)[: mask.numel()]
    dropped = min(round(fraction * LEVELS), LEVELS - 1)
    torch.ge(torch.from_numpy(bits).view(shape), dropped - LEVELS // 2, out=mask)
    return mask.mul_(LEVELS / (LEVELS - dropped))
