"""What the script shows of a run below its row: metrics, settings, files, error and the end of its log."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sequifier.config.catalogue.metric_names import split_step
from sequifier.experiment.record import LOG
from sequifier.printable import printable
from sequifier.report.analysis import Analysis
from sequifier.results.find import direction_of
from sequifier.results.ranking import Configuration
from sequifier.results.settings import text_of
from sequifier.results.trials import Trial, finite

MOST_LOGS = 60
"""Runs whose log is shown: the best, and those that failed. More would make the page slow to open."""
_LINES, _CHARACTERS = 6, 160
_TAIL_BYTES = 4096


def run_details(analysis: Analysis, rows: Sequence[Configuration]) -> dict[str, Any]:
    """Return the details of the rows, by the key that marks all that belongs to a run on the page.

    Args:
        analysis: of the search.
        rows: those of the table.
    """
    table = analysis.table
    names = page_metrics(analysis, rows)
    best = next((row for row in rows if row.rank == 1), None)
    ranked = [row for row in rows if row.rank is not None]
    failed = [row for row in rows if row.first.has_failed]
    with_log = {row.first.number for row in [*ranked[: MOST_LOGS // 2], *failed[: MOST_LOGS // 2]]}
    return {
        "metric": table.metric,
        "metrics": list(names),
        "maximized": [name for name, is_maximized in names.items() if is_maximized],
        "runs": {
            f"r{row.first.number}": {
                "metrics": _values(row.metrics | ({} if row.value is None else {table.metric: row.value}), names),
                "differs": [] if best is None or row is best else _differences(row, best),
                "files": _files(row.first),
                "error": row.first.error,
                "log": _log(row.first) if row.first.number in with_log else [],
            }
            for row in rows
        }
        | {
            name: {"metrics": _values(metrics, names), "differs": [], "files": {}, "error": "", "log": []}
            for name, metrics in table.baselines.items()
        },
        "baselines": list(table.baselines),
    }


def page_metrics(analysis: Analysis, rows: Sequence[Configuration]) -> dict[str, bool]:
    """Return the metrics of the page, the one that ranks first -> whether higher is better.

    Args:
        analysis: of the search.
        rows: those of the table.
    """
    table = analysis.table
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    others = [name for name in names if name not in ("standard_error", table.metric) and not _has_steps(name)]
    maximized = {name: direction_of(name, table.document) == "maximize" for name in others}
    return {table.metric: table.maximize, **maximized}


def _has_steps(name: str) -> bool:
    # The steps of a long horizon have hundreds of metrics, which the results and the record of the run hold.
    return split_step(name)[1] is not None


def _values(metrics: Mapping[str, float], names: Iterable[str]) -> list[float | None]:
    """The values in the order of the names, to more digits than are shown: a page of many runs has thousands."""
    known = (finite(metrics.get(name)) for name in names)
    return [None if value is None else float(f"{value:.7g}") for value in known]


def _differences(row: Configuration, best: Configuration) -> list[tuple[str, str, str]]:
    """Settings with another value than in the best run: name, own value, value of the best."""
    names = dict.fromkeys([*best.settings, *row.settings])
    texts = [(name, *(text_of(each.settings.get(name)) for each in (row, best))) for name in names]
    return [(name, own, other) for name, own, other in texts if own != other]


def _files(trial: Trial) -> dict[str, str]:
    files = {"config": trial.config_path, "model": trial.model_path if trial.has_model else ""}
    if trial.record is not None:
        files["record"] = f"logs/{trial.record.parent.name}/{trial.record.name}"
    return {name: path for name, path in files.items() if path}


def _log(trial: Trial) -> list[str]:
    """The last lines of its log."""
    path = Path() if trial.record is None else trial.record / LOG
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []  # it never started, or its record was removed
    return [printable(line)[:_CHARACTERS] for line in text.splitlines()[-_LINES:]]
