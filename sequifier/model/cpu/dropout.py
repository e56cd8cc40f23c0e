"""Dropout that does not take longer than the layer it stands behind.

Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html. On a CPU torch draws each kept or dropped number
with a serial generator, which doubles the time of a training step. Here SFC64 (of numpy, Doty-Humphrey's generator)
draws 16 bits a number, seeded for each call from torch's default generator: so a run that goes on from a checkpoint
drops what it would have dropped. The share dropped is exact to 1 / 65536.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 1 << 16


def drop(x: Tensor, share: float, *, training: bool) -> Tensor:
    """Set that share of the numbers of x to zero and scale the others up, in training; x otherwise."""
    if not training or share == 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share)
    return x * keep_mask(x.shape, share, x.dtype)


def keep_mask(shape: Sequence[int], share: float, dtype: torch.dtype) -> Tensor:
    """What to multiply with: 0 for about `share` of the numbers, 1 / (1 - share) for the others, on the CPU.

    Args:
        shape: of the mask.
        share: of numbers dropped, from 0 to below 1.
        dtype: a floating-point format.
    """
    mask = torch.empty(shape, dtype=dtype)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    drawn = np.random.SFC64(seed).random_raw(-(-mask.numel() // 4)).view(np.int16)[: mask.numel()]
    dropped = min(round(share * LEVELS), LEVELS - 1)
    torch.ge(torch.from_numpy(drawn).view(shape), dropped - LEVELS // 2, out=mask)
    return mask.mul_(LEVELS / (LEVELS - dropped))
