"""The sampling units of an evaluation split, over which standard errors are computed (artifacts/sequence_losses.py).

They depend on the targets alone, so all runs of a search have the same units.
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
        starts: first row of each unit, (U,), ascending; a unit ends where the next one starts.
        by: kind of unit: sequences or blocks.
    """

    starts: NDArray[np.int64]
    by: By

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the unit of each target row."""
        found: NDArray[np.int64] = np.searchsorted(self.starts, rows, side="right") - 1
        return found


def unit_index(windows: WindowIndex) -> UnitIndex:
    """Return the sequences with a target as units or, when they are fewer than `FEWEST`, `BLOCKS` contiguous blocks.

    A block is in one sequence and has at least `BLOCK_TARGETS` target positions, and as many as each of them needs rows
    ahead. Where that is impossible, the sequences stay the units; they are then too few for a standard error.
    """
    sequences, place = np.unique(windows.first, return_inverse=True)
    if len(sequences) < FEWEST:
        begin = np.full(len(sequences), np.iinfo(np.int64).max)
        end = np.zeros(len(sequences), dtype=np.int64)
        np.minimum.at(begin, place, windows.counted)
        np.maximum.at(end, place, windows.last + 1)
        starts = _block_starts(begin, end - begin, max(BLOCK_TARGETS, windows.room))
        if starts is not None:
            return UnitIndex(starts, "blocks")
    return UnitIndex(sequences.astype(np.int64), "sequences")


def _block_starts(begin: NDArray[np.int64], lengths: NDArray[np.int64], smallest: int) -> NDArray[np.int64] | None:
    """Return the first rows of the blocks, the smallest of which is as large as possible; None if it is too small."""
    n_blocks = np.ones(len(lengths), dtype=np.int64)
    for _ in range(BLOCKS - len(lengths)):
        n_blocks[np.argmax(lengths / (n_blocks + 1))] += 1
    if not len(lengths) or (lengths // n_blocks).min() < smallest:
        return None
    parts = [first + np.arange(n) * length // n for first, length, n in zip(begin, lengths, n_blocks, strict=True)]
    starts: NDArray[np.int64] = np.concatenate(parts)
    return starts
