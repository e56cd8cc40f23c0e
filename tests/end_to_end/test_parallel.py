"""Searches with two workers: real processes, real signals, real training.

Whatever happens to one run, the other ends with the loss, to the last digit, that it has one after another. (Kills at
random moments: kill_searches.py.)
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from sequifier.artifacts.ledger import Record, latest_by_run, read_ledger
from tests.end_to_end.test_failures import failing_search, runs_of, search
from tests.support.command_line import start_process
from tests.support.processes import wait_for
from tests.support.runs import latest, trained_alone
from tests.support.shop import WriteConfig, preprocess_shop, shop_rows, write_shop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them")

TWO_WORKERS: dict[str, Any] = {"execution": {"devices": 2}, "cpu_threads": 1}
ONE_WORKER: dict[str, Any] = {"execution": {"devices": 1}, "cpu_threads": 1}


def dropouts(n_runs: int) -> list[float]:
    return [round(0.01 * number, 2) for number in range(n_runs)]


def attempts_of(root: Path, run: int, name: str = "tune") -> list[Record]:
    return [record for record in read_ledger(root / "logs" / name) if record.run == run and record.state == "running"]


ENDS = {
    "none": ("finished", 1, 16),
    "SIGSEGV": ("finished", 2, 16),
    "out of memory at a step": ("finished", 3, 8),
    "exception": ("failed", 1, 16),
    "reads for ever": ("finished", 2, 16),
}
"""State, attempts and batch of a run with each kind of failure."""
KINDS = [*ENDS, "none"]
FEW = ["none", "out of memory at a step", "reads for ever", "none"]
"""A worker that dies, or whose run fails, is replaced as one that is killed because it reads for ever."""


@pytest.mark.parametrize("kinds", [FEW, pytest.param(KINDS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_a_fault_of_one_worker_leaves_the_other_alone(
    shop: Path, search_config: WriteConfig, tmp_path: Path, kinds: list[str]
) -> None:
    path = search_config(**runs_of(dropouts(len(kinds))), **TWO_WORKERS, stall_minutes=0.06)
    done = failing_search(path, kinds, tmp_path / "already failed")
    assert done.returncode == (3 if "exception" in kinds else 0), done.stderr
    assert "Traceback" not in done.stderr
    found = latest(shop)
    by_kind = dict(zip(kinds, found.values(), strict=True))
    ended = {kind: (record.state, record.attempt, record.batch_size) for kind, record in by_kind.items()}
    assert ended == {kind: ENDS[kind] for kind in kinds}
    for number, kind in enumerate(kinds):
        if kind in ("none", "SIGSEGV", "reads for ever"):
            assert found[number].curve == trained_alone(shop, number).curve, kind
    sizes = [record.batch_size for record in attempts_of(shop, kinds.index("out of memory at a step"))]
    assert sizes == [16, 16, 8], "cut only after it failed alone too"
    assert "the worker did nothing for" in done.stderr
    assert "reading a split" in done.stderr
    logs = [path.read_text() for path in (shop / "logs/tune").glob("worker*.log")]
    assert any("wait_for_ever" in log for log in logs), "the stacks of its threads"
    if "exception" in kinds:
        assert "the flux is out of bounds" in (by_kind["exception"].error or "")
    assert not left_over(shop)


@pytest.mark.slow
def test_a_full_disk_lets_the_other_run_finish_its_epoch_and_the_same_command_resumes(
    shop: Path, search_config: WriteConfig, tmp_path: Path
) -> None:
    values = runs_of(dropouts(4), training_hyperparameter_sampling={"epochs": 3, "batch_size": 16})
    values["training_hyperparameter_sampling"]["dropout"] = dropouts(4)
    assert search(search_config("calm.yaml", **values, **ONE_WORKER, hp_search_name="calm")).returncode == 0
    path = search_config(**values, **TWO_WORKERS)
    full = failing_search(path, ["none", "full disk", "none", "none"], tmp_path / "already failed")
    assert full.returncode == 1, full.stderr
    assert full.stderr.count("error:") == 1
    assert "the disk is full, so the search ends in tune-run-1" in full.stderr
    assert "Traceback" not in full.stderr
    records = latest(shop)
    assert records[1].state == "interrupted"
    assert {record.state for record in records.values()} <= {"interrupted", "finished"}
    others = [record for number, record in records.items() if number != 1]
    assert all(record.curve for record in others), "the other one finished its epoch"
    done = failing_search(path, ["none", "full disk", "none", "none"], tmp_path / "already failed")
    assert done.returncode == 0, done.stderr
    assert curves(latest(shop)) == curves(latest(shop, "calm"))
    assert not left_over(shop)


def curves(records: dict[int, Record]) -> dict[str, list[float]]:
    return {record.identity: record.curve for record in records.values()}


def left_over(root: Path, name: str = "tune") -> list[Path]:
    """Temporary files, and checkpoints that finished runs need no more."""
    finished = [record for record in latest(root, name).values() if record.state == "finished"]
    checkpoints = [root / f"checkpoints/{record.name}-resume.pt" for record in finished]
    return [*root.rglob(".*.tmp*"), *(path for path in checkpoints if path.exists())]


SLOW_EPOCHS = """
import time
from pathlib import Path

