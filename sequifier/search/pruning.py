"""Which runs get more epochs: ASHA and the median rule, as functions of the curves measured so far. Pure.

ASHA: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2,
https://arxiv.org/abs/1810.05934. Differs: runs train one after another, so the promotion rule is asked once per task;
a run is judged by its best epoch so far, as in the ranked table; and when no run is left to start, the best run of
every rung is promoted, so that one run is trained to its end even where there are few.

Median: Golovin et al. 2017, "Google Vizier", section 3.2.2, https://doi.org/10.1145/3097983.3098043. Differs: compares
with the median of best values, not of running averages, because runs are ranked by their best epoch.

A curve is the metric after each epoch, from epoch 1; None and NaN are epochs without a value.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median

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
    """

    number: int
    max_epochs: int
    curve: Curve
    is_settled: bool = False
    is_lost: bool = False


@dataclass(frozen=True)
class Promotion:
    """Train run `number` up to `until_epoch`: the next rung, or its last epoch."""

    number: int
    until_epoch: int


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


def rungs(max_epochs: int, *, reduction: int, min_epochs: int) -> tuple[int, ...]:
    """The epochs after which a run is paused to be compared: min_epochs x reduction^k, below its last one."""
    found, epoch = [], min_epochs
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= reduction
    return tuple(found)


def asha_next(
    runs: Sequence[Progress],
    *,
    reduction: int,
    min_epochs: int,
    maximize: bool,
    start_first: bool = False,
    more_to_come: bool = False,
) -> Promotion | None:
    """What to train next. It follows from the curves alone, so a resumed search makes the same decisions.

    In this order: a run that stopped between two rungs; the best paused run among the top 1/reduction of a rung, from
    the highest rung down; the next run to start; the best run of a rung if it is still paused there.

    Args:
        runs: all known ones, in order of number.
        reduction: the best 1/reduction of the runs at a rung are promoted.
        min_epochs: the lowest rung, in epochs.
        maximize: larger values are better.
        start_first: start all runs before the first one is promoted. Promoting at once, as the paper does, has a run
            trained to its end early; but where later runs are better than earlier ones, as in a grid from low to high
            learning rates, too many are promoted (81 real runs of 9 epochs: 42 % of the epochs instead of 26 %).
        more_to_come: further runs will be proposed when None is returned, so no run is promoted for lack of others.

    Returns:
        None when no run gets more epochs.
    """
    levels = {run.number: rungs(run.max_epochs, reduction=reduction, min_epochs=min_epochs) for run in runs}
    open_runs = [run for run in runs if not run.is_settled]
    for run in open_runs:
        if run.curve and len(run.curve) not in levels[run.number]:
            return Promotion(run.number, _next_level(run, levels[run.number]))
    every_rung = sorted({epoch for epochs in levels.values() for epoch in epochs}, reverse=True)
    ranked = {epoch: _ranked(runs, levels, epoch, maximize=maximize) for epoch in every_rung}
    promoted = (_waiting(ranked[epoch], epoch, len(ranked[epoch]) // reduction) for epoch in every_rung)
    started = (run for run in open_runs if not run.curve)
    for run in filter(None, chain(started, promoted) if start_first else chain(promoted, started)):
        return Promotion(run.number, _next_level(run, levels[run.number]))
    if more_to_come:
        return None
    for epoch in every_rung:
        best = _waiting(ranked[epoch], epoch, 1)
        if best is not None:
            return Promotion(best.number, _next_level(best, levels[best.number]))
    return None


def expected_epochs(runs: Sequence[Progress], *, reduction: int, min_epochs: int) -> float:
    """The epochs that ASHA will have trained in the end, those trained so far included.

    Every run that may reach a rung has the same chance of a promotion, whatever its curve is so far.

    Args:
        runs: all known ones.
        reduction: the best 1/reduction of the runs at a rung are promoted.
        min_epochs: the lowest rung, in epochs.
    """
    levels = {run.number: rungs(run.max_epochs, reduction=reduction, min_epochs=min_epochs) for run in runs}
    open_runs = [run for run in runs if not run.is_settled]
    total = float(sum(len(run.curve) for run in runs))
    for run in open_runs:
        if len(run.curve) not in levels[run.number]:
            total += max(_next_level(run, levels[run.number]) - len(run.curve), 0)
    chance = dict.fromkeys((run.number for run in open_runs), 1.0)
    for epoch in sorted({epoch for epochs in levels.values() for epoch in epochs}):
        here = [run for run in runs if epoch in levels[run.number] and not run.is_lost]
        promoted = sum(len(run.curve) > epoch for run in here)
        ended = sum(run.is_settled and len(run.curve) == epoch for run in here)
        coming = [run for run in here if not run.is_settled and len(run.curve) <= epoch]
        several = sum(chance[run.number] for run in coming)
        if several:
            # Chances are floats: nine times a third are three.
            places = max(math.floor((promoted + ended + several) / reduction + 1e-6), 1) - promoted
            for run in coming:
                chance[run.number] *= min(max(places / several, 0.0), 1.0)
                above = next((level for level in levels[run.number] if level > epoch), run.max_epochs)
                total += chance[run.number] * (above - epoch)
    return total


def median_thresholds(curves: Iterable[Curve], *, min_epochs: int, maximize: bool) -> dict[int, float]:
    """The value that a run must have reached after each epoch: the median of the best values of others by then.

    Args:
        curves: of the other, finished runs.
        min_epochs: epochs that every run gets.
        maximize: larger values are better.

    Returns:
        Epoch -> the worst value with which a run continues; one whose best value so far is worse stops there. No entry
        where fewer than three others were trained to that epoch.
    """
    best = [best_so_far(curve, maximize=maximize) for curve in curves]
    thresholds = {}
    for epoch in range(min_epochs, max(map(len, best), default=0) + 1):
        others = [value for curve in best if len(curve) >= epoch and (value := curve[epoch - 1]) is not None]
        if len(others) >= FEWEST_OTHERS:
            thresholds[epoch] = median(others)
    return thresholds


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


def _ranked(
    runs: Sequence[Progress], levels: Mapping[int, Sequence[int]], epoch: int, *, maximize: bool
) -> list[Progress]:
    """The runs that reached a rung and have a value there, best first; lower numbers first among equals."""
    found = []
    for run in runs:
        if epoch in levels[run.number] and len(run.curve) >= epoch and not run.is_lost:
            value = best_so_far(run.curve[:epoch], maximize=maximize)[-1]
            if value is not None:
                found.append((-value if maximize else value, run.number, run))
    return [run for _, _, run in sorted(found, key=lambda entry: entry[:2])]


def _waiting(ranked: Sequence[Progress], epoch: int, places: int) -> Progress | None:
    """The best of the first `places` runs that is still paused at this rung."""
    for run in ranked[:places]:
        if len(run.curve) == epoch and not run.is_settled:
            return run
    return None


def _next_level(run: Progress, levels: Sequence[int]) -> int:
    return next((epoch for epoch in levels if epoch > len(run.curve)), run.max_epochs)
