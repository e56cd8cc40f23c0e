"""The order in which an epoch visits the training windows: a pure function of (seed, epoch)."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(n_windows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of the windows. Neither the batch size nor the number of workers changes it.

    Args:
        n_windows: how many windows there are.
        seed: the run's seed.
        epoch: from 1.

    Returns:
        (n_windows,) window numbers in the order of the epoch.
    """
    return np.random.default_rng([seed, epoch]).permutation(n_windows)


def split_evenly(n: int, parts: int) -> list[int]:
    """Sizes of nearly equal parts, larger ones first: 25 in 2 is [13, 12]. Parts that would be empty are left out."""
    parts = min(parts, n)
    return [n // parts + (part < n % parts) for part in range(parts)]
