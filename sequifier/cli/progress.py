"""The progress of one training on stderr: a bar on a terminal, plain lines in a pipe."""

import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sequifier.cli.output import console


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

    def _start_bar(self, description: str) -> None:
        if not self._is_drawn:
            return
        if self._bar is None:
            self._area = self._bar = _bar(self._console)
        self._bar.start()
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(description, total=None)


class TrainingProgress(BarDisplay):
    """Shows the epochs of one training run, or with `verbose` every logged step; call it with events."""

    def __call__(self, event: str, **fields: Any) -> None:
        """Show an event of `run.run`."""
        if self._verbose is False:
            return
        if event == "stage" and fields["stage"] == "baselines":
            self._start_bar("computing the baselines")
        elif event == "started":
            self._start_bar("")
        elif event == "log":
            self._show(fields["line"])
        elif event == "step":
            if self._bar is not None and self._task is not None:
                done = (fields["epoch"] - 1) * fields["steps"] + fields["step"]
                total = fields["epochs"] * fields["steps"]
                self._bar.update(self._task, description=_step_text(fields), completed=done, total=total)
            elif self._verbose:
                self._show(_step_text(fields))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=2,  # drawing must not look like work, see sequifier/stall.py
    )


def _step_text(fields: dict[str, Any]) -> str:
    return (
        f"epoch {fields['epoch']}/{fields['epochs']} step {fields['step']}/{fields['steps']} "
        f"loss {fields['train_loss']:.4f} {fields['windows_per_second']:.0f} windows/s"
    )
