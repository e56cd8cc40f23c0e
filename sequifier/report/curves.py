"""Learning curves: which runs still improved or overfit at their end; and Pareto fronts of the metric against costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from sequifier.report.groups import top_count
from sequifier.results.ranking import Configuration
from sequifier.results.trials import Table, Trial

OVERFIT_SHARE = 0.05
"""A run has overfit when its last value is worse than its best by this fraction of its improvement."""

FEWEST_EPOCHS = 3
"""Epochs below which a curve cannot show that a run overfits."""

STILL_SHARE = 0.02
"""A run still improves when the last quarter of its epochs brought this fraction of its improvement. Where the learning
rate falls to 0, the last epoch is the best one in any case, but by little."""


@dataclass(frozen=True)
class CurveFacts:
    """The curves of the best quarter.

    Attributes:
        n_trials: number of curves.
        n_still_learning: number of curves that still improved when they ended: the last epoch is the best, and the last
            quarter of the epochs brought 2 % of the improvement or more. One epoch alone counts too.
        n_overfit: number of curves of three epochs or more that end worse than their best by 5 % of their improvement.
        median_best_epoch: the best epoch as a fraction of the trained epochs.
        max_epochs: largest number of epochs of a trial.
    """

    n_trials: int
    n_still_learning: int
    n_overfit: int
    median_best_epoch: float | None
    max_epochs: int

    @property
    def stopped_too_early(self) -> bool:
        """Whether half of the curves or more still improved when they ended."""
        return self.n_trials > 0 and 2 * self.n_still_learning >= self.n_trials


@dataclass(frozen=True)
class ParetoPoint:
    """A Pareto-optimal configuration."""

    run: int
    cost: float
    value: float


@dataclass(frozen=True)
class Pareto:
    """The configurations for which no other one is both better and cheaper.

    Attributes:
        cost: "parameters" (of the model) or "seconds".
        front: the configurations, the cheapest first.
        n: number of configurations with a result whose cost is known.
    """

    cost: str
    front: tuple[ParetoPoint, ...]
    n: int


def curve_facts(table: Table, rows: Sequence[Configuration]) -> CurveFacts:
    """Judge the curves of the best quarter that were trained to their end."""
    with_result = [row for row in rows if row.rank is not None]
    top = [row.first for row in with_result[: top_count(len(with_result))] if row.first.is_complete]
    curves = [[value for value in trial.curve if value is not None] for trial in top]
    known = [[table.sign * value for value in curve] for curve in curves if curve]
    places = [curve.index(min(curve)) for curve in known]
    return CurveFacts(
        n_trials=len(known),
        n_still_learning=sum(map(_still_improves, known)),
        n_overfit=sum(len(curve) >= FEWEST_EPOCHS and _has_overfit(curve) for curve in known),
        median_best_epoch=median((p + 1) / len(c) for p, c in zip(places, known, strict=True)) if known else None,
        max_epochs=max((len(trial.curve) for trial in table.trials), default=0),
    )


def pareto(table: Table, rows: Sequence[Configuration]) -> list[Pareto]:
    """Return the Pareto fronts of the metric against the number of parameters, and against the seconds of a run."""
    complete = [row for row in rows if row.value is not None and row.state != "pruned"]
    costs: dict[str, Callable[[Configuration], float | None]] = {
        "parameters": lambda row: row.n_parameters,
        "seconds": lambda row: row.seconds,
    }
    return [_front(name, complete, cost, table) for name, cost in costs.items()]


def best_so_far(table: Table, trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """Return (number, value) of each trial that improved on all earlier ones."""
    found: list[tuple[int, float]] = []
    for trial in trials:
        if trial.value is not None and (not found or table.sign * (trial.value - found[-1][1]) < 0):
            found.append((trial.number, trial.value))
    return found


def _still_improves(curve: Sequence[float]) -> bool:
    before = curve[: -max(len(curve) // 4, 1)]
    return not before or (min(before) - curve[-1] > STILL_SHARE * (curve[0] - curve[-1]) and curve[-1] == min(curve))


def _has_overfit(curve: Sequence[float]) -> bool:
    best = min(curve)
    return curve[-1] - best > OVERFIT_SHARE * (curve[0] - best)


def _front(
    name: str, rows: Sequence[Configuration], cost_of: Callable[[Configuration], float | None], table: Table
) -> Pareto:
    points = [
        ParetoPoint(row.first.number, float(cost), row.value)
        for row in rows
        if row.value is not None and (cost := cost_of(row)) is not None
    ]
    front: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, table.sign * point.value)):
        if not front or table.sign * (point.value - front[-1].value) < 0:
            front.append(point)
    return Pareto(name, tuple(front), len(points))
