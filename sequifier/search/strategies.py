"""Which cell of a space comes next. A strategy sees cells and scores, never a config or a model.

`Sample` walks a pseudo-random permutation of the cells: proposal i is the image of i, so none comes twice, nothing is
remembered, a longer sample begins with the shorter one, and a space of 10^12 cells costs as much as one of ten. The
permutation is a Feistel network (Luby and Rackoff 1988) with a keyed hash as round function, on the next even number of
bits; images outside the space are sent through again until they fall inside (cycle walking, Black and Rogaway 2002),
at most four times on average.
"""

import hashlib
import random
from typing import Protocol

from sequifier.search.space import Cell, Space

ROUNDS = 6


class Strategy(Protocol):
    """What proposes cells; the search asks, runs and tells."""

    def ask(self) -> Cell | None:
        """The next cell to try; None when every cell has been proposed."""
        ...

    def tell(self, cell: Cell, value: float | None) -> None:
        """The score of a proposed cell; None when its run gave none."""
        ...


class Grid:
    """Every cell, in the order of the space."""

    def __init__(self, space: Space) -> None:
        self._cells = iter(space)

    def ask(self) -> Cell | None:
        """The next cell of the grid."""
        return next(self._cells, None)

    def tell(self, cell: Cell, value: float | None) -> None:
        """A grid does not depend on scores."""


class Sample:
    """Cells in random order: proposal i is a function of the space, the seed and i.

    Ranges without an end are drawn anew for every proposal; what can be counted is permuted, over and over again, so
    that every alternative gets its share.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._next = 0

    def ask(self) -> Cell | None:
        """The next proposal."""
        if self._space.is_finite and self._next >= self._space.size:
            return None
        cell = self.proposal(self._next)
        self._next += 1
        return cell

    def tell(self, cell: Cell, value: float | None) -> None:
        """A sample does not depend on scores."""

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