def after_epoch(e, *, epoch, **context):
    Path(f"trains-{e.parameters['model_name']}").touch()
    time.sleep(0.5)
"""


class Started:
    """A search with two workers whose epochs take half a second, and how to follow it."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root = root
        self.process = start_process("hyperparameter-search", "--config-path", path, folder=root)

    def wait_for_two_runs(self) -> None:
        wait_for(lambda: len(list(self.root.glob("trains-*"))) >= 2)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def send_to_all(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def wait(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said

    def processes(self) -> list[int]:
        """The processes of its session that are not zombies."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == self.process.pid:
                found.append(int(folder.name))
        return found


def once(started: Started) -> None:
    started.send_to_all(signal.SIGINT)


def twice(started: Started) -> None:
    started.send_to_all(signal.SIGINT)
    time.sleep(0.1)
    started.send_to_all(signal.SIGINT)


def ended_by(number: signal.Signals) -> Callable[[Started], None]:
    return lambda started: started.send(number)


def all_ended_by(number: signal.Signals) -> Callable[[Started], None]:
    return lambda started: started.send_to_all(number)


def paused(started: Started) -> None:
    started.send(signal.SIGSTOP)
    time.sleep(3)
    started.send(signal.SIGCONT)


def all_paused(started: Started) -> None:
    started.send_to_all(signal.SIGSTOP)
    time.sleep(3)
    started.send_to_all(signal.SIGCONT)


WAYS = {
    "Ctrl-C once": (once, 130, {"interrupted"}),
    "Ctrl-C twice": (twice, 130, {"interrupted"}),
    "SIGTERM": (ended_by(signal.SIGTERM), 130, {"interrupted"}),
    "SIGTERM to all": (all_ended_by(signal.SIGTERM), 130, {"interrupted", "running"}),
    "SIGHUP": (ended_by(signal.SIGHUP), -signal.SIGHUP, {"running"}),
    "SIGHUP to all": (all_ended_by(signal.SIGHUP), -signal.SIGHUP, {"running"}),
    "paused": (paused, 0, {"finished"}),
    "all paused": (all_paused, 0, {"finished"}),
}


@pytest.mark.slow
def test_a_signal_at_any_time_loses_nothing_and_leaves_no_process(shop: Path, search_config: WriteConfig) -> None:
    (shop / "slow.py").write_text(SLOW_EPOCHS)
    values = runs_of(dropouts(4), hooks={"after_epoch": "slow:after_epoch"})
    calm = search(search_config("calm.yaml", **values, **ONE_WORKER, hp_search_name="calm"))
    assert calm.returncode == 0, calm.stderr
    expected = curves(latest(shop, "calm"))
    for number, (way, (happens, code, states)) in enumerate(WAYS.items()):
        name = f"search-{number}"
        path = search_config(f"{name}.yaml", **values, **TWO_WORKERS, hp_search_name=name)
        for mark in shop.glob("trains-*"):
            mark.unlink()
        started = Started(shop, path)
        started.wait_for_two_runs()
        happens(started)
        found, said = started.wait()
        assert found == code, f"{way}: {said}"
        assert "Traceback" not in said, way
        wait_for(lambda started=started: not started.processes(), 10)
        records = latest(shop, name)
        assert {record.state for record in records.values()} <= states, way
        assert len(records) == (4 if code == 0 else 2), way
        if way == "Ctrl-C once":
            assert all(record.curve for record in records.values()), "both finished their epoch"
        done = search(path)
        assert done.returncode == 0, f"{way}: {done.stderr}"
        assert curves(latest(shop, name)) == expected, way
        assert not left_over(shop, name), way


@pytest.mark.slow
def test_ctrl_c_while_the_workers_start_ends_the_search_soon_and_blames_no_run(
    shop: Path, search_config: WriteConfig
) -> None:
    path = search_config(**runs_of(dropouts(4)), **TWO_WORKERS)
    started = Started(shop, path)
    wait_for(lambda: (shop / "logs/tune/ledger.jsonl").exists())
    started.send_to_all(signal.SIGINT)
    code, said = started.wait()
    assert code == 130, said
    assert "worker died" not in said
    assert {record.attempt for record in read_ledger(shop / "logs/tune")} == {1}
    assert search(path).returncode == 0


EVERYTHING_HOOK = """
def after_epoch(e, *, epoch, **context):
    e.track("mine", e.parameters["model_name"])
"""
SCRIPT = """
import json, os, sys, time
run = json.load(sys.stdin)
assert run["name"] == os.environ["SEQUIFIER_NAME"]
assert run["name"] + "-best-" in run["model"] and os.path.exists(run["model"])
time.sleep(0.2)
print(json.dumps({"mine": run["run"] + 0.5}))
"""


@pytest.mark.slow
def test_what_runs_share_is_shared_by_two_workers(shop: Path, search_config: WriteConfig) -> None:
    """Both convert the same splits at once; hooks, evaluation script and keep_models see the run that they are of."""
    preprocess_shop(shop, write_format="parquet")
    (shop / "mine.py").write_text(EVERYTHING_HOOK)
    (shop / "measure.py").write_text(SCRIPT)
    values = runs_of(
        dropouts(5),
        hooks={"after_epoch": "mine:after_epoch"},
        evaluation_script={"command": f"{sys.executable} measure.py", "metrics": {"mine": "maximize"}},
        metric="mine",
        direction="maximize",
        keep_models="best",
    )
    values["training_hyperparameter_sampling"]["load_full_data_to_ram"] = False
    done = search(search_config(**values, **TWO_WORKERS))
    assert done.returncode == 0, done.stderr
    found = latest(shop)
    assert {number: record.metrics["mine"] for number, record in found.items()} == {n: n + 0.5 for n in range(5)}
    assert {path.name.split("-best-")[0].split("-last-")[0] for path in (shop / "models").iterdir()} == {
        "sequifier-tune-run-4"
    }
    for model in (shop / "models").glob("*.onnx"):
        onnxruntime.InferenceSession(model)
    for record in found.values():
        data = (shop / "logs" / record.name / "latest/experiment_data.json").read_text()
        assert f'"{record.name}"' in data
    serial = search(search_config("serial.yaml", **values, **ONE_WORKER, hp_search_name="serial"))
    assert serial.returncode == 0, serial.stderr
    assert [r.curve for r in found.values()] == [r.curve for r in latest(shop, "serial").values()]
    assert not left_over(shop)


@pytest.mark.slow
def test_two_searches_of_one_project_at_once(shop: Path, search_config: WriteConfig) -> None:
    (shop / "slow.py").write_text(SLOW_EPOCHS)
    values = runs_of(dropouts(3), hooks={"after_epoch": "slow:after_epoch"})
    one, other = (
        search_config(f"{name}.yaml", **values, **TWO_WORKERS, hp_search_name=name) for name in ("one", "other")
    )
    first = Started(shop, one)
    first.wait_for_two_runs()
    second = search(other)
    again = search(one)
    assert second.returncode == 0, second.stderr
    code, said = first.wait()
    assert code == 0, said
    assert list(curves(latest(shop, "one")).values()) == list(curves(latest(shop, "other")).values())
    if again.returncode:  # it came while the first one worked
        assert "is running this search" in again.stderr


@pytest.mark.slow
def test_data_that_change_while_two_runs_train_end_the_search(shop: Path, search_config: WriteConfig) -> None:
    (shop / "slow.py").write_text(SLOW_EPOCHS)
    path = search_config(**runs_of(dropouts(4), hooks={"after_epoch": "slow:after_epoch"}), **TWO_WORKERS)
    started = Started(shop, path)
    started.wait_for_two_runs()
    write_shop(shop / "data/shop.csv", shop_rows(seed=1))
    preprocess_shop(shop)
    code, said = started.wait()
    assert code == 1, said
    assert said.count("error:") == 1
    assert "because every run would meet the same problem" in said
    assert "Traceback" not in said
    assert not started.processes()
    write_shop(shop / "data/shop.csv", shop_rows())
    preprocess_shop(shop)
    done = search(path)
    assert done.returncode == 0, done.stderr
    assert {record.state for record in latest_by_run(read_ledger(shop / "logs/tune")).values()} == {"finished"}
