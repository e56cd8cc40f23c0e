"""The loop of a search: start a run, judge how it ended, write it down, go on with the next.

It sees run files, events and the ledger, never a model: the executor is passed in.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.disk import free_bytes, is_disk_full, place_of
from sequifier.artifacts.ledger import Ledger, Record, State, now
from sequifier.callbacks import Emit
from sequifier.config.size import size_text
from sequifier.errors import RunError, SequifierError
from sequifier.processes import describe_death
from sequifier.search.agenda import PAUSED, Agenda, Task, is_paused
from sequifier.search.edited import batch_in, edited
from sequifier.search.estimate import disk_use, seconds_left
from sequifier.search.evaluation_script import TrainedRun, measure
from sequifier.search.executor import Executor
from sequifier.search.keep_models import remove_surplus
from sequifier.search.out_of_memory import Batch, decide, first_batch, halved, is_shared, no_room
from sequifier.search.plan import Plan, PlannedRun, run_file

Outcome = Literal["complete", "stopped", "budget"]


@dataclass(frozen=True)
class Search:
    """What every run of a search is done with.

    Attributes:
        plan: with its run files written.
        ledger: open; every change of state is in it before it counts.
        executor: trains run files.
        emit: is told of `run_started`, the run's own events, `run_retried` and `run_ended`.
        should_stop: asked between runs.
        on_baselines: gets the baselines of each result, and the record of its run, which has their sums.
        check_inputs: raises when the data are not the planned ones any more, or a file that every run needs is gone;
            called before each run and after its evaluation script.
    """

    plan: Plan
    ledger: Ledger
    executor: Executor
    emit: Emit
    should_stop: Callable[[], bool]
    on_baselines: Callable[[Mapping[str, Mapping[str, float]], Path | None], None]
    check_inputs: Callable[[], None] = lambda: None


def run_search(search: Search, agenda: Agenda) -> Outcome:
    """Train what is on the agenda, one run after another.

    Returns:
        "complete"; "stopped" when somebody asked to; "budget" when `agenda.ended_by` says which one is used up.

    Raises:
        RunError: the disk is full, the data changed or are gone, the ledger cannot be written, or no worker can be
            started. What was running goes on from its checkpoint when the search is started again.
    """
    while (task := agenda.next()) is not None:
        if search.should_stop():
            return "stopped"
        try:
            search.check_inputs()
        except SequifierError as error:
            raise _no_input(search.plan, task.run, error.in_one_line()) from error
        waiting, known = agenda.waiting(), list(agenda.runs.values())
        forecast = agenda.forecast()
        epochs_left = None if forecast is None else forecast.expected - forecast.trained
        left = seconds_left(waiting, known, search.ledger.records, epochs_left=epochs_left)
        search.emit(
            "run_started",
            run=task.run,
            until_epoch=task.until_epoch,
            n_done=len(known) - len(waiting),
            n_runs=max(len(known), len(search.plan.runs) + search.plan.n_to_propose),
            seconds_left=left,
            forecast=forecast,
        )
        attempts = _Attempts(task, search, agenda.runs)
        try:
            record = attempts.until_settled()
        except KeyboardInterrupt:
            search.executor.close()
            attempts.note("interrupted", error="stopped at once; the next start goes on from the last epoch")
            raise
        except RunError as error:
            if not (isinstance(error, _NoRoomError) or is_disk_full(error)):
                raise
            search.executor.close()
            raise _disk_full(error, task, search, agenda) from error
        search.emit("run_ended", run=task.run, record=record)
        remove_surplus(search.plan, search.ledger.records)
        if record.state == "interrupted" and not is_paused(record):
            return "stopped"
    if agenda.ended_by:
        return "budget"
    for run in agenda.abandoned():
        assert run.record is not None
        search.ledger.append(
            run.record.model_copy(
                update={
                    "state": "pruned",
                    "error": f"not promoted after epoch {len(run.record.curve)}",
                    "seconds": {**run.record.seconds, "total": 0.0},  # those of its last part are counted already
                    "time": now(),
                }
            )
        )
    return "complete"


class _Attempts:
    """One task, from its first attempt to its last."""

    def __init__(self, task: Task, search: Search, known: Mapping[int, PlannedRun]) -> None:
        self._task, self._run, self._search, self._known = task, task.run, search, known
        record = task.run.record
        if record is None:
            self._attempt = 1
        else:
            self._attempt = record.attempt if is_paused(record) else record.attempt + 1
        self._batch = self._as_planned()
        own = [record.batch_size for record in search.ledger.records if record.run == task.run.number]
        self._halvings = sum(after < before for before, after in pairwise(own))
        self._crashed = False

    def _as_planned(self) -> Batch:
        """The batch to begin with: the planned one, or what was found to fit; the run file says what was planned.

        A file that was damaged or edited is written again: its result would stand in the table under other settings.
        """
        other = edited(self._run, self._search.plan.fingerprint)
        if other is None:
            return batch_in(self._run.path)
        write_text(self._run.path, run_file(self._run, self._search.plan))
        self._search.emit("log", line=f"{self._run.path} {other}; written again as planned")
        return batch_in(self._run.path)

    def until_settled(self) -> Record:
        """Attempt the run until it has a result or is given up; returns its last record."""
        # A run that ended without being told to goes on from its checkpoint; a failed one begins again.
        unfinished = self._run.record is not None and self._run.record.state in ("running", "interrupted")
        resume, why = ("matching" if unfinished else "never"), None
        config = self._search.plan.config
        if self._run.record is None:
            why = self._start_smaller()
        while True:
            self.note("running", error=why)
            last, stage = self._watch(resume)
            if last["event"] == "finished":
                return self._finish(last["result"])
            if no_room(last):
                self._search.executor.close()
                reason = last.get("error") or describe_death(last)
                with suppress(RunError):  # a ledger without room still says `running`, which goes on just as well
                    self.note("interrupted", error=f"the disk is full: {reason}")
                raise _NoRoomError(reason, where=last.get("where", ""))
            if is_shared(last):
                self._search.executor.close()
                raise self._no_input(last["error"])
            decision = decide(
                last,
                stage=stage,
                batch_size=self._batch.batch_size,
                halvings=self._halvings,
                max_retries=config.max_retries,
                crashed_before=self._crashed,
            )
            # What ran out of memory or crashed leaves nothing behind for the next attempt.
            self._search.executor.close()
            if decision.action == "give_up":
                reproduce = f"sequifier train --config-path {self._run.path}"
                return self.note(decision.state, error=f"{decision.reason}; to reproduce: {reproduce}")
            why = f"attempt {self._attempt}: {decision.reason}"
            if decision.action == "halve":
                self._halvings += 1
                self._cut(halved(self._batch, keep_effective=config.oom_keep_effective_batch), "ran out of memory")
                resume, why = "never", why + self._masks()
            else:
                self._crashed, resume = True, "matching"
            self._attempt += 1
            self._search.emit("run_retried", reason=decision.reason, action=decision.action, batch=self._batch)

    def _no_input(self, reason: str) -> RunError:
        """As the function below; the run keeps what it has."""
        self.note("interrupted", error=reason)
        return _no_input(self._search.plan, self._run, reason)

    def note(self, state: State, *, error: str | None = None, **fields: Any) -> Record:
        """Write a record of this attempt."""
        seed = self._run.config.seed
        assert seed is not None
        before = self._run.record
        if state in ("running", "interrupted") and "curve" not in fields and before is not None:
            fields["curve"] = before.curve  # what a pruner goes by, should the search die now
        record = Record(
            run=self._run.number,
            name=self._run.name,
            identity=self._run.identity,
            merge_key=self._run.merge_key,
            data=self._search.plan.fingerprint,
            state=state,
            attempt=self._attempt,
            batch_size=self._batch.batch_size,
            accumulation_steps=self._batch.accumulation_steps,
            seed=seed,
            error=error,
            **fields,
        )
        self._search.ledger.append(record)
        return record

    def _watch(self, resume: str) -> tuple[dict[str, Any], str]:
        """Pass the events on; returns the last one and the stage in which it came."""
        stage, event = "load", {}
        minutes = self._search.plan.config.run_timeout_minutes
        for event in self._search.executor.run(
            self._run.path,
            data=self._search.plan.fingerprint,
            resume=resume,
            until_epoch=self._task.until_epoch,
            thresholds=self._task.thresholds,
            timeout_seconds=None if minutes is None else 60 * minutes,
        ):
            if event["event"] == "stage":
                stage = event["stage"]
            elif event["event"] not in ("finished", "failed", "died", "timeout"):
                self._search.emit(event["event"], **{key: value for key, value in event.items() if key != "event"})
        return event, stage

    def _finish(self, result: dict[str, Any]) -> Record:
        n_targets: dict[str, int] = result["n_targets"]
        inputs: dict[str, str] = result["inputs"]
        for other in self._search.ledger.latest().values():
            if changed := sorted(
                key for key in inputs.keys() & other.inputs.keys() if inputs[key] != other.inputs[key]
            ):
                key = changed[0]
                raise self._no_input(
                    f"{key} is not what it was when {other.name} was trained ({inputs[key]}, then "
                    f"{other.inputs[key]}): their losses cannot be compared"
                )
            if other.n_targets not in (None, n_targets):
                return self.note(
                    "failed",
                    error=f"validation targets {n_targets}, but {other.name} has {other.n_targets}: "
                    "their losses cannot be compared; use evaluation_context: full",
                )
        record = result["files"].get("record")
        folder = None if record is None else self._search.plan.config.root / record
        self._search.on_baselines(result["baselines"], folder)
        state, error = _ENDED.get(result["ended"], "finished"), result["error"]
        files = {"config": str(self._run.path), **result["files"]}
        metrics = result["metrics"]
        script = self._search.plan.config.evaluation_script
        if script is not None and state == "finished":
            try:
                metrics |= measure(script, self._trained(files, metrics))
            except RunError as failure:
                if is_disk_full(failure):
                    self.note("interrupted", error=failure.in_one_line())
                    raise _NoRoomError(failure.what) from failure
                return self.note("failed", error=failure.in_one_line(), files=files)
            try:
                self._search.check_inputs()  # the program may have read them
            except SequifierError as failure:
                raise self._no_input(failure.in_one_line()) from failure
        if result["ended"] == "paused":
            error = f"{PAUSED} {result['last_epoch']}"
        elif result["ended"] == "pruned":
            error = f"behind the median after epoch {result['last_epoch']}"
        return self.note(
            state,
            error=error,
            best_val_loss=result["best_val_loss"],
            best_epoch=result["best_epoch"] or None,
            n_targets=n_targets,
            inputs=inputs,
            metrics=metrics,
            curve=result["curve"],
            seconds=result["seconds"],
            peak_memory_bytes=result["peak_memory_bytes"],
            **result.get("facts", {}),
            files=files,
        )

    def _trained(self, files: Mapping[str, str], metrics: Mapping[str, float]) -> TrainedRun:
        root = self._search.plan.config.root
        return TrainedRun(self._run.number, self._run.name, self._run.path, files, metrics, root)

    def _start_smaller(self) -> str | None:
        """Begin with the batch that fitted for runs that need no more memory; returns why, if so."""
        search, runs = self._search, self._known
        keep = search.plan.config.oom_keep_effective_batch
        batch = first_batch(self._run, search.ledger.records, runs, keep_effective=keep)
        if batch is None:
            return None
        self._cut(batch, "did not fit in memory in a run that needs no more")
        fits = f"starts with a batch of {batch.batch_size}: larger ones did not fit in runs that need no more"
        return fits + self._masks()

    def _masks(self) -> str:
        """What a smaller batch changes though the optimizer sees the same windows."""
        return OTHER_MASKS if self._run.config.training_spec.dropout else ""

    def _cut(self, batch: Batch, why: str) -> None:
        """Rewrite the run file with a smaller batch; the planned one stays in a comment."""
        self._batch = batch
        planned = self._run.config.training_spec
        cut = {
            "batch_size": batch.batch_size,
            "accumulation_steps": batch.accumulation_steps,
            "effective_batch_size": batch.effective_batch_size,
        }
        comments = {
            "training_spec.batch_size": f"was {planned.batch_size}, which {why}",
            "training_spec.accumulation_steps": f"was {planned.accumulation_steps}",
        }
        config = self._run.config.model_copy(update={"training_spec": planned.model_copy(update=cut)})
        write_text(self._run.path, run_file(replace(self._run, config=config), self._search.plan, comments=comments))


def _no_input(plan: Plan, run: PlannedRun, reason: str) -> RunError:
    """The error that ends a search whose inputs changed or are gone."""
    return RunError(
        f"the search ends in {run.name}, because every run would meet the same problem: {reason}",
        fix=f"restore what the search was planned on (data {plan.fingerprint}) and run the same command again, which "
        "resumes; for other data choose another hp_search_name",
    )


class _NoRoomError(RunError):
    """A worker found the disk full."""


def _disk_full(error: RunError, task: Task, search: Search, agenda: Agenda) -> RunError:
    """The error that ends a search on a full disk."""
    place = Path(place_of(error) or search.plan.config.root)
    needed = disk_use(search.plan, search.ledger.records, to_come_alone=True).most
    left = "the run that is left" if agenda.n_left == 1 else f"the {agenda.n_left} runs that are left"
    return RunError(
        f"the disk is full, so the search ends in {task.run.name}: {error.what}",
        where=f"{place} ({size_text(free_bytes(place))} free)",
        fix=f"free about {size_text(needed)} for {left}, then run the same command again: it goes on where it stopped",
    )


OTHER_MASKS = "; dropout draws its masks for each smaller batch, so they are not those of the planned batch"
"""Note in the ledger on a run with dropout that trains with a smaller batch than planned."""

_ENDED: Mapping[str, State] = {
    "interrupted": "interrupted",
    "paused": "interrupted",
    "pruned": "pruned",
    "diverged": "diverged",
}
"""How a run ended -> its state in the ledger; every other end is `finished`."""
