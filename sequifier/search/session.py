"""One start of a search: its plan, the training of what is left, the confirmation and the test score of the best.

The engine that trains, and the interrupt that ends the search early, are handed in.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sequifier.artifacts.atomic import remove_leftovers
from sequifier.artifacts.disk import free_bytes
from sequifier.artifacts.ledger import Ledger, Record, read_ledger
from sequifier.callbacks import Emit
from sequifier.config.identity import plain
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.results.trials import Table
from sequifier.search.agenda import Agenda
from sequifier.search.attempts import Search
from sequifier.search.estimate import disk_use, seconds_left
from sequifier.search.executor import Engine
from sequifier.search.folder import SearchFolder
from sequifier.search.keep_models import Surplus
from sequifier.search.memory import MemoryUse, memory_use
from sequifier.search.placement import Placement
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.planner import Planner
from sequifier.search.pruning import Savings
from sequifier.search.recording import logged, search_experiment, summary
from sequifier.search.repeats import with_confirmations
from sequifier.search.run_file import run_folder, write_run_files
from sequifier.search.runner import run_search
from sequifier.search.slots import Slots
from sequifier.search.table import complete_ledger, savings

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration  # which loads numpy

Ended = Literal["planned", "complete", "stopped", "budget"]


class Interrupt(Protocol):
    """Notices, while it is entered, that somebody asks for an early end."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def is_set(self) -> bool:
        """Whether somebody asked for an early end."""
        ...


@dataclass(frozen=True)
class SearchResult:
    """A search, as far as it has come.

    Attributes:
        plan: with all confirmations.
        ended: why this start ended.
        table: the trials, of the ledger and still to come.
        rows: the ranked configurations; empty in a dry run.
        saved: by the pruner.
        refused: why proposed cells are not valid runs, and how many for each reason.
    """

    plan: Plan
    ended: Ended
    table: Table
    rows: "Sequence[Configuration]" = ()
    saved: Savings | None = None
    refused: Mapping[str, int] = field(default_factory=dict)


def dry_run(config: SearchConfig, engine: Engine, *, limit: int | None, emit: Emit) -> SearchResult:
    """Plan a search and write its run files; train nothing.

    Args:
        config: the search.
        engine: would train the runs.
        limit: write at most this many run files.
        emit: receives `planned`.

    Raises:
        ConfigError, DataError, RunError: the plan cannot be made or written.
    """
    planner, folder = Planner(config), SearchFolder(_folder(config))
    records = read_ledger(folder.path)
    plan, memory, placement = _placed(planner, engine, records)
    write_run_files(plan, limit=limit)
    _emit_plan(emit, plan, [run for run in plan.runs if run.record is None], records, memory, placement)
    return SearchResult(plan, "planned", folder.table(plan, records))


def search(
    config: SearchConfig,
    engine: Engine,
    interrupt_by: Callable[[Callable[[], None]], Interrupt],
    *,
    retry_failed: bool,
    confirm: Callable[[Plan, int], bool],
    emit: Emit,
) -> SearchResult:
    """Plan a search and train what is left of it.

    Args:
        config: the search.
        engine: trains the runs.
        interrupt_by: makes the interrupt that is entered while runs train, from a function that it calls when somebody
            asks for an early end; the search then ends when the runs that train have finished their epoch.
        retry_failed: run failed runs again.
        confirm: gets the plan and the number of runs that would train; False ends the search there.
        emit: receives `planned`, the events of `attempts.Search`, and `stopping` from a signal handler.

    Raises:
        ConfigError, DataError: before anything trains.
        RunError: also when the search cannot continue; the same command resumes it.
    """
    from sequifier.results.ranking import ranked  # numpy loads here

    planner = Planner(config)
    folder = SearchFolder(_folder(config))
    with Ledger.open(folder.path) as ledger:
        plan, memory, placement = _placed(planner, engine, ledger.records)
        write_run_files(plan)
        agenda = Agenda(
            plan,
            ledger,
            retry_failed=retry_failed,
            propose=lambda: planner.propose(plan, ledger.records),
            n_slots=len(placement.slots),
        )
        waiting = agenda.waiting()
        is_open = bool(waiting) or planner.proposes
        if is_open:
            planner.check_inputs()
        _emit_plan(emit, plan, waiting, ledger.records, memory, placement)
        ended: Ended = "complete"
        found = None
        if waiting and not confirm(plan, len(waiting)):
            ended = "stopped"
        else:
            complete_ledger(plan, ledger)
            folder.keep_config(config)
            if Surplus(plan, ledger.records).remove():  # keep_models may have had another value before
                found = folder.write_results(plan, ledger.records)
            if is_open:
                session = _Session(planner, plan, ledger, folder, emit)
                ended, table, rows = session.run(agenda, engine, placement, interrupt_by)
                plan, found = session.plan, (table, rows)
        if found is None:
            table = folder.table(plan, ledger.records)
            found = table, ranked(table)
        saved = None if config.pruner.type == "none" else savings(plan, ledger.records)
        return SearchResult(plan, ended, *found, saved, planner.refused)


