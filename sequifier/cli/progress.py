"""What a person sees while something trains: bars on a terminal, plain lines in a pipe. All of it on stderr."""

import sys
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sequifier.cli.output import console, counted
from sequifier.config.size import machine_memory, size_text


class Shown:
    """A console, and a bar where there is a terminal.

    Args:
        verbose: True says more, False shows nothing, None is between them.
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

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(line, style=style, markup=False)

    def _start_bar(self, description: str) -> None:
        if self._bar is not None:
            self._bar.start()
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(description, total=None)


class TrainingProgress(Shown):
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
            self._say(fields["line"])
        elif event == "step":
            if self._bar is not None and self._task is not None:
                show_step(self._bar, self._task, fields)
            elif self._verbose:
                self._say(step_text(fields))


def bars(console: Console) -> Progress:
    """The bar that training and searching share."""
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
    """A step in a few words."""
    return (
        f"epoch {fields['epoch']}/{fields['epochs']} step {fields['step']}/{fields['steps']} "
        f"loss {fields['train_loss']:.4f} {fields['windows_per_second']:.0f} windows/s"
    )


class SearchProgress(Shown):
    """Shows a line for each run of a search, or with `verbose` its epochs too; call it with events."""

    _label = _left = ""
    _said_expected = False

    def __call__(self, event: str, **fields: Any) -> None:
        """Show an event of `api.search`."""
        if self._verbose is False:
            return
        show = {
            "log": lambda fields: self._say(fields["line"]),
            "planned": self._planned,
            "run_started": self._started,
            "run_retried": self._retried,
            "run_ended": self._ended,
            "step": self._step,
            "epoch": self._epoch,
        }.get(event)
        if show is not None:
            show(fields)

    def _planned(self, fields: dict[str, Any]) -> None:
        for line in plan_lines(fields["plan"], fields["to_run"]):
            self._say(line)
        for line in memory_lines(fields["memory"]):
            self._say(line)
        for line in needs_lines(fields["plan"], fields["disk"], fields["free_bytes"], fields["seconds_left"]):
            self._say(line)
        self._said_expected = fields["seconds_left"] is not None

    def _started(self, fields: dict[str, Any]) -> None:
        run, left = fields["run"], fields["seconds_left"]
        settings = "  ".join(f"{name} {value_text(value)}" for name, value in run.changed.items())
        self._label = f"[{position_text(fields)}] run {run.number}  {settings}"
        until = fields["until_epoch"]
        if until is not None and until < run.config.training_spec.epochs:
            self._label += f"  to epoch {until}"
        if left is not None and not self._said_expected:
            self._said_expected = True
            self._say(f"  about {duration(left)} for what is left, by what the first run took")
        self._left = "" if left is None else f"  about {duration(left)} left"
        self._start_bar(self._label)

    def _step(self, fields: dict[str, Any]) -> None:
        if self._bar is not None and self._task is not None:
            show_step(self._bar, self._task, fields)
            self._bar.update(self._task, description=f"{self._label}  {step_text(fields)}{self._left}")

    def _epoch(self, fields: dict[str, Any]) -> None:
        if self._verbose:
            self._say(f"    epoch {fields['epoch']}/{fields['epochs']}  validation loss {fields['val_loss']:.4f}")

    def _retried(self, fields: dict[str, Any]) -> None:
        batch = fields["batch"]
        again = f"with batch_size {batch.batch_size} x {batch.accumulation_steps}"
        if fields["action"] == "resume":
            again = "from its last epoch"
        self._say(f"    {fields['reason']}; again {again}", "yellow")

    def _ended(self, fields: dict[str, Any]) -> None:
        record = fields["record"]
        seconds = record.seconds.get("total")
        outcome = record.state if record.best_val_loss is None else f"validation loss {record.best_val_loss:.4f}"
        if record.best_val_loss is not None and record.state != "finished":
            outcome += f" ({record.error if record.state == 'interrupted' else record.state})"
        took = "" if seconds is None else f"  {seconds:.1f} s"
        self._say(f"{self._label}  {outcome}{took}", "red" if record.state in ("failed", "oom") else "")


def position_text(fields: dict[str, Any]) -> str:
    """How far a search is: ` 3/12` runs, or where runs wait for each other `40/~120 epochs, 5 runs wait`."""
    forecast, n_runs = fields["forecast"], fields["n_runs"]
    if forecast is None:
        return f"{fields['n_done'] + 1:>{len(str(n_runs))}}/{n_runs}"
    several = "1 run waits" if forecast.waiting == 1 else f"{forecast.waiting} runs wait"
    waiting = f", {several}" if forecast.waiting else ""
    return f"{forecast.trained:>{len(str(forecast.expected))}}/~{forecast.expected} epochs{waiting}"


def memory_lines(memory: tuple[int, int] | None) -> list[str]:
    """What training needs of memory, and a warning where this machine has less."""
    if memory is None:
        return []
    least, most = memory
    amount = size_text(most) if size_text(least) == size_text(most) else f"{size_text(least)} to {size_text(most)}"
    lines = [f"  memory of training about {amount}, beside the libraries and the data"]
    if most > (available := machine_memory()):
        lines.append(f"  warning: this machine has {size_text(available)}; runs that do not fit end as oom")
    return lines


def needs_lines(plan: Any, disk: Any, free_bytes: int, seconds_left: float | None) -> list[str]:
    """What a search needs, in a few lines: disk, and time as far as runs were measured.

    Args:
        plan: of the search.
        disk: a `search.estimate.DiskUse`; None where no run is known yet.
        free_bytes: on the disk of the project.
        seconds_left: for what is left; None before anything was measured.
    """
    lines = []
    if disk is not None:
        kept = {"all": "", "best": " of the best run"}.get(
            str(plan.config.keep_models), f" of the {plan.config.keep_models} best runs"
        )
        passing = f" (and up to {size_text(disk.passing)} more meanwhile)" if disk.passing else ""
        lines.append(
            f"  on disk in the end: models{kept} about {size_text(disk.models)}{passing}, checkpoints and records "
            f"{size_text(disk.others)}; {size_text(free_bytes)} are free"
        )
        if disk.most > free_bytes:
            less = "" if plan.config.keep_models == "best" else "; keep_models: best needs less"
            lines.append(f"  warning: that is more than is free{less}")
    if seconds_left:
        lines.append(f"  about {duration(seconds_left)} for what is left, by what the runs so far took")
    return lines


def plan_lines(plan: Any, to_run: list[Any]) -> list[str]:
    """A plan in a few lines."""
    config = plan.config
    cells = "a space without end" if plan.n_cells is None else counted(plan.n_cells, "cell")
    n_runs = len(plan.runs) + plan.n_to_propose
    lines = [
        f"{config.hp_search_name}: {config.search_strategy} over {cells}, {counted(n_runs, 'run')}, seed {plan.seed}, "
        f"data {plan.fingerprint}"
    ]
    merged = Counter(cell.reason for cell in plan.merged)
    lines += [
        f"  {counted(count, 'cell')} {'is' if count == 1 else 'are'} the same run as another: {reason}"
        for reason, count in merged.items()
    ]
    lines += [f"  runs {_listed(runs)}: {reason}" for reason, runs in plan.changes.items()]
    lines += [f"  note: {note}" for note in plan.notes]
    sizes = [run.parameters for run in plan.runs]
    if sizes:
        size = f"{max(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        lines.append(f"  models of {size} parameters, run files in {plan.runs[0].path.parent}/")
    difference = plan.difference()
    if difference.kept or difference.gone or difference.undrawn:
        counts = {
            "kept": list(difference.kept),
            "new": list(difference.new),
            "changed": [pair.now for pair in difference.changed],
            "not sampled this time, their results stay": list(difference.undrawn),
            "no longer part of the config, their results stay": list(difference.gone),
        }
        lines += [f"  {len(runs):,} {what}: {_listed(runs)}" for what, runs in counts.items() if runs]
    if not to_run and not plan.n_to_propose:
        done = f": {counted(n_runs, 'run')} {'is' if n_runs == 1 else 'are'} done" if n_runs else ""
        lines.append(f"  nothing is left to run{done}")
    else:
        lines.append(f"  {len(to_run) + plan.n_to_propose:,} to run")
    return lines


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def value_text(value: Any) -> str:
    """A setting in few characters."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value)


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
