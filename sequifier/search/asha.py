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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

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


class _Stage(NamedTuple):
    """What an estimate sees of a run; most runs of a search are at one of a few stages."""

    max_epochs: int
    n_trained: int
    is_settled: bool
    is_lost: bool


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
        self._stages: Counter[_Stage] = Counter()
        self._training: set[int] = set()
        self._unstarted: list[int] = []  # a heap; may hold runs that have started since
        self._reached: dict[int, list[_Place]] = {}  # rung -> the runs that reached it, best first
        self._paused: dict[int, list[_Place]] = {}  # rung -> those of them that are paused there

    def put(self, run: Progress) -> None:
        """Add a run, or replace its progress."""
        before = self._runs.get(run.number)
        if before is not None:
            self._stages -= Counter([_stage(before)])
            for rung, place in self._places(before):
                _remove(self._reached[rung], place)
                _remove(self._paused[rung], place)
        self._runs[run.number] = run
        self._stages[_stage(run)] += 1
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
        return next((rung for rung in self._rungs(run.max_epochs) if rung > len(run.curve)), run.max_epochs)

    @property
    def n_trained(self) -> int:
        """Epochs of all runs together."""
        return sum(n_runs * stage.n_trained for stage, n_runs in self._stages.items())

    def expected_epochs(self, *, n_more: int = 0) -> float:
        """The epochs that will have been trained in the end, those trained so far included.

        Every run that may reach a rung has the same chance of a promotion, whatever its curve is so far.

        Args:
            n_more: number of runs that are still to be proposed.
        """
        longest = max((stage.max_epochs for stage in self._stages), default=0)
        stages = self._stages + Counter({_Stage(longest, 0, is_settled=False, is_lost=False): n_more})
        levels = {stage: self._rungs(stage.max_epochs) for stage in stages}
        chance = {stage: 1.0 for stage in stages if not stage.is_settled}

        def above(stage: _Stage, epoch: int) -> int:
            return next((rung for rung in levels[stage] if rung > epoch), stage.max_epochs)

        total = float(sum(n_runs * stage.n_trained for stage, n_runs in stages.items()))
        for stage in chance:
            if stage.n_trained not in levels[stage]:
                total += stages[stage] * max(above(stage, stage.n_trained) - stage.n_trained, 0)
        for epoch in sorted({epoch for epochs in levels.values() for epoch in epochs}):
            here = [stage for stage in stages if epoch in levels[stage] and not stage.is_lost]
            promoted = sum(stages[stage] for stage in here if stage.n_trained > epoch)
            ended = sum(stages[stage] for stage in here if stage.is_settled and stage.n_trained == epoch)
            coming = [stage for stage in here if not stage.is_settled and stage.n_trained <= epoch]
            several = sum(stages[stage] * chance[stage] for stage in coming)
            if several:
                # Chances are floats: nine times a third are three.
                places = max(math.floor((promoted + ended + several) / self._reduction + 1e-6), 1) - promoted
                for stage in coming:
                    chance[stage] *= min(max(places / several, 0.0), 1.0)
                    total += stages[stage] * chance[stage] * (above(stage, epoch) - epoch)
        return total

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

    def _rungs(self, max_epochs: int) -> tuple[int, ...]:
        return rungs(max_epochs, reduction=self._reduction, min_epochs=self._min_epochs)

    def _places(self, run: Progress) -> list[tuple[int, _Place]]:
        """The rungs that a run reached with a value, and its place on each; a lost run leaves its places to others."""
        if run.is_lost:
            return []
        best = best_so_far(run.curve, maximize=self._maximize)
        values = [(rung, best[rung - 1]) for rung in self._rungs(run.max_epochs) if rung <= len(run.curve)]
        return [
            (rung, (-value if self._maximize else value, run.number)) for rung, value in values if value is not None
        ]


def _remove(places: list[_Place], place: _Place) -> None:
    index = bisect_left(places, place)
    if index < len(places) and places[index] == place:
        del places[index]


def _stage(run: Progress) -> _Stage:
    return _Stage(run.max_epochs, len(run.curve), run.is_settled, run.is_lost)