class _Session:
    """Trains what is on an agenda, confirms the best configurations and scores the winner."""

    _slots: Slots

    def __init__(self, planner: Planner, plan: Plan, ledger: Ledger, folder: SearchFolder, emit: Emit) -> None:
        self._planner, self._ledger, self._folder = planner, ledger, folder
        parameters = plain(plan.config) | {"seed": plan.seed}
        self._record = search_experiment(plan.config.root, plan.config.hp_search_name, parameters)
        self._emit = logged(self._record, emit)
        self.plan = plan

    def run(
        self,
        agenda: Agenda,
        engine: Engine,
        placement: Placement,
        interrupt_by: Callable[[Callable[[], None]], Interrupt],
    ) -> "tuple[Ended, Table, list[Configuration]]":
        """Work through the agenda, then confirm and score; record and results are written whatever happens.

        Returns:
            Why it ended, the table and its ranked rows.
        """
        with self._record:
            self._remove_leftovers()
            self._slots = Slots(engine.executors(placement), [slot.device for slot in placement.slots])
            try:
                ended = self._work(agenda, interrupt_by(self._stop))
            except BaseException:
                self._slots.end()
                self._remove_leftovers()
                with suppress(RunError):  # the first error is the one to show; the next start writes the table
                    self._folder.write_results(self.plan, self._ledger.records)
                raise
            self._slots.end()
            self._remove_leftovers()
            table, rows = self._folder.write_results(self.plan, self._ledger.records)
            self._record.finish("interrupted" if ended == "stopped" else "done", results=summary(rows, ended))
        return ended, table, rows

    def _remove_leftovers(self) -> None:
        """Remove what killed workers, and earlier starts that were killed, were writing."""
        config = self.plan.config
        of_run = rf"(sequifier-)?{re.escape(config.hp_search_name)}-run-\d+(-.*)?"
        for folder in (config.root / "checkpoints", config.root / "models", run_folder(config)):
            remove_leftovers(folder, of_run)
        begun_again = {record.name for record in self._ledger.records if record.attempt > 1}
        records = [path for name in begun_again for path in (config.root / "logs" / name).glob("*/")]
        for folder in (self._folder.path, *records):
            remove_leftovers(folder, ".*")

    def _stop(self) -> None:
        """Ask for an early end; called from a signal handler."""
        self._emit("stopping")
        self._slots.stop()

    def _work(self, agenda: Agenda, interrupt: Interrupt) -> Ended:
        config = self._planner.config
        self._slots.start(lambda line: self._emit("log", line=line))
        device = dict(config.training_hyperparameter_sampling)["device"]
        if device not in ("auto", "cpu"):
            for executor in self._slots.left:
                executor.check(device)
        with interrupt:
            ended = self._train(agenda, interrupt)
            self.plan = self._planner.plan(self._ledger.records)
            if ended == "complete" and self._planner.proposes and config.repeats > 1:
                write_run_files(self.plan)  # further seeds of what was proposed
                ended = self._train(self._agenda(), interrupt)
            if ended == "complete" and config.confirm_top:
                self.plan = with_confirmations(self.plan, self._ledger.records)
                write_run_files(self.plan)
                ended = self._train(self._agenda(prunes=False), interrupt)
            if ended == "complete":
                Surplus(self.plan, self._ledger.records).remove()
                self._score_winner()
        return ended

    def _agenda(self, *, prunes: bool = True) -> Agenda:
        """What is left of the plan when everything was proposed."""
        n_slots = self._slots.n_left
        return Agenda(self.plan, self._ledger, retry_failed=False, prunes=prunes, n_slots=n_slots)

    def _train(self, agenda: Agenda, interrupt: Interrupt) -> Ended:
        search = Search(
            self.plan,
            self._ledger,
            self._slots,
            self._emit,
            interrupt.is_set,
            self._folder.keep_baselines,
            self._planner.check_inputs,
        )
        return run_search(search, agenda)

    def _score_winner(self) -> None:
        """Score the best run once on the test split, when there is one."""
        from sequifier.artifacts.sequence_losses import OF_TEST  # numpy loads here
        from sequifier.results.ranking import in_order

        splits = self._planner.metadata.split_paths
        if len(splits) < 3:
            return
        rows = in_order(self._folder.table(self.plan, self._ledger.records))
        winner = next((row for row in rows if row.rank == 1), None)
        if winner is None or self._folder.is_scored(winner.run):
            return
        run_file = Path(winner.first.config_path)  # may be gone where the config no longer has the run
        if not run_file.is_file() or not winner.model_path.endswith(".onnx"):
            return
        model = self._planner.config.root / winner.model_path
        sums = self._folder.path / OF_TEST
        metrics = self._slots.left[0].score(run_file, model, splits[2], data=self.plan.fingerprint, sums=sums)
        self._folder.keep_test(winner.run, metrics)


def _folder(config: SearchConfig) -> Path:
    return config.root / "logs" / config.hp_search_name


def _placed(planner: Planner, engine: Engine, records: Sequence[Record]) -> tuple[Plan, MemoryUse | None, Placement]:
    """The plan, the memory that runs without a result need, and where they train."""
    plan = planner.plan(records)
    memory = memory_use(plan, planner.metadata)
    placement = engine.place(plan, memory, records)
    planner.use_threads(placement.cpu_threads)
    return plan.with_threads(placement.cpu_threads), memory, placement


def _emit_plan(
    emit: Emit,
    plan: Plan,
    to_run: Sequence[PlannedRun],
    records: Sequence[Record],
    memory: MemoryUse | None,
    placement: Placement,
) -> None:
    """Emit a plan, with the time, disk and memory that the rest of it needs."""
    emit(
        "planned",
        plan=plan,
        to_run=to_run,
        disk=disk_use(plan, records) if plan.runs else None,
        free_bytes=free_bytes(plan.config.root),
        memory=memory,
        placement=placement,
        seconds_left=seconds_left(to_run, plan.runs, records),
    )
