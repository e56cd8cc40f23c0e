"""The display of a search: one line for each run that ended, and a live area, at any width; plain lines in a pipe."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from sequifier.artifacts.ledger import Record
from sequifier.cli import search_display
from sequifier.cli.live_area import drawn
from sequifier.cli.search_display import SearchProgress
from sequifier.cli.search_status import BestRuns, SearchStatus
from sequifier.results.settings_columns import cut
from sequifier.search.agenda import Forecast
from tests.support.terminal import Screen

WIDTHS = (40, 60, 80, 110, 200)
SETTINGS = {
    "input_columns": ["kind", "length", "indentation"],
    "learning_rate": 0.0031622776601683794,
    "optimizer": {"name": "AdamW", "weight_decay": 0.01},
    "dim_model": 64,
    "名前": "値" * 30,
}
REASON = "ValueError: the state\nof things [bold] is not known; to reproduce: sequifier train --config-path run-1.yaml"


def planned_run(number: int, record: Record | None = None, **changed: Any) -> Any:
    config = SimpleNamespace(training_spec=SimpleNamespace(epochs=10, max_steps=None))
    return SimpleNamespace(number=number, changed=changed or SETTINGS, record=record, config=config)


def record(number: int, state: Any = "finished", loss: float | None = None, **fields: Any) -> Record:
    known: dict[str, Any] = {"name": f"r{number}", "identity": "i", "data": "d", "batch_size": 1, "seed": 0}
    if loss is not None:
        known |= {"best_val_loss": loss, "best_epoch": 2, "metrics": {"val_loss": loss}, "curve": [loss + 1, loss]}
    return Record.model_validate({"run": number, "state": state, "seconds": {"total": 12.34}, **known, **fields})


def started(**fields: Any) -> dict[str, Any]:
    """The fields of a `run_started` event besides the run and its slot."""
    values = {"until_epoch": None, "n_done": 0, "n_runs": 9, "forecast": None, "seconds_left": None, "epochs_like": 0.0}
    return values | fields


def plan(*runs: Any, metric: str = "val_loss", direction: str = "minimize") -> Any:
    return SimpleNamespace(runs=runs, config=SimpleNamespace(metric=metric, direction=direction))


class Display:
    """A display on a terminal that is a string, with the events of a search."""

    def __init__(self, width: int) -> None:
        self._written, self._width = StringIO(), width
        options: dict[str, Any] = {"force_terminal": True, "color_system": None, "highlight": False}
        self.show = SearchProgress(None, Console(file=self._written, width=width, height=30, **options))

    def start(self, number: int, slot: int = 0, **fields: Any) -> None:
        self.show("run_started", slot=slot, run=planned_run(number), **started(**{"n_runs": 12} | fields))

    def step(self, number: int, step: int, slot: int = 0, **fields: Any) -> None:
        values = {"epoch": 1, "epochs": 10, "steps": 20, "train_loss": 1.75, "windows_per_second": 9.0}
        self.show("step", run=planned_run(number), slot=slot, step=step, **(values | fields))

    def end(self, ended: Record, slot: int = 0) -> None:
        self.show("run_ended", slot=slot, record=ended, run=planned_run(ended.run))

    def lines(self) -> list[str]:
        """The lines about runs so far, without the live area."""
        return [line for line in self.screen().lines if re.match(r"\[|run ", line)]

    def screen(self) -> Screen:
        screen = Screen(self._width)
        screen.write(self._written.getvalue().replace("\n", "\r\n"))  # as a terminal does it
        assert not screen.wrapped
        return screen


@pytest.fixture
def display() -> Iterator[Callable[[int], Display]]:
    shown: list[Display] = []

    def new(width: int) -> Display:
        shown.append(Display(width))
        return shown[-1]

    yield new
    for each in shown:
        each.show.__exit__(None, None, None)


ENDS = [
    (record(1, loss=1.23456), "val_loss 1.2346  12.3 s"),
    (record(1, "failed", error=REASON), "failed  12.3 s"),
    (record(1, "oom", error="out of memory with batch_size 1"), "oom  12.3 s"),
    (record(1, "pruned", 1.5, error="behind the median after epoch 2"), "val_loss 1.5000  pruned  12.3 s"),
    (record(1, "diverged", 1.5, error="the training loss is nan"), "val_loss 1.5000  diverged  12.3 s"),
    (record(1, "interrupted", 1.5, error="paused after epoch 2"), "val_loss 1.5000  12.3 s  paused after epoch 2"),
    (record(1, "interrupted", error="stopped at once; the next start resumes"), "12.3 s  stopped at once"),
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("ended", "outcome"), ENDS, ids=[f"{ended.state}-{outcome[-5:]}" for ended, outcome in ENDS])
def test_a_run_that_ended_is_one_line_with_its_whole_loss(
    display: Callable[[int], Display], width: int, ended: Record, outcome: str
) -> None:
    shown = display(width)
    shown.start(1)
    shown.end(ended)
    (line,) = [line for line in shown.lines() if line.startswith("[")]
    assert cell_len(line) <= width
    assert line.startswith("[ 0/12] run 1 " if ended.state == "interrupted" else "[ 1/12] run 1 ")
    if width >= 60:
        assert outcome[: max(len("val_loss 1.2346  12.3 s"), width - 60)] in line
    if width == 200 and ended.state == "failed":
        assert "  ValueError: the state of things [bold] is not known" in line, "no line feed, no markup"
    assert "best so far" not in line, "the live area has the table"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_the_live_area_is_wider_than_the_terminal(width: int) -> None:
    status = SearchStatus()
    known = [planned_run(n, record(n, loss=1.0 + n / 7)) for n in range(1000, 1009)]
    status.planned(plan(*known), n_slots=40)
    for slot in range(40):
        run = planned_run(slot, **{**SETTINGS, "dim_model": 2**slot, "dropout": slot / 100})
        status.run_started(run, slot, started(until_epoch=3, n_done=9, n_runs=2000, seconds_left=7200.0))
    status.stage(1, 1, "baselines")
    for step in (1, 5):
        status.step(2, 2, {"epoch": 2, "step": step, "steps": 12345, "train_loss": 123.456})
    console = Console(width=width, height=30, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(drawn(status, width=width, height=30))
    lines = captured.get().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < 30, "the terminal has room for it"
    text = "\n".join(lines)
    if width >= 60:
        for part in ("slot", "rank", "val", "143.8571", "-/3", "baselines", "123.4560", "2/3", "5/12345"):
            assert part in text
    assert "best so far by val_loss (lower is better)"[: width - 1] in text
    assert re.search(r"\.\.\. and \d\d more runs", text)
    assert lines[-1] == cut("9 of 2,000 runs done, about 2.0 h left", width)


def test_the_best_runs_are_those_of_a_sort() -> None:
    draw = random.Random(1)
    for direction, sign in (("minimize", 1), ("maximize", -1)):
        best, values = BestRuns("score", direction), {}
        for _ in range(300):
            number = draw.randrange(40)
            value = draw.choice([None, draw.choice([0.5, draw.random()])])
            metrics = {} if value is None else {"score": value}
            best.add(record(number, "failed" if value is None else "finished", metrics=metrics), {})
            values[number] = value
            order = sorted((sign * value, number) for number, value in values.items() if value is not None)
            assert [(sign * run.value, run.number) for run in best.top] == order[:5]


def test_results_of_the_ledger_count_and_a_resumed_run_is_listed_once() -> None:
    status = SearchStatus()
    paused = record(1, "interrupted", 2.0, error="paused after epoch 2", metrics={"val_acc": 0.25})
    never = record(0, "failed")
    status.planned(plan(planned_run(0, never), planned_run(1, paused), metric="val_acc", direction="maximize"))
    assert status.best is not None
    assert [(run.number, run.value, run.remark) for run in status.best.top] == [(1, 0.25, "paused")]
    fields = started(until_epoch=4, n_done=1, n_runs=2, forecast=Forecast(2, 9, 0))
    status.run_started(planned_run(1, paused), 0, fields)
    status.run_ended(record(1, loss=1.0, metrics={"val_acc": 0.5}, curve=[4, 3, 2, 1], error=None))
    (run,) = status.best.top
    assert (run.value, run.remark, run.seconds) == (0.5, "", 2 * 12.34)
    assert status.forecast == Forecast(trained=4, expected=9, waiting=0)
    assert status.position() == "4/~9 epochs"


def test_events_of_two_slots_belong_to_their_runs(
    display: Callable[[int], Display], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("sequifier.cli.search_status.time", SimpleNamespace(monotonic=lambda: now[0]))
    shown = display(110)
    status = shown.show._status
    shown.start(1, slot=0)
    shown.start(2, slot=1, seconds_left=100.0)
    shown.step(2, 10, slot=1, train_loss=3.0)
    shown.step(1, 20, slot=0, train_loss=4.0)
    now[0] = 5.0
    shown.step(2, 20, slot=1, train_loss=2.0)
    assert {number: (run.slot, run.step, run.loss) for number, run in status.running.items()} == {
        1: (0, 20, 4.0),
        2: (1, 20, 2.0),
    }
    assert status.running[2].seconds_left(5.0) == pytest.approx(0.5 * 180), "10 steps in 5 s, 180 to come"
    assert status.seconds_left() == pytest.approx(95.0)
    shown.end(record(2, loss=1.0), slot=1)
    assert [(run.slot, run.number) for run in status.running.values()] == [(0, 1)]
    batch = SimpleNamespace(batch_size=16, accumulation_steps=2)
    for action in ("halve", "alone", "resume"):
        fields = {"reason": "ran out of memory", "action": action, "batch": batch}
        shown.show("run_retried", run=planned_run(1), slot=0, **fields)
        expected = "waiting" if action == "alone" else "starting"
        assert (status.running[1].loss, status.running[1].stage) == (None, expected), "it starts again"
    assert [line for line in shown.lines() if line.startswith("run 1")] == [
        "run 1: begins again with batch_size 16 x 2: ran out of memory",
        "run 1: again with the same batch, alone: ran out of memory",
        "run 1: resumes from its last epoch: ran out of memory",
    ]
    shown.step(1, 3, slot=1)
    assert status.running[1].slot == 1, "it waited for the other one, and goes on in its place"
    shown.start(3, slot=0, n_done=1)
    shown.end(record(1, loss=3.0), slot=1)
    assert status.progress() == "2 of 12 runs done"
    shown.end(record(3, loss=3.0), slot=0)
    assert status.seconds_left() is None, "no run trains any more"
    assert [line[:15] for line in shown.lines() if line.startswith("[")] == [
        *("[ 1/12] run 2  ", "[ 2/12] run 1  ", "[ 3/12] run 3  ")
    ]


def test_running_runs_show_the_metric_that_ranks_after_their_last_evaluation(
    display: Callable[[int], Display], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = display(110)
    status, metric = shown.show._status, "val_item_ndcg_10"
    status.planned(plan(metric=metric, direction="maximize"))
    shown.start(1)
    shown.step(1, 20)
    assert status.running[1].value is None
    for event, value in (("evaluation", 0.03125), ("epoch", 0.0625)):
        shown.show(event, run=planned_run(1), val_loss=6.5, **{metric: value})
        assert status.running[1].value == value
    shown.step(1, 1, epoch=2)
    console = Console(width=110, height=30, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(drawn(status, width=110, height=30))
    (line,) = [line for line in captured.get().splitlines() if " 2/10 " in line]
    assert re.search(r" 1\.7500 +0\.06250 ", line), "beside the loss"
    batch = SimpleNamespace(batch_size=16, accumulation_steps=2)
    shown.show("run_retried", run=planned_run(1), slot=0, reason="out of memory", action="halve", batch=batch)
    assert status.running[1].value is None, "it begins again"

    monkeypatch.setattr(search_display, "QUIET_SECONDS", 0.0)
    piped = SearchProgress(None)
    piped._status.planned(plan(metric=metric, direction="maximize"))
    piped("run_started", run=planned_run(0), **started())
    step = {"epoch": 1, "epochs": 10, "step": 1, "steps": 9, "train_loss": 1.5, "windows_per_second": 1}
    piped("step", run=planned_run(0), **step)
    piped("epoch", run=planned_run(0), val_loss=6.5, **{metric: 0.0625})
    assert capsys.readouterr().err.splitlines() == [
        "  0 of 9 runs done; run 0 epoch 1/10 loss 1.5000",
        "  0 of 9 runs done; run 0 epoch 1/10 loss 1.5000 val_item_ndcg_10 0.06250",
    ]


def test_a_pipe_receives_a_line_for_each_run_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    show, run = SearchProgress(None), planned_run(1, input_columns=["kind", "x" * 200], dropout=0.1)
    show("config", line="config")
    show("run_started", run=run, **started(n_runs=2, seconds_left=60.0))
    show("run_log", run=run, line="epoch 1/1 and so on")
    show("stage", run=run, stage="export")
    show("run_ended", run=run, record=record(1, loss=1.5))
    time_left, ended = capsys.readouterr().err.splitlines()
    assert time_left == "  time left: about 60 s, estimated from the first run"
    assert ended == f"[1/2] run 1  input_columns [kind, {'x' * 20}…  dropout 0.1  val_loss 1.5000  12.3 s"
    many = planned_run(1, **{f"setting_{number}": 0.5 for number in range(30)})
    show("run_started", run=many, **started(n_done=1, n_runs=2))
    show("run_ended", run=run, record=record(1, loss=1.5))
    show("run_started", run=many, **started(n_done=1, n_runs=2))
    show("run_ended", run=run, record=record(1, "failed", error="no " + "reason " * 30))
    ended, failed = capsys.readouterr().err.splitlines()
    assert len(ended) == search_display.PIPE_WIDTH and ended.endswith("…  val_loss 1.5000  12.3 s")
    assert failed.endswith("…  failed  12.3 s  no " + "reason " * 29 + "reason"), "a log has the whole reason"


def test_the_best_so_far_is_said_where_no_table_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    show = SearchProgress(None)
    show._status.planned(plan(metric="val_acc", direction="maximize"))
    for number, value in ((0, 0.5), (1, 0.25), (2, 0.75)):
        run = planned_run(number, dropout=number)
        show("run_started", run=run, **started(n_done=number, n_runs=3))
        show("run_ended", run=run, record=record(number, loss=1.0, metrics={"val_acc": value}))
    assert capsys.readouterr().err.splitlines() == [
        "[1/3] run 0  dropout 0  val_loss 1.0000  val_acc 0.5000  12.3 s  best so far",
        "[2/3] run 1  dropout 1  val_loss 1.0000  val_acc 0.2500  12.3 s",
        "[3/3] run 2  dropout 2  val_loss 1.0000  val_acc 0.7500  12.3 s  best so far",
    ]


def test_a_pipe_shows_life_in_a_long_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for module in ("search_status", "search_display"):
        monkeypatch.setattr(f"sequifier.cli.{module}.time", SimpleNamespace(monotonic=lambda: now[0]))
    shown = SearchProgress(None)
    for slot in range(6):
        shown("run_started", slot=slot, run=planned_run(slot), **started())
    for second in range(150):
        now[0] = float(second)
        shown(
            "step",
            run=planned_run(0),
            slot=0,
            epoch=1,
            epochs=10,
            step=second,
            steps=200,
            train_loss=1.5,
            windows_per_second=1,
        )
    doing = "run 0 epoch 1/10 loss 1.5000; run 1 starting; 4 more runs"
    assert capsys.readouterr().err.splitlines() == [
        f"  0 of 9 runs done, about {minutes} min left; {doing}" for minutes in (32, 31)
    ], "1 s for a step, and 2,000 steps of run 0"
    assert search_display.QUIET_SECONDS == 60


def test_a_search_that_stops_early_says_so(
    display: Callable[[int], Display], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = display(110)
    shown.start(1, seconds_left=90.0)
    assert shown.show._status.progress() == "0 of 12 runs done, about 90 s left"
    shown.show("stopping")
    assert (
        shown.show._status.progress() == "0 of 12 runs done, stopping after the running epochs (Ctrl-C again: at once)"
    )
    piped, run = SearchProgress(None), planned_run(1, dropout=0.1)
    piped("run_started", run=run, **started(until_epoch=3, n_runs=2))
    piped("stopping")
    assert capsys.readouterr().err == "", "a signal handler may interrupt another line"
    for _ in range(2):
        piped("stage", run=run, stage="validation")
    assert capsys.readouterr().err == "  stopping after the running epochs (Ctrl-C again: at once)\n"


def test_an_error_removes_the_live_area_and_its_thread() -> None:
    shown = Display(110)
    with pytest.raises(KeyboardInterrupt), shown.show:
        shown.start(1)
        shown.end(record(1, loss=1.0))
        shown.start(2)
        assert not shown.screen().is_cursor_visible
        assert any("of 12 runs done" in line for line in shown.screen().lines)
        raise KeyboardInterrupt
    assert shown.screen().is_cursor_visible
    lines = [line for line in shown.screen().lines if line]
    assert len(lines) == 1 and lines[0].startswith("[ 1/12] run 1  ")
    drawing = [thread for thread in threading.enumerate() if "Refresh" in type(thread).__name__]
    for thread in drawing:
        thread.join(timeout=30)
    assert not [thread for thread in drawing if thread.is_alive()]


def test_the_first_runs_are_the_measure_of_the_search_until_one_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("sequifier.cli.search_status.time", SimpleNamespace(monotonic=lambda: now[0]))
    status = SearchStatus()
    for number, epochs in ((1, 40.0), (2, 20.0)):
        status.run_started(planned_run(number), number, started(epochs_like=epochs))
    assert status.seconds_left() is None
    for second, step in ((10.0, 10), (20.0, 20)):
        now[0] = second
        status.step(1, 1, {"epoch": 1, "step": step, "steps": 100, "train_loss": 1.0})
    assert status.seconds_left() == pytest.approx(100 * 40 - 20), "1 s for a step, and 100 steps in an epoch"
    for second, step in ((20.0, 10), (40.0, 20)):
        now[0] = second
        status.step(2, 2, {"epoch": 1, "step": step, "steps": 100, "train_loss": 1.0})
    assert status.seconds_left() == pytest.approx(100 * (1 * 40 + 2 * 20) / 2 - 40)
    assert status.progress() == "0 of 9 runs done, about 66 min left"
    status.run_started(planned_run(3), 3, started(seconds_left=50.0, epochs_like=1.0))
    status.running.pop(1)
    status.running.pop(2)
    assert status.seconds_left() == 50.0, "a run has ended"


def test_a_limit_of_steps_ends_the_bar(display: Callable[[int], Display]) -> None:
    shown, run = display(110), planned_run(1)
    run.config.training_spec.max_steps = 40
    shown.show("run_started", run=run, **started(n_runs=1))
    assert shown.show._status.running[1].completed == 0.0
    shown.step(1, 10, steps=200)
    assert shown.show._status.running[1].completed == 0.25


def test_verbose_prints_the_lines_of_runs_with_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, expected in (
        (True, ["config", "run 1 starts  dropout 0.1  to epoch 3", "run 1: a line", *["run 1: warning: few rows"] * 2]),
        (None, ["run 1: warning: few rows"]),
        (False, []),
    ):
        show, run = SearchProgress(verbose), planned_run(1, dropout=0.1)
        show("config", line="config")
        show("run_started", run=run, **started(until_epoch=3, n_runs=2))
        for line in ("a line", "warning: few rows", "warning: few rows"):
            show("run_log", run=run, line=line)
        assert capsys.readouterr().err.splitlines() == expected
