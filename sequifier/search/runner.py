"""The loop of a search: start a run, judge how it ended, write that down, continue with the next one.

It sees run files, events and the ledger, never a model: the executor is handed in.
"""

from pathlib import Path
from typing import Literal

from sequifier.artifacts.disk import free_bytes, is_disk_full, place_of
from sequifier.artifacts.ledger import now
from sequifier.config.size import size_text
from sequifier.errors import RunError, SequifierError
from sequifier.search.agenda import Agenda, Task, is_paused
from sequifier.search.attempts import Attempts, DiskFullError, Search, inputs_error
from sequifier.search.estimate import disk_use, seconds_left
from sequifier.search.keep_models import remove_surplus

Outcome = Literal["complete", "stopped", "budget"]


def run_search(search: Search, agenda: Agenda) -> Outcome:
    """Train what is on the agenda, one run after another.

    Returns:
        "complete"; "stopped" when somebody asked for an early end; "budget" when one is used up, `agenda.ended_by`.

    Raises:
        RunError: the disk is full, the data changed or are gone, the ledger cannot be written, or no worker can be
            started. The run that was training resumes from its checkpoint when the search is started again.
    """
    while (task := agenda.next()) is not None:
        if search.should_stop():
            return "stopped"
        try:
            search.check_inputs()
        except SequifierError as error:
            raise inputs_error(search.plan, task.run, error.in_one_line()) from error
        _emit_start(search, agenda, task)
        attempts = Attempts(task, search, agenda.runs)
        try:
            record = attempts.until_settled()
        except KeyboardInterrupt:
            search.executor.close()
            attempts.note("interrupted", error="stopped at once; the next start resumes from the last epoch")
            raise
        except RunError as error:
            if not (isinstance(error, DiskFullError) or is_disk_full(error)):
                raise
            search.executor.close()
            raise _disk_full(error, task, search, agenda) from error
        search.emit("run_ended", run=task.run, record=record)
        remove_surplus(search.plan, search.ledger.records)
        if record.state == "interrupted" and not is_paused(record):
            return "stopped"
    if agenda.ended_by:
        return "budget"
    _settle_paused(search, agenda)
    return "complete"


def _emit_start(search: Search, agenda: Agenda, task: Task) -> None:
    """Emit that a run starts, with the progress of the search and the time left."""
    waiting, known = agenda.waiting(), list(agenda.runs.values())
    forecast = agenda.forecast()
    epochs_left = None if forecast is None else forecast.expected - forecast.trained
    search.emit(
        "run_started",
        run=task.run,
        until_epoch=task.until_epoch,
        n_done=len(known) - len(waiting),
        n_runs=max(len(known), len(search.plan.runs) + search.plan.n_to_propose),
        seconds_left=seconds_left(waiting, known, search.ledger.records, epochs_left=epochs_left),
        forecast=forecast,
    )


def _settle_paused(search: Search, agenda: Agenda) -> None:
    """Record that paused runs were not promoted."""
    for run in agenda.abandoned():
        assert run.record is not None
        values = {
            "state": "pruned",
            "error": f"not promoted after epoch {len(run.record.curve)}",
            "seconds": {**run.record.seconds, "total": 0.0},  # those of its last part are counted already
            "time": now(),
        }
        search.ledger.append(run.record.model_copy(update=values))


def _disk_full(error: RunError, task: Task, search: Search, agenda: Agenda) -> RunError:
    """The error that ends a search on a full disk."""
    place = Path(place_of(error) or search.plan.config.root)
    needed = disk_use(search.plan, search.ledger.records, to_come_alone=True).most
    left = "the run that is left" if agenda.n_left == 1 else f"the {agenda.n_left} runs that are left"
    return RunError(
        f"the disk is full, so the search ends in {task.run.name}: {error.what}",
        where=f"{place} ({size_text(free_bytes(place))} free)",
        fix=f"free about {size_text(needed)} for {left}, then run the same command again, which resumes the search",
    )
