"""The ranked table as a file: `logs/[hp_search_name]/results.csv`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.printable import printable
from sequifier.results.ranking import Baseline, Configuration
from sequifier.results.settings import shown

RESULTS_FILE = "results.csv"

_FIRST = ("run", "name", "state", "best_val_loss", "best_epoch")
_BEHIND = (
    *("parameters", "seconds", "model_path", "standard_error", "indistinguishable", "n_seeds", "runs", "epochs"),
    *("planned_epochs", "test_metric", "model_again", "standard_error_by", "beats_baselines", "skill"),
)
"""Columns between the searched values and the metrics."""

_IN_COLUMNS = ("val_loss", "standard_error")
"""Metrics of a run that have a column under another name."""


def write_results(path: Path, rows: Sequence[Configuration | Baseline], *, metric: str = "val_loss") -> None:
    """Write the table as CSV, atomically.

    The searched values are in columns called `param.NAME`: a searched `epochs` is not the number of epochs trained. The
    last columns are the other metrics of the best epoch. No two columns have the same name.

    Args:
        path: `logs/[hp_search_name]/results.csv`.
        rows: in the order of the table.
        metric: what ranks them; its column follows best_epoch when it is not val_loss.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    configurations = [row for row in rows if isinstance(row, Configuration)]
    varied = list(dict.fromkeys(name for row in configurations for name in row.varied))
    ranked_by = [] if metric == "val_loss" else [metric]
    metrics = [row.metrics for row in rows]
    others = dict.fromkeys(name for found in metrics for name in found if name not in (*ranked_by, *_IN_COLUMNS))

    def head(name: str) -> str:  # a metric of an evaluation script may be called `seconds`
        return f"metric.{name}" if name in (*_FIRST, *_BEHIND) else name

    text = io.StringIO()
    columns = [*_FIRST, *map(head, ranked_by), *(f"param.{name}" for name in varied), *_BEHIND, *map(head, others)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row, found in zip(rows, metrics, strict=True):
        values = _of_configuration(row) if isinstance(row, Configuration) else _of_baseline(row)
        values |= {head(name): _text(row.value) for name in ranked_by}
        values |= {head(name): _text(found.get(name)) for name in others}
        writer.writerow(values)
    write_text(path, printable(text.getvalue()))


def _of_configuration(row: Configuration) -> dict[str, Any]:
    values = {
        "run": row.run,
        "name": row.name,
        "state": row.state,
        "best_val_loss": row.best_val_loss,
        "best_epoch": row.first.best_epoch,
        "parameters": row.n_parameters,
        "seconds": row.seconds,
        "model_path": row.model_path,
        "standard_error": row.standard_error,
        "indistinguishable": row.is_indistinguishable,
        "n_seeds": row.n_seeds,
        "runs": " ".join(map(str, row.numbers)),
        "epochs": row.epochs,
        "planned_epochs": row.planned_epochs,
        "test_metric": row.test_value,
        "model_again": row.model_again,
        "standard_error_by": row.standard_error_by,
        "beats_baselines": row.beats_baselines,
        "skill": row.skill,
    }
    varied = {f"param.{name}": shown(value) for name, value in row.varied.items()}
    return {name: _text(value) for name, value in values.items()} | varied


def _of_baseline(row: Baseline) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": "baseline",
        "best_val_loss": _text(row.metrics.get("val_loss")),
        "standard_error": _text(row.standard_error),
        "standard_error_by": row.standard_error_by,
    }


def _text(value: Any) -> Any:
    """A cell: floats with all digits, booleans in small letters."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else value
