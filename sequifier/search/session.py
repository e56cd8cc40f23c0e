"""One start of a search: its plan, the training of what is left, the confirmation and the test score of the best.

The engine that trains, and the interrupt that ends the search early, are handed in.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sequifier.artifacts.atomic import remove_leftovers
from sequifier.artifacts.disk import free_bytes
from sequifier.artifacts.ledger import DONE, FAILED, Ledger, Record, read_ledger
from sequifier.callbacks import Emit
from sequifier.config.identity import plain
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.results.search_folder import order_sums
from sequifier.results.trials import Table
from sequifier.search.agenda import Agenda
from sequifier.search.attempts import Search
from sequifier.search.estimate import disk_use, seconds_left
from sequifier.search.executor import Engine
from sequifier.search.folder import SearchFolder
from sequifier.search.keep_models import Surplus
from sequifier.search.memory import MemoryUse, memory_use
from sequifier.search.order_check import checked_run, order_checks, to_score, to_train
from sequifier.search.placement import Placement
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.planner import Planner
from sequifier.search.pruning import Savings
from sequifier.search.recording import logged, search_experiment, summary
from sequifier.search.repeats import is_confirmation, with_confirmations
from sequifier.search.run_file import run_folder, write_run_files
from sequifier.search.runner import run_search
from sequifier.search.slots import Slots
from sequifier.search.table import complete_ledger, savings

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration  # which loads numpy

Ended = Literal["planned", "declined", "complete", "stopped", "budget"]


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
    planner, folder = Planner(config), _folder(config)
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
    folder = _folder(config)
    with Ledger.open(folder.path) as ledger:
        plan, memory, placement = _placed(planner, engine, ledger.records)
        write_run_files(plan)
        agenda = Agenda(
            plan,
            ledger,
            retry_failed=retry_failed,
            propose=lambda: planner.propose(plan, ledger.records),
            n_slots=len(placement.slots),
            runs=[run for run in plan.runs if not is_confirmation(plan, run)],
        )
        waiting = agenda.waiting()
        n_left = len(waiting) + plan.n_to_propose
        if not n_left:  # else it is not known yet which are confirmed
            waiting = _unconfirmed(plan, ledger.records, retry_failed=retry_failed)
            n_left = len(waiting)
        is_open = bool(waiting) or planner.proposes
        if is_open:
            planner.check_inputs()
        _emit_plan(emit, plan, waiting, ledger.records, memory, placement)
        ended: Ended = "complete"
        found = None
        if n_left and not confirm(plan, n_left):
            ended = "declined"
        else:
            complete_ledger(plan, ledger)
            folder.keep_config(config)
            if Surplus(plan, ledger.records).remove() or not is_open:
                # keep_models may have had another value before, or the last start was killed at its end.
                found = folder.write_results(plan, ledger.records)
            if is_open or (found is not None and _is_unmeasured(folder, planner, plan, found[1], ledger.records)):
                session = _Session(planner, plan, ledger, folder, emit, retry_failed=retry_failed)
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

    def __init__(
        self, planner: Planner, plan: Plan, ledger: Ledger, folder: SearchFolder, emit: Emit, *, retry_failed: bool
    ) -> None:
        self._planner, self._ledger, self._folder, self._retry_failed = planner, ledger, folder, retry_failed
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
            memories = [slot.memory for slot in placement.slots]
            self._slots = Slots(engine.executors(placement), memories, patience_seconds=engine.patience_seconds)
            try:
                ended = self._work(agenda, engine, interrupt_by(self._stop))
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

    def _work(self, agenda: Agenda, engine: Engine, interrupt: Interrupt) -> Ended:
        config = self._planner.config
        self._slots.start(lambda line: self._emit("log", line=line))
        engine.watch(self._slots.join, self._slots.tell)
        device = dict(config.training_hyperparameter_sampling)["device"]
        if device not in ("auto", "cpu"):
            for executor in self._slots.left:
                executor.check(device)
        with interrupt:
            ended = self._train(agenda, interrupt)
            self.plan = self._planner.plan(self._ledger.records)
            if ended == "complete" and self._planner.proposes and config.repeats > 1:
                write_run_files(self.plan)  # further seeds of what was proposed
                n_slots = self._slots.n_left
                runs = [run for run in self.plan.runs if not is_confirmation(self.plan, run)]
                agenda = Agenda(self.plan, self._ledger, retry_failed=False, n_slots=n_slots, runs=runs)
                ended = self._train(agenda, interrupt)
            if ended == "complete" and config.confirm_top:
                ended = self._confirm(interrupt)
            if ended in ("complete", "budget"):
                Surplus(self.plan, self._ledger.records).remove()
                self._score_winner()
            if ended == "complete" and config.order_check:
                ended = self._check_order(interrupt)
        return ended

    def _confirm(self, interrupt: Interrupt) -> Ended:
        """Train further seeds of the best configurations; no pruner judges them."""
        self.plan = with_confirmations(self.plan, self._ledger.records)
        write_run_files(self.plan)
        agenda = Agenda(
            self.plan,
            self._ledger,
            retry_failed=self._retry_failed,
            prunes=False,
            n_slots=self._slots.n_left,
            runs=[run for run in self.plan.runs if is_confirmation(self.plan, run)],
        )
        return self._train(agenda, interrupt)

    def _check_order(self, interrupt: Interrupt) -> Ended:
        """Train the best configuration on histories in random order, and score it on the test split."""
        from sequifier.results.ranking import in_order  # numpy loads here

        config, records, test = self.plan.config, self._ledger.records, self._planner.metadata.split_paths[2:3]
        run = checked_run(self.plan, in_order(self._folder.table(self.plan, records)))
        if run is None:
            return "complete"
        checks = order_checks(self.plan, run, records, keep_model=bool(test))
        plan = replace(self.plan, runs=(*self.plan.runs, *checks), n_to_propose=0)
        if runs := to_train(checks, retry_failed=self._retry_failed):
            write_run_files(replace(plan, runs=tuple(runs)))
            self._emit("log", line=f"order_check: trains run {run.number} again on histories in random order")
            n_slots = self._slots.n_left
            agenda = Agenda(
                plan, self._ledger, retry_failed=self._retry_failed, prunes=False, n_slots=n_slots, runs=runs
            )
            ended = self._train(agenda, interrupt, plan)
            if ended != "complete":
                return ended
        for split in test:
            for each, model, files in to_score(checks, self._ledger.records, self._folder.path, config.root):
                sums = order_sums(self._folder.path, each.number)
                self._slots.score(each.path, model, split, data=plan.fingerprint, sums=sums)
                for path in files:  # a model of shuffled events is of no other use
                    path.unlink(missing_ok=True)
        return "complete"

    def _train(self, agenda: Agenda, interrupt: Interrupt, plan: Plan | None = None) -> Ended:
        search = Search(
            plan or self.plan,
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
        winner = _unscored(self._folder, self._planner, rows)
        if winner is None:
            return
        model = self._planner.config.root / winner.model_path
        sums = self._folder.path / OF_TEST
        run_file = Path(winner.first.config_path)
        self._emit("log", line=f"scores run {winner.run} on the test split")
        metrics = self._slots.score(run_file, model, splits[2], data=self.plan.fingerprint, sums=sums)
        self._folder.keep_test(winner.run, metrics)


def _is_unmeasured(
    folder: SearchFolder, planner: Planner, plan: Plan, rows: "Sequence[Configuration]", records: Sequence[Record]
) -> bool:
    """Whether the best configuration still lacks its test score, or its order check."""
    if _unscored(folder, planner, rows) is not None:
        return True
    run = checked_run(plan, rows) if plan.config.order_check else None
    if run is None:
        return False
    has_test = len(planner.metadata.split_paths) > 2
    checks = order_checks(plan, run, records, keep_model=has_test)
    if to_train(checks, retry_failed=False):
        return True
    return has_test and any(to_score(checks, records, folder.path, plan.config.root))


def _unscored(folder: SearchFolder, planner: Planner, rows: "Sequence[Configuration]") -> "Configuration | None":
    """The best configuration, where it can be scored on a test split and was not; else None."""
    winner = next((row for row in rows if row.rank == 1), None)
    if len(planner.metadata.split_paths) < 3 or winner is None or folder.is_scored(winner.run):
        return None
    # The file may be gone where the config no longer has the run.
    can_be_scored = Path(winner.first.config_path).is_file() and winner.model_path.endswith(".onnx")
    return winner if can_be_scored else None


def _unconfirmed(plan: Plan, records: Sequence[Record], *, retry_failed: bool) -> list[PlannedRun]:
    """Confirmations of the best configurations so far that have no result."""
    settled = DONE if retry_failed else DONE | FAILED
    runs = with_confirmations(plan, records).runs if plan.config.confirm_top else ()
    return [
        run for run in runs if is_confirmation(plan, run) and (run.record is None or run.record.state not in settled)
    ]


def _folder(config: SearchConfig) -> SearchFolder:
    path = config.root / "logs" / config.hp_search_name
    return SearchFolder(path, metric=config.metric, maximize=config.direction == "maximize")


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
    n_slots = len(placement.slots)
    emit(
        "planned",
        plan=plan,
        to_run=to_run,
        disk=disk_use(plan, records, n_slots=n_slots) if plan.runs else None,
        free_bytes=free_bytes(plan.config.root),
        memory=memory,
        placement=placement,
        seconds_left=seconds_left(to_run, plan.runs, records, n_slots=n_slots, n_more=plan.n_to_propose),
    )
