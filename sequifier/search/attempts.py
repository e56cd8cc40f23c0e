"""One task of a search, from its first attempt to its result: retries, smaller batches, records in the ledger."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.disk import is_disk_full as is_no_space_error
from sequifier.artifacts.ledger import Ledger, Record, State
from sequifier.callbacks import Emit
from sequifier.errors import RunError, SequifierError
from sequifier.printable import command_line
from sequifier.processes import describe_death
from sequifier.results.run_files import read_document
from sequifier.search.agenda import PAUSED, Task, is_paused
from sequifier.search.comparable import SameInputs
from sequifier.search.evaluation_script import TrainedRun, measure
from sequifier.search.executor import Executor
from sequifier.search.failures import decide, is_disk_full, is_shared
from sequifier.search.out_of_memory import Batch, FittingBatches, halved
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.run_file import batch_in, edited, run_file, set_threads
from sequifier.search.slots import Event, Slots, Work

OTHER_MASKS = "; dropout draws its masks for each smaller batch, so they are not those of the planned batch"
"""Note in the ledger on a run with dropout that trains with a smaller batch than planned."""

_STATES: Mapping[str, State] = {
    "interrupted": "interrupted",
    "paused": "interrupted",
    "pruned": "pruned",
    "diverged": "diverged",
}
"""How a run ended -> its state in the ledger; every other end is `finished`."""

_LAST = ("finished", "failed", "died", "lost", "timeout", "measured")
"""Events that end the work of a slot."""


@dataclass(frozen=True)
class Search:
    """What all runs of a search share.

    Attributes:
        plan: with its run files written.
        ledger: open; every change of state is in it before it counts.
        slots: train run files.
        emit: receives `run_started`, the run's own events (its log lines as `run_log`), `run_retried` and `run_ended`,
            each with `run` and `slot`; and `log` with a line about the search itself.
        should_stop: asked between runs.
        on_baselines: receives the baselines of each result, and the record of its run, which has their sums.
        check_inputs: raises when the data are not the planned ones any more, or a file that every run needs is gone;
            called before each run and after its evaluation script.
    """

    plan: Plan
    ledger: Ledger
    slots: Slots
    emit: Emit
    should_stop: Callable[[], bool]
    on_baselines: Callable[[Mapping[str, Mapping[str, float]], Path | None], None]
    check_inputs: Callable[[], None] = lambda: None


class DiskFullError(RunError):
    """A run found the disk full."""


def inputs_error(plan: Plan, run: PlannedRun, reason: str) -> RunError:
    """The error that ends a search whose inputs changed or are gone."""
    return RunError(
        f"the search ends in {run.name}, because every run would meet the same problem: {reason}",
        fix="solve it, then run the same command again, which resumes the search on the data that it was planned on "
        f"({plan.fingerprint}); for other data choose another hp_search_name",
    )


class Attempts:
    """One task, from its first attempt to its last: says what a slot has to do next, until the run is settled.

    Args:
        task: what to train.
        search: that it belongs to.
        fitting: the batches that fitted into memory so far.
        same_inputs: the inputs of all results so far.
        emit: receives events about this run.
    """

    def __init__(
        self, task: Task, search: Search, fitting: FittingBatches, same_inputs: SameInputs, emit: Emit
    ) -> None:
        self._task, self._run, self._search, self._emit = task, task.run, search, emit
        self._fitting, self._same_inputs = fitting, same_inputs
        record = task.run.record
        if record is None:
            self._attempt = 1
        else:
            self._attempt = record.attempt if is_paused(record) else record.attempt + 1
        self._batch = self._batch_of_file()
        self._halvings = fitting.halvings(task.run.number)
        self._crashed, self._losses = False, 0
        self._stage = "load"
        self._last: Event = {}
        self._steps = self._until_settled()

    def begin(self) -> Work:
        """The first attempt; the ledger has it already."""
        return next(self._steps)

    def see(self, event: Event) -> None:
        """Take up an event of the work."""
        self._last = event
        if event["event"] == "stage":
            self._stage = event["stage"]
        if event["event"] not in _LAST:
            name = "run_log" if event["event"] == "log" else event["event"]
            self._emit(name, **{key: value for key, value in event.items() if key != "event"})

    def proceed(self, *, was_beside: bool = False) -> Work | Record:
        """What follows when the work has ended: more work, or the last record of the run.

        Args:
            was_beside: whether other runs used the same memory meanwhile.

        Raises:
            DiskFullError: the disk is full.
            RunError: every other run would fail like this one.
        """
        try:
            return self._steps.send(was_beside)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _until_settled(self) -> Generator[Work, bool, Record]:
        # An interrupted run resumes from its checkpoint; a failed one begins again.
        unfinished = self._run.record is not None and self._run.record.state in ("running", "interrupted")
        resume, why = ("matching" if unfinished else "never"), None
        config = self._search.plan.config
        is_alone = False
        if self._run.record is None:
            why = self._start_smaller()
        seconds: dict[str, float] = {}  # of the attempt before
        while True:
            self.note("running", error=why, seconds=seconds)
            self._stage, self._last = "load", {}
            began = time.monotonic()
            was_beside = yield Work(partial(self._train, resume), is_alone)
            last = self._last
            if last["event"] == "finished":
                return (yield from self._finish(last["result"]))
            if is_disk_full(last):
                reason = last.get("error") or describe_death(last)
                with suppress(RunError):  # a full ledger still says `running`, from which a run resumes as well
                    self.note("interrupted", error=f"the disk is full: {reason}")
                raise DiskFullError(reason, where=last.get("where", ""))
            if is_shared(last, was_beside=was_beside):
                raise self._inputs_error(last["error"])
            decision = decide(
                last,
                stage=self._stage,
                batch_size=self._batch.batch_size,
                halvings=self._halvings,
                max_retries=config.max_retries,
                crashed_before=self._crashed,
                was_beside=was_beside,
                losses=self._losses,
                max_losses=config.execution.max_node_losses,
            )
            seconds = {"total": time.monotonic() - began}
            if decision.action == "give_up":
                reproduce = command_line("train", "--config-path", self._run.path)
                return self.note(decision.state, error=f"{decision.reason}; to reproduce: {reproduce}", seconds=seconds)
            why = f"attempt {self._attempt}: {decision.reason}"
            is_alone = decision.action == "alone"
            if decision.action == "halve":
                self._halvings += 1
                self._cut(halved(self._batch, keep_effective=config.oom_keep_effective_batch), "ran out of memory")
                resume, why = "never", why + self._masks()
            else:
                is_lost = last["event"] == "lost"
                self._losses += is_lost
                self._crashed = self._crashed or (decision.action == "resume" and not is_lost)
                resume = "matching"
            self._attempt += 1
            self._emit("run_retried", reason=decision.reason, action=decision.action, batch=self._batch)

    def note(self, state: State, *, error: str | None = None, **fields: Any) -> Record:
        """Append a record of this attempt to the ledger."""
        before = self._run.record
        if state == "running":  # by which a search that dies before its first result keeps its number
            fields["cpu_threads"] = self._run.config.cpu_threads or os.cpu_count() or 1
        if state in ("running", "interrupted") and "curve" not in fields and before is not None:
            fields["curve"] = before.curve  # what a pruner goes by, should the search die now
        record = self._run.new_record(
            self._search.plan.fingerprint,
            state,
            attempt=self._attempt,
            batch_size=self._batch.batch_size,
            accumulation_steps=self._batch.accumulation_steps,
            error=error,
            known=self._task.known,
            **fields,
        )
        self._search.ledger.append(record)
        return record

    def _train(self, resume: str, executor: Executor) -> Iterator[Event]:
        """Train once, in the thread of a slot."""
        minutes = self._search.plan.config.run_timeout_minutes
        event: Event = {}
        for event in executor.run(
            self._run.path,
            data=self._search.plan.fingerprint,
            resume=resume,
            until_epoch=self._task.until_epoch,
            thresholds=self._task.thresholds,
            timeout_seconds=None if minutes is None else 60 * minutes,
        ):
            yield event
        if event["event"] != "finished":
            executor.close()  # after a failure nothing is left behind for the next attempt

    def _finish(self, result: dict[str, Any]) -> Generator[Work, bool, Record]:
        """Record a result, after the evaluation script has measured it."""
        plan, run = self._search.plan, self._run
        n_targets, inputs = result["n_targets"], result["inputs"]
        if problem := self._incomparable(inputs, n_targets):
            return self.note("failed", error=problem)
        record = result["files"].get("record")
        self._search.on_baselines(result["baselines"], None if record is None else plan.config.root / record)
        state, error = _STATES.get(result["ended"], "finished"), result["error"]
        files = {"config": str(run.path), **result["files"]}
        metrics = result["metrics"]
        script = plan.config.evaluation_script if run.order_of is None else None
        if script is not None and state == "finished":
            trained = TrainedRun(run.number, run.name, run.path, files, metrics, plan.config.root)
            yield Work(partial(self._measure, trained), is_training=False)
            failure = self._last["error"]
            if failure is not None:
                if is_no_space_error(failure):
                    self.note("interrupted", error=failure.in_one_line())
                    raise DiskFullError(failure.what) from failure
                return self.note("failed", error=failure.in_one_line(), files=files)
            metrics |= self._last["metrics"]
            try:
                self._search.check_inputs()  # the program may have read them
            except SequifierError as changed:
                raise self._inputs_error(changed.in_one_line()) from changed
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

    def _measure(self, trained: TrainedRun, executor: Executor) -> Iterator[Event]:
        """Let the evaluation script measure a model, in the thread of a slot."""
        script = self._search.plan.config.evaluation_script
        assert script is not None
        metrics, failure = {}, None
        try:
            metrics = measure(script, trained, is_cancelled=self._search.slots.is_ending)
        except RunError as error:
            failure = error
        yield {"event": "measured", "metrics": metrics, "error": failure}

    def _incomparable(self, inputs: Mapping[str, str], n_targets: Mapping[str, int]) -> str:
        """Why a result cannot be ranked with those of other runs; empty where it can.

        Raises:
            RunError: the inputs changed since another run was trained.
        """
        mismatch = self._same_inputs.mismatch(inputs, n_targets)
        if mismatch is not None and mismatch.is_shared:
            raise self._inputs_error(mismatch.reason)
        return "" if mismatch is None else mismatch.reason

    def _inputs_error(self, reason: str) -> RunError:
        """The error that ends the search; the run stays unfinished."""
        self.note("interrupted", error=reason)
        return inputs_error(self._search.plan, self._run, reason)

    def _batch_of_file(self) -> Batch:
        """The batch in the run file: the planned one, or the one that was found to fit.

        A file that was damaged or edited is written again: its result would be in the table under other settings.
        """
        document = read_document(self._run.path)
        problem = edited(document, self._run, self._search.plan.fingerprint)
        if problem is not None:
            write_text(self._run.path, run_file(self._run, self._search.plan))
            document = read_document(self._run.path)
            self._search.emit("log", line=f"{self._run.path} {problem}; written again as planned")
        set_threads(self._run)  # an earlier start may have had another number
        return batch_in(document)

    def _start_smaller(self) -> str | None:
        """Begin with the batch that fitted for runs that need no more memory; returns why, if so."""
        keep = self._search.plan.config.oom_keep_effective_batch
        batch = self._fitting.first(self._run, keep_effective=keep)
        if batch is None:
            return None
        self._cut(batch, "did not fit in memory in a run that needs no more")
        fits = f"starts with a batch of {batch.batch_size}: larger ones did not fit in runs that need no more"
        return fits + self._masks()

    def _masks(self) -> str:
        """How a smaller batch changes a run although the optimizer sees the same windows."""
        return OTHER_MASKS if self._run.config.training_spec.dropout else ""

    def _cut(self, batch: Batch, why: str) -> None:
        """Rewrite the run file with a smaller batch; the planned one stays in a comment."""
        self._batch = batch
        planned = self._run.config.training_spec
        comments = {
            "training_spec.batch_size": f"was {planned.batch_size}, which {why}",
            "training_spec.accumulation_steps": f"was {planned.accumulation_steps}",
        }
        spec = planned.model_copy(update=asdict(batch))
        config = self._run.config.model_copy(update={"training_spec": spec})
        write_text(self._run.path, run_file(replace(self._run, config=config), self._search.plan, comments=comments))
