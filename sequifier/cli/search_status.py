"""The status of a search, from its events: its running runs, the best runs so far, its progress and the time left."""

import time
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sequifier.cli.output import duration
from sequifier.cli.pace import Pace
from sequifier.percent import counted

if TYPE_CHECKING:
    from sequifier.artifacts.ledger import Record

N_BEST = 5

STOPPING = "stopping after the running epochs (Ctrl-C again: at once)"

_STAGES = {"load": "loading", "training": ""}
"""Stage of a run -> its name on a terminal; others are shown as they are."""


@dataclass(frozen=True)
class RunningRun:
    """A run that trains now.

    Attributes:
        number: of the run.
        changed: its searched settings.
        slot: in which it trains.
        last_epoch: the epoch after which it ends or is paused.
        max_steps: after which it ends at the latest; None without such a limit.
        epochs_before: trained before this start.
        stage: what it does besides training; "" while it trains.
        epoch: of the last step that it reported; 0 before the first.
        step: of that epoch.
        steps: in an epoch.
        loss: the training loss of that epoch so far.
        value: the metric of the search at its last evaluation.
        pace: of the steps that it reported; None before the first.
        started: time of its start.
        epochs_like: what was left of the search at that time, as a number of epochs of this run that cost as much.
    """

    number: int
    changed: Mapping[str, Any]
    slot: int
    last_epoch: int
    max_steps: int | None = None
    epochs_before: int = 0
    stage: str = "starting"
    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    value: float | None = None
    pace: Pace | None = None
    started: float = 0.0
    epochs_like: float = 0.0

    def after(self, fields: Mapping[str, Any], now: float) -> "RunningRun":
        """The run after a `step` event."""
        epoch, step, steps = fields["epoch"], fields["step"], fields["steps"]
        number = (epoch - 1) * steps + step
        return replace(
            self,
            stage="",
            epoch=epoch,
            step=step,
            steps=steps,
            loss=fields["train_loss"],
            pace=Pace.at(now, number) if self.pace is None else self.pace.after(now, number),
        )

    @property
    def n_steps(self) -> int:
        """Its steps, those of earlier epochs included; 0 before it reported one."""
        return min(self.last_epoch * self.steps, self.max_steps or self.last_epoch * self.steps)

    @property
    def completed(self) -> float:
        """The fraction of its steps that are done."""
        return 0.0 if self.pace is None else min(self.pace.last / self.n_steps, 1.0)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until it ends, at its mean speed so far; None before two steps were reported."""
        return None if self.pace is None else self.pace.seconds_until(self.n_steps, now)

    def search_ends_at(self) -> float | None:
        """When the search ends if all runs are as fast as this one; None before two steps were reported.

        It is not known where a limit of steps ends runs before their last epoch.
        """
        if self.pace is None or self.pace.seconds_per_step is None or self.max_steps is not None:
            return None
        return self.started + self.pace.seconds_per_step * self.steps * self.epochs_like


@dataclass(frozen=True)
class BestRun:
    """A run with a result.

    Attributes:
        value: of the search's metric, at the best epoch.
        epoch: the best one.
        seconds: of all its parts that this start of the search knows of.
        remark: its state where it is not finished: pruned, diverged, paused, ...
    """

    number: int
    changed: Mapping[str, Any]
    value: float
    epoch: int | None
    seconds: float
    remark: str


class BestRuns:
    """The best runs, by the metric of the search; a result costs the same however many runs there are.

    Attributes:
        top: the best five, best first. A new tuple after each change, because another thread draws it.
    """

    def __init__(self, metric: str, direction: str) -> None:
        self.metric, self._sign = metric, -1 if direction == "maximize" else 1
        self.top: tuple[BestRun, ...] = ()
        self._runs: dict[int, BestRun] = {}
        self._order: list[tuple[float, int]] = []

    @property
    def description(self) -> str:
        """The metric and its direction: `val_loss (lower is better)`."""
        return f"{self.metric} ({'lower' if self._sign > 0 else 'higher'} is better)"

    def add(self, record: "Record", changed: Mapping[str, Any]) -> None:
        """Count the last record of a run, which replaces an earlier one."""
        before = self._runs.pop(record.run, None)
        if before is not None:
            del self._order[bisect_left(self._order, self._key(before))]
        value = record.value_of(self.metric)
        if value is not None:
            seconds = record.seconds.get("total", 0.0) + (before.seconds if before is not None else 0.0)
            remark: str = "" if record.state == "finished" else record.state
            if record.state == "interrupted" and record.error:
                remark = record.error.split()[0]  # `paused after epoch 3`
            run = BestRun(record.run, changed, value, record.best_epoch, seconds, remark)
            self._runs[record.run] = run
            insort(self._order, self._key(run))
        self.top = tuple(self._runs[number] for _, number in self._order[:N_BEST])

    def _key(self, run: BestRun) -> tuple[float, int]:
        return self._sign * run.value, run.number


@dataclass
class SearchStatus:
    """A search as far as its events tell.

    Attributes:
        running: the runs that train, by number; a run may begin again in another slot.
        best: the best runs so far; None before the plan is known.
        n_slots: runs that train at the same time.
        n_done: runs with a result, or given up.
        n_runs: of the search.
        forecast: epochs trained and expected with asha, and the paused runs; None without asha.
        is_stopping: somebody asked for an early end.
    """

    running: dict[int, RunningRun] = field(default_factory=dict)
    best: BestRuns | None = None
    n_slots: int = 1
    n_done: int = 0
    n_runs: int = 0
    forecast: Any = None
    is_stopping: bool = False
    _ends_at: float | None = None

    def planned(self, plan: Any, n_slots: int = 1) -> None:
        """Count the results that the search has already."""
        self.n_slots = n_slots
        self.best = BestRuns(plan.config.metric, plan.config.direction)
        for run in plan.runs:
            if run.record is not None:
                self.best.add(run.record, run.changed)

    def run_started(self, run: Any, slot: int, fields: Mapping[str, Any]) -> None:
        """A run starts in a slot."""
        spec, until = run.config.training_spec, fields["until_epoch"]
        self.n_done, self.n_runs, self.forecast = fields["n_done"], fields["n_runs"], fields["forecast"]
        left = fields["seconds_left"]
        self._ends_at = None if left is None else time.monotonic() + left
        trained = 0 if run.record is None else len(run.record.curve)
        last_epoch = min(until or spec.epochs, spec.epochs)
        self.running[run.number] = RunningRun(
            run.number,
            run.changed,
            slot,
            last_epoch,
            spec.max_steps,
            trained,
            started=time.monotonic(),
            epochs_like=fields["epochs_like"],
        )

    def run_retried(self, number: int, action: str) -> None:
        """A run starts again, or waits to be the only one."""
        run, stage = self.running[number], "waiting" if action == "alone" else "starting"
        self.running[number] = replace(run, stage=stage, epoch=0, step=0, steps=0, loss=None, value=None, pace=None)

    def step(self, number: int, slot: int, fields: Mapping[str, Any]) -> None:
        """A run reports a step."""
        self.running[number] = replace(self.running[number], slot=slot).after(fields, time.monotonic())

    def evaluated(self, number: int, metrics: Mapping[str, Any]) -> None:
        """A run reports an evaluation."""
        if self.best is not None:
            self.running[number] = replace(self.running[number], value=metrics.get(self.best.metric))

    def stage(self, number: int, slot: int, stage: str) -> None:
        """A run begins another stage."""
        self.running[number] = replace(self.running[number], slot=slot, stage=_STAGES.get(stage, stage))

    def run_ended(self, record: "Record") -> RunningRun:
        """A run ends, also to be continued later; returns what it was."""
        run = self.running.pop(record.run)
        unfinished = record.state == "interrupted"  # paused, or stopped
        self.n_done += not unfinished
        if self.forecast is not None:
            trained = self.forecast.trained + max(len(record.curve) - run.epochs_before, 0)
            expected, waiting = max(self.forecast.expected, trained), self.forecast.waiting + unfinished
            self.forecast = replace(self.forecast, trained=trained, expected=expected, waiting=waiting)
        if self.best is not None and record.order_of is None:
            self.best.add(record, run.changed)
        return run

    def position(self) -> str:
        """How far the search is: ` 3/12` runs, or with asha ` 7/~40 epochs`."""
        if self.forecast is None:
            return f"{self.n_done:>{len(str(self.n_runs))}}/{self.n_runs}"
        expected = self.forecast.expected
        return f"{self.forecast.trained:>{len(str(expected))}}/~{expected} epochs"

    def progress(self) -> str:
        """How far the search is, in a line: runs or epochs, paused runs, time left, and whether it is stopping."""
        if self.forecast is None:
            parts = [f"{self.n_done:,} of {counted(self.n_runs, 'run')} done"]
        else:
            parts = [f"{self.forecast.trained:,} of about {counted(self.forecast.expected, 'epoch')} done"]
            if self.forecast.waiting:
                parts.append(f"{counted(self.forecast.waiting, 'run')} paused")
        seconds = self.seconds_left()
        if self.is_stopping:
            parts.append(STOPPING)
        elif seconds is not None:
            parts.append(f"about {duration(seconds)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """Seconds until the last run ends, not before the running ones do; None before anything was measured.

        Until a run has ended, the running ones are the measure of the others.
        """
        running, now, ends_at = [*self.running.copy().values()], time.monotonic(), self._ends_at
        if ends_at is None:
            ends = [end for run in running if (end := run.search_ends_at()) is not None]
            ends_at = fmean(ends) if ends else None
        if ends_at is None or not running:
            return None
        return max([ends_at - now, 0.0, *(run.seconds_left(now) or 0.0 for run in running)])
