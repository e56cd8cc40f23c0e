"""The loop of a search: start runs, judge how each ended, write that down, continue with the next ones.

It sees run files, events and the ledger, never a model: the executors are handed in.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.disk import free_bytes, is_disk_full, place_of
from sequifier.artifacts.ledger import Record, now
from sequifier.config.size import size_text
from sequifier.errors import RunError, SequifierError
from sequifier.percent import counted
from sequifier.search.agenda import Agenda, Task, is_paused
from sequifier.search.attempts import Attempts, DiskFullError, Search, inputs_error
from sequifier.search.comparable import SameInputs
from sequifier.search.estimate import TimeLeft, disk_use
from sequifier.search.keep_models import Surplus
from sequifier.search.out_of_memory import FittingBatches
from sequifier.search.plan import PlannedRun
from sequifier.search.slots import Event, Work

Outcome = Literal["complete", "stopped", "budget"]


def run_search(search: Search, agenda: Agenda) -> Outcome:
    """Train what is on the agenda, a run in each slot.

    A problem that ends the search, as a full disk, lets the other runs finish their epoch first.

    Returns:
        "complete"; "stopped" when somebody asked for an early end; "budget" when one is used up before the last run.

    Raises:
        RunError: the disk is full, the data changed or are gone, the ledger cannot be written, or no worker can be
            started. The runs that were training resume from their checkpoints when the search is started again.
    """
    return _Loop(search, agenda).run()


class _Running:
    """A run that is being trained, or that waits for a slot again.

    Attributes:
        task: what to train.
        slot: that works on it, or did last.
        attempts: returns what follows.
        work: for the slot.
        was_beside: whether another run used the same memory while this work was done.
    """

    attempts: Attempts
    work: Work

    def __init__(self, task: Task, slot: int) -> None:
        self.task, self.slot = task, slot
        self.was_beside = False

    @property
    def run(self) -> PlannedRun:
        return self.task.run


class _Loop:
    def __init__(self, search: Search, agenda: Agenda) -> None:
        self._search, self._agenda, self._slots = search, agenda, search.slots
        self._working: dict[int, _Running] = {}  # by slot
        self._waiting: list[_Running] = []  # for a slot, or for the others to end
        self._error: RunError | None = None  # ends the search
        self._is_stopped = False
        self._fitting, self._same_inputs = FittingBatches(agenda.runs), SameInputs()
        search.ledger.follow(self._fitting.add)
        search.ledger.follow(self._same_inputs.add)
        self._left, self._surplus = TimeLeft(agenda.runs), Surplus(search.plan)
        search.ledger.follow(self._left.add)
        search.ledger.follow(self._surplus.add)
        for run in agenda.waiting():
            self._left.expect(run)

    def run(self) -> Outcome:
        try:
            self._fill()
            while self._working or (self._slots.is_waiting and not self._is_ending()):
                self._wait()
        except KeyboardInterrupt:
            self._slots.end()
            self._interrupt("stopped at once; the next start resumes from the last epoch")
            raise
        self._interrupt("was to begin again when the search ended")
        if self._error is not None:
            raise self._error
        if self._is_stopped or (self._search.should_stop() and self._agenda.n_left):
            return "stopped"
        if self._agenda.ended_by and self._agenda.n_left:
            left = counted(self._agenda.n_left, "more run")
            self._log(f"budget used up ({self._agenda.ended_by}); raise it to train {left}")
            return "budget"
        _settle_paused(self._search, self._agenda)
        return "complete"

    def _wait(self) -> None:
        """Wait for what happens next, and take it up."""
        try:
            sent = self._slots.next(self._log)
        except RunError as error:
            self._end(error, None)
            return
        if sent is None:
            self._fill()
        else:
            self._take(*sent)

    def _fill(self) -> None:
        """Let every free slot work, as long as there is something to do."""
        for slot in self._slots.free:
            if (running := self._next(slot)) is not None:
                self._begin(running, slot)

    def _next(self, slot: int) -> _Running | None:
        """What a free slot does next. Where a run is to be alone in its memory, the other slots of it wait."""
        beside = self._beside(slot)
        if self._is_ending() or any(running.work.is_alone for running in beside):
            return None
        for place, running in enumerate(self._waiting):
            if not running.work.is_alone:
                return self._waiting.pop(place)
            if self._slots.share_memory(slot, running.slot):
                return None if beside else self._waiting.pop(place)
        task = None
        try:
            task = self._agenda.next()
            return None if task is None else self._started(task, slot)
        except RunError as error:
            self._end(error, task)
            return None

    def _beside(self, slot: int) -> list[_Running]:
        """What trains in the memory of a slot."""
        return [running for running in self._working.values() if self._slots.share_memory(slot, running.slot)]

    def _is_ending(self) -> bool:
        """Whether no run may begin any more."""
        return self._is_stopped or self._error is not None or self._search.should_stop()

    def _started(self, task: Task, slot: int) -> _Running:
        try:
            self._search.check_inputs()
        except SequifierError as error:
            raise inputs_error(self._search.plan, task.run, error.in_one_line()) from error
        running = _Running(task, slot)
        self._emit_start(running)
        emit = self._emit_for(running)
        running.attempts = Attempts(task, self._search, self._fitting, self._same_inputs, emit)
        running.work = running.attempts.begin()
        return running

    def _begin(self, running: _Running, slot: int) -> None:
        others = self._beside(slot)
        for each in others:
            each.was_beside = True
        running.slot, running.was_beside = slot, bool(others)
        if running.work.is_alone:
            self._slots.rest(slot)
        self._working[slot] = running
        self._slots.begin(slot, running.work)

    def _take(self, slot: int, event: Event | BaseException | None) -> None:
        """Take up what a slot sent: an event, or the end of its work."""
        if isinstance(event, dict):
            self._working[slot].attempts.see(event)
            return
        if event is not None and not isinstance(event, RunError):
            raise event
        running = self._working.pop(slot)
        if event is None:
            self._proceed(running)
        else:
            self._lose(slot, running, event)
        self._fill()

    def _proceed(self, running: _Running) -> None:
        try:
            following = running.attempts.proceed(was_beside=running.was_beside)
            if isinstance(following, Record):
                self._ended(running, following)
        except RunError as error:
            self._end(error, running.task)
            return
        if isinstance(following, Work):
            running.work = following
            if following.is_training and (following.is_alone or self._is_ending()):
                self._waiting.append(running)
            else:
                self._begin(running, running.slot)

    def _lose(self, slot: int, running: _Running, error: RunError) -> None:
        """Let another slot do the work of one that cannot work any more."""
        try:
            if is_disk_full(error):
                raise error
            self._slots.lose(slot, error, self._log)
        except RunError as last:
            self._end(last, running.task)
        else:
            self._waiting.insert(0, running)

    def _log(self, line: str) -> None:
        self._search.emit("log", line=line)

    def _ended(self, running: _Running, record: Record) -> None:
        search = self._search
        search.emit("run_ended", run=running.run, slot=running.slot, record=record)
        self._surplus.remove()
        if record.state == "interrupted" and not is_paused(record) and not self._is_stopped:
            self._is_stopped = True
            self._slots.stop()

    def _end(self, error: RunError, task: Task | None) -> None:
        """End the search with an error when the runs that train have finished their epoch.

        Args:
            error: what ends it.
            task: in which it was met; None where the next one could not be decided.
        """
        if self._error is not None:
            return
        self._error = error
        if isinstance(error, DiskFullError) or is_disk_full(error):
            self._error = _disk_full(error, task, self._search, self._agenda)
            self._error.__cause__ = error
        self._slots.stop()

    def _interrupt(self, why: str) -> None:
        """Record that the runs which have not ended stopped."""
        for running in [*self._working.values(), *self._waiting]:
            with suppress(RunError):  # a full ledger still says `running`, from which a run resumes as well
                running.attempts.note("interrupted", error=why)

    def _emit_for(self, running: _Running) -> Callable[..., None]:
        def emit(event: str, **fields: Any) -> None:
            self._search.emit(event, run=running.run, slot=running.slot, **fields)

        return emit

    def _emit_start(self, running: _Running) -> None:
        """Emit that a run starts, with the progress of the search and the time left."""
        search, agenda = self._search, self._agenda
        forecast = agenda.forecast()
        self._left.expect(running.run)  # it may just have been proposed
        n_left = agenda.n_left
        work: dict[str, Any] = {"n_slots": self._slots.n_left, "n_more": n_left - len(agenda.waiting())}
        work["epochs_left"] = None if forecast is None else forecast.expected - forecast.trained
        search.emit(
            "run_started",
            run=running.run,
            slot=running.slot,
            until_epoch=running.task.until_epoch,
            n_done=agenda.n_settled,
            n_runs=agenda.n_settled + n_left,
            seconds_left=self._left.seconds(**work),
            epochs_like=self._left.epochs_like(running.run, **work),
            forecast=forecast,
        )


def _settle_paused(search: Search, agenda: Agenda) -> None:
    """Record that paused runs were not promoted."""
    records = [run.record for run in agenda.paused() if run.record is not None]
    search.ledger.append(*map(_not_promoted, records))  # at once: the disk is waited for once


def _not_promoted(record: Record) -> Record:
    values = {
        "state": "pruned",
        "error": f"not promoted after epoch {len(record.curve)}",
        "seconds": {**record.seconds, "total": 0.0},  # those of its last part are counted already
        "time": now(),
    }
    return record.model_copy(update=values)


def _disk_full(error: RunError, task: Task | None, search: Search, agenda: Agenda) -> RunError:
    """The error that ends a search on a full disk."""
    place = Path(place_of(error) or search.plan.config.root)
    use = disk_use(search.plan, search.ledger.records, to_come_alone=True, n_slots=search.slots.n_left)
    left = "the run that is left" if agenda.n_left == 1 else f"the {agenda.n_left} runs that are left"
    where = "" if task is None else f" in {task.run.name}"
    return RunError(
        f"the disk is full, so the search ends{where}: {error.what}",
        where=f"{place} ({size_text(free_bytes(place))} free)",
        fix=f"free about {size_text(use.most)} for {left}, then run the same command again, which resumes the search",
    )
