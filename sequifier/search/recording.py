"""The record of a search, beside its ledger: what was asked for, what happened when, and what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier.callbacks import Emit
from sequifier.experiment.experiment import Experiment
from sequifier.results.settings import shown

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration  # which loads numpy


def search_experiment(root: Path, name: str, parameters: Mapping[str, Any]) -> Experiment:
    """The record of one start of a search, of either kind: `logs/[name]/[YYYY-MM-DD__HH-MM-SS__id]/`.

    Args:
        root: the project's folder.
        name: of the search.
        parameters: what was asked for.
    """
    return Experiment(
        root / "logs",
        name,
        parameters=parameters,
        kind="search",
        echo=lambda line: None,  # the search shows its own lines
        latest=True,
    )


def logged(experiment: Experiment, emit: Emit) -> Emit:
    """`emit`, and a line in the log for each run that begins, is tried again or ends."""

    def told(event: str, **fields: Any) -> None:
        if event == "run_started":
            settings = ", ".join(f"{name} {shown(value)}" for name, value in fields["run"].changed.items())
            experiment.log(f"run {fields['run'].number} begins: {settings or 'the only one'}")
        elif event == "run_retried":
            experiment.log(f"{fields['reason']}; {fields['action']}")
        elif event == "run_ended":
            record = fields["record"]
            loss = "" if record.best_val_loss is None else f", validation loss {record.best_val_loss!r}"
            why = f": {record.error}" if record.error else ""
            experiment.log(f"run {record.run} {record.state}{loss}{why}")
        emit(event, **fields)

    return told


def summary(rows: "Sequence[Configuration]", ended: str) -> dict[str, Any]:
    """What came of it: how it ended, runs by state, the best one. The table is in results.csv."""
    best = next((row for row in rows if row.rank == 1), None)
    return {
        "ended": ended,
        "states": dict(Counter(row.state for row in rows)),
        "best": None
        if best is None
        else {
            "run": best.run,
            "name": best.name,
            "metric": best.value,
            "best_val_loss": best.best_val_loss,
            "model_path": best.model_path,
        },
    }
