"""The display of one training: a bar on a terminal, plain lines in a pipe, and the names of what takes time."""

from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sequifier.cli import progress
from sequifier.cli.progress import TrainingProgress
from tests.support.terminal import Screen


class Clock:
    """A clock that a test sets, and the timers that were started and not cancelled."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def timer(self, seconds: float, function: Callable[[], None]) -> Any:
        entry = (self.now + seconds, function)
        return SimpleNamespace(start=lambda: self.timers.append(entry), cancel=lambda: self.timers.remove(entry))

    def set(self, now: float) -> None:
        """Let time pass; what is due happens."""
        self.now = now
        for at, function in [*self.timers]:
            if at <= now:
                function()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(progress, "threading", SimpleNamespace(Timer=clock.timer))
    return clock


def step(number: int, epoch: int = 1, steps: int = 100, **fields: Any) -> dict[str, Any]:
    known = {"epoch": epoch, "epochs": 10, "step": number, "steps": steps, "train_loss": 1.75}
    return known | {"windows_per_second": 9.0} | fields


def test_a_pipe_has_a_line_every_30_seconds_of_an_epoch(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = TrainingProgress(None)
    show("started", max_steps=None)
    for second in range(0, 100, 10):
        clock.set(second)
        show("step", **step(second // 2 + 1))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/10  step 16/100  loss 1.7500  9 windows/s  epoch 3 min, run 33 min left",
        "epoch 1/10  step 31/100  loss 1.7500  9 windows/s  epoch 2 min, run 32 min left",
        "epoch 1/10  step 46/100  loss 1.7500  9 windows/s  epoch 2 min, run 32 min left",
    ], "10 s for 5 steps"
    clock.set(100)
    show("step", **step(51))
    show("log", line="epoch 1/10")
    clock.set(129)
    show("step", **step(60))
    assert capsys.readouterr().err == "epoch 1/10\n", "any line will do"


def test_a_limit_of_steps_and_a_new_epoch_count_in_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    show = TrainingProgress(True)
    show("started", max_steps=130)
    for second, number, epoch in ((0, 90, 1), (10, 100, 1), (40, 10, 2), (50, 20, 2)):
        clock.set(second)
        show("step", **step(number, epoch))
    lefts = [line.partition("9 windows/s")[2] for line in capsys.readouterr().err.splitlines()]
    assert lefts == ["", "  epoch 1 s, run 30 s left", "  run 40 s left", "  epoch 80 s, run 17 s left"]


def test_a_stage_that_takes_over_a_second_is_named(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = TrainingProgress(None)
    show("stage", stage="load")
    clock.set(0.9)
    show("stage", stage="baselines")
    clock.set(2.5)
    show("stage", stage="training")
    clock.set(20.0)
    for beginning in (21.0, 31.0, 41.0):
        show("stage", stage="validation")
        clock.set(beginning + 5)
        show("stage", stage="training")
    show("stage", stage="validation")
    clock.set(90.0)
    show("log", line="epoch 4/10")
    assert capsys.readouterr().err.splitlines() == [
        "  computing the baselines ...",
        "  validating ...",
        "  validating ...",
        "epoch 4/10",
    ]
    assert not clock.timers


def test_a_signal_handler_writes_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = TrainingProgress(None)
    show("stopping")
    assert capsys.readouterr().err == ""
    for number in (1, 2):
        show("step", **step(number))
    assert capsys.readouterr().err == f"{progress.STOPPING}\n"


def test_quiet_shows_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = TrainingProgress(False)
    for event in ({"event": "stage", "stage": "load"}, {"event": "log", "line": "x"}, {"event": "step", **step(1)}):
        clock.set(clock.now + 100)
        show(**event)
    assert capsys.readouterr().err == ""
    assert not clock.timers


@pytest.mark.parametrize("width", [80, 110])
def test_a_terminal_has_a_bar_of_the_epoch_and_names_each_stage(clock: Clock, width: int) -> None:
    written = StringIO()
    options: dict[str, Any] = {"force_terminal": True, "color_system": None, "highlight": False}
    console = Console(file=written, width=width, height=30, **options)

    def shown() -> list[str]:
        screen = Screen(width)
        screen.write(written.getvalue().replace("\n", "\r\n"))
        assert not screen.wrapped
        return [line for line in screen.lines if line]

    with TrainingProgress(None, console) as show:
        for stage, name in (("load", "loading the data"), ("validation", "validating"), ("training", "training")):
            show("stage", stage=stage)
            (line,) = shown()
            assert line.startswith(f"{name} ")
        for second, number in ((0, 100), (10, 110), (20, 120)):
            clock.set(second)
            show("step", **step(number, 3, 400))
        assert show._bar is not None
        show._bar.refresh()
        (line,) = shown()
        assert line.startswith("epoch 3/10  step 120/400  loss 1.7500 ━")
        assert line.endswith(" epoch 5 min, run 51 min left")
        show("log", line="a line")
        assert shown()[0] == "a line"
    assert shown() == ["a line"]
