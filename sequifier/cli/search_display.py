"""The display of a search on stderr: a line for each run that ended, and on a terminal a live area below them."""

import sys
import time
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.segment import Segments

from sequifier.cli.live_area import drawn
from sequifier.cli.output import duration
from sequifier.cli.progress import ProgressDisplay
from sequifier.cli.search_plan import memory_lines, needs_lines, plan_lines
from sequifier.cli.search_status import STOPPING, RunningRun, SearchStatus
from sequifier.percent import loss_text
from sequifier.results.settings import short_text
from sequifier.results.settings_columns import MOST_CELLS, cut

QUIET_SECONDS = 60.0
"""In a pipe, a line about the running runs is printed after this time without another line."""

PIPE_WIDTH = 100
"""In a pipe, settings are cut where a line would be longer. Reasons are not cut there."""

_SOON_SECONDS = 0.3
"""Hundreds of short runs must not be drawn one by one."""

_FEW_RUNS = 2
"""Runs that such a line names at most."""


class SearchProgress(ProgressDisplay):
    """Shows a search, or with `verbose` the log lines of its runs too; call it with events, in one thread.

    Args:
        verbose: True shows more, False shows nothing, None is between them.
        on: the console; None for stderr.
    """

    def __init__(self, verbose: bool | None, on: Console | None = None) -> None:
        super().__init__(verbose, on)
        self._status = SearchStatus()
        self._last_line = time.monotonic()
        self._warnings: set[str] = set()
        self._has_shown_time = self._has_shown_stop = False
        self._live: Live | None = None
        self._drawn_at = 0.0

    def __call__(self, event: str, *, run: Any = None, slot: int = 0, **fields: Any) -> None:
        """Show an event of `api.search`."""
        if event == "stopping":
            self._status.is_stopping = True  # nothing more: a signal handler may not write
            return
        if self._verbose is False:
            return
        if event in ("log", "config"):
            if event == "log" or self._verbose:
                self._show(fields["line"])
        elif event == "planned":
            self._planned(fields)
        elif event == "run_started":
            self._started(run, slot, fields)
        elif event == "run_ended":
            self._ended(fields["record"])
        elif run is not None:
            self._running(event, run.number, slot, fields)
        if self._live is not None and event in ("run_started", "run_ended") and self._is_outdated():
            self._live.refresh()
        if self._status.is_stopping and not (self._is_drawn or self._has_shown_stop):
            self._has_shown_stop = True
            self._show(f"  {STOPPING}")

    def _show(self, line: str, style: str = "") -> None:
        super()._show(line, style)
        self._last_line = time.monotonic()

    def _planned(self, fields: dict[str, Any]) -> None:
        self._status.planned(fields["plan"], len(fields["placement"].slots))
        lines = [
            *plan_lines(fields["plan"], fields["to_run"]),
            *(f"  {sentence}" for sentence in fields["placement"].sentences),
            *memory_lines(fields["memory"], fields["placement"]),
            *needs_lines(fields["plan"], fields["disk"], fields["free_bytes"], fields["seconds_left"]),
        ]
        for line in lines:
            self._show(line)
        self._has_shown_time = fields["seconds_left"] is not None

    def _started(self, run: Any, slot: int, fields: dict[str, Any]) -> None:
        self._status.run_started(run, slot, fields)
        if self._is_drawn and self._live is None:
            self._area = self._live = Live(
                get_renderable=self._drawn,
                console=self._console,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                refresh_per_second=1,  # drawing takes some milliseconds of a processor that trains
            )
            self._live.start()
        left = fields["seconds_left"]
        if left is not None and not (self._has_shown_time or self._is_drawn):
            self._has_shown_time = True
            self._show(f"  time left: about {duration(left)}, estimated from the first run")
        if self._verbose:
            last = self._status.running[run.number].last_epoch
            until = f"  to epoch {last}" if last < run.config.training_spec.epochs else ""
            self._show(f"run {run.number} starts  {_settings(run)}{until}")

    def _is_outdated(self) -> bool:
        """Whether the live area shall be drawn although it will be within a second."""
        return time.monotonic() - self._drawn_at > _SOON_SECONDS

    def _drawn(self) -> Segments:
        self._drawn_at = time.monotonic()
        area = drawn(self._status, width=self._console.width, height=self._console.height)
        # Rendered here, once a second; each line that is printed above the area writes it again.
        return Segments(list(self._console.render(area)))

    def _running(self, event: str, number: int, slot: int, fields: dict[str, Any]) -> None:
        """Show an event of a run that trains."""
        if event == "step":
            self._status.step(number, slot, fields)
        elif event in ("epoch", "evaluation"):
            self._status.evaluated(number, fields)
        elif event == "stage":
            self._status.stage(number, slot, fields["stage"])
        elif event == "run_retried":
            self._status.run_retried(number, fields["action"])
            self._show(self._fitted(f"run {number}: ", "", "", retried_text(fields)), "yellow")
        elif event == "run_log":
            # These lines are in the log of the run; on the terminal only with `verbose`, but a warning always, once.
            line = fields["line"]
            is_new_warning = line.startswith("warning:") and line not in self._warnings
            if is_new_warning:
                self._warnings.add(line)
            if self._verbose or is_new_warning:
                self._show(f"run {number}: {line}")
        if not self._is_drawn and time.monotonic() - self._last_line >= QUIET_SECONDS:
            self._show(self._life_sign())

    def _ended(self, record: Any) -> None:
        run = self._status.run_ended(record)
        best = self._status.best
        seconds = record.seconds.get("total")
        values = {} if record.best_val_loss is None else {"val_loss": record.best_val_loss}
        if best is not None and (value := record.value_of(best.metric)) is not None:
            values[best.metric] = value
        outcome = "".join(f"  {name} {loss_text(value)}" for name, value in values.items())
        if record.state != "finished" and not (record.state == "interrupted" and record.error):
            outcome = f"{outcome}  {record.state}"
        took = "" if seconds is None else f"  {seconds:.1f} s"
        is_best = best is not None and best.top[:1] and best.top[0].number == run.number
        # On a terminal the live area has the best runs.
        reason = record.error or ("best so far" if is_best and not self._is_drawn else "")
        line = self._fitted(
            f"[{self._status.position()}] run {run.number}  ", _settings(run, MOST_CELLS), outcome + took, reason
        )
        self._show(line, "red" if record.state in ("failed", "oom") else "")

    def _fitted(self, before: str, settings: str, outcome: str, reason: str) -> str:
        """One line that does not wrap: first the settings are cut, then, on a terminal, the reason."""
        reason = " ".join(reason.split())
        end = f"  {reason}" if reason and outcome else reason
        width = self._console.width if self._is_drawn else PIPE_WIDTH
        room = width - cell_len(before) - cell_len(outcome) - min(cell_len(end), width // 3)
        line = before + cut(settings, room) + outcome + end
        return cut(line, width) if self._is_drawn else line

    def _life_sign(self) -> str:
        """The running runs in one line."""
        running = list(self._status.running.values())
        metric = "" if self._status.best is None else self._status.best.metric
        texts = [f"run {run.number} {_doing(run, metric)}" for run in running[:_FEW_RUNS]]
        more = [f"{len(running) - _FEW_RUNS} more runs"] if len(running) > _FEW_RUNS else []
        return f"  {self._status.progress()}; {'; '.join([*texts, *more])}"


def retried_text(fields: dict[str, Any]) -> str:
    """Why a run is retried, and how."""
    batch = fields["batch"]
    how = {
        "resume": "resumes from its last epoch",
        "alone": "again with the same batch, alone",
        "halve": f"begins again with batch_size {batch.batch_size} x {batch.accumulation_steps}",
    }
    return f"{how[fields['action']]}: {fields['reason']}"


def _settings(run: Any, most: int = PIPE_WIDTH) -> str:
    """The settings of a run; a value takes `most` cells at most."""
    return "  ".join(f"{name} {cut(short_text(value), most)}" for name, value in run.changed.items())


def _doing(run: RunningRun, metric: str) -> str:
    if run.loss is None:
        return run.stage or "starting"
    value = "" if run.value is None else f" {metric} {loss_text(run.value)}"
    return f"epoch {run.epoch}/{run.last_epoch} loss {loss_text(run.loss)}{value}"
