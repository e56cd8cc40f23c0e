"""The loop of a sampler search: propose, generate, judge, score, record.

The next configuration is a function of config and ledger alone, so a killed search resumes as if it had not stopped.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import State, latest_by_run
from sequifier.artifacts.sampler_results import SCORE, SamplerLedger, SamplerRecord, of_search
from sequifier.callbacks import Emit
from sequifier.errors import RunError
from sequifier.sampler_search.client import RequestFailedError
from sequifier.sampler_search.evaluate import Evaluation, evaluate
from sequifier.sampler_search.generations import GenerationLog, Place
from sequifier.sampler_search.judge import Judgement
from sequifier.sampler_search.prompts import Generation
from sequifier.sampler_search.remote import RemoteModel
from sequifier.sampler_search.setup import Setup, identity_of, no_answer
from sequifier.sampler_search.space import Configuration, cell_of, configuration
from sequifier.search.distinct_runs import MAX_REPETITIONS
from sequifier.search.strategies import Observation

Outcome = Literal["complete", "stopped"]

FAILURES_IN_A_ROW = 10
"""Failed requests in a row after which the search ends, to be resumed when the server answers again."""

LOST_IN_A_ROW = 3
"""Configurations without a score in a row after which the search ends."""


@dataclass(frozen=True)
class Trial:
    """A configuration to try.

    Attributes:
        number: of its records.
        found: the configuration.
        identity: see `setup.identity_of`.
        attempt: from 1.
    """

    number: int
    found: Configuration
    identity: str
    attempt: int = 1


class TrialQueue:
    """The configurations that are still to be tried.

    Args:
        setup: of the search.
        retry_failed: try failed configurations again, once each.
    """

    def __init__(self, setup: Setup, *, retry_failed: bool) -> None:
        self._setup, self._retry_failed = setup, retry_failed
        self._retried: set[int] = set()

    def next(self, records: Sequence[SamplerRecord]) -> Trial | None:
        """Return the next configuration; None when the search is complete, or the space has no new one.

        Args:
            records: the ledger.
        """
        mine = of_search(records, self._setup.search)
        for record in mine:
            again = self._retry_failed and record.state == "failed" and record.run not in self._retried
            if again or record.state in ("running", "interrupted"):
                self._retried.add(record.run)
                found = Configuration(record.sampler_type, record.parameters)
                return Trial(record.run, found, record.identity, record.attempt + 1)
        if len(mine) >= self._setup.n_wanted:
            return None
        taken = {record.identity for record in mine}
        observations = [self._observation(record) for record in mine]
        candidates = self._setup.strategy.candidates(len(mine), observations)
        for cell in candidates if self._setup.space.is_finite else islice(candidates, MAX_REPETITIONS):
            found = configuration(self._setup.space, cell)
            identity = identity_of(self._setup, found)
            if identity not in taken:
                return Trial(max((record.run for record in records), default=-1) + 1, found, identity)
        return None

    def n_left(self, records: Sequence[SamplerRecord]) -> int:
        """Number of configurations that are still to be tried."""
        mine = of_search(records, self._setup.search)
        open_ones = ("running", "interrupted", "failed") if self._retry_failed else ("running", "interrupted")
        return sum(record.state in open_ones for record in mine) + max(self._setup.n_wanted - len(mine), 0)

    def _observation(self, record: SamplerRecord) -> Observation:
        cell = cell_of(self._setup.space, Configuration(record.sampler_type, record.parameters))
        if record.state == "finished":
            return Observation(cell, "finished", value=record.mean_score)
        return Observation(cell, "failed")


@dataclass
class SamplerSearch:
    """One process that works on a search.

    Attributes:
        setup: of the search.
        ledger: open; every change of state is in it before it counts.
        folder: logs/[name].
        emit: receives `trial_started` and `trial_ended`.
        should_stop: called between configurations.
    """

    setup: Setup
    ledger: SamplerLedger
    folder: Path
    emit: Emit
    should_stop: Callable[[], bool]
    _failures: dict[str, list[Trial]] = field(default_factory=dict)  # which -> whose requests failed in a row

    def run(self, queue: TrialQueue) -> Outcome:
        """Try the configurations of a queue.

        Raises:
            RunError: endpoint or judge do not answer any more, or the disk is full. The same command resumes.
        """
        lost = 0
        while (trial := queue.next(self.ledger.trials)) is not None:
            if self.should_stop():
                return "stopped"
            left = queue.n_left(self.ledger.trials)
            self.emit("trial_started", trial=trial, n_left=left, n_wanted=self.setup.n_wanted)
            record = self._known(trial) or self._try(trial)
            self.emit("trial_ended", trial=trial, record=record)
            lost = lost + 1 if record.state == "failed" else 0
            if lost == LOST_IN_A_ROW and queue.n_left(self.ledger.trials):
                raise RunError(
                    f"{lost} configurations in a row have no score: {record.error}",
                    fix="look at model and judge, then run the same command again with --retry-failed",
                )
        return "complete"

    def _known(self, trial: Trial) -> SamplerRecord | None:
        """Copy the record of the same configuration from another search in this ledger, if it has one."""
        for record in latest_by_run(self.ledger.trials).values():
            is_same = record.identity == trial.identity and record.run != trial.number
            if is_same and record.state == "finished":
                update = {"run": trial.number, "name": self._name(trial), "search": self.setup.search}
                fresh = record.model_dump(exclude={"time"}) | update | {"strategy": self._strategy, "attempt": 1}
                self.ledger.append(SamplerRecord.model_validate(fresh))
                return self.ledger.trials[-1]
        return None

    def _try(self, trial: Trial) -> SamplerRecord:
        started = time.monotonic()
        self._note(trial, "running")
        try:
            with GenerationLog(self.folder / "generations" / f"run-{trial.number}.jsonl", trial.identity) as log:
                result, reason = self._evaluate(trial, log)
        except BaseException as error:
            what = error.in_one_line() if isinstance(error, RunError) else "stopped at once"
            with suppress(RunError):  # a full disk: a record in state `running` resumes too
                self._note(trial, "interrupted", error=what)
            raise
        return self._note(
            trial,
            "failed" if result.mean is None else "finished",
            error=reason or None,
            seconds={"total": time.monotonic() - started},
            mean_score=result.mean,
            std_score=result.std,
            standard_error=result.standard_error,
            scores=dict(result.parts),
            metrics={} if result.mean is None else {SCORE: result.mean, **result.measures},
            by_prompt=result.by_prompt,
            sample_count=result.count,
            missing=result.missing,
        )

    def _evaluate(self, trial: Trial, log: GenerationLog) -> tuple[Evaluation, str]:
        """Return the score of a configuration, and why a part of it is missing."""
        setup = self.setup
        samples = range(setup.config.samples_per_config)
        wanted = [(prompt, sample) for sample in samples for prompt in range(len(setup.source.prompts))]
        with self._ends_when_useless("endpoint"):
            generations, reason = self._generations(trial, wanted, log)
        judgements = None
        if setup.judge is not None:
            with self._ends_when_useless("judge"):
                judgements = self._judgements(trial, generations, log)
            reason = reason or next((each.error for each in judgements if each.error), "")
        result = evaluate(
            setup.source,
            trial.found,
            generations,
            judgements,
            setup.weights,
            wanted=len(wanted),
            ngram=setup.config.ngram,
        )
        if result.missing:
            reason = f"{result.missing} of {len(wanted)} are missing" + (f": {reason}" if reason else "")
        return result, reason

    def _generations(self, trial: Trial, wanted: Sequence[Place], log: GenerationLog) -> tuple[list[Generation], str]:
        """Return the continuations in the order of `wanted`; those in the log are not requested again."""
        source, reason = self.setup.source, ""
        if not isinstance(source, RemoteModel):
            found = list(source.generate(trial.found, wanted))
            log.add_texts(((each.prompt, each.sample), each.text) for each in found)
            return found, reason
        known = {place: source.generation(*place, text) for place, text in log.texts.items()}
        todo = [place for place in wanted if place not in known]
        for place, each in zip(todo, source.generate(trial.found, todo), strict=True):
            self._count("endpoint", trial, "" if isinstance(each, Generation) else each)
            if isinstance(each, Generation):
                log.add_texts([(place, each.text)])
                known[place] = each
            else:
                reason = reason or each
        return [known[place] for place in wanted if place in known], reason

    def _judgements(self, trial: Trial, generations: Sequence[Generation], log: GenerationLog) -> list[Judgement]:
        judge = self.setup.judge
        assert judge is not None
        known = dict(log.judgements)
        todo = [each for each in generations if (each.prompt, each.sample) not in known]
        for generation, judgement in zip(todo, judge.judge(trial.found, self.setup.source.prompts, todo), strict=True):
            place = generation.prompt, generation.sample
            log.add_judgements([(place, judgement)])
            known[place] = judgement
            if self.setup.config.judge.type == "http":
                self._count("judge", trial, judgement.error)
        return [known[each.prompt, each.sample] for each in generations]

    def _count(self, which: str, trial: Trial, error: str) -> None:
        """Count failed requests in a row.

        Raises:
            RunError: the limit is reached. Configurations that ended with missing answers are marked as interrupted.
        """
        failed = self._failures.setdefault(which, [])
        if not error:
            failed.clear()
            return
        failed.append(trial)
        if len(failed) < FAILURES_IN_A_ROW:
            return
        ended = no_answer(which, f"{len(failed)} requests in a row failed, the last one: {error}")
        for earlier in {each.number: each for each in failed if each.number != trial.number}.values():
            self._note(earlier, "interrupted", error=ended.in_one_line())
        failed.clear()
        raise ended

    @contextmanager
    def _ends_when_useless(self, which: str) -> Iterator[None]:
        try:
            yield
        except RequestFailedError as error:
            raise no_answer(which, error) from None

    def _note(self, trial: Trial, state: State, **values: Any) -> SamplerRecord:
        """Write a record."""
        setup = self.setup
        record = SamplerRecord(
            run=trial.number,
            name=self._name(trial),
            identity=trial.identity,
            data=setup.evaluation,
            state=state,
            attempt=trial.attempt,
            batch_size=setup.config.inference_batch_size,
            seed=setup.seed,
            search=setup.search,
            strategy=self._strategy,
            model=setup.source.name,
            sampler_type=trial.found.sampler_type,
            parameters=dict(trial.found.parameters),
            **values,
        )
        self.ledger.append(record)
        return record

    def _name(self, trial: Trial) -> str:
        return f"{self.setup.config.sampler_search_name}-run-{trial.number}"

    @property
    def _strategy(self) -> str:
        return self.setup.config.search_strategy
