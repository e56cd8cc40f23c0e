"""The space of a search: a product of dimensions, decoded cell by cell from an index and never listed.

A dimension is a linked group or an independent field. It is a choice between alternatives, one for each index of the
group's lists; inside an alternative there may be further axes of its own: options of an optimizer that hold several
values, and ranges. Counting an axis without an end (a range of floats) as one, everything is one mixed-radix number
whose last digit changes fastest: the order of the grid.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import accumulate, combinations, product
from typing import Any, overload

from sequifier.config.base import Named
from sequifier.config.search import LINKED, SearchConfig, is_whole, searchable_fields, train_key
from sequifier.config.searched import Range, Searched, exact, searched_options, takes_whole_numbers
from sequifier.results.settings import shown

Uniform = Callable[[], float]
"""Gives numbers in [0, 1)."""

MAX_EXTREMES = 5_000
"""Cells that show the extremes of a space."""


@dataclass(frozen=True)
class Steps(Sequence[int | float]):
    """The numbers low, low + step, ... up to a bound, in exact decimal arithmetic: 0.1, 0.2, 0.3."""

    low: Decimal
    step: Decimal
    length: int
    whole: bool

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> int | float: ...
    @overload
    def __getitem__(self, index: slice) -> list[int | float]: ...
    def __getitem__(self, index: int | slice) -> int | float | list[int | float]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self.length))]
        if not -self.length <= index < self.length:
            raise IndexError(index)
        value = self.low + self.step * (index % self.length)
        return int(value) if self.whole else float(value)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The position of a number, without looking at those before it."""
        if isinstance(value, int | float) and math.isfinite(value):
            place = (exact(value) - self.low) / self.step
            if place == int(place) and place in range(*slice(start, stop).indices(self.length)):
                return int(place)
        raise ValueError(f"{value!r} is none of the numbers")


@dataclass(frozen=True)
class Continuous:
    """A range that is drawn from instead of counted."""

    low: int | float
    high: int | float
    log: bool
    whole: bool

    def at(self, share: float) -> int | float:
        """The number at a share in [0, 1) of the range.

        Floats have six significant digits: what is written into a YAML file stays readable, and does not hang on the
        last bit of a platform's exponential function.
        """
        low, high = self._ends
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        value = round(value) if self.whole else float(f"{value:.6g}")
        return min(max(value, self.low), self.high)

    def share_of(self, value: int | float) -> float:
        """The share at which `at` gives this number of the range; for a whole number the middle of its share."""
        low, high = self._ends
        return ((math.log(value) if self.log else value) - low) / (high - low)

    @property
    def _ends(self) -> tuple[float, float]:
        # Each whole number owns the half-open interval around it, so that all have their share.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        return (math.log(low), math.log(high)) if self.log else (low, high)


def numbers(bounds: Range, *, whole: bool) -> Steps | Continuous:
    """The numbers of a range.

    Args:
        whole: the field takes whole numbers only; without a step they are 1 apart.
    """
    if not bounds.is_listable(whole=whole):
        low, high = (int(bounds.low), int(bounds.high)) if whole else (bounds.low, bounds.high)
        return Continuous(low, high, bounds.log, whole)
    step = exact(1 if bounds.step is None else bounds.step)
    length = int((exact(bounds.high) - exact(bounds.low)) / step) + 1
    return Steps(exact(bounds.low), step, length, whole)


