"""What a search trains next: the plan's runs in order, a strategy's proposals, or the runs that a pruner promotes.

Every answer follows from plan, ledger and the number of slots, so a search that was killed resumes as if it had not
been. Several runs may train at the same time. Each start, proposal and promotion is decided on the records that the
ledger has at that moment; `known`, their number, is in the record of the start, so reading the first `known` lines of
the ledger again gives the same decision. An answer costs the same however many runs there are; only new records are
read.
"""

import heapq
from bisect import insort
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from sequifier.artifacts.ledger import DONE, FAILED, Ledger, Record
from sequifier.config.catalogue.metric_names import training_metric
from sequifier.search.asha import Asha
from sequifier.search.budget import Budget
from sequifier.search.estimate import relative_cost
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.pruning import MedianRule, Progress
from sequifier.search.strategy_kinds import STRATEGIES

Propose = Callable[[], PlannedRun | None]
"""The next run of a strategy that learns from results; its run file is written."""


_LAST_ROUNDS = 3
"""Runs for each slot at the end of a search that are started in order of their length."""


@dataclass(frozen=True)
class Task:
    """A run to train.

    Attributes:
        run: with its last record.
        until_epoch: pause after it; None trains to the end.
        thresholds: epoch -> the worst value with which the run continues.
        known: number of ledger records on which this was decided.
    """

    run: PlannedRun
    until_epoch: int | None = None
    thresholds: Mapping[int, float] = field(default_factory=dict)
    known: int | None = None


@dataclass(frozen=True)
class Forecast:
    """The progress of a search with asha: in epochs, because most runs are paused.

    Attributes:
        trained: epochs of all runs together.
        expected: the same at the end, an estimate.
        waiting: runs that are paused at a rung.
    """

    trained: int
    expected: int
    waiting: int


