"""The progress of one training on stderr: a bar on a terminal, plain lines in a pipe."""

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sequifier.cli.output import console, duration
from sequifier.cli.pace import Pace
from sequifier.percent import loss_text

QUIET_SECONDS = 30.0
"""In a pipe, a line about the running epoch is printed after this time without another line."""

SLOW_SECONDS = 1.0
"""In a pipe, a stage that takes longer is named."""

STOPPING = "stopping after this epoch (Ctrl-C again: after this step, with a checkpoint)"

_STAGES = {
    "load": "loading the data",
    "baselines": "computing the baselines",
    "validation": "validating",
    "checkpoint": "writing the checkpoint",
    "export": "exporting the models",
}
"""Stage of a run besides training -> its name on a terminal."""


class ProgressDisplay:
    """Lines on stderr, and on a terminal an area below them that is redrawn.

    Args:
        verbose: True shows more, False shows nothing, None is between them.
        on: the console; None for stderr.
    """

    def __init__(self, verbose: bool | None, on: Console | None = None) -> None:
        self._verbose = verbose
        # A pipe receives no control characters, whatever FORCE_COLOR asks for.
        self._console = console(err=True, force_terminal=sys.stderr.isatty()) if on is None else on
        is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._is_drawn = is_terminal and verbose is not False
        self._area: Live | Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._area is not None:
            try:
                self._area.stop()
            finally:  # a second Ctrl-C may come while it stops
                self._console.show_cursor()

    def _show(self, line: str, style: str = "") -> None:
        # A terminal would break a long line within a word.
        self._console.print(line, style=style, markup=False, soft_wrap=not self._is_drawn)


class BarDisplay(ProgressDisplay):
    """Lines, and on a terminal one bar below them."""

    _bar: Progress | None = None
    _task: TaskID | None = None

    def _start_bar(self, description: str, *, left: str = "", completed: int = 0, total: int | None = None) -> None:
        """Show a bar, in place of the one before it.

        Args:
            description: left of it.
            left: right of it.
            completed: part of the total.
            total: None for a bar that only moves.
        """
        if not self._is_drawn:
            return
        if self._bar is None:
            self._area = self._bar = _bar(self._console)
        self._bar.start()
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(description, total=total, completed=completed, left=left)


class TrainingProgress(BarDisplay):
    """Shows one training; call it with events.

    On a terminal a bar shows the running epoch, and what else takes time. In a pipe there is a line at least every 30 s
    of training, and one for what takes over a second. With `verbose` there is a line for each logged step.
    """

    def __init__(self, verbose: bool | None, on: Console | None = None) -> None:
        super().__init__(verbose, on)
        self._of_run: Pace | None = None
        self._of_epoch: Pace | None = None
        self._epoch = 0
        self._max_steps: int | None = None
        self._last_line = time.monotonic()
        self._slow_stage: threading.Timer | None = None
        self._named_stages: set[str] = set()
        self._is_stopping = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        super().__exit__(kind, error, trace)

    def __call__(self, event: str, **fields: Any) -> None:
        """Show an event of `run.run`."""
        if event == "stopping":
            self._is_stopping = True  # nothing more: a signal handler may not write
            return
        if self._verbose is False:
            return
        self._end_stage()
        if event == "stage":
            self._begin_stage(fields["stage"])
        elif event == "started":
            self._max_steps = fields["max_steps"]
        elif event == "log":
            self._show(fields["line"])
        elif event == "step":
            self._step(fields)
        if self._is_stopping:
            self._is_stopping = False
            self._show(STOPPING)

    def _show(self, line: str, style: str = "") -> None:
        super()._show(line, style)
        self._last_line = time.monotonic()

    def _begin_stage(self, stage: str) -> None:
        """Name a stage besides training: at once on the bar, in a pipe once it has taken a while."""
        self._start_bar(_STAGES.get(stage, stage))
        if not self._is_drawn and stage != "training":
            # A validation of two seconds is named in the first epoch, not in each.
            seconds = QUIET_SECONDS if stage in self._named_stages else SLOW_SECONDS
            self._slow_stage = threading.Timer(seconds, lambda: self._name_stage(stage))
            self._slow_stage.daemon = True
            self._slow_stage.start()

    def _name_stage(self, stage: str) -> None:
        self._named_stages.add(stage)
        self._show(f"  {_STAGES.get(stage, stage)} ...")

    def _end_stage(self) -> None:
        if self._slow_stage is not None:
            self._slow_stage.cancel()
            self._slow_stage = None

    def _step(self, fields: dict[str, Any]) -> None:
        now, steps, step = time.monotonic(), fields["steps"], fields["step"]
        number = (fields["epoch"] - 1) * steps + step
        is_new_epoch = fields["epoch"] != self._epoch
        self._epoch = fields["epoch"]
        self._of_run = Pace.at(now, number) if self._of_run is None else self._of_run.after(now, number)
        self._of_epoch = (
            Pace.at(now, step) if self._of_epoch is None or is_new_epoch else self._of_epoch.after(now, step)
        )
        n_steps = fields["epochs"] * steps
        left = _left(
            self._of_epoch.seconds_until(steps, now),
            self._of_run.seconds_until(min(n_steps, self._max_steps or n_steps), now),
        )
        text = (
            f"epoch {fields['epoch']}/{fields['epochs']}  step {step}/{steps}  loss {loss_text(fields['train_loss'])}"
        )
        if self._is_drawn:
            self._start_bar(text, left=left, completed=step, total=steps)
        if self._verbose or (not self._is_drawn and now - self._last_line >= QUIET_SECONDS):
            self._show("  ".join(filter(None, [text, f"{fields['windows_per_second']:.0f} windows/s", left])))


def _left(of_epoch: float | None, of_run: float | None) -> str:
    """How long epoch and run still take: `epoch 12 s, run 4 min left`."""
    parts = [f"{what} {duration(left)}" for what, left in (("epoch", of_epoch), ("run", of_run)) if left is not None]
    return f"{', '.join(parts)} left" if parts else ""


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30 if console.width >= 100 else 12),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=2,  # drawing must not look like work, see sequifier/stall.py
    )
