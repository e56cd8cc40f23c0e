"""Ten kinds of failure in one search: each ends in the state it should, and the runs beside it never notice."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import yaml

from sequifier.artifacts.ledger import latest_by_run, read_ledger
from tests.support.command_line import command, sequifier
from tests.support.runs import latest, trained_alone
from tests.support.shop import WriteConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and limits as Linux has them")


SEARCH = command("hyperparameter-search", "--config-path")
FAULTS = Path(__file__).parent / "faults"
PLANNED = 16

ENDS = {
    "none": ("finished", 1, PLANNED),
    "out of memory at load": ("oom", 1, PLANNED),
    "out of memory at a step": ("finished", 2, 8),
    "out of memory at validation": ("finished", 2, 8),
    "out of memory at export": ("oom", 1, PLANNED),
    "exception": ("failed", 1, PLANNED),
    "NaN loss": ("diverged", 1, PLANNED),
    "SIGKILL": ("finished", 2, PLANNED),
    "SIGSEGV": ("finished", 2, PLANNED),
    "stopped": ("finished", 2, PLANNED),
    "hangs in a step": ("failed", 1, PLANNED),
    "full disk": ("finished", 2, PLANNED),
}
"""State, attempts and batch of a run with each kind of failure."""
ERRORS = {
    "out of memory at load": "out of memory while loading the data or the model",
    "out of memory at export": "out of memory during export",
    "exception": "ValueError: the flux is out of bounds",
    "NaN loss": "nan",
    "hangs in a step": "ended in training after run_timeout_minutes: 0.2",
}
KINDS = [*ENDS, "none"]
FEW = ["none", "out of memory at export", "NaN loss", "full disk", "none"]
"""Others are in the search with two workers of test_parallel.py, a killed worker is in test_search.py."""
DROPOUT = [round(0.01 * number, 2) for number in range(len(KINDS))]


def search(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return sequifier("hyperparameter-search", "--config-path", path, OMP_NUM_THREADS="1", **environment)


def failing_search(path: Path, kinds: list[str], done: Path) -> subprocess.CompletedProcess[str]:
    """A search whose runs fail as said; `done` remembers what may fail only once."""
    done.mkdir(exist_ok=True)
    faults = json.dumps({f"tune-run-{number}": kind for number, kind in enumerate(kinds)})
    modules = os.pathsep.join([str(FAULTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return search(path, PYTHONPATH=modules, FAULTS=faults, FAULTS_DONE=str(done))


def runs_of(dropout: list[float], **root: Any) -> dict[str, Any]:
    """A search of runs that differ in their dropout only."""
    training = {"epochs": 3, "batch_size": PLANNED, "dropout": dropout}
    return {
        "model_hyperparameter_sampling": {"dim_model": 8, "n_head": 2},
        "training_hyperparameter_sampling": training,
        **root,
    }


@pytest.mark.parametrize("kinds", [FEW, pytest.param(KINDS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_each_failure_ends_as_it_should_and_harms_no_other_run(
    shop: Path, search_config: WriteConfig, tmp_path: Path, kinds: list[str]
) -> None:
    limit = {"run_timeout_minutes": 0.2} if "hangs in a step" in kinds else {}
    path = search_config(**runs_of(DROPOUT[: len(kinds)], cpu_threads=1, **limit))
    full = failing_search(path, kinds, tmp_path / "already failed")
    number = kinds.index("full disk")
    assert full.returncode == 1, full.stderr
    assert f"the disk is full, so the search ends in tune-run-{number}: cannot write" in full.stderr
    assert "No space left on device" in full.stderr
    assert "where: models (" in full.stderr
    assert "for the 2 runs that are left, then run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    records = latest(shop)
    assert [*records] == [*range(number + 1)], "the rest is still planned"
    assert (records[number].state, records[number].attempt) == ("interrupted", 1)
    assert not list((shop / "models").glob(f"*tune-run-{number}-*"))

    done = failing_search(path, kinds, tmp_path / "already failed")
    assert done.returncode == 3, done.stderr
    records = latest(shop)
    by_kind = dict(zip(kinds, records.values(), strict=True))
    ended = {kind: (record.state, record.attempt, record.batch_size) for kind, record in by_kind.items()}
    assert ended == {kind: ENDS[kind] for kind in kinds}

    # What was interrupted resumed from its checkpoint, dropout included, as if nothing had happened.
    for run, (kind, record) in enumerate(zip(kinds, records.values(), strict=True)):
        if kind in ("none", "SIGKILL", "SIGSEGV", "stopped", "full disk"):
            assert record.best_val_loss == trained_alone(shop, run).best_val_loss, kind
    for kind in {"out of memory at a step", "out of memory at validation"} & by_kind.keys():
        record = by_kind[kind]
        assert record.accumulation_steps == 2, "the optimizer saw the planned batch"
        text = (shop / f"configs/hp_search/{record.name}.yaml").read_text()
        assert yaml.safe_load(text)["training_spec"]["batch_size"] == 8
        assert f"# was {PLANNED}, which ran out of memory" in text

    for kind in ERRORS.keys() & by_kind.keys():
        assert ERRORS[kind] in (by_kind[kind].error or "")
    for record in records.values():
        if record.state in ("failed", "oom"):
            reproduce = f"sequifier train --config-path configs/hp_search/{record.name}.yaml"
            assert (record.error or "").endswith(f"to reproduce: {reproduce}")
    assert ("resumes from its last epoch: the worker died (SIGKILL)" in full.stderr) == ("SIGKILL" in kinds)
    assert ("the worker gave no sign of life for 4 s" in full.stderr) == ("stopped" in kinds)

    # A result has its models; a run without one leaves its record alone, and nothing half-written.
    for record in records.values():
        models = sorted((shop / "models").glob(f"sequifier-{record.name}-*"))
        if record.state in ("finished", "diverged"):
            assert models
            onnxruntime.InferenceSession(models[0])
        else:
            assert models == []
    assert by_kind["NaN loss"].best_epoch == 1, "the last finite epoch"
    assert not list((shop / "models").glob(".*"))
    with (shop / "logs/tune/results.csv").open() as file:
        rows = {row["run"]: row["state"] for row in csv.DictReader(file) if row["run"]}
    assert rows == {str(number): record.state for number, record in records.items()}


@pytest.mark.slow
def test_a_gpu_that_is_lost_ends_the_search_and_its_run_resumes(
    shop: Path, search_config: WriteConfig, tmp_path: Path
) -> None:
    calm = search(search_config("calm.yaml", **runs_of([0.1, 0.2], hp_search_name="calm")))
    assert calm.returncode == 0, calm.stderr
    path = search_config(**runs_of([0.1, 0.2], execution={"devices": 1}))
    lost = failing_search(path, ["lost GPU", "none"], tmp_path / "already failed")
    assert lost.returncode == 1, lost.stderr
    assert "is lost: CUDA error: no CUDA-capable device is detected" in lost.stderr
    assert "run the same command again, which resumes the search" in lost.stderr and "Traceback" not in lost.stderr
    assert {run: record.state for run, record in latest(shop).items()} == {0: "interrupted"}, "run 1 is still planned"
    again = failing_search(path, ["lost GPU", "none"], tmp_path / "already failed")
    assert again.returncode == 0, again.stderr
    losses = {run: record.best_val_loss for run, record in latest(shop).items()}
    assert losses == {run: record.best_val_loss for run, record in latest(shop, "calm").items()}
    record = json.loads((shop / "logs/tune-run-0/latest/experiment_data.json").read_text())
    assert len(record["results"]["curve"]) == 3, "it resumed after its first epoch"


@pytest.mark.slow
def test_runs_that_fail_again_and_again_are_given_up_and_the_search_continues(
    shop: Path, search_config: WriteConfig, tmp_path: Path
) -> None:
    path = search_config(**runs_of(DROPOUT[:4], max_retries=2))
    kinds = ["none", "out of memory always", "SIGSEGV always", "none"]
    done = failing_search(path, kinds, tmp_path / "already failed")
    assert done.returncode == 3
    attempts = [[(r.batch_size, r.state) for r in read_ledger(shop / "logs/tune") if r.run == n] for n in range(4)]
    assert attempts == [
        [(16, "running"), (16, "finished")],
        [(16, "running"), (8, "running"), (4, "running"), (4, "oom")],
        [(16, "running"), (16, "running"), (16, "failed")],
        [(16, "running"), (16, "finished")],
    ]
    errors = [record.error or "" for record in latest(shop).values()]
    assert "out of memory with a batch of 4, after 2 halvings" in errors[1]
    assert "the worker died (SIGSEGV)" in errors[2]


SMALL_DISK = """
mount -t tmpfs -o size=600k small logs || exit 77
head -c 560000 /dev/zero > logs/filler
"$@"; echo "first: $?"
rm logs/filler
"$@"; echo "second: $?"
cp -r logs kept
"""


@pytest.mark.slow
def test_a_full_disk_is_reported_and_costs_nothing_once_there_is_space(shop: Path, search_config: WriteConfig) -> None:
    (shop / "logs").mkdir()
    # A mount of its own namespace: nobody else sees it, and it is gone with the last process.
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", *SEARCH, str(search_config(**runs_of(DROPOUT[:3])))],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    assert "first: 1" in done.stdout, done.stderr
    assert "second: 0" in done.stdout, done.stderr
    assert "No space left on device" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    records = latest_by_run(read_ledger(shop / "kept/tune"))
    assert [record.state for record in records.values()] == ["finished"] * 3
