"""`keep_models`: which exported models stay on disk, decided from plan and ledger, and the removal of the others.

A model is removed only when the ledger on disk has better runs, and when the search cannot need it any more: a
configuration that is to be trained or confirmed with further seeds keeps its model until the last of them. A removal
that was cut short is repeated by the next start.
"""

from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.errors import RunError
from sequifier.results.training import model_files
from sequifier.search.plan import Plan
from sequifier.search.repeats import CONFIRMING_SEEDS, to_confirm
from sequifier.search.table import search_table


def remove_surplus(plan: Plan, records: Sequence[Record]) -> list[Path]:
    """Remove the models that `keep_models` does not keep; returns those that were there.

    Args:
        plan: of the search.
        records: its ledger, every record of which is on disk.

    Raises:
        RunError: a file cannot be removed.
    """
    removed = []
    for path in surplus(plan, records):
        try:
            path.unlink()
        except FileNotFoundError:
            continue  # by an earlier start
        except OSError as error:
            raise RunError(
                f"keep_models: {plan.config.keep_models}, but a model cannot be removed: {error.strerror}",
                where=str(path),
                fix="let this user write to the folder, or set keep_models: all",
            ) from error
        removed.append(path)
    return removed


def surplus(plan: Plan, records: Sequence[Record]) -> list[Path]:
    """The model files that are not kept, whether they still exist or not."""
    from sequifier.results.ranking import in_order  # numpy loads here

    if plan.config.keep_models == "all":
        return []
    limit = 1 if plan.config.keep_models == "best" else plan.config.keep_models
    models = {number: model_files(record) for number, record in latest_by_run(records).items()}
    decided, kept = [], set()
    is_open = _Open(plan, records)
    for row in in_order(search_table(plan, records, to_rank_alone=True)):
        if is_open(row.numbers):
            kept.add(row.run)
        elif row.value is not None and models[row.run]:  # a pruned run has none to keep
            decided.append(row.run)
    kept |= {*decided[:limit]}
    return [
        plan.config.root / path for number, files in models.items() if number not in kept for path in files.values()
    ]


class _Open:
    """Whether a configuration may still get another rank, because the search has yet to train a seed of it."""

    def __init__(self, plan: Plan, records: Sequence[Record]) -> None:
        self._repeats = plan.config.repeats
        self._gone = {run.record.run for run in plan.earlier} - {run.number for run in plan.runs}
        latest = latest_by_run(records)
        self._settled = {number for number, record in latest.items() if record.state in DONE | FAILED}
        self._to_confirm = {*to_confirm(plan, records)}

    def __call__(self, runs: Sequence[int]) -> bool:
        if not self._gone.isdisjoint(runs):
            return False
        seeds = self._repeats if self._to_confirm.isdisjoint(runs) else self._repeats + CONFIRMING_SEEDS
        return len(runs) < seeds or not self._settled.issuperset(runs)
