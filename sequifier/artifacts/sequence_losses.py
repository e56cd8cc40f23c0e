"""The loss of each validation sequence at a run's best epoch: what comparisons of runs resample.

Two arrays in one .npz file: `loss` (S,) float64, val_loss summed over the targets of each sequence, and `targets` (S,)
int64, how many those are. The sequences are the same, in the same order, in every run of a search.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path

FILE = "sequence_losses.npz"


def write_sequence_losses(path: Path, loss: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
    """Write the file atomically.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, loss=loss, targets=targets)


def read_sequence_losses(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Loss and targets of each sequence; None when there is no such file."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["loss"], arrays["targets"]
