"""The loop of a search: start a run, judge how it ended, write it down, go on with the next.

It sees run files, events and the ledger, never a model: the executor is passed in.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.ledger import DONE, FAILED, Ledger, Record, State
from sequifier.config.yaml12 import parse_file
from sequifier.search.plan import Plan, PlannedRun, run_file
from sequifier.search.retry import Batch, decide, halved, halvings_between

Outcome = Literal["complete", "stopped"]


class Executor(Protocol):
    """What trains a run file somewhere else."""

    def run(self, config_path: Path, *, resume: str) -> Iterator[dict[str, Any]]:
        """The events of a run; the last one is `finished`, `failed` or `died`."""
        ...

    def close(self) -> None:
        """End what is running at once; the next run starts clean."""
        ...


class Emit(Protocol):
    """Is told what happens."""

    def __call__(self, event: str, **fields: Any) -> None: ...


def left_to_run(plan: Plan, *, retry_failed: bool) -> list[PlannedRun]:
    """The runs without a result; failed ones only when asked for."""
    kept = DONE if retry_failed else DONE | FAILED
    return [run for run in plan.runs if run.record is None or run.record.state not in kept]


def run_search(
    plan: Plan,
    ledger: Ledger,
    executor: Executor,
    *,
    retry_failed: bool,
    emit: Emit,
    should_stop: Callable[[], bool],
    on_baselines: Callable[[Mapping[str, Mapping[str, float]]], None],
) -> Outcome:
    """Train what is left of a plan, one run after another. Every change of state is in the ledger before it counts.

    Args:
        plan: with its run files written.
        ledger: open.
        executor: trains run files.
        retry_failed: run failed runs again, from the start.
        emit: is told of `run_started`, the run's own events, `run_retried` and `run_ended`.
        should_stop: asked between runs.
        on_baselines: gets the baselines of each result: they are the same for all runs.

    Returns:
        "complete", or "stopped" when somebody asked to.
    """
    waiting = left_to_run(plan, retry_failed=retry_failed)
    for position, run in enumerate(waiting, start=1):
        if should_stop():
            return "stopped"
        emit("run_started", run=run, position=position, total=len(waiting))
        attempt = _Attempts(run, plan, ledger, executor, emit, on_baselines)
        try:
            record = attempt.until_settled()
        except KeyboardInterrupt:
            executor.close()
            attempt.note("interrupted", error="stopped at once; the next start goes on from the last epoch")
            raise
        emit("run_ended", run=run, record=record)
        if record.state == "interrupted":
            return "stopped"
    return "complete"


class _Attempts:
    """One run, from its first attempt to its last."""

    def __init__(
        self,
        run: PlannedRun,
        plan: Plan,
        ledger: Ledger,
        executor: Executor,
        emit: Emit,
        on_baselines: Callable[[Mapping[str, Mapping[str, float]]], None],
    ) -> None:
        self._run, self._plan, self._ledger, self._executor = run, plan, ledger, executor
        self._emit, self._on_baselines = emit, on_baselines
        self._attempt = 1 if run.record is None else run.record.attempt + 1
        self._batch = _batch_in(run.path)
        self._crashed = False

    def until_settled(self) -> Record:
        """Attempt the run until it has a result or is given up; returns its last record."""
        # A run that ended without being told to goes on from its checkpoint; a failed one begins again.
        unfinished = self._run.record is not None and self._run.record.state in ("running", "interrupted")
        resume, why = ("matching" if unfinished else "never"), None
        while True:
            self.note("running", error=why)
            last, stage = self._watch(resume)
            if last["event"] == "finished":
                return self._finish(last["result"])
            spec = self._run.config.training_spec
            decision = decide(
                last,
                stage=stage,
                batch_size=self._batch.batch_size,
                halvings=halvings_between(spec.batch_size, self._batch.batch_size),
                max_retries=self._plan.config.max_retries,
                crashed_before=self._crashed,
            )
            # What ran out of memory or crashed leaves nothing behind for the next attempt.
            self._executor.close()
            if decision.action == "give_up":
                reproduce = f"sequifier train --config-path {self._run.path}"
                return self.note(decision.state, error=f"{decision.reason}; to reproduce: {reproduce}")
            why = f"attempt {self._attempt}: {decision.reason}"
            if decision.action == "halve":
                self._halve()
                resume = "never"
            else:
                self._crashed, resume = True, "matching"
            self._attempt += 1
            self._emit("run_retried", reason=decision.reason, action=decision.action, batch=self._batch)

    def note(self, state: State, *, error: str | None = None, **fields: Any) -> Record:
        """Write a record of this attempt."""
        seed = self._run.config.seed
        assert seed is not None
        record = Record(
            run=self._run.number,
            name=self._run.name,
            identity=self._run.identity,
            data=self._plan.fingerprint,
            state=state,
            attempt=self._attempt,
            batch_size=self._batch.batch_size,
            accumulation_steps=self._batch.accumulation_steps,
            seed=seed,
            error=error,
            **fields,
        )
        self._ledger.append(record)
        return record

    def _watch(self, resume: str) -> tuple[dict[str, Any], str]:
        """Pass the events on; returns the last one and the stage in which it came."""
        stage, event = "load", {}
        for event in self._executor.run(self._run.path, resume=resume):
            if event["event"] == "stage":
                stage = event["stage"]
            elif event["event"] not in ("finished", "failed", "died"):
                self._emit(event["event"], **{key: value for key, value in event.items() if key != "event"})
        return event, stage

    def _finish(self, result: dict[str, Any]) -> Record:
        n_targets: dict[str, int] = result["n_targets"]
        for other in self._ledger.latest().values():
            if other.n_targets not in (None, n_targets):
                return self.note(
                    "failed",
                    error=f"validation targets {n_targets}, but {other.name} has {other.n_targets}: "
                    "their losses cannot be compared; use evaluation_context: full",
                )
        self._on_baselines(result["baselines"])
        states: dict[str, State] = {"interrupted": "interrupted", "diverged": "diverged"}
        return self.note(
            states.get(result["ended"], "finished"),
            error=result["error"],
            best_val_loss=result["best_val_loss"],
            best_epoch=result["best_epoch"] or None,
            n_targets=n_targets,
            metrics=result["metrics"],
            seconds=result["seconds"],
            peak_memory_bytes=result["peak_memory_bytes"],
            files={"config": str(self._run.path), **result["files"]},
        )

    def _halve(self) -> None:
        """Rewrite the run file with a smaller batch; the planned one stays in a comment."""
        self._batch = halved(self._batch, keep_effective=self._plan.config.oom_keep_effective_batch)
        planned = self._run.config.training_spec
        cut = {
            "batch_size": self._batch.batch_size,
            "accumulation_steps": self._batch.accumulation_steps,
            "effective_batch_size": self._batch.effective_batch_size,
        }
        comments = {
            "training_spec.batch_size": f"was {planned.batch_size}, which ran out of memory",
            "training_spec.accumulation_steps": f"was {planned.accumulation_steps}",
        }
        config = self._run.config.model_copy(update={"training_spec": planned.model_copy(update=cut)})
        write_text(self._run.path, run_file(replace(self._run, config=config), self._plan, comments=comments))


def _batch_in(path: Path) -> Batch:
    """The batch that a run file asks for: the planned one, or what was found to fit."""
    spec = parse_file(path).values["training_spec"]
    return Batch(spec["batch_size"], spec["accumulation_steps"], spec["effective_batch_size"])
