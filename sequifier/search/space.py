"""The space of a search: a product of dimensions, decoded cell by cell from an index and never listed.

A dimension is a linked group or an independent field. It is a choice between alternatives, one for each index of the
group's lists. An alternative may have axes of its own: options of an optimizer that have several values, and ranges.
With a continuous range counted as one, a cell is one mixed-radix number whose last digit changes fastest: the order of
the grid.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, combinations, product
from typing import Any

from sequifier.config.base import Named
from sequifier.search.ranges import Continuous, Steps

Uniform = Callable[[], float]
"""Gives numbers in [0, 1)."""

MAX_EXTREMES = 5_000
"""Cells that show the extremes of a space."""


@dataclass(frozen=True)
class Axis:
    """Several values inside one alternative.

    Attributes:
        key: dotted key of `train.yaml`.
        option: the option of the optimizer or scheduler under that key; "" for the key itself.
        values: all of them, or a continuous range.
    """

    key: str
    option: str
    values: Sequence[Any] | Continuous

    @property
    def size(self) -> int:
        """Number of values, a continuous range counted as one."""
        return 1 if isinstance(self.values, Continuous) else len(self.values)

    def value(self, index: int, share: float = 0.0) -> Any:
        """The value at an index; of a continuous range, the value at a proportion of it."""
        return self.values.at(share) if isinstance(self.values, Continuous) else self.values[index]

    @property
    def middle(self) -> Any:
        """The middle of a range, the first value of a list."""
        return self.value(len(self.values) // 2 if isinstance(self.values, Steps) else 0, 0.5)


@dataclass(frozen=True)
class Alternative:
    """One index of a dimension: fixed values by dotted key, and axes beside them."""

    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...] = ()

    @property
    def size(self) -> int:
        """Number of combinations of the axes."""
        return math.prod(axis.size for axis in self.axes)

    @property
    def n_draws(self) -> int:
        """Number of axes that are sampled."""
        return sum(isinstance(axis.values, Continuous) for axis in self.axes)

    def values(self, index: int, draws: Sequence[float]) -> dict[str, Any]:
        """The values of one combination, by dotted key.

        Args:
            index: of the combination, the last axis fastest.
            draws: a proportion in [0, 1) for each axis that is sampled.
        """
        shares = iter(draws)
        return self.filled(
            axis.value(place, next(shares) if isinstance(axis.values, Continuous) else 0.0)
            for axis, place in zip(self.axes, self.places(index), strict=True)
        )

    def filled(self, chosen: Iterable[Any]) -> dict[str, Any]:
        """The values with one chosen for each axis."""
        values = dict(self.fixed)
        for axis, value in zip(self.axes, chosen, strict=True):
            if axis.option:
                entry = values[axis.key]
                value = Named(name=entry.name, **{**entry.options, axis.option: value})
            values[axis.key] = value
        return values

    def places(self, index: int) -> tuple[int, ...]:
        """The index on each axis of a combination."""
        places = []
        for axis in reversed(self.axes):
            index, place = divmod(index, axis.size)
            places.append(place)
        return tuple(reversed(places))

    def index(self, places: Iterable[int]) -> int:
        """The combination with an index on each axis."""
        index = 0
        for axis, place in zip(self.axes, places, strict=True):
            index = index * axis.size + place
        return index


@dataclass(frozen=True)
class Dimension:
    """A linked group or an independent field.

    Attributes:
        name: of the group or field.
        alternatives: one for each index of the lists.
    """

    name: str
    alternatives: tuple[Alternative, ...]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(alternative.size for alternative in self.alternatives))

    @property
    def size(self) -> int:
        """Number of choices, continuous ranges counted as one."""
        return self._ends[-1]

    @property
    def is_finite(self) -> bool:
        """Whether the choices can be counted."""
        return not any(alternative.n_draws for alternative in self.alternatives)

    @property
    def keys(self) -> list[str]:
        """Dotted keys of `train.yaml` that this dimension sets."""
        first = self.alternatives[0]
        return list(dict.fromkeys([*first.fixed, *(axis.key for axis in first.axes)]))

    def n_draws(self, digit: int) -> int:
        """Number of sampled axes of a choice."""
        return self.alternatives[bisect_right(self._ends, digit)].n_draws

    def values(self, digit: int, draws: Sequence[float] = ()) -> dict[str, Any]:
        """The values of one choice, by dotted key."""
        place, index = self.parts(digit)
        return self.alternatives[place].values(index, draws)

    def parts(self, digit: int) -> tuple[int, int]:
        """The alternative of a choice, and the combination of its axes."""
        place = bisect_right(self._ends, digit)
        return place, digit - self._ends[place] + self.alternatives[place].size

    def digit(self, place: int, index: int) -> int:
        """The choice that is a combination of an alternative's axes."""
        return self._ends[place] - self.alternatives[place].size + index

    def around(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of this dimension where some are given, by dotted key.

        The first alternative with the given values fills in the others (the heads that belong to a width); lists give
        their first value, ranges their middle.
        """
        mine = {key: given[key] for key in self.keys if key in given}
        fitting = (
            alternative
            for alternative in self.alternatives
            if all(alternative.fixed.get(key, value) == value for key, value in mine.items())
        )
        alternative = next(fitting, self.alternatives[0])
        return alternative.filled(axis.middle for axis in alternative.axes) | mine

    def extremes(self) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Every alternative, with each value of its lists and both ends of its ranges, one at a time."""
        for place, alternative in enumerate(self.alternatives):
            places = [0] * len(alternative.axes)
            draws = [0.0] * alternative.n_draws
            yield self.digit(place, 0), tuple(draws)
            drawn = 0
            for number, axis in enumerate(alternative.axes):
                if isinstance(axis.values, Continuous):
                    yield self.digit(place, 0), (*draws[:drawn], 1.0, *draws[drawn + 1 :])
                    drawn += 1
                    continue
                others = range(1, axis.size) if isinstance(axis.values, list) else (axis.size - 1,)
                for other in others:
                    index = alternative.index([*places[:number], other, *places[number + 1 :]])
                    yield self.digit(place, index), tuple(draws)


@dataclass(frozen=True)
class Cell:
    """One point of a space: a choice in each dimension, and proportions for its continuous ranges."""

    digits: tuple[int, ...]
    draws: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Space:
    """A lazily indexed product of dimensions, slowest first.

    Attributes:
        dimensions: those with more than one choice.
        fixed: values that are the same in every cell, by dotted key.
        notes: on how it was built, for the plan.
    """

    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def size(self) -> int:
        """Number of cells, continuous ranges counted as one."""
        return math.prod(dimension.size for dimension in self.dimensions)

    @cached_property
    def is_finite(self) -> bool:
        """Whether the cells can be counted."""
        return all(dimension.is_finite for dimension in self.dimensions)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(dimension.size for dimension in self.dimensions)

    @cached_property
    def _no_draws(self) -> tuple[tuple[float, ...], ...]:
        return ((),) * len(self.dimensions)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Cell:
        """The cell at an index of the grid.

        Raises:
            ValueError: the space has continuous ranges.
        """
        if not self.is_finite:
            raise ValueError("a space with a continuous range has no cell at an index")
        return Cell(self._digits(index), self._no_draws)

    def __iter__(self) -> Iterator[Cell]:
        return (self[index] for index in range(self.size))

    def draw(self, index: int, uniform: Uniform) -> Cell:
        """The cell at an index, with a number sampled from each continuous range."""
        digits = self._digits(index)
        draws = tuple(
            tuple(uniform() for _ in range(dimension.n_draws(digit)))
            for dimension, digit in zip(self.dimensions, digits, strict=True)
        )
        return Cell(digits, draws)

    def extremes(self) -> Iterator[Cell]:
        """Cells that show every pair of extreme choices of two dimensions.

        Where that would be more than `MAX_EXTREMES` cells, each extreme choice with the first choices of the others.
        """
        choices = [list(dict.fromkeys(dimension.extremes())) for dimension in self.dimensions]
        first = [choice[0] for choice in choices]
        pairs = list(combinations(range(len(choices)), 2))
        together = sum(len(choices[one]) * len(choices[other]) for one, other in pairs) <= MAX_EXTREMES
        combined: dict[tuple[tuple[int, tuple[float, ...]], ...], None] = {tuple(first): None}
        for number, several in enumerate(choices):
            combined |= {(*first[:number], choice, *first[number + 1 :]): None for choice in several}
        for one, other in pairs if together else ():
            for left, right in product(choices[one], choices[other]):
                chosen = list(first)
                chosen[one], chosen[other] = left, right
                combined[tuple(chosen)] = None
        yield from map(_cell, combined)

    def largest(self, size: Callable[[Cell], float]) -> Cell:
        """The cell with the largest size, found dimension by dimension: exact where each adds to it on its own."""
        choices = [list(dict.fromkeys(dimension.extremes())) for dimension in self.dimensions]
        chosen = [several[0] for several in choices]
        for number, several in enumerate(choices):
            cells = [(*chosen[:number], choice, *chosen[number + 1 :]) for choice in several]
            sizes = [size(_cell(cell)) for cell in cells]
            chosen = list(cells[sizes.index(max(sizes))])
        return _cell(chosen)

    def around(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a whole run of which some are given, by dotted key; see `Dimension.around`."""
        values = dict(self.fixed)
        for dimension in self.dimensions:
            values |= dimension.around(given)
        return {**values, **given}

    def values(self, cell: Cell) -> dict[str, Any]:
        """The values of a cell, by dotted key of `train.yaml`; `fixed` is not repeated."""
        values: dict[str, Any] = {}
        for dimension, digit, draws in zip(self.dimensions, cell.digits, cell.draws, strict=True):
            values |= dimension.values(digit, draws)
        return values

    def _digits(self, index: int) -> tuple[int, ...]:
        if not 0 <= index < self.size:
            raise IndexError(index)
        digits = []
        for size in reversed(self._sizes):
            index, digit = divmod(index, size)
            digits.append(digit)
        return tuple(reversed(digits))


def _cell(choices: Iterable[tuple[int, tuple[float, ...]]]) -> Cell:
    """The cell with a choice of each dimension, and the proportions for its continuous ranges."""
    digits_and_draws = list(choices)
    return Cell(tuple(digit for digit, _ in digits_and_draws), tuple(draws for _, draws in digits_and_draws))
