"""The sampling units of an evaluation split: what its standard errors are computed over (artifacts/sequence_losses.py).

They depend on the targets alone, so that every run of a search has the same ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import BLOCK_TARGETS, BLOCKS, FEWEST, By
from sequifier.dataset.windows import WindowIndex


@dataclass(frozen=True)
class UnitIndex:
    """Units as ranges of rows.

    Attributes:
        starts: (U,) the first row of each unit, ascending; it ends where the next one starts.
        by: what a unit is.
    """

    starts: NDArray[np.int64]
    by: By

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The unit of each target row."""
        found: NDArray[np.int64] = np.searchsorted(self.starts, rows, side="right") - 1
        return found


def unit_index(windows: WindowIndex) -> UnitIndex:
    """The sequences with a target; of fewer than `FEWEST`, `BLOCKS` contiguous blocks of targets.

    Blocks never cross from one sequence to the next, and each has at least `BLOCK_TARGETS` targets. Where that is not
    possible the sequences stay the units, and are too few for a standard error.
    """
    sequences, place = np.unique(windows.first, return_inverse=True)
    if len(sequences) < FEWEST:
        begin = np.full(len(sequences), np.iinfo(np.int64).max)
        end = np.zeros(len(sequences), dtype=np.int64)
        np.minimum.at(begin, place, windows.counted)
        np.maximum.at(end, place, windows.last + 1)
        starts = _block_starts(begin, end - begin)
        if starts is not None:
            return UnitIndex(starts, "blocks")
    return UnitIndex(sequences.astype(np.int64), "sequences")


def _block_starts(begin: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The first rows of the blocks, divided so that the smallest is as large as can be; None where it is too small."""
    n_blocks = np.ones(len(lengths), dtype=np.int64)
    for _ in range(BLOCKS - len(lengths)):
        n_blocks[np.argmax(lengths / (n_blocks + 1))] += 1
    if not len(lengths) or (lengths // n_blocks).min() < BLOCK_TARGETS:
        return None
    parts = [first + np.arange(n) * length // n for first, length, n in zip(begin, lengths, n_blocks, strict=True)]
    starts: NDArray[np.int64] = np.concatenate(parts)
    return starts
