"""Strategies: which cell of a space is tried next. They see cells and scores, never a config or a model.

`Grid` and `Sample` are here, `Bayesian` is in search/bayesian.py.

`Sample` walks a pseudo-random permutation of the cells: proposal i is the image of i, so none comes twice, nothing is
remembered, a longer sample begins with the shorter one, and a space of 10^12 cells costs as much as one of ten. The
permutation is a Feistel network (Luby and Rackoff 1988) with a keyed hash as round function, on the next even number of
bits; images outside the space are sent through again until they fall inside (cycle walking, Black and Rogaway 2002),
at most four times on average.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal, Protocol

from sequifier.search.space import Cell, Space

ROUNDS = 6


@dataclass(frozen=True)
class Observation:
    """The result of a cell.

    Attributes:
        cell: the one that was tried.
        outcome: finished with `value`; diverged: worse than any value; pruned after `curve`; failed: no result, which
            says nothing about the cell; running: no result yet.
        value: the metric, where it finished.
        curve: the metric after each epoch, at least one, where it was pruned.
    """

    cell: Cell
    outcome: Literal["finished", "diverged", "pruned", "failed", "running"]
    value: float | None = None
    curve: tuple[float, ...] = ()


class Strategy(Protocol):
    """Proposes cells, as a function of the space, a seed, a number and the results of earlier cells."""

    def candidates(self, number: int, observations: Sequence[Observation]) -> Iterator[Cell]:
        """Cells for proposal `number`, the preferred one first: the caller takes the first one that is new.

        Args:
            number: of configurations proposed before.
            observations: their results so far, in order of proposal.
        """
        ...


class Grid:
    """Every cell, in the order of the space."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def candidates(self, number: int = 0, observations: Sequence[Observation] = ()) -> Iterator[Cell]:
        """The cells from an index on. A grid does not depend on results."""
        return (self._space[index] for index in range(number, self._space.size))


class Sample:
    """Cells in random order: proposal i is a function of the space, the seed and i.

    Continuous ranges are sampled anew for every proposal; the countable part is permuted, again and again, so
    that every alternative gets its share.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def candidates(self, number: int = 0, observations: Sequence[Observation] = ()) -> Iterator[Cell]:
        """The proposals from `number` on; of a finite space then those before it. Results do not move a sample."""
        if not self._space.is_finite:
            return map(self.proposal, count(number))
        first = min(number, self._space.size)
        return map(self.proposal, chain(range(first, self._space.size), range(first)))

    def proposal(self, number: int) -> Cell:
        """Proposal `number`, from 0; of a finite space there are as many as cells."""
        turn, place = divmod(number, self._space.size)
        index = permuted(place, self._space.size, key=f"{self._seed}:{turn}")
        if self._space.is_finite:
            return self._space[index]
        return self._space.draw(index, random.Random(f"{self._seed}:{number}").random)


def permuted(index: int, size: int, *, key: str) -> int:
    """The image of `index` under a pseudo-random permutation of range(size) that `key` chooses."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(ROUNDS):
            digest = hashlib.blake2b(f"{key}:{number}:{right}".encode(), digest_size=(half + 7) // 8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
        index = left << half | right
        if index < size:
            return index
