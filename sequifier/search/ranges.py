"""The numbers of a searched range: counted in steps, or continuous and sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, overload

from sequifier.config.ranges import Range, exact


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
        """The position of a number, computed from its value."""
        if isinstance(value, int | float) and math.isfinite(value):
            place = (exact(value) - self.low) / self.step
            if place == int(place) and place in range(*slice(start, stop).indices(self.length)):
                return int(place)
        raise ValueError(f"{value!r} is not one of the numbers")


@dataclass(frozen=True)
class Continuous:
    """A range whose numbers are sampled, not counted."""

    low: int | float
    high: int | float
    log: bool
    whole: bool

    def at(self, share: float) -> int | float:
        """The number at a proportion in [0, 1) of the range.

        Floats have six significant digits: a YAML file stays readable, and the number does not depend on the last bit
        of a platform's exponential function.
        """
        low, high = self._ends
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        value = round(value) if self.whole else float(f"{value:.6g}")
        return min(max(value, self.low), self.high)

    def share_of(self, value: int | float) -> float:
        """The proportion at which `at` gives this number; for an integer the middle of its interval."""
        low, high = self._ends
        return ((math.log(value) if self.log else value) - low) / (high - low)

    @property
    def _ends(self) -> tuple[float, float]:
        # Each integer has the interval of length 1 around it, so that all are equally likely.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        return (math.log(low), math.log(high)) if self.log else (low, high)


def numbers(bounds: Range, *, whole: bool) -> Steps | Continuous:
    """The numbers of a range.

    Args:
        whole: whether the field takes integers only; without a step they are 1 apart.
    """
    if not bounds.is_listable(whole=whole):
        low, high = (int(bounds.low), int(bounds.high)) if whole else (bounds.low, bounds.high)
        return Continuous(low, high, bounds.log, whole)
    step = exact(1 if bounds.step is None else bounds.step)
    length = int((exact(bounds.high) - exact(bounds.low)) / step) + 1
    return Steps(exact(bounds.low), step, length, whole)
