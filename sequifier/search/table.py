"""A plan and its ledger as one table of trials: those that ended, and those that are still to come."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sequifier.artifacts.ledger import Ledger, Record, latest_by_run
from sequifier.config.identity import plain
from sequifier.results.run_files import RunFiles
from sequifier.results.training import training_table
from sequifier.results.trials import Table
from sequifier.search.plan import Plan
from sequifier.search.pruning import Progress, Savings, saved_epochs
from sequifier.search.run_file import run_folder
from sequifier.search.strategy_kinds import STRATEGIES


def search_table(
    plan: Plan,
    records: Sequence[Record],
    *,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    test: Mapping[str, Any] | None = None,
    to_rank_alone: bool = False,
) -> Table:
    """The table of a search.

    Args:
        plan: the plan of the search.
        records: its ledger.
        baselines: name -> metrics on the same targets.
        test: run and metrics of the winner on the test split; empty without one.
        to_rank_alone: leave out settings and runs to come, which takes a fraction of the time.
    """
    config = plan.config
    files = RunFiles(records, config.root, folder=run_folder(config), searched=plan.searched)
    planned = {
        run.number: run.new_record(plan.fingerprint, "planned", files={"config": str(run.path)})
        for run in plan.runs
        if run.record is None and not to_rank_alone
    }
    return training_table(
        config.root / "logs" / config.hp_search_name,
        records,
        planned | described(plan, records, files),
        files,
        metric=config.metric,
        direction=config.direction,
        document=plain(config),
        with_settings=not to_rank_alone,
        planned={run.number for run in plan.runs},
        baselines=baselines or {},
        test=test or {},
        # What a strategy that learns will vary is not known yet.
        keep_equal=plan.searched if STRATEGIES[config.search_strategy].learns else (),
    )


def savings(plan: Plan, records: Sequence[Record]) -> Savings:
    """The epochs that pruning saved, among runs that have a result."""
    epochs = {run.number: run.config.training_spec.epochs for run in plan.runs}
    done = [record for record in latest_by_run(records).values() if record.state in ("finished", "pruned")]
    return saved_epochs(
        [Progress(record.run, epochs[record.run], record.curve) for record in done if record.run in epochs],
        pruned={record.run for record in done if record.state == "pruned"},
    )


def described(plan: Plan, records: Sequence[Record], files: RunFiles) -> dict[int, Record]:
    """The last record of each run, completed."""
    complete = completion(plan, files)
    return {number: complete(record) for number, record in latest_by_run(records).items()}


def completion(plan: Plan, files: RunFiles) -> Callable[[Record], Record]:
    """A function that completes a record from the plan, or from the run file of a run that is not planned."""
    runs = {run.number: run for run in plan.runs}

    def complete(record: Record) -> Record:
        if record.settings is not None:
            return record
        run = runs.get(record.run)
        return files.completed(record) if run is None else record.model_copy(update=run.description())

    return complete


def complete_ledger(plan: Plan, ledger: Ledger) -> None:
    """Append one completed record for each run whose last record is of an older version.

    Args:
        plan: the plan of the search.
        ledger: its open ledger.
    """
    latest = ledger.latest()
    files = RunFiles(ledger.records, plan.config.root, folder=run_folder(plan.config), searched=plan.searched)
    found = described(plan, [*latest.values()], files)
    completed = [record for number, record in found.items() if record is not latest[number]]
    # The seconds count in the record that is completed.
    ledger.append(*(each.model_copy(update={"seconds": {**each.seconds, "total": 0.0}}) for each in completed))