class Agenda:
    """Hands out tasks until a search is complete or its budget is used up.

    Args:
        plan: the runs known so far.
        ledger: their records.
        retry_failed: hand out failed runs again, once each.
        propose: gives one more run of a strategy when all known ones are settled or train.
        prunes: whether the config's pruner decides.
        n_slots: number of runs that train at the same time.
        runs: those to hand out; None: all of the plan. The others count as known.

    Attributes:
        runs: all known runs, by number.
        ended_by: the budget that is used up, in words.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        retry_failed: bool,
        propose: Propose = lambda: None,
        prunes: bool = True,
        n_slots: int = 1,
        runs: Collection[PlannedRun] | None = None,
    ) -> None:
        self._config, self._ledger, self._propose = plan.config, ledger, propose
        pruner = plan.config.pruner
        kind = pruner.type if prunes else "none"
        self._proposes = STRATEGIES[plan.config.search_strategy].learns
        scripted = {} if plan.config.evaluation_script is None else plan.config.evaluation_script.metrics
        # Curves are of the metric that runs are trained by, which is never one of an evaluation script.
        _, direction = training_metric(plan.config.metric, plan.config.direction, scripted)
        maximize = direction == "maximize"
        self._asha = None
        if kind == "asha":
            self._asha = Asha(
                reduction=pruner.reduction,
                min_epochs=pruner.min_epochs,
                maximize=maximize,
                # A planned search compares all runs at the first rung before it promotes one; a strategy's next
                # proposal learns from promoted runs.
                start_first=not self._proposes,
            )
        # A pruner compares runs in their order, and one slot has nothing to gain from another order.
        self._n_last = _LAST_ROUNDS * n_slots if n_slots > 1 and kind == "none" and not self._proposes else 0
        self._maximize = maximize
        self._median = self._new_median() if kind == "median" else None
        self.ended_by = ""
        self.runs: dict[int, PlannedRun] = {}
        self._begun: list[int] = []  # numbers of runs that stopped on their way, in order
        self._unstarted: list[int] = []  # a heap
        self._in_flight: set[int] = set()
        self._settled: set[int] = set()
        self._paused: set[int] = set()  # until the record of their next start
        handed_out = plan.runs if runs is None else runs
        self._again = (
            {run.number for run in handed_out if _state(ledger.last(run.number)) in FAILED} if retry_failed else set()
        )
        self._left_out = {run.number for run in plan.runs} - {run.number for run in handed_out}
        self._n_wanted = len(handed_out) + plan.n_to_propose
        self._n_read, self._budget = 0, Budget(plan.config)
        self._read()
        for run in plan.runs:
            self._add(run)

    def next(self) -> Task | None:
        """The next task; None when nothing is left for now, or when `ended_by` says which budget is used up.

        A run that was handed out is in flight until the ledger has a record of its end.
        """
        self._read()
        self.ended_by = self._budget.used_up()
        if self.ended_by:
            return None
        task = self._known_run(more_to_come=self._proposes)
        if task is None and (proposed := self._propose()) is not None:
            self._add(proposed)
            task = self._known_run(more_to_come=True)
        if task is None and self._proposes:
            task = self._known_run(more_to_come=False)
        if task is not None:
            self._again.discard(task.run.number)
            self._in_flight.add(task.run.number)
            self._put(task.run.number)
        return task

    def waiting(self) -> list[PlannedRun]:
        """Known runs to hand out that have no result, those in flight included."""
        self._read()
        others = self._settled | self._left_out
        return [self._with_record(number) for number in self.runs if number not in others]

    @property
    def n_settled(self) -> int:
        """Number of runs to hand out that have a result."""
        self._read()
        return len(self._settled)

    @property
    def n_left(self) -> int:
        """Runs to hand out that have no result, those included that are still to be proposed."""
        self._read()
        return max(self._n_wanted, len(self.runs) - len(self._left_out)) - len(self._settled)

    def paused(self) -> list[PlannedRun]:
        """Runs that are paused."""
        self._read()
        return [self._with_record(number) for number in sorted(self._paused)]

    def forecast(self) -> Forecast | None:
        """The progress in epochs; None without asha."""
        if self._asha is None:
            return None
        self._read()
        expected = self._asha.expected_epochs(n_more=max(self._n_wanted - len(self.runs), 0))
        trained = self._asha.n_trained
        return Forecast(trained, max(round(expected), trained), len(self._paused))

    def _add(self, run: PlannedRun) -> None:
        """Take up a run, with what the ledger says of it."""
        self.runs[run.number] = run
        self._put(run.number)

    def _read(self) -> None:
        """Take up the records that the ledger has got since."""
        records = self._ledger.records
        changed = {}
        for record in records[self._n_read :] if self._n_read < len(records) else ():
            changed[record.run] = record
            self._budget.add(record)
            if self._median is not None and _is_compared(record):
                self._median.add(record.run, record.curve)
        self._n_read = len(records)
        for number, record in changed.items():
            if record.state != "running":
                self._in_flight.discard(number)
            if number in self.runs:
                self._put(number)

    def _put(self, number: int) -> None:
        """Put a run where the next answer looks for it: it has a result, trains, waits to continue or to start."""
        if number in self._left_out:
            return
        record = self._ledger.last(number)
        state = "planned" if number in self._again else _state(record)
        self._settled.discard(number)
        self._paused.discard(number)
        if record is not None and is_paused(record):
            self._paused.add(number)
        if number in self._begun:
            self._begun.remove(number)
        if number not in self._in_flight:
            if state in DONE | FAILED:
                self._settled.add(number)
            elif record is not None and state != "planned":
                if self._asha is None or number not in self._paused:
                    insort(self._begun, number)
            elif self._asha is None:
                heapq.heappush(self._unstarted, number)
        if self._asha is not None:
            self._asha.put(self._progress(number))

    def _known_run(self, *, more_to_come: bool) -> Task | None:
        """The next of the known runs. Runs that were started are finished first."""
        if self._begun:
            number = self._begun[0]
            before = self._ledger.last(number)
            known = None if before is None else before.known
            return self._task(number, self._n_read if known is None else known)
        if self._asha is not None:
            promotion = self._asha.next(more_to_come=more_to_come)
            return None if promotion is None else self._task(promotion.number, self._n_read)
        if not self._unstarted:
            return None
        return self._task(self._next_unstarted(), self._n_read)

    def _next_unstarted(self) -> int:
        """The next run in order; of the last ones the longest, so that all slots end at about the same time."""
        if len(self._unstarted) > self._n_last:
            return heapq.heappop(self._unstarted)
        longest = max(self._unstarted, key=lambda number: (relative_cost(self.runs[number]), -number))
        self._unstarted.remove(longest)
        heapq.heapify(self._unstarted)
        return longest

    def _task(self, number: int, known: int) -> Task:
        until = None if self._asha is None else self._asha.next_rung(number)
        return Task(self._with_record(number), until, self._thresholds(known), known)

    def _new_median(self) -> MedianRule:
        return MedianRule(min_epochs=self._config.pruner.min_epochs, maximize=self._maximize)

    def _thresholds(self, known: int) -> Mapping[int, float]:
        if self._median is None:
            return {}
        if known == self._n_read:
            return self._median.thresholds()
        then = self._new_median()  # of a run that was started before other runs finished
        for record in self._ledger.records[:known]:
            if _is_compared(record):
                then.add(record.run, record.curve)
        return then.thresholds()

    def _progress(self, number: int) -> Progress:
        record, is_settled = self._ledger.last(number), number in self._settled
        state, is_training = _state(record), number in self._in_flight or number in self._begun
        curve = () if record is None or (not is_settled and state in FAILED) else tuple(record.curve)
        return Progress(
            number,
            self.runs[number].config.training_spec.epochs,
            curve,
            is_settled=is_settled,
            is_lost=is_settled and state in (*FAILED, "diverged"),
            is_training=is_training,
        )

    def _with_record(self, number: int) -> PlannedRun:
        return replace(self.runs[number], record=self._ledger.last(number))


PAUSED = "paused after epoch"


def is_paused(record: Record) -> bool:
    """Whether a run is paused at a rung, not interrupted."""
    return record.state == "interrupted" and (record.error or "").startswith(PAUSED)


def _is_compared(record: Record) -> bool:
    """Whether a pruner compares other runs with this one."""
    return record.state == "finished" and record.order_of is None


def _state(record: Record | None) -> str:
    return "planned" if record is None else record.state
