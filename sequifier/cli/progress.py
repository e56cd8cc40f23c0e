"""Progress of trainings and searches on stderr: a bar on a terminal, plain lines in a pipe."""

import sys
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sequifier.cli.output import console, counted
from sequifier.config.size import size_text
from sequifier.machine import memory_bytes


class ProgressDisplay:
    """A console, with a bar where it is a terminal.

    Args:
        verbose: True shows more, False shows nothing, None is between them.
    """

    def __init__(self, verbose: bool | None) -> None:
        self._verbose = verbose
        self._console = console(err=True, soft_wrap=True)
        self._bar = bars(self._console) if sys.stderr.isatty() and verbose is not False else None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, line: str, style: str = "") -> None:
        self._console.print(line, style=style, markup=False)

    def _start_bar(self, description: str) -> None:
        if self._bar is not None:
            self._bar.start()
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(description, total=None)


class TrainingProgress(ProgressDisplay):
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
                show_step(self._bar, self._task, fields)
            elif self._verbose:
                self._show(step_text(fields))


def bars(console: Console) -> Progress:
    """The bar of a training or a search."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=2,  # drawing must not look like work, see sequifier/stall.py
    )


def show_step(bar: Progress, task: TaskID, fields: dict[str, Any]) -> None:
    """Move the bar of a run to a step."""
    done = (fields["epoch"] - 1) * fields["steps"] + fields["step"]
    bar.update(task, description=step_text(fields), completed=done, total=fields["epochs"] * fields["steps"])


def step_text(fields: dict[str, Any]) -> str:
    """A step as text."""
    return (
        f"epoch {fields['epoch']}/{fields['epochs']} step {fields['step']}/{fields['steps']} "
        f"loss {fields['train_loss']:.4f} {fields['windows_per_second']:.0f} windows/s"
    )


class SearchProgress(ProgressDisplay):
    """Shows a line for each run of a search, or with `verbose` its epochs too; call it with events."""

    _label = _left = ""
    _has_shown_time = False

    def __call__(self, event: str, **fields: Any) -> None:
        """Show an event of `api.search`."""
        if self._verbose is False:
            return
        show = {
            "log": lambda fields: self._show(fields["line"]),
            "config": self._detail,
            "run_log": self._detail,
            "planned": self._planned,
            "run_started": self._started,
            "run_retried": self._retried,
            "run_ended": self._ended,
            "step": self._step,
            "epoch": self._epoch,
        }.get(event)
        if show is not None:
            show(fields)

    def _detail(self, fields: dict[str, Any]) -> None:
        # These lines are in the record of the search or run; on the terminal only with `verbose`, but warnings always.
        if self._verbose or fields["line"].startswith("warning:"):
            self._show(f"    {fields['line']}")

    def _planned(self, fields: dict[str, Any]) -> None:
        for line in plan_lines(fields["plan"], fields["to_run"]):
            self._show(line)
        for line in memory_lines(fields["memory"]):
            self._show(line)
        for line in needs_lines(fields["plan"], fields["disk"], fields["free_bytes"], fields["seconds_left"]):
            self._show(line)
        self._has_shown_time = fields["seconds_left"] is not None

    def _started(self, fields: dict[str, Any]) -> None:
        run, left = fields["run"], fields["seconds_left"]
        settings = "  ".join(f"{name} {value_text(value)}" for name, value in run.changed.items())
        self._label = f"[{position_text(fields)}] run {run.number}  {settings}"
        until = fields["until_epoch"]
        if until is not None and until < run.config.training_spec.epochs:
            self._label += f"  to epoch {until}"
        if left is not None and not self._has_shown_time:
            self._has_shown_time = True
            self._show(f"  time left: about {duration(left)}, estimated from the first run")
        self._left = "" if left is None else f"  about {duration(left)} left"
        self._start_bar(self._label)

    def _step(self, fields: dict[str, Any]) -> None:
        if self._bar is not None and self._task is not None:
            show_step(self._bar, self._task, fields)
            self._bar.update(self._task, description=f"{self._label}  {step_text(fields)}{self._left}")

    def _epoch(self, fields: dict[str, Any]) -> None:
        if self._verbose:
            self._show(f"    epoch {fields['epoch']}/{fields['epochs']}  validation loss {fields['val_loss']:.4f}")

    def _retried(self, fields: dict[str, Any]) -> None:
        batch = fields["batch"]
        how = f"again with batch_size {batch.batch_size} x {batch.accumulation_steps}"
        if fields["action"] == "resume":
            how = "resuming from its last epoch"
        self._show(f"    {fields['reason']}; {how}", "yellow")

    def _ended(self, fields: dict[str, Any]) -> None:
        record = fields["record"]
        seconds = record.seconds.get("total")
        outcome = record.state if record.best_val_loss is None else f"validation loss {record.best_val_loss:.4f}"
        if record.best_val_loss is not None and record.state != "finished":
            outcome += f" ({record.error if record.state == 'interrupted' else record.state})"
        took = "" if seconds is None else f"  {seconds:.1f} s"
        self._show(f"{self._label}  {outcome}{took}", "red" if record.state in ("failed", "oom") else "")


def position_text(fields: dict[str, Any]) -> str:
    """How far a search is: ` 3/12` runs, or with asha `40/~120 epochs, 5 runs paused`."""
    forecast, n_runs = fields["forecast"], fields["n_runs"]
    if forecast is None:
        return f"{fields['n_done'] + 1:>{len(str(n_runs))}}/{n_runs}"
    paused = f", {counted(forecast.waiting, 'run')} paused" if forecast.waiting else ""
    return f"{forecast.trained:>{len(str(forecast.expected))}}/~{forecast.expected} epochs{paused}"


def memory_lines(memory: tuple[int, int] | None) -> list[str]:
    """The memory that training needs, and a warning where this machine has less."""
    if memory is None:
        return []
    least, most = memory
    amount = size_text(most) if size_text(least) == size_text(most) else f"{size_text(least)} to {size_text(most)}"
    lines = [f"  memory: about {amount} for training, plus libraries and data"]
    if most > (available := memory_bytes()):
        lines.append(f"  warning: this machine has {size_text(available)}; runs that do not fit end as oom")
    return lines


def needs_lines(plan: Any, disk: Any, free_bytes: int, seconds_left: float | None) -> list[str]:
    """The disk that a search needs, and the time once runs were measured.

    Args:
        plan: the search's.
        disk: a `search.estimate.DiskUse`; None where no run is known yet.
        free_bytes: on the disk of the project.
        seconds_left: for the rest of the search; None before a run was measured.
    """
    lines = []
    if disk is not None:
        keep = plan.config.keep_models
        kept = {"all": "", "best": " of the best run"}.get(str(keep), f" of the best {keep} runs")
        passing = f" (up to {size_text(disk.passing)} more while it runs)" if disk.passing else ""
        lines.append(
            f"  disk: about {size_text(disk.models)} of models{kept}{passing}, {size_text(disk.others)} of checkpoints "
            f"and records; {size_text(free_bytes)} free"
        )
        if disk.most > free_bytes:
            less = "" if keep == "best" else "; keep_models: best needs less"
            lines.append(f"  warning: this is more than the free disk space{less}")
    if seconds_left:
        lines.append(f"  time left: about {duration(seconds_left)}, estimated from the runs so far")
    return lines


def plan_lines(plan: Any, to_run: list[Any]) -> list[str]:
    """A plan in a few lines."""
    config = plan.config
    cells = "a continuous space" if plan.n_cells is None else counted(plan.n_cells, "cell")
    n_runs = len(plan.runs) + plan.n_to_propose
    lines = [
        f"{config.hp_search_name}: {config.search_strategy} search over {cells}, {counted(n_runs, 'run')}, "
        f"seed {plan.seed}, data fingerprint {plan.fingerprint}"
    ]
    merged = Counter(cell.reason for cell in plan.merged)
    lines += [
        f"  {counted(count, 'cell')} {'is a duplicate' if count == 1 else 'are duplicates'} of another one: {reason}"
        for reason, count in merged.items()
    ]
    lines += [f"  {_runs(runs)}: {reason}" for reason, runs in plan.changes.items()]
    lines += [f"  note: {note}" for note in plan.notes]
    sizes = [run.n_parameters for run in plan.runs]
    if sizes:
        size = f"{max(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        lines.append(f"  models with {size} parameters; run files in {plan.runs[0].path.parent}/")
    difference = plan.difference()
    if difference.kept or difference.gone or difference.not_sampled:
        kinds = {
            "in the ledger": difference.kept,
            "new": difference.new,
            "new with changed settings": [pair.now for pair in difference.changed],
            "not sampled this time (results are kept)": difference.not_sampled,
            "no longer part of the config (results are kept)": difference.gone,
        }
        lines += [f"  {what}: {_runs(runs)}" for what, runs in kinds.items() if runs]
    if not to_run and not plan.n_to_propose:
        done = f": {counted(n_runs, 'run')} {'is' if n_runs == 1 else 'are'} done" if n_runs else ""
        lines.append(f"  nothing is left to train{done}")
    else:
        lines.append(f"  to train: {counted(len(to_run) + plan.n_to_propose, 'run')}")
    return lines


def duration(seconds: float) -> str:
    """Seconds as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def value_text(value: Any) -> str:
    """A setting in a few characters."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value)


def _runs(numbers: Sequence[int]) -> str:
    """`run 3`, or `9 runs (0, 1, 2, 3, 4, 5, 6, 7, ...)`."""
    if len(numbers) == 1:
        return f"run {numbers[0]}"
    listed = ", ".join(map(str, numbers[:8]))
    return f"{len(numbers):,} runs ({listed}{', ...' if len(numbers) > 8 else ''})"
