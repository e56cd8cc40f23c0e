"""A report on searches: read once, analysed on demand, written as text, JSON, YAML or a page."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.forecasts import Forecast, read_forecasts
from sequifier.errors import RunError, SequifierError
from sequifier.experiment.record import LOG
from sequifier.report.analyse import analyse
from sequifier.report.analysis import Analysis, as_json
from sequifier.report.export import export_best, export_next, next_command, next_yaml
from sequifier.report.merge import merged
from sequifier.report.page.render import render
from sequifier.results.deployed import deployed, report_path
from sequifier.results.find import newest_search
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.read import read_search
from sequifier.results.trials import Table, Trial

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NEXT_FILE = "configs/{name}.yaml"
"""Path of the next search in the command on the page."""


class Report:
    """A report on one search, or on several together.

    Args:
        tables: one per search.
        fanova: compute fANOVA too.
    """

    def __init__(self, tables: Sequence[Table], *, fanova: bool = False) -> None:
        self.tables, self._fanova = tuple(tables), fanova

    @cached_property
    def table(self) -> Table:
        """All trials.

        Raises:
            RunError: the results of several searches are not comparable.
        """
        return merged(self.tables) if len(self.tables) > 1 else self.tables[0]

    @cached_property
    def rows(self) -> list[Configuration]:
        """The configurations from best to worst, then those without a result."""
        # An analysis has ranked them already; without one, nothing else needs to be computed.
        return list(self.analysis.rows) if "analysis" in vars(self) else ranked(self.table)

    @cached_property
    def analysis(self) -> Analysis:
        """All numbers; the slowest step.

        Raises:
            RunError: as `table`, or fANOVA without scikit-learn.
        """
        return analyse(self.tables, fanova=self._fanova)

    @property
    def is_running(self) -> bool:
        """Whether one of the searches is running."""
        return any(table.is_running for table in self.tables)

    def print_summary(self, console: "Console", *, all_metrics: bool = False) -> None:
        """Print the summary, with `all_metrics` every metric of the best runs too."""
        from sequifier.report.terminal import print_summary

        print_summary(console, self.analysis, all_metrics=all_metrics)

    def watched(self, console: "Console") -> "RenderableType":
        """Return the state of the search and the ranked table, as large as the terminal."""
        from rich.console import Group
        from rich.text import Text

        from sequifier.results.terminal_table import fitting_table

        return Group(Text(self.status(), style="bold"), Text(""), fitting_table(console, self.table, self.rows))

    def status(self) -> str:
        """Return the state of the search in one line."""
        from sequifier.report.terminal import status_line

        return status_line(self.table, self.rows)

    def fingerprint(self) -> object:
        """Return a value that differs when anything has changed that `--watch` shows."""
        return [(trial.name, trial.state, len(trial.curve), trial.value) for trial in self.table.trials]

    def json(self) -> str:
        """Return all numbers as one JSON object."""
        return json.dumps(as_json(self.analysis), indent=1, ensure_ascii=False, allow_nan=False)

    def write_html(self, path: Path, *, command: str = "", refresh: int | None = None) -> None:
        """Write the page, atomically.

        Args:
            path: of the file.
            command: that wrote the page.
            refresh: seconds after which a browser reads the file again; None: never.

        Raises:
            RunError: the folder cannot be written to.
        """
        page = render(
            self.analysis,
            next_search=self.next_search(),
            forecasts=self.forecasts(),
            model_report=self._model_report(path),
            source=command,
            refresh=refresh,
        )
        write_text(path, page)

    def _model_report(self, page: Path) -> str | None:
        """Return the link from a page to the report of the model to deploy; None where there is none of this model."""
        model = deployed(self.table, self.rows)
        if model is None:
            return None
        root = self.table.folder.absolute().parents[1]
        report = report_path(root, model.name)
        try:
            is_older = report.stat().st_mtime < (root / model.path).stat().st_mtime
        except OSError:
            return None
        return None if is_older else quote(Path(os.path.relpath(report, page.absolute().parent)).as_posix())

    def forecasts(self) -> list[Forecast]:
        """Return the forecasts that the best run stored for pictures; none where it has no horizon."""
        best = next((row.first for row in self.rows if row.rank == 1), None)
        try:
            return [] if best is None or best.record is None else read_forecasts(best.record)
        except SequifierError:
            return []  # a damaged file is no reason to be without a report

    def next_search(self) -> tuple[str, str] | None:
        """Return the YAML of the next search and the command that starts it; None without a result."""
        try:
            name, text = next_yaml(self.analysis)
        except RunError:
            return None
        return text, next_command(self.analysis, Path(NEXT_FILE.format(name=name)))

    def export(self, path: Path) -> str:
        """Write the best; returns the command that uses it. See `export.export_best`."""
        return export_best(self.analysis, self.tables, path)

    def export_next(self, path: Path) -> str:
        """Write the next search; returns the command that starts it. See `export.export_next`."""
        return export_next(self.analysis, path)

    def write_tensorboard(self, folder: Path) -> int:
        """Write each search as TensorBoard event files; returns the number of runs. See `exports.tensorboard`."""
        from sequifier.report.exports.tensorboard import write_tensorboard

        return sum(write_tensorboard(table, folder) for table in self.tables)

    def write_mlflow(self, folder: Path) -> int:
        """Write each search into a local MLflow store; returns the number of runs. See `exports.mlflow`."""
        from sequifier.report.exports.mlflow import write_mlflow

        return sum(write_mlflow(table, folder) for table in self.tables)

    def log(self, number: int) -> str:
        """Return the log of a run.

        Raises:
            RunError: the run does not exist, or has no log.
        """
        trial = next((trial for trial in self.table.trials if trial.number == number), None)
        if trial is None:
            numbers = [trial.number for trial in self.table.trials]
            raise RunError(
                f"{self.table.name} has no run {number}",
                fix=f"it has {min(numbers)} to {max(numbers)}" if numbers else "",
            )
        return _log(trial)


def read_report(
    names: Sequence[str],
    *,
    latest: bool = False,
    metric: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    fanova: bool = False,
) -> Report:
    """Read searches, finished or running.

    Args:
        names: of searches below logs/, or paths of their folders, ledgers or result files.
        latest: read the most recent search before the named ones.
        metric: that ranks; None: the metric of each search.
        direction: minimize or maximize; None: the direction of the metric.
        fanova: compute fANOVA too.

    Raises:
        RunError: a search does not exist, is empty or damaged, or does not have the metric.
    """
    every = [*([str(newest_search())] if latest else []), *names]
    different = list(dict.fromkeys(every))
    return Report([read_search(name, metric=metric, direction=direction) for name in different], fanova=fanova)


def _log(trial: Trial) -> str:
    path = None if trial.record is None else trial.record / LOG
    try:
        if path is not None:
            return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        pass
    raise RunError(
        f"run {trial.number} has no log",
        where=str(path or trial.name),
        fix=f"it failed before its start: {trial.error}" if trial.error else "it has not started",
    )
