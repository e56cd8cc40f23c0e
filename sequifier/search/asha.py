"""ASHA: which paused run gets more epochs, kept up to date run by run. Pure.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2,
https://arxiv.org/abs/1810.05934. Differs: a run is judged by its best epoch so far, as in the ranked table; and when
nothing else is left and nothing trains, the best run of every rung is promoted, so that one run is trained to its end
even where there are few.

A decision costs the logarithm of the number of runs, not a look at all of them.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from sequifier.search.pruning import Progress, best_so_far

_Place = tuple[float, int]
"""A value, smaller is better, and the number of its run: lower numbers first among equals."""


@dataclass(frozen=True)
class Promotion:
    """Train run `number` up to `until_epoch`: the next rung, or its last epoch."""

    number: int
    until_epoch: int


@cache
def rungs(max_epochs: int, *, reduction: int, min_epochs: int) -> tuple[int, ...]:
    """The epochs after which a run is paused to be compared: min_epochs x reduction^k, below its last one."""
    found, epoch = [], min_epochs
    while epoch < max_epochs:
        found.append(epoch)
        epoch *= reduction
    return tuple(found)


class Asha:
    """The runs of a search by rung.

    Args:
        reduction: the best 1/reduction of the runs at a rung are promoted.
        min_epochs: the lowest rung, in epochs.
        maximize: larger values are better.
        start_first: start all runs before the first one is promoted. Promoting at once, as the paper does, has a run
            trained to its end early; but where later runs are better than earlier ones, as in a grid from low to high
            learning rates, too many are promoted (81 real runs of 9 epochs: 42 % of the epochs instead of 26 %).
    """

    def __init__(self, *, reduction: int, min_epochs: int, maximize: bool, start_first: bool = False) -> None:
        self._reduction, self._min_epochs = reduction, min_epochs
        self._maximize, self._start_first = maximize, start_first
        self._runs: dict[int, Progress] = {}
        self._training: set[int] = set()
        self._unstarted: list[int] = []  # a heap; may hold runs that have started since
        self._reached: dict[int, list[_Place]] = {}  # rung -> the runs that reached it, best first
        self._paused: dict[int, list[_Place]] = {}  # rung -> those of them that are paused there

    def put(self, run: Progress) -> None:
        """Add a run, or replace its progress."""
        before = self._runs.get(run.number)
        if before is not None:
            for rung, place in self._places(before):
                _remove(self._reached[rung], place)
                _remove(self._paused[rung], place)
        self._runs[run.number] = run
        self._training.discard(run.number)
        if run.is_training:
            self._training.add(run.number)
        elif not run.curve and not run.is_settled:
            heapq.heappush(self._unstarted, run.number)
        for rung, place in self._places(run):
            insort(self._reached.setdefault(rung, []), place)
            paused = self._paused.setdefault(rung, [])
            if len(run.curve) == rung and not (run.is_settled or run.is_training):
                insort(paused, place)

    def next(self, *, more_to_come: bool = False) -> Promotion | None:
        """What to train next, as a function of the progress of all runs.

        In this order: the best paused run among the top 1/reduction of a rung, from the highest rung down; the next
        run to start (first, with `start_first`); the best run of a rung if it is still paused there and nothing trains.

        Args:
            more_to_come: further runs will be proposed when None is returned, so no run is promoted for lack of others.

        Returns:
            None when no run gets more epochs now.
        """
        number = self._first_unstarted() if self._start_first else None
        if number is None:
            number = self._best_paused(lambda n_reached: n_reached // self._reduction)
        if number is None:
            number = self._first_unstarted()
        if number is None and not (more_to_come or self._training):
            number = self._best_paused(lambda n_reached: 1)
        return None if number is None else Promotion(number, self.next_rung(number))

    def next_rung(self, number: int) -> int:
        """The epoch at which a run is paused next, or its last one."""
        run = self._runs[number]
        return next((rung for rung in self._rungs(run) if rung > len(run.curve)), run.max_epochs)

    def _first_unstarted(self) -> int | None:
        while self._unstarted:
            run = self._runs[self._unstarted[0]]
            if not (run.curve or run.is_settled or run.is_training):
                return run.number
            heapq.heappop(self._unstarted)
        return None

    def _best_paused(self, n_promoted: Callable[[int], int]) -> int | None:
        for rung in sorted(self._paused, reverse=True):
            if self._paused[rung]:
                best, reached = self._paused[rung][0], self._reached[rung]
                if bisect_left(reached, best) < n_promoted(len(reached)):
                    return best[1]
        return None

    def _rungs(self, run: Progress) -> tuple[int, ...]:
        return rungs(run.max_epochs, reduction=self._reduction, min_epochs=self._min_epochs)

    def _places(self, run: Progress) -> list[tuple[int, _Place]]:
        """The rungs that a run reached with a value, and its place on each; a lost run leaves its places to others."""
        if run.is_lost:
            return []
        best = best_so_far(run.curve, maximize=self._maximize)
        values = [(rung, best[rung - 1]) for rung in self._rungs(run) if rung <= len(run.curve)]
        return [
            (rung, (-value if self._maximize else value, run.number)) for rung, value in values if value is not None
        ]


def _remove(places: list[_Place], place: _Place) -> None:
    index = bisect_left(places, place)
    if index < len(places) and places[index] == place:
        del places[index]


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
            above = next((rung for rung in levels[run.number] if rung > len(run.curve)), run.max_epochs)
            total += max(above - len(run.curve), 0)
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
