"""Whole searches with real workers: failures stay where they are, and every number can be reproduced."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import optuna
import pytest
import torch
import yaml

from sequifier import ARITHMETIC
from sequifier.artifacts.ledger import read_ledger
from sequifier.training.log_lines import digits
from tests.support.command_line import command, run_here, sequifier
from tests.support.processes import wait_for
from tests.support.runs import latest, trained_alone
from tests.support.shop import TINY_SEARCH, WriteConfig, merged

SEARCH = command("hyperparameter-search", "--config-path")


def search(path: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return sequifier("hyperparameter-search", "--config-path", path, *flags, **environment)


def processes_of(shop: Path) -> list[str]:
    """Command lines of live processes that work in this project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            works_here = (folder / "cwd").resolve() == shop.resolve()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it ended meanwhile
        if works_here and "sequifier" in command and state != "Z":
            found.append(command)
    return found


def test_a_search_ranks_its_runs_and_each_reproduces_from_its_file(
    shop: Path, search_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = search(search_config())
    assert done.returncode == 0, done.stderr
    records = latest(shop)
    assert [record.state for record in records.values()] == ["finished", "finished"]
    with (shop / "logs/tune/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    ranked = [row for row in rows if row["run"]]
    assert [float(row["best_val_loss"]) for row in ranked] == sorted(r.best_val_loss or 0 for r in records.values())
    assert [row["name"] for row in rows if row["name"].startswith("baseline: unigram")]
    assert ranked[0]["model_path"] in done.stdout
    assert {row["standard_error_by"] for row in rows if row["standard_error"]} == {"sequences"}
    assert all(row["beats_baselines"] in ("true", "false") for row in ranked), "the sums of the baselines were kept"
    assert not [*(shop / "logs").glob("tune-run-*/*/baseline_losses.npz")], "once for the search, not in each run"
    assert "baseline: bigram back-off" in done.stdout
    assert "all results: logs/tune/results.csv\n" in done.stdout
    for row in ranked:
        session = onnxruntime.InferenceSession(shop / row["model_path"])
        feed = {"item": np.ones((2, 8), np.int64), "price": np.zeros((2, 8), np.float32), "n_events": np.array([8, 3])}
        (probabilities,) = session.run(["item_probabilities"], feed)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    for number, record in records.items():
        path = str(shop / f"configs/hp_search/tune-run-{number}.yaml")
        again = run_here(monkeypatch, capfd, "train", "--config-path", path)
        assert again.code == 0, again.err
        data = json.loads((shop / f"logs/tune-run-{number}/latest/experiment_data.json").read_text())
        assert data["results"]["best_val_loss"] == record.best_val_loss, "to the last digit"
        assert f"previous run: {digits(record.best_val_loss)} (identical)" in again.err
        facts = data["results"]["facts"]
        assert (facts["arithmetic"], facts["torch"], facts["products"]) == (ARITHMETIC, torch.__version__, "float32")
        assert facts["device"] and facts["cpu_threads"] > 0
        assert {key: getattr(record, key) for key in facts} == facts, "the ledger says the same"
    assert "ranked together differ" not in done.stdout

    models = sorted((shop / "models").iterdir())
    checkpoints = sorted((shop / "checkpoints").iterdir())
    verify = ["train", "--config-path", "configs/hp_search/tune-run-0.yaml", "--verify"]
    verified = run_here(monkeypatch, capfd, *verify)
    assert verified.code == 0, verified.err
    assert verified.out == f"same: validation loss {records[0].best_val_loss!r}, as in the ledger\n"
    other = run_here(monkeypatch, capfd, *verify, "-D", "training_spec.dropout=0.3")
    assert other.code == 1
    assert "error: not the same run: config changed (training_spec.dropout" in other.err
    assert sorted((shop / "models").iterdir()) == models, "nothing was replaced or added"
    assert sorted((shop / "checkpoints").iterdir()) == checkpoints

    before = (shop / "logs/tune/ledger.jsonl").read_bytes()
    second = search(search_config())
    assert (second.returncode, (shop / "logs/tune/ledger.jsonl").read_bytes()) == (0, before)
    assert "nothing is left to train" in second.stderr
    assert not (shop / "configs/hp_search/tune-run-2.yaml").exists()

    grown = search_config(model_hyperparameter_sampling={"dim_model": [8, 16, 24], "n_head": [2, 4, 4]})
    third = search(grown)
    assert third.returncode == 0
    assert sorted(latest(shop)) == [0, 1, 2]
    assert (shop / "logs/tune/ledger.jsonl").read_bytes().startswith(before), "only the new run was added"

    whole = (shop / "logs/tune/ledger.jsonl").read_text()
    (shop / "logs/tune/ledger.jsonl").write_text(whole.replace(f'"arithmetic": {ARITHMETIC}', '"arithmetic": 1', 1))
    fourth = search(grown)
    assert f"differ in more than their settings: arithmetic ({ARITHMETIC}: 2 runs; 1: 1 run)" in fourth.stdout


SCORE = """
import json, os
meta = json.load(open(os.environ["SEQUIFIER_RECORD"] + "/experiment_meta.json"))
dropout = meta["parameters"]["training_spec"]["dropout"]
assert os.path.exists(os.environ["SEQUIFIER_MODEL"])
print(json.dumps({"reach": 1 - abs(dropout - 0.1)}))
"""


def test_only_the_best_model_stays_and_a_script_says_which_it_is(
    shop: Path, search_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (shop / "score.py").write_text(SCORE)
    path = search_config(
        keep_models="best",
        evaluation_script={"command": f"{sys.executable} score.py", "metrics": {"reach": "maximize"}},
        metric="reach",
        direction="maximize",
        model_hyperparameter_sampling={"dim_model": 8, "n_head": 2},
        training_hyperparameter_sampling={"epochs": 1, "dropout": [0.0, 0.1, 0.2]},
    )
    done = search(path)
    assert done.returncode == 0, done.stderr
    models = [f"models/sequifier-tune-run-1-{what}-1.onnx" for what in ("best", "last")]
    assert sorted(str(found.relative_to(shop)) for found in (shop / "models").glob("*.onnx")) == models
    assert " of models of the best run" in done.stderr
    assert "estimated from the first run" in done.stderr
    with (shop / "logs/tune/results.csv").open() as file:
        rows = {row["run"]: row for row in csv.DictReader(file) if row["run"]}
    again = "sequifier train --config-path configs/hp_search/tune-run-{}.yaml"
    assert [(rows[number]["model_path"], rows[number]["model_again"]) for number in "012"] == [
        ("", again.format(0)),
        (models[0], ""),
        ("", again.format(2)),
    ]
    assert f"2 models are not on disk; to train one again: {again.format(0)}" in done.stdout
    assert done.stdout.count("model not kept") == 2
    assert json.loads((shop / "logs/tune/test.json").read_text())["run"] == 1, "the winner was scored on the test split"

    made = run_here(monkeypatch, capfd, "train", "--config-path", "configs/hp_search/tune-run-2.yaml")
    assert made.code == 0, made.err
    assert (shop / "models/sequifier-tune-run-2-best-1.onnx").exists()

    exported = run_here(monkeypatch, capfd, "search-analysis", "tune", "--export-optuna", "sqlite:///study.db")
    assert exported.code == 0, exported.err
    study = optuna.load_study(study_name="tune", storage="sqlite:///study.db")
    assert (study.direction, study.best_trial.user_attrs["run"]) == (optuna.study.StudyDirection.MAXIMIZE, 1)


def test_a_missing_device_is_reported_once_before_any_run(shop: Path, search_config: WriteConfig) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = search(search_config(training_hyperparameter_sampling={"device": "cuda"}))
    assert done.returncode == 1
    assert done.stderr.count("`cuda` is not available here") == 1
    assert "Traceback" not in done.stderr
    assert latest(shop) == {}


def test_a_dry_run_writes_the_files_and_loads_no_torch(shop: Path, search_config: WriteConfig) -> None:
    watched = [sys.executable, "-X", "importtime", "-m", "sequifier", "hyperparameter-search", "--dry-run"]
    done = subprocess.run(
        [*watched, "--config-path", str(search_config())], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pydantic" in modules
    assert not {"torch", "onnx", "onnxruntime", "optuna"} & modules
    assert sorted(path.name for path in (shop / "configs/hp_search").iterdir()) == [
        "tune-run-0.yaml",
        "tune-run-1.yaml",
    ]
    assert not (shop / "logs/tune").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of the worker")
def test_memory_that_runs_out_halves_the_batch(shop: Path, search_config: WriteConfig) -> None:
    path = search_config(
        window_stride=1,
        model_hyperparameter_sampling={"dim_model": 256, "n_head": 4, "num_layers": 4, "dim_feedforward": 1024},
        training_hyperparameter_sampling={"epochs": 1, "batch_size": 1024, "log_interval": 1000},
    )
    done = search(path, SEQUIFIER_WORKER_MEMORY_MB="500")
    assert done.returncode == 0, done.stderr
    (halved,) = latest(shop).values()
    assert halved.state == "finished"
    assert halved.attempt > 1
    assert halved.batch_size < 1024
    assert halved.batch_size * halved.accumulation_steps == 1024, "the optimizer saw the planned batch"
    text = (shop / "configs/hp_search/tune-run-0.yaml").read_text()
    assert "# was 1024, which ran out of memory" in text
    assert yaml.safe_load(text)["training_spec"]["batch_size"] == halved.batch_size
    assert f"again with batch_size {1024 // 2} x 2" in done.stderr


def has_epochs(shop: Path, count: int) -> bool:
    lines = [path.read_text().count("\n") for path in shop.glob("logs/tune-run-*/2*/metrics.jsonl")]
    return sum(lines) >= count


LONG = {"training_hyperparameter_sampling": {"epochs": 16, "learning_rate": 0.003, "dropout": 0.1}}
"""Two runs of many short epochs."""


@pytest.fixture
def long_search(search_config: WriteConfig) -> Path:
    return search_config(**LONG)


@pytest.fixture(scope="module")
def undisturbed(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float | None]:
    """The losses of the long search when nobody disturbs it."""
    root = tmp_path_factory.mktemp("calm") / "project"
    shutil.copytree(_shop, root)
    path = root / "search.yaml"
    path.write_text(yaml.safe_dump(merged(TINY_SEARCH, {**LONG, "project_root": str(root)})))
    assert search(path, "--dry-run").returncode == 0
    return [trained_alone(root, number).best_val_loss for number in (0, 1)]


@pytest.mark.parametrize("counts", [(20,), pytest.param((3, 20), marks=pytest.mark.slow)], ids=["once", "twice"])
def test_a_killed_search_leaves_no_process_and_loses_nothing(
    shop: Path, long_search: Path, undisturbed: list[float | None], counts: tuple[int, ...]
) -> None:
    for count in counts:
        started = subprocess.Popen([*SEARCH, str(long_search)], stderr=subprocess.DEVNULL)
        wait_for(lambda count=count: has_epochs(shop, count))
        started.send_signal(signal.SIGKILL)
        started.wait()
        wait_for(lambda: not processes_of(shop), seconds=10)
    done = search(long_search)
    assert done.returncode == 0, done.stderr
    records = latest(shop)
    assert [record.state for record in records.values()] == ["finished", "finished"]
    assert [record.best_val_loss for record in records.values()] == undisturbed
    finished = [record.run for record in read_ledger(shop / "logs/tune") if record.state == "finished"]
    assert finished == [0, 1], "each run finished once"


def test_a_second_process_is_refused_and_ctrl_c_finishes_the_epoch_so_that_the_next_start_resumes(
    shop: Path, long_search: Path, undisturbed: list[float | None]
) -> None:
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    started = subprocess.Popen([*SEARCH, str(long_search)], **options)
    wait_for(lambda: has_epochs(shop, 2))
    os.killpg(started.pid, signal.SIGSTOP)  # so that it cannot end before the other one has looked
    second = search(long_search)
    os.killpg(started.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert f"another process (process {started.pid} on {socket.gethostname()}) is running this search" in second.stderr
    assert "Traceback" not in second.stderr
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to the search and its worker
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert latest(shop)[0].state == "interrupted"
    assert not processes_of(shop)
    assert (shop / "checkpoints/tune-run-0-resume.pt").exists()
    assert search(long_search).returncode == 0
    assert [record.best_val_loss for record in latest(shop).values()] == undisturbed


def test_a_worker_that_is_killed_costs_its_run_one_attempt(
    shop: Path, long_search: Path, undisturbed: list[float | None]
) -> None:
    started = subprocess.Popen([*SEARCH, str(long_search)], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: has_epochs(shop, 2))
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGSEGV)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 0, said
    assert "the worker died (SIGSEGV)" in said
    assert [(record.state, record.attempt) for record in latest(shop).values()] == [("finished", 2), ("finished", 1)]
    assert [record.best_val_loss for record in latest(shop).values()] == undisturbed
