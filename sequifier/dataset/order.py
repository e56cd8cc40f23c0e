"""The order in which an epoch visits the training windows: a pure function of (seed, epoch)."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(n_windows: int, *, seed: int, epoch: int, part: int = 0) -> NDArray[np.int64]:
    """Return a permutation of the windows, which depends neither on the batch size nor on the number of workers.

    Args:
        n_windows: number of windows.
        seed: the run's seed.
        epoch: from 1.
        part: number of the index of windows, where a split has several.

    Returns:
        Window numbers in the order of the epoch, (n_windows,).
    """
    return np.random.default_rng([seed, epoch, part] if part else [seed, epoch]).permutation(n_windows)


def split_evenly(n: int, parts: int) -> list[int]:
    """Return the sizes of nearly equal parts, larger ones first, without empty ones.

    >>> split_evenly(25, 2)
    [13, 12]
    """
    parts = min(parts, n)
    return [n // parts + (part < n % parts) for part in range(parts)]
