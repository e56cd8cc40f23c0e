"""Which runs get no more epochs: the progress of runs, and the median rule. Pure. ASHA is in search/asha.py.

Median: Golovin et al. 2017, "Google Vizier", section 3.2.2, https://doi.org/10.1145/3097983.3098043. Differs: compares
with the median of best values, not of running averages, because runs are ranked by their best epoch.

A curve is the metric after each epoch, from epoch 1; None and NaN are epochs without a value.
"""

import math
from bisect import insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Curve = Sequence[float | None]

FEWEST_OTHERS = 3
"""With fewer finished runs there is no median to compare with."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        number: of the run.
        max_epochs: its own `epochs`.
        curve: of the epochs trained so far; empty for a run that starts, or starts again.
        is_settled: whether it gets no more epochs: finished, pruned, failed, ...
        is_lost: whether it ended early without a decision (failed, oom, diverged): its place on a rung goes to another
            run.
        is_training: whether it is being trained, or was when its search died: it gets more epochs already.
    """

    number: int
    max_epochs: int
    curve: Curve
    is_settled: bool = False
    is_lost: bool = False
    is_training: bool = False


@dataclass(frozen=True)
class Savings:
    """The epochs that pruning saved.

    Attributes:
        planned: epochs of the runs as planned.
        trained: epochs that were trained.
        saved: epochs that pruned runs were not trained for; early stopping and failures are not counted.
        cut: number of each pruned run -> the epoch after which it ended.
    """

    planned: int
    trained: int
    saved: int
    cut: Mapping[int, int] = field(default_factory=dict)


class MedianRule:
    """The value that a run must have reached after each epoch: the median of the best values of others by then.

    Args:
        min_epochs: epochs that every run gets.
        maximize: larger values are better.
    """

    def __init__(self, *, min_epochs: int, maximize: bool) -> None:
        self._min_epochs, self._maximize = min_epochs, maximize
        self._runs: set[int] = set()
        self._best: list[list[float]] = []  # after each epoch, the best values of runs by then, in ascending order

    def add(self, number: int, curve: Curve) -> None:
        """Add a finished run, once."""
        if number in self._runs:
            return
        self._runs.add(number)
        for index, value in enumerate(best_so_far(curve, maximize=self._maximize)):
            if index == len(self._best):
                self._best.append([])
            if value is not None:
                insort(self._best[index], value)

    def thresholds(self) -> dict[int, float]:
        """Epoch -> the worst value with which a run continues; one whose best value so far is worse stops there.

        No entry where fewer than three others were trained to that epoch.
        """
        return {
            epoch: _median(values)
            for epoch, values in enumerate(self._best, start=1)
            if epoch >= self._min_epochs and len(values) >= FEWEST_OTHERS
        }


def _median(values: Sequence[float]) -> float:
    """The median of values in order, in constant time."""
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def saved_epochs(runs: Iterable[Progress], pruned: Collection[int]) -> Savings:
    """The epochs planned, trained and saved.

    Args:
        runs: those that were started and not lost.
        pruned: the numbers of the pruned ones.
    """
    planned = trained = saved = 0
    cut = {}
    for run in runs:
        planned += run.max_epochs
        trained += len(run.curve)
        if run.number in pruned:
            saved += run.max_epochs - len(run.curve)
            cut[run.number] = len(run.curve)
    return Savings(planned, trained, saved, cut)


def best_so_far(curve: Curve, *, maximize: bool) -> list[float | None]:
    """The best value up to each epoch; None before the first value."""
    better = max if maximize else min
    best: float | None = None
    result = []
    for value in curve:
        if value is not None and not math.isnan(value):
            best = value if best is None else better(best, value)
        result.append(best)
    return result
