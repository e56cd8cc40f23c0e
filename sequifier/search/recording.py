"""The record of one start of a search, beside its ledger: its config, a log with times, and its result."""

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
        parameters: its config.
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
    """`emit`, with a line in the log for each run that starts, is retried or ends."""

    def log_and_emit(event: str, **fields: Any) -> None:
        if event == "run_started":
            settings = ", ".join(f"{name} {shown(value)}" for name, value in fields["run"].changed.items())
            experiment.log(f"run {fields['run'].number} starts: {settings or 'the only one'}")
        elif event == "run_retried":
            experiment.log(f"{fields['reason']}; {fields['action']}")
        elif event == "run_ended":
            record = fields["record"]
            loss = "" if record.best_val_loss is None else f", validation loss {record.best_val_loss!r}"
            why = f": {record.error}" if record.error else ""
            experiment.log(f"run {record.run} {record.state}{loss}{why}")
        emit(event, **fields)

    return log_and_emit


def summary(rows: "Sequence[Configuration]", ended: str) -> dict[str, Any]:
    """The result: how the search ended, number of runs by state, the best run. The table is in results.csv."""
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
