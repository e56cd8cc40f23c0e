"""What a search trains next: the plan's runs in order, a strategy's proposals, or the runs that a pruner promotes.

Every answer is a function of plan and ledger alone, so a search that was killed resumes as if it had not been.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sequifier.artifacts.ledger import DONE, FAILED, Ledger, Record
from sequifier.config.catalogue.metric_names import training_metric
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.pruning import Progress, asha_next, expected_epochs, median_thresholds
from sequifier.search.strategy_kinds import STRATEGIES

Propose = Callable[[], PlannedRun | None]
"""The next run of a strategy that learns from results; its run file is written."""


@dataclass(frozen=True)
class Task:
    """A run to train.

    Attributes:
        run: with its last record.
        until_epoch: pause after it; None trains to the end.
        thresholds: epoch -> the worst value with which the run continues.
    """

    run: PlannedRun
    until_epoch: int | None = None
    thresholds: Mapping[int, float] = field(default_factory=dict)


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
        propose: gives one more run of a strategy when all known ones are settled.
        prunes: whether the config's pruner decides.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        retry_failed: bool,
        propose: Propose = lambda: None,
        prunes: bool = True,
    ) -> None:
        self._config, self._ledger, self._propose = plan.config, ledger, propose
        self._pruner = plan.config.pruner.type if prunes else "none"
        self._proposes = STRATEGIES[plan.config.search_strategy].learns
        scripted = {} if plan.config.evaluation_script is None else plan.config.evaluation_script.metrics
        # Curves are of the metric that runs are trained by, which is never one of an evaluation script.
        _, direction = training_metric(plan.config.metric, plan.config.direction, scripted)
        self._maximize = direction == "maximize"
        self.runs = {run.number: run for run in plan.runs}
        self._n_wanted = len(self.runs) + plan.n_to_propose
        self._again = {number for number, run in self.runs.items() if retry_failed and _state(run.record) in FAILED}
        self.ended_by = ""

    def next(self) -> Task | None:
        """The next task; None when nothing is left, or when `ended_by` says which budget is used up."""
        self.ended_by = self._used_up()
        if self.ended_by:
            return None
        if self._pruner == "asha":
            task = self._promoted(more_to_come=self._proposes)
        else:
            run = self._first_waiting()
            task = None if run is None else Task(run, thresholds=self._thresholds(run))
        if task is None and (proposed := self._propose()) is not None:
            self.runs[proposed.number] = proposed
            return self.next()
        if task is None and self._pruner == "asha":
            task = self._promoted(more_to_come=False)
        if task is not None:
            self._again.discard(task.run.number)
        return task

    def waiting(self) -> list[PlannedRun]:
        """Known runs without a result."""
        return [self._with_record(run) for run in self.runs.values() if self._is_waiting(run)]

    @property
    def n_left(self) -> int:
        """Runs without a result, those included that are still to be proposed."""
        return len(self.waiting()) + max(self._n_wanted - len(self.runs), 0)

    def abandoned(self) -> list[PlannedRun]:
        """Runs that are paused."""
        return [
            self._with_record(run)
            for run in self.runs.values()
            if (record := self._record(run)) is not None and is_paused(record)
        ]

    def forecast(self) -> Forecast | None:
        """The progress in epochs; None without asha."""
        if self._pruner != "asha":
            return None
        pruner = self._config.pruner
        progress = [self._progress(run) for run in self.runs.values()]
        epochs = max((run.max_epochs for run in progress), default=0)
        unknown = [Progress(-1 - number, epochs, ()) for number in range(self._n_wanted - len(progress))]
        expected = expected_epochs([*progress, *unknown], reduction=pruner.reduction, min_epochs=pruner.min_epochs)
        trained = sum(len(run.curve) for run in progress)
        return Forecast(trained, max(round(expected), trained), len(self.abandoned()))

    def _first_waiting(self) -> PlannedRun | None:
        waiting = self.waiting()
        # Runs that were started are finished first.
        begun = [run for run in waiting if _state(run.record) in ("running", "interrupted")]
        return next(iter(begun or waiting), None)

    def _promoted(self, *, more_to_come: bool) -> Task | None:
        progress = [self._progress(run) for run in self.runs.values()]
        pruner = self._config.pruner
        task = asha_next(
            progress,
            reduction=pruner.reduction,
            min_epochs=pruner.min_epochs,
            maximize=self._maximize,
            # A planned search compares all runs at the first rung before it promotes one; a strategy's next proposal
            # learns from promoted runs.
            start_first=not self._proposes,
            more_to_come=more_to_come,
        )
        return None if task is None else Task(self._with_record(self.runs[task.number]), until_epoch=task.until_epoch)

    def _progress(self, run: PlannedRun) -> Progress:
        record, waiting = self._record(run), self._is_waiting(run)
        curve = () if record is None or (waiting and record.state in FAILED) else tuple(record.curve)
        return Progress(
            run.number,
            run.config.training_spec.epochs,
            curve,
            is_settled=not waiting,
            is_lost=not waiting and record is not None and record.state in (*FAILED, "diverged"),
        )

    def _thresholds(self, run: PlannedRun) -> Mapping[int, float]:
        if self._pruner != "median":
            return {}
        curves = [
            record.curve
            for record in self._ledger.latest().values()
            if record.run != run.number and record.state == "finished"
        ]
        return median_thresholds(curves, min_epochs=self._config.pruner.min_epochs, maximize=self._maximize)

    def _is_waiting(self, run: PlannedRun) -> bool:
        if run.number in self._again:
            return True
        return _state(self._record(run)) not in DONE | FAILED

    def _record(self, run: PlannedRun) -> Record | None:
        return self._ledger.last(run.number)

    def _with_record(self, run: PlannedRun) -> PlannedRun:
        return replace(run, record=self._record(run))

    def _used_up(self) -> str:
        latest = self._ledger.latest().values()
        epochs = sum(len(record.curve) for record in latest)
        if self._config.max_epochs_total is not None and epochs >= self._config.max_epochs_total:
            return f"max_epochs_total: {epochs} epochs of {self._config.max_epochs_total}"
        hours = sum(record.seconds.get("total", 0.0) for record in self._ledger.records) / 3600
        if self._config.max_hours is not None and hours >= self._config.max_hours:
            return f"max_hours: {hours:.2f} hours of {self._config.max_hours:g}"
        return ""


PAUSED = "paused after epoch"


def is_paused(record: Record) -> bool:
    """Whether a run is paused at a rung, not interrupted."""
    return record.state == "interrupted" and (record.error or "").startswith(PAUSED)


def _state(record: Record | None) -> str:
    return "planned" if record is None else record.state
