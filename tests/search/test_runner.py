"""The loop of a search against an executor that plays a script: no torch, no process."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.ledger import Ledger, Record
from sequifier.callbacks import Emit
from sequifier.config.loading.yaml12 import parse_file
from sequifier.errors import RunError
from sequifier.search.agenda import Agenda, Forecast
from sequifier.search.attempts import Search
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan
from sequifier.search.repeats import with_confirmations, with_repeats
from sequifier.search.run_file import write_run_files
from sequifier.search.runner import run_search
from sequifier.search.slots import Slots
from tests.support.quiet import quiet
from tests.support.searches import FINGERPRINT, metadata, results, search

Event = dict[str, Any]


def finished(loss: float = 1.0, **values: Any) -> Event:
    result = {
        "ended": "finished",
        "best_val_loss": loss,
        "best_epoch": 1,
        "n_targets": {"kind": 20},
        "inputs": {},
        "last_epoch": 10,
        "metrics": {"val_loss": loss},
        "curve": [loss],
        "seconds": {"total": 0.1},
        "peak_memory_bytes": 1,
        "files": {},
        "baselines": {},
        "error": None,
    }
    return {"event": "finished", "result": result | values}


STAGE: Event = {"event": "stage", "stage": "training"}
OOM: Event = {"event": "failed", "kind": "oom", "stage": "training", "error": "out of memory"}
ERROR: Event = {"event": "failed", "kind": "error", "stage": "training", "error": "ValueError: no"}
CRASH: Event = {"event": "died", "signal": 11, "code": -11, "kernel_oom": False, "stderr": ""}


class Script:
    """Plays one list of events for each attempt."""

    def __init__(self, *attempts: list[Event]) -> None:
        self.attempts = list(attempts)
        self.asked: list[tuple[str, str, int]] = []  # file, resume, batch size in the file
        self.limits: list[dict[str, Any]] = []
        self.closed = 0
        self.is_open = False

    def start(self) -> None:
        """Nothing is loaded."""

    def run(self, config_path: Path, *, data: str, resume: str, **limits: Any) -> Iterator[Event]:
        assert data == FINGERPRINT
        self.is_open = True
        self.limits.append(limits)
        self.asked.append((config_path.stem, resume, parse_file(config_path).values["training_spec"]["batch_size"]))
        for event in self.attempts.pop(0):
            if event["event"] == "ctrl-c":
                raise KeyboardInterrupt
            yield event

    def stop(self) -> None:
        self.is_stopped = True

    def close(self) -> None:
        self.closed += self.is_open  # closing what is closed does nothing
        self.is_open = False


def planned(tmp_path: Path, records: list[Record] | None = None, **root: Any) -> Plan:
    config = search(training={"batch_size": [25, 8]}, project_root=str(tmp_path), **root)
    plan = make_plan(config, metadata(), records=records or [])
    write_run_files(plan)
    return plan


def play(plan: Plan, ledger: Ledger, script: Script, *, retry_failed: bool = False, emit: Emit = quiet) -> str:
    slots = Slots([script])
    slots.start(log=print)
    search = Search(
        plan=plan,
        ledger=ledger,
        slots=slots,
        emit=emit,
        should_stop=lambda: False,
        on_baselines=lambda scores, record: None,
    )
    try:
        return run_search(search, Agenda(plan, ledger, retry_failed=retry_failed))
    finally:
        slots.end()


def waiting(plan: Plan, ledger: Ledger, *, retry_failed: bool) -> list[int]:
    return [run.number for run in Agenda(plan, ledger, retry_failed=retry_failed).waiting()]


def states(ledger: Ledger) -> list[str]:
    return [record.state for record in ledger.latest().values()]


def test_every_run_is_trained_once_and_a_second_start_trains_nothing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, finished(1.5)], [STAGE, finished(1.2)])
        assert play(planned(tmp_path), ledger, script) == "complete"
        assert [record.best_val_loss for record in ledger.latest().values()] == [1.5, 1.2]
        again = planned(tmp_path, ledger.records)
        assert waiting(again, ledger, retry_failed=True) == []
        assert play(again, ledger, Script()) == "complete"


def test_out_of_memory_halves_the_batch_in_file_and_ledger_and_keeps_the_step(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, OOM], [STAGE, finished()], [STAGE, finished()])
        plan = planned(tmp_path)
        play(plan, ledger, script)
        assert script.asked[:2] == [("demo-run-0", "never", 25), ("demo-run-0", "never", 13)]
        assert script.closed == 2, "the worker is started anew, and ended in the end"
        spec = parse_file(plan.runs[0].path).values["training_spec"]
        assert (spec["batch_size"], spec["accumulation_steps"], spec["effective_batch_size"]) == (13, 2, 25)
        assert "# was 25, which ran out of memory" in plan.runs[0].path.read_text()
        attempts = [(record.attempt, record.state, record.batch_size) for record in ledger.records if record.run == 0]
        assert attempts == [(1, "running", 25), (2, "running", 13), (2, "finished", 13)]
        assert planned(tmp_path, ledger.records).runs[0].identity == plan.runs[0].identity


def test_a_batch_that_never_fits_fails_and_the_search_continues(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script(*[[STAGE, OOM]] * 4, [STAGE, finished()])
        play(planned(tmp_path), ledger, script)
        assert [batch for _, _, batch in script.asked] == [25, 13, 7, 4, 4]
        assert states(ledger) == ["oom", "finished"]
        assert "after 3 halvings" in (ledger.latest()[0].error or "")


def test_smaller_pieces_of_a_batch_with_dropout_are_said_to_draw_other_masks(tmp_path: Path) -> None:
    config = search(training={"batch_size": [25, 8], "dropout": 0.1}, project_root=str(tmp_path))
    plan = make_plan(config, metadata())
    write_run_files(plan)
    with Ledger.open(tmp_path / "ledger") as ledger:
        play(plan, ledger, Script([STAGE, OOM], [STAGE, finished()], [STAGE, finished()]))
        notes = [record.error or "" for record in ledger.records if record.run == 0]
        assert "dropout draws its masks for each smaller batch" in notes[1]
        rows = [row for row in results(plan, ledger.records) if row.run is not None]
        assert [(row.run, "in pieces" in row.batches) for row in rows] == [(0, True), (1, False)]


SHARED: Event = {"event": "failed", "kind": "shared", "stage": "load", "error": "the data changed: a, now b"}


def test_what_every_run_would_meet_ends_the_search_once(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        plan = planned(tmp_path)
        with pytest.raises(RunError, match=r"the search ends in demo-run-0, because every run .*: the data changed"):
            play(plan, ledger, Script([STAGE, SHARED]))
        assert states(ledger) == ["interrupted"], "the other one is still planned"
        script = Script([STAGE, finished()], [STAGE, finished()])
        assert play(planned(tmp_path, ledger.records), ledger, script) == "complete"
        assert [resume for _, resume, _ in script.asked] == ["matching", "never"]


def test_a_split_of_the_users_own_that_changed_between_runs_ends_the_search(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        first = finished(inputs={"training_data_path": "aaaa"})
        second = finished(inputs={"training_data_path": "bbbb"})
        with pytest.raises(RunError, match=r"training_data_path is not what it was .* \(bbbb, then aaaa\)"):
            play(planned(tmp_path), ledger, Script([STAGE, first], [STAGE, second]))
        assert states(ledger) == ["finished", "interrupted"]


def test_an_error_is_never_retried_and_says_how_to_reproduce_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        plan = planned(tmp_path)
        play(plan, ledger, Script([STAGE, ERROR], [STAGE, finished()]))
        assert states(ledger) == ["failed", "finished"]
        assert ledger.latest()[0].error == (
            f"ValueError: no; to reproduce: sequifier train --config-path {plan.runs[0].path}"
        )
        again = planned(tmp_path, ledger.records)
        assert waiting(again, ledger, retry_failed=False) == []
        assert waiting(again, ledger, retry_failed=True) == [0]
        script = Script([STAGE, finished()])
        play(again, ledger, script, retry_failed=True)
        assert script.asked == [("demo-run-0", "never", 25)]


FULL: Event = {
    "event": "failed",
    "kind": "disk",
    "stage": "export",
    "error": "cannot write m.onnx: No space left on device",
    "where": "/",
}
FULL_CRASH = CRASH | {"stderr": "Fatal error\npanicked: No space left on device (os error 28)\n"}


@pytest.mark.parametrize("event", [FULL, FULL_CRASH])
def test_a_full_disk_ends_the_search_and_the_same_command_resumes(tmp_path: Path, event: Event) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, event])
        with pytest.raises(RunError, match="the disk is full, so the search ends in demo-run-0: ") as caught:
            play(planned(tmp_path), ledger, script)
        assert "No space left on device" in caught.value.what
        assert "free)" in caught.value.where
        assert "for the 2 runs that are left, then run the same command again" in caught.value.fix
        assert states(ledger) == ["interrupted"], "the other run is still planned"
        script = Script([STAGE, finished()], [STAGE, finished()])
        assert play(planned(tmp_path, ledger.records), ledger, script) == "complete"
        assert [asked[1] for asked in script.asked] == ["matching", "never"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_ledger_without_room_ends_the_search_and_the_run_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        write, appended = Ledger.append, 0

        def append(self: Ledger, record: Record) -> None:
            nonlocal appended
            if appended >= at:
                raise RunError("cannot write to the ledger") from OSError(errno.ENOSPC, "No space left on device")
            appended += 1
            write(self, record)

        monkeypatch.setattr(Ledger, "append", append)
        attempt = [STAGE, FULL] if at == 1 else [STAGE, finished()]
        with pytest.raises(RunError, match="the disk is full"):
            play(planned(tmp_path), ledger, Script(attempt, attempt))
        assert states(ledger) == [[], ["running"], ["finished"]][at]
        monkeypatch.undo()
        left = [[STAGE, finished()]] * (1 if at == 2 else 2)
        assert play(planned(tmp_path, ledger.records), ledger, Script(*left)) == "complete"
        assert states(ledger) == ["finished", "finished"]


def test_with_asha_the_progress_is_in_epochs(tmp_path: Path) -> None:
    config = search(
        training={"batch_size": [4, 8], "dropout": [0.0, 0.1], "epochs": 2},
        project_root=str(tmp_path),
        pruner={"type": "asha", "reduction": 2, "min_epochs": 1},
    )
    plan = make_plan(config, metadata(), records=[])
    write_run_files(plan)
    losses = [1.3, 1.1, 1.2, 1.4]
    script = Script(
        *([STAGE, paused(1, loss)] for loss in losses),
        *([STAGE, finished(1.0, curve=[loss, 1.0], last_epoch=2)] for loss in (1.1, 1.2)),
    )
    said: list[Forecast] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "run_started":
            said.append(fields["forecast"])

    with Ledger.open(tmp_path / "ledger") as ledger:
        play(plan, ledger, script, emit=emit)
        assert Agenda(plan, ledger, retry_failed=False).forecast() == Forecast(trained=6, expected=6, waiting=0)
    assert said == [
        Forecast(trained=0, expected=6, waiting=0),
        Forecast(trained=1, expected=6, waiting=1),
        Forecast(trained=2, expected=6, waiting=2),
        Forecast(trained=3, expected=6, waiting=3),
        Forecast(trained=4, expected=6, waiting=4),
        Forecast(trained=5, expected=6, waiting=3),
    ]


def test_models_that_are_not_kept_are_removed_when_a_better_run_is_in_the_ledger(tmp_path: Path) -> None:
    plan = planned(tmp_path, keep_models="best")
    (tmp_path / "models").mkdir()
    for name in ("a", "b"):
        (tmp_path / "models" / name).touch()
    script = Script(
        [STAGE, finished(1.5, files={"best_onnx": "models/a"})], [STAGE, finished(1.2, files={"best_onnx": "models/b"})]
    )
    with Ledger.open(tmp_path / "ledger") as ledger:
        play(plan, ledger, script)
        assert [path.name for path in (tmp_path / "models").iterdir()] == ["b"]
        assert ledger.latest()[0].files["best_onnx"] == "models/a", "the ledger says what was"


def test_a_crash_is_resumed_once_with_the_same_batch(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, CRASH], [STAGE, finished()], [STAGE, CRASH], [STAGE, CRASH])
        play(planned(tmp_path), ledger, script)
        assert [asked[1:] for asked in script.asked] == [("never", 25), ("matching", 25), ("never", 8), ("matching", 8)]
        assert states(ledger) == ["finished", "failed"]


def test_a_run_that_was_running_when_the_search_died_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(KeyboardInterrupt):
            play(planned(tmp_path), ledger, Script([STAGE, {"event": "ctrl-c"}]))
        assert states(ledger) == ["interrupted"]
        script = Script([STAGE, finished()], [STAGE, finished()])
        play(planned(tmp_path, ledger.records), ledger, script)
        assert [asked[1] for asked in script.asked] == ["matching", "never"]


def test_a_halved_batch_is_remembered_across_a_restart(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(KeyboardInterrupt):
            play(planned(tmp_path), ledger, Script([STAGE, OOM], [STAGE, {"event": "ctrl-c"}]))
        script = Script([STAGE, OOM], [STAGE, OOM], [STAGE, OOM], [STAGE, finished()])
        play(planned(tmp_path, ledger.records), ledger, script)
        assert [batch for _, _, batch in script.asked] == [13, 7, 4, 4], "three halvings in all, and 8 is not tried"


def test_a_run_that_needs_as_much_memory_starts_with_the_size_that_fitted(tmp_path: Path) -> None:
    config = search(
        model={"num_layers": [1, 2]},
        training={"batch_size": 64},
        project_root=str(tmp_path),
        oom_keep_effective_batch=True,
    )
    plan = make_plan(config, metadata(), records=[])
    write_run_files(plan)
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, OOM], [STAGE, OOM], [STAGE, finished()], [STAGE, OOM], [STAGE, finished()])
        play(plan, ledger, script)
        assert [batch for _, _, batch in script.asked] == [64, 32, 16, 16, 8]
        assert states(ledger) == ["finished", "finished"]
        spec = parse_file(plan.runs[1].path).values["training_spec"]
        assert spec["batch_size"] * spec["accumulation_steps"] == 64


def test_an_interrupted_run_ends_the_search(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert play(planned(tmp_path), ledger, Script([STAGE, finished(ended="interrupted")])) == "stopped"
        assert states(ledger) == ["interrupted"]


def test_runs_with_other_targets_cannot_be_compared(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        play(planned(tmp_path), ledger, Script([finished()], [finished(n_targets={"kind": 19})]))
        assert states(ledger) == ["finished", "failed"]
        assert "cannot be compared" in (ledger.latest()[1].error or "")


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        lost = finished(ended="diverged", best_val_loss=None, best_epoch=0, metrics={}, error="the loss is nan")
        play(planned(tmp_path), ledger, Script([lost], [finished()]))
        assert states(ledger) == ["diverged", "finished"]
        assert waiting(planned(tmp_path, ledger.records), ledger, retry_failed=True) == []


def paused(epoch: int, *losses: float) -> Event:
    return finished(min(losses), ended="paused", last_epoch=epoch, curve=list(losses))


def test_asha_trains_to_a_rung_promotes_the_best_and_prunes_the_rest(tmp_path: Path) -> None:
    pruner = {"type": "asha", "reduction": 2, "min_epochs": 1}
    config = search(
        training={"batch_size": [4, 8], "dropout": [0.0, 0.1], "epochs": 2}, project_root=str(tmp_path), pruner=pruner
    )
    plan = make_plan(config, metadata(), records=[])
    write_run_files(plan)
    script = Script(
        [STAGE, paused(1, 1.3)],
        [STAGE, paused(1, 1.1)],
        [STAGE, paused(1, 1.2)],
        [STAGE, paused(1, 1.4)],
        [STAGE, finished(1.0, curve=[1.1, 1.0], last_epoch=2)],  # the better half of four: run 1, then run 2
        [STAGE, finished(1.05, curve=[1.2, 1.05], last_epoch=2)],
    )
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert play(plan, ledger, script) == "complete"
        asked = [(int(name[-1]), resume) for name, resume, _ in script.asked]
        assert asked == [(0, "never"), (1, "never"), (2, "never"), (3, "never"), (1, "matching"), (2, "matching")]
        assert [limits["until_epoch"] for limits in script.limits] == [1, 1, 1, 1, 2, 2]
        assert states(ledger) == ["pruned", "finished", "finished", "pruned"]
        assert ledger.latest()[0].best_val_loss == 1.3
        assert play(make_plan(config, metadata(), records=ledger.records), ledger, Script()) == "complete"


def test_the_median_of_finished_runs_is_the_threshold_of_the_next(tmp_path: Path) -> None:
    config = search(
        training={"batch_size": [2, 4, 8, 16], "epochs": 2}, project_root=str(tmp_path), pruner={"type": "median"}
    )
    plan = make_plan(config, metadata(), records=[])
    write_run_files(plan)
    curves = [[1.5, 1.0], [1.6, 1.1], [1.7, 1.2]]
    script = Script(
        *[[STAGE, finished(min(curve), curve=curve)] for curve in curves],
        [STAGE, finished(1.9, ended="pruned", curve=[1.9], last_epoch=1)],
    )
    with Ledger.open(tmp_path / "ledger") as ledger:
        play(plan, ledger, script)
        assert script.limits[0]["thresholds"] == {}
        assert script.limits[3]["thresholds"][1] == 1.6
        assert states(ledger) == ["finished", "finished", "finished", "pruned"]


def test_a_budget_of_epochs_ends_the_search_between_runs(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script(*[[STAGE, finished(curve=[1.2, 1.1, 1.0])] for _ in range(2)])
        plan = planned(tmp_path, max_epochs_total=3)
        said: list[str] = []
        assert (
            play(plan, ledger, script, emit=lambda event, **fields: said.append(fields.get("line", event))) == "budget"
        )
        assert waiting(planned(tmp_path, ledger.records), ledger, retry_failed=False) == [1]
        assert said[-1] == "budget used up (max_epochs_total: 3 epochs of 3); raise it to train 1 more run"
        plan = planned(tmp_path, ledger.records, max_epochs_total=4)
        assert play(plan, ledger, script) == "complete", "the last run uses it up, but no other one needs it"


def test_repeats_train_all_configurations_with_one_seed_before_the_next(tmp_path: Path) -> None:
    plan = with_repeats(planned(tmp_path, repeats=3, seed=5), [])
    assert [run.number for run in plan.runs] == [0, 1, 2, 3, 4, 5]
    assert [(run.config.training_spec.batch_size, run.config.seed) for run in plan.runs] == [
        (25, 5),
        (8, 5),
        (25, 6),
        (8, 6),
        (25, 7),
        (8, 7),
    ]
    assert len({run.identity for run in plan.runs}) == 6
    write_run_files(plan)
    with Ledger.open(tmp_path / "ledger") as ledger:
        play(plan, ledger, Script(*[[STAGE, finished()]] * 6))
        again = with_repeats(planned(tmp_path, ledger.records, repeats=3, seed=5), ledger.records)
        assert [run.identity for run in again.runs] == [run.identity for run in plan.runs]
        assert waiting(again, ledger, retry_failed=True) == []


def test_confirmations_are_further_seeds_of_the_best_runs_alone(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        plan = planned(tmp_path, seed=5, confirm_top=1)
        play(plan, ledger, Script([STAGE, finished(1.5)], [STAGE, finished(1.2)]))
        confirmed = with_confirmations(planned(tmp_path, ledger.records, seed=5, confirm_top=1), ledger.records)
        assert [(run.number, run.config.training_spec.batch_size, run.config.seed) for run in confirmed.runs[2:]] == [
            (2, 8, 6),
            (3, 8, 7),
        ]


def test_four_batches_stay_four_runs_when_the_larger_one_never_fits(tmp_path: Path) -> None:
    config = search(training={"batch_size": [128, 64], "accumulation_steps": [1, 2]}, project_root=str(tmp_path))
    plan = make_plan(config, metadata(), records=[])
    write_run_files(plan)
    with Ledger.open(tmp_path / "ledger") as ledger:
        script = Script([STAGE, OOM], *[[STAGE, finished()]] * 4)
        play(plan, ledger, script)
        assert [batch for _, _, batch in script.asked] == [128, 64, 64, 64, 64], "128 is not tried a second time"
        assert states(ledger) == ["finished"] * 4
        again = make_plan(config, metadata(), records=ledger.records)
        assert [run.identity for run in again.runs] == [run.identity for run in plan.runs]
        assert waiting(again, ledger, retry_failed=True) == []


def test_asking_for_the_next_run_reads_the_ledger_a_few_times_however_many_runs_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: dict[int, int] = {}
    for n_runs in (5, 50):
        config = search(training={"warmup_steps": list(range(n_runs))}, project_root=str(tmp_path))
        plan = make_plan(config, metadata())
        with Ledger.open(tmp_path / str(n_runs)) as ledger:
            ledger.append(
                Record(run=0, name="a", identity="b", data=FINGERPRINT, state="finished", batch_size=1, seed=1)
            )
            agenda, original = Agenda(plan, ledger, retry_failed=False), ledger.latest
            calls: list[int] = []
            monkeypatch.setattr(ledger, "latest", lambda calls=calls, original=original: calls.append(1) or original())
            task = agenda.next()
            assert task is not None
            assert task.run.number == 1
            assert ledger.last(0) == ledger.latest()[0]
            reads[n_runs] = len(calls)
    assert reads[50] == reads[5]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"learning_rate: \S+", "learning_rate: 0.5"),
        (r"batch_size: 25", "batch_size: 5"),
        (r"seed: \d+", "seed: 3"),
        (r"(?s).*", "garbage"),
        (r"(?s).*", ""),
    ],
)
def test_the_edited_file_of_a_waiting_run_is_written_again_as_planned(tmp_path: Path, old: str, new: str) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        with pytest.raises(KeyboardInterrupt):
            play(planned(tmp_path), ledger, Script([STAGE, {"event": "ctrl-c"}]))
        again = planned(tmp_path, ledger.records)
        path = again.runs[0].path
        before = path.read_text()
        path.write_text(re.sub(old, new, before, count=1))
        assert path.read_text() != before
        play(again, ledger, Script([STAGE, finished()], [STAGE, finished()]))
        assert path.read_text() == before
        assert ledger.latest()[0].batch_size == 25