@dataclass(frozen=True)
class Axis:
    """Several values inside one alternative.

    Attributes:
        key: dotted key of `train.yaml`.
        option: the option of the optimizer or scheduler under that key; "" for the key itself.
        values: what it may be.
    """

    key: str
    option: str
    values: Sequence[Any] | Continuous

    @property
    def size(self) -> int:
        """Number of values, a range without an end counted as one."""
        return 1 if isinstance(self.values, Continuous) else len(self.values)

    def value(self, index: int, share: float = 0.0) -> Any:
        """The value at an index; of a range without an end, that at a share of it."""
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
        """Axes that are drawn from."""
        return sum(isinstance(axis.values, Continuous) for axis in self.axes)

    def values(self, index: int, draws: Sequence[float]) -> dict[str, Any]:
        """The values of one combination, by dotted key.

        Args:
            index: of the combination, the last axis fastest.
            draws: a share in [0, 1) for each axis that is drawn from.
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
        """Number of choices, ranges without an end counted as one."""
        return self._ends[-1]

    @property
    def is_finite(self) -> bool:
        """Whether the choices can be counted."""
        return not any(alternative.n_draws for alternative in self.alternatives)

    @property
    def keys(self) -> list[str]:
        """Dotted keys of `train.yaml` that this dimension decides."""
        first = self.alternatives[0]
        return list(dict.fromkeys([*first.fixed, *(axis.key for axis in first.axes)]))

    def n_draws(self, digit: int) -> int:
        """Shares that a choice needs."""
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

        The first alternative that has what is given fills in the rest (the heads that belong to a width); lists give
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
        """Every alternative, with every value of its lists and both ends of its ranges, one of them at a time."""
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
    """One point of a space: a choice in each dimension, and shares for the ranges in it."""

    digits: tuple[int, ...]
    draws: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Space:
    """A lazily indexed product of dimensions, slowest first.

    Attributes:
        dimensions: with more than one choice.
        fixed: what is the same in every cell, by dotted key.
        notes: what was decided while building it, for the plan.
    """

    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def size(self) -> int:
        """Number of cells, ranges without an end counted as one."""
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
            ValueError: the space has ranges without an end.
        """
        if not self.is_finite:
            raise ValueError("a space with a range without steps has no cell at an index")
        return Cell(self._digits(index), self._no_draws)

    def __iter__(self) -> Iterator[Cell]:
        return (self[index] for index in range(self.size))

    def draw(self, index: int, uniform: Uniform) -> Cell:
        """The cell at an index, with a place drawn in each range without an end."""
        digits = self._digits(index)
        draws = tuple(
            tuple(uniform() for _ in range(dimension.n_draws(digit)))
            for dimension, digit in zip(self.dimensions, digits, strict=True)
        )
        return Cell(digits, draws)

    def extremes(self) -> Iterator[Cell]:
        """Cells that between them show every extreme choice of each dimension beside every one of each other.

        Where that would be more than `MAX_EXTREMES` cells, each beside the first choices of the others.
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
        for chosen_ones in combined:
            yield Cell(tuple(digit for digit, _ in chosen_ones), tuple(draws for _, draws in chosen_ones))

    def around(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A whole run of which some values are given, by dotted key; see `Dimension.around`."""
        values = dict(self.fixed)
        for dimension in self.dimensions:
            values |= dimension.around(given)
        return {**values, **given}

    def values(self, cell: Cell) -> dict[str, Any]:
        """What a cell says, by dotted key of `train.yaml`; `fixed` is not repeated."""
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


def build_space(config: SearchConfig) -> Space:
    """The space that a search config describes, its dimensions in the order of the grid."""
    groups = config.groups()
    group_of = {name: group for group, names in groups.items() for name in names}
    in_order: dict[str, None] = {}
    for name in searchable_fields():
        group = group_of.get(name, name)
        if group in LINKED or group == name:
            in_order.setdefault(group)
    in_order |= {group: None for group in groups if group not in LINKED}

    dimensions: list[Dimension] = []
    fixed: dict[str, Any] = {}
    notes: list[str] = []
    for name in in_order:
        members = groups.get(name, (name,))
        alternatives = _alternatives(config, members)
        if len(alternatives) == 1 and not alternatives[0].axes:
            fixed |= alternatives[0].fixed
        else:
            dimensions.append(Dimension(name, alternatives))
        if len(members) > 1 and len(alternatives) > 1:
            notes += _repeated(config, members, len(alternatives))
    return Space(tuple(dimensions), fixed, tuple(notes))


def _alternatives(config: SearchConfig, names: Sequence[str]) -> tuple[Alternative, ...]:
    """One alternative for each index of the lists of a group; single values are repeated, a range is an axis."""
    searched = {name: values for name in names if (values := config.searched(name)) is not None}
    ranges = [
        Axis(train_key(name), "", numbers(values, whole=is_whole(name)))
        for name, values in searched.items()
        if isinstance(values, Range)
    ]
    lists = {name: values for name, values in searched.items() if not isinstance(values, Range)}
    count = max((len(values) for values in lists.values()), default=1)
    alternatives = []
    for index in range(count):
        fixed, axes = {}, []
        for name, values in lists.items():
            value = values[index if len(values) > 1 else 0]
            if name in ("optimizer", "scheduler"):
                value, of_entry = _entry(name, value)
                axes += of_entry
            fixed[train_key(name)] = value
        alternatives.append(Alternative(fixed, (*ranges, *axes)))
    return tuple(alternatives)


def _entry(name: str, entry: Named) -> tuple[Named, list[Axis]]:
    """An optimizer or scheduler without its searched options, and these as axes."""
    searched: dict[str, Searched] = searched_options(name, entry)
    kept = {option: value for option, value in entry.options.items() if option not in searched}
    axes = [
        Axis(
            train_key(name),
            option,
            numbers(values, whole=takes_whole_numbers(name, entry, option)) if isinstance(values, Range) else values,
        )
        for option, values in searched.items()
    ]
    return Named(name=entry.name, **kept), axes


def _repeated(config: SearchConfig, names: Sequence[str], count: int) -> Iterator[str]:
    """How single values of a linked group are used with the lists beside them."""
    lists = {name: values for name in names if isinstance(values := config.searched(name), Sequence)}
    anchor = next(name for name, values in lists.items() if len(values) == count)
    for name in names:
        if isinstance(config.searched(name), Range):
            yield f"{name} is a range: it is combined with each of the {count} values of {anchor}"
        elif name not in lists:
            yield f"{name} is left out: it follows from each value of {anchor}"
        elif len(lists[name]) == 1 and (config.is_given(name) or lists[name][0] is not None):
            how = "given once" if config.is_given(name) else "left out"
            yield f"{name} is {how}: {shown(lists[name][0])} goes with each of the {count} values of {anchor}"
