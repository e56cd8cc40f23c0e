"""The ranked table as a file: `logs/[hp_search_name]/results.csv`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.printable import printable
from sequifier.search.results import Row


def write_results(path: Path, rows: Sequence[Row], *, metric: str = "val_loss") -> None:
    """Write the table as CSV, atomically: run, name, state, best_val_loss, best_epoch, then what differs, and the rest.

    What differs is in columns called `param.NAME`: a searched `epochs` is not the number of epochs trained. The last
    columns are the other metrics of the best epoch. No two columns have one name.

    Args:
        path: `logs/[hp_search_name]/results.csv`.
        rows: in the order of the table.
        metric: what ranks them; its column follows best_epoch when it is not val_loss.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    changed = list(dict.fromkeys(key for row in rows for key in row.changed))
    fixed = {"run", "name", "state", "best_val_loss", "best_epoch", "parameters", "seconds", "model_path", *_BEHIND}
    ranked_by = [] if metric == "val_loss" else [metric]
    others = dict.fromkeys(name for row in rows for name in row.metrics if name not in (*ranked_by, *_IN_COLUMNS))

    def head(name: str) -> str:  # a metric of an evaluation script may be called `seconds`
        return f"metric.{name}" if name in fixed else name

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first = ["run", "name", "state", "best_val_loss", "best_epoch", *map(head, ranked_by)]
    varied = [f"param.{key}" for key in changed]
    writer.writerow([*first, *varied, "parameters", "seconds", "model_path", *_BEHIND, *map(head, others)])
    for row in rows:
        outcome = [_number(row.best_val_loss), row.best_epoch, *(_number(row.metric) for _ in ranked_by)]
        varied = [row.changed.get(key, "") for key in changed]
        cost = [row.parameters, _number(row.seconds), row.model_path]
        seeds = [row.n_seeds, " ".join(map(str, row.runs))] if row.runs else [None, None]
        sure = [
            _number(row.standard_error),
            _claim(row.indistinguishable),
            *seeds,
            row.epochs,
            row.planned_epochs,
            _number(row.test_metric),
        ]
        last = [row.model_again, row.standard_error_by, _claim(row.beats_baselines)]
        measured = [_number(row.metrics.get(name)) for name in others]
        writer.writerow([row.run, row.name, row.state, *outcome, *varied, *cost, *sure, *last, *measured])
    write_text(path, printable(text.getvalue()))


_BEHIND = (
    *("standard_error", "indistinguishable", "n_seeds", "runs", "epochs", "planned_epochs", "test_metric"),
    *("model_again", "standard_error_by", "beats_baselines"),
)
"""Columns of results.csv after the columns of v1."""

_IN_COLUMNS = ("val_loss", "standard_error")
"""Metrics of a run that have a column under another name."""


def _number(value: float | None) -> Any:
    return None if value is None else repr(value)


def _claim(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
