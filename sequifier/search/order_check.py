"""`order_check`: the best configuration trained twice more on shuffled histories, to learn what order is worth."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_order_checks
from sequifier.config.identity import identity
from sequifier.results.search_folder import order_sums
from sequifier.results.training import model_files
from sequifier.search.plan import Plan, PlannedRun, free_numbers

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration  # which loads numpy

SHUFFLES = ("all", "before_last")
FIELD = "training_spec.shuffle_history"


def order_checks(plan: Plan, run: PlannedRun, records: Sequence[Record], *, keep_model: bool) -> list[PlannedRun]:
    """The two runs that show what order is worth to a run: the same with histories in random order, seed included.

    Args:
        plan: of the search.
        run: whose configuration they have.
        records: the ledger.
        keep_model: whether they export their best weights, to be scored on the test split.
    """
    known = {record.identity: record for record in latest_order_checks(records).values()}
    free = free_numbers([each.number for each in plan.runs] + [record.run for record in records])
    exports = {"export_generative_model": keep_model, "export_onnx": keep_model}
    exports |= dict.fromkeys(("export_embedding_model", "export_end_to_end", "export_pt", "export_with_dropout"), False)
    found = []
    for shuffle in SHUFFLES:
        spec = run.config.training_spec.model_copy(update={"shuffle_history": shuffle})
        config = run.config.model_copy(update={"training_spec": spec, **exports, "export_top_k": None})
        normal_spec = run.normal.training_spec.model_copy(update={"shuffle_history": shuffle})
        normal = run.normal.model_copy(update={"training_spec": normal_spec})
        key = identity(config, plan.fingerprint)
        record = known.get(key)
        number = next(free) if record is None else record.run
        name = f"{plan.config.hp_search_name}-run-{number}"
        found.append(
            replace(
                run,
                number=number,
                name=name,
                config=config.model_copy(update={"model_name": name}),
                identity=key,
                normal=normal,
                merge_key=identity(normal, plan.fingerprint),
                changed={"shuffle_history": shuffle},
                path=run.path.with_name(f"{name}.yaml"),
                record=record,
                fixed={**run.fixed, FIELD: shuffle},
                configuration="",
                order_of=run.number,
            )
        )
    return found


def checked_run(plan: Plan, rows: "Sequence[Configuration]") -> PlannedRun | None:
    """The run whose order is checked: the best one; None without a result, or where it left the config."""
    best = next((row.first.number for row in rows if row.rank == 1), None)
    return next((run for run in plan.runs if run.number == best), None)


def to_train(checks: Sequence[PlannedRun], *, retry_failed: bool) -> list[PlannedRun]:
    """The checks without a result."""
    settled = DONE if retry_failed else DONE | FAILED
    return [run for run in checks if run.record is None or run.record.state not in settled]


def to_score(
    checks: Sequence[PlannedRun], records: Sequence[Record], folder: Path, root: Path
) -> Iterator[tuple[PlannedRun, Path, list[Path]]]:
    """The checks that were not scored on the test split: the run, its best model, and all its models."""
    latest = latest_order_checks(records)
    for run in checks:
        record = latest.get(run.number)
        models = {} if record is None else model_files(record)
        if record is None or "best_onnx" not in models or order_sums(folder, run.number).exists():
            continue
        if (best := root / models["best_onnx"]).exists():
            yield run, best, [root / path for path in models.values()]
