"""A report on searches: read once, analysed when somebody asks, handed on as text, JSON, YAML or a page."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sequifier.artifacts.atomic import write_text
from sequifier.errors import RunError
from sequifier.experiment.record import LOG
from sequifier.report.analyse import analyse
from sequifier.report.analysis import Analysis, as_json
from sequifier.report.export import export_best, export_next, next_command, next_yaml
from sequifier.report.merge import merged
from sequifier.report.page.render import render
from sequifier.results.find import newest_search
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.read import read_search
from sequifier.results.trials import Table, Trial

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NEXT_FILE = "configs/{name}.yaml"
"""Where the page tells to save the next search."""


class Report:
    """One search, or several together.

    Args:
        tables: one for each search.
        fanova: compute fANOVA too.
    """

    def __init__(self, tables: Sequence[Table], *, fanova: bool = False) -> None:
        self.tables, self._fanova = tuple(tables), fanova

    @cached_property
    def table(self) -> Table:
        """All trials.

        Raises:
            RunError: several searches whose results do not mean the same.
        """
        return merged(self.tables) if len(self.tables) > 1 else self.tables[0]

    @cached_property
    def rows(self) -> list[Configuration]:
        """The configurations from best to worst, then those without a result."""
        return ranked(self.table)

    @cached_property
    def analysis(self) -> Analysis:
        """All numbers; takes the longest.

        Raises:
            RunError: as `table`, or fANOVA without scikit-learn.
        """
        return analyse(self.tables, fanova=self._fanova)

    @property
    def is_running(self) -> bool:
        """Whether a process works on one of the searches."""
        return any(table.is_running for table in self.tables)

    def print_summary(self, console: "Console") -> None:
        """Say what was found."""
        from sequifier.report.terminal import print_summary

        print_summary(console, self.analysis)

    def watched(self, console: "Console") -> "RenderableType":
        """The ranked table under the state of the search, as large as the terminal."""
        from rich.console import Group
        from rich.text import Text

        from sequifier.report.terminal import fitting_table

        return Group(Text(self.status(), style="bold"), Text(""), fitting_table(console, self.table, self.rows))

    def status(self) -> str:
        """The state of the search in one line."""
        from sequifier.report.terminal import status_line

        return status_line(self.table, self.rows)

    def fingerprint(self) -> object:
        """Differs when anything has changed that a watcher would see."""
        return [(trial.name, trial.state, len(trial.curve), trial.value) for trial in self.table.trials]

    def json(self) -> str:
        """All numbers as one JSON object."""
        return json.dumps(as_json(self.analysis), indent=1, ensure_ascii=False, allow_nan=False)

    def write_html(self, path: Path, *, command: str = "", refresh: int | None = None) -> None:
        """Write the page, atomically.

        Args:
            path: of the file.
            command: that made it.
            refresh: seconds after which a browser reads it again.

        Raises:
            RunError: the folder cannot be written to.
        """
        write_text(path, render(self.analysis, next_search=self.next_search(), source=command, refresh=refresh))

    def next_search(self) -> tuple[str, str] | None:
        """The YAML of the next search and the command that starts it; None where there is nothing to go by."""
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
        """The log of a run.

        Raises:
            RunError: there is no such run, or it has no log.
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
        latest: the search that was worked on last, before the named ones.
        metric: what ranks; None: what each search ranks by.
        direction: which way it is better; None: the same.
        fanova: compute fANOVA too.

    Raises:
        RunError: there is no such search, it is empty or damaged, or it has no such metric.
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
        fix=f"it ended before it began: {trial.error}" if trial.error else "it has not begun",
    )
