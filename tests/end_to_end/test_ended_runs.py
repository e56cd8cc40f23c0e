"""A training that has ended, and whose search died before its ledger had the result: nothing is trained again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.checkpoint import read_checkpoint
from sequifier.artifacts.ledger import Record
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.run import run
from sequifier.run_record import RunResult
from sequifier.training.checkpoints import Resume
from sequifier.training.limits import Limits
from tests.support.command_line import command
from tests.support.processes import wait_for
from tests.support.quiet import quiet
from tests.support.runs import latest, trained_alone
from tests.support.shop import TINY_SEARCH, WriteConfig, config_writer

OF_ONE_START = ("seconds", "peak_memory_bytes", "files")
"""What differs between two starts of a run that is trained once."""

SPARSE = {"save_interval_epochs": 50}
BREAKS_IN_EPOCH_3 = """
import torch

def after_step(e, *, epoch, model, **context):
    if epoch == 3:
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
"""


def steps_of(path: Path, *, resume: Resume, limits: Limits = Limits()) -> tuple[RunResult, list[int]]:  # noqa: B008
    """Start a run; returns its result and the epochs of which it reported steps."""
    epochs = []

    def emit(event: str, **fields: Any) -> None:
        if event == "step":
            epochs.append(fields["epoch"])

    return run(load(TrainConfig, path).config, emit=emit, resume=resume, limits=limits), epochs


def without_start(result: RunResult) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name not in OF_ONE_START}


def models_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "models").iterdir()}


@pytest.mark.parametrize(
    ("settings", "ended", "n_epochs"),
    [
        ({}, "finished", 4),
        (SPARSE | {"optimizer": {"name": "ScheduleFreeAdamW"}}, "finished", 4),
        ({"scheduler": {"name": "ReduceLROnPlateau", "patience": 0}, "keep_checkpoints": 1}, "finished", 4),
        (SPARSE | {"learning_rate": 0.5, "early_stopping_epochs": 1, "epochs": 40}, "early_stopping", None),
        (SPARSE | {"max_steps": 7, "optimizer": {"name": "ScheduleFreeAdamW"}}, "finished", None),
        (SPARSE | {"max_steps": 7, "checkpoint_interval_steps": 2, "keep_checkpoints": 1}, "finished", None),
    ],
)
def test_a_run_that_has_ended_resumes_at_its_end_with_the_same_result_and_models(
    shop: Path, train_config: WriteConfig, settings: dict[str, Any], ended: str, n_epochs: int | None
) -> None:
    path = train_config(training_spec={"epochs": 4, "log_interval": 1, **settings})
    first, trained = steps_of(path, resume="never")
    assert first.ended == ended
    assert n_epochs in (None, first.last_epoch)
    assert trained
    models = models_of(shop)
    left = {file.name for file in (shop / "checkpoints").iterdir()}
    assert f"tiny-epoch-{first.last_epoch}.pt" in left
    assert "tiny-resume.pt" not in left
    again, trained = steps_of(path, resume="matching")
    assert not trained
    assert without_start(again) == without_start(first)
    assert models_of(shop) == models
    assert {file.name for file in (shop / "checkpoints").iterdir()} == left
    afresh, trained = steps_of(path, resume="auto")
    assert trained, "`train` trains a finished run afresh"
    assert afresh.curve == first.curve


@pytest.mark.parametrize("settings", [{}, SPARSE, SPARSE | {"checkpoint_interval_steps": 3, "keep_checkpoints": 1}])
def test_a_pruned_and_a_diverged_run_resume_at_their_end(
    shop: Path, train_config: WriteConfig, settings: dict[str, Any]
) -> None:
    path = train_config(training_spec={"epochs": 5, "log_interval": 1, **settings})
    limits = Limits(thresholds={2: 0.0})
    pruned, trained = steps_of(path, resume="never", limits=limits)
    assert (pruned.ended, {*trained}) == ("pruned", {1, 2})
    assert read_checkpoint(shop / "checkpoints/tiny-epoch-2.pt")["progress"]["best_value"] == pruned.best_val_loss
    again, trained = steps_of(path, resume="matching", limits=limits)
    assert not trained
    assert without_start(again) == without_start(pruned)

    (shop / "breaks.py").write_text(BREAKS_IN_EPOCH_3)
    spec = {"epochs": 5, "log_interval": 1, **settings}
    path = train_config(training_spec=spec, hooks={"after_step": "breaks:after_step"})
    diverged, trained = steps_of(path, resume="never")
    assert (diverged.ended, diverged.last_epoch, {*trained}) == ("diverged", 2, {1, 2, 3})
    models = models_of(shop)
    again, trained = steps_of(path, resume="matching")
    assert {*trained} <= {3}, "the epoch in which it diverges is all that is trained again"
    assert without_start(again) == without_start(diverged)
    assert models_of(shop) == models
    assert not (shop / "checkpoints/tiny-resume.pt").exists()


def test_a_run_that_dies_while_it_exports_trains_nothing_again(
    train_config: WriteConfig,
) -> None:
    expected, _ = steps_of(train_config(model_name="whole"), resume="never")

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("sequifier.run.export_models", die)
        run(load(TrainConfig, train_config()).config, emit=quiet)
    result, trained = steps_of(train_config(), resume="matching")
    assert not trained
    assert result.curve == expected.curve


def test_a_run_of_another_length_is_not_taken_for_the_one_that_has_ended(train_config: WriteConfig) -> None:
    steps_of(train_config(training_spec={"epochs": 3}), resume="never")
    shorter, trained = steps_of(train_config(training_spec={"epochs": 2}), resume="matching")
    assert (shorter.last_epoch, {*trained}) == (2, {1, 2})


HOOK = """
from pathlib import Path

def after_epoch(e, *, epoch, **context):
    with Path("epochs.txt").open("a") as file:
        file.write(f"{e.parameters['model_name']} {epoch}\\n")
"""
SCRIPT = """
import json, pathlib, sys, time
run = json.load(sys.stdin)
pathlib.Path(f"measures-{run['name']}").touch()
while pathlib.Path("hold").exists():
    time.sleep(0.05)
print(json.dumps({"mine": run["run"] + 0.5}))
"""
EPOCHS = 3
SCRIPTED: dict[str, Any] = {
    "hooks": {"after_epoch": "counts:after_epoch"},
    "evaluation_script": {"command": f"{sys.executable} measure.py", "metrics": {"mine": "maximize"}},
    "model_hyperparameter_sampling": {"dim_model": 8, "n_head": 2, "dim_feedforward": 16, "num_layers": 1},
    "training_hyperparameter_sampling": {
        "epochs": EPOCHS,
        "batch_size": 16,
        "dropout": [0.0, 0.1, 0.2],
        "save_interval_epochs": 2,
    },
    "execution": {"devices": 2},
    "cpu_threads": 1,
}
"""A search of three runs with a hook and an evaluation script."""


def scripted_search(root: Path) -> list[str]:
    """Write the search into a project, and return its command line."""
    (root / "counts.py").write_text(HOOK)
    (root / "measure.py").write_text(SCRIPT)
    path = config_writer(root, TINY_SEARCH, "scripted.yaml")(**SCRIPTED)
    return command("hyperparameter-search", "--config-path", path)


@pytest.fixture(scope="module")
def undisturbed(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """The results of the search when nobody disturbs it: those of its runs trained alone, and of its script."""
    root = tmp_path_factory.mktemp("calm") / "project"
    shutil.copytree(_shop, root)
    plan = [*scripted_search(root), "--dry-run"]
    assert subprocess.run(plan, cwd=root, capture_output=True, check=False).returncode == 0
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        runs = {number: trained_alone(root, number) for number in range(3)}
    return {
        number: (run.ended, run.metrics | {"mine": number + 0.5}, run.curve, run.best_epoch)
        for number, run in runs.items()
    }


def killed(process: "subprocess.Popen[bytes]") -> None:
    os.kill(process.pid, signal.SIGKILL)


def interrupted_twice(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first Ctrl-C waits for the evaluation scripts"
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them")
@pytest.mark.parametrize("end", [killed, interrupted_twice])
def test_a_search_that_dies_while_evaluation_scripts_run_trains_no_epoch_again(
    shop: Path, undisturbed: dict[int, Any], end: Callable[[Any], None]
) -> None:
    search = scripted_search(shop)
    (shop / "hold").touch()
    started = subprocess.Popen(search, cwd=shop, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: len(list(shop.glob("measures-*"))) == 2)
    end(started)
    started.wait(timeout=30)
    assert {record.state for record in latest(shop).values()} <= {"running", "interrupted"}
    (shop / "hold").unlink()
    one_worker = [*search, "-D", "execution.devices=1"]
    done = subprocess.run(one_worker, cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trained = Counter((shop / "epochs.txt").read_text().splitlines())
    assert trained == Counter(f"tune-run-{run} {epoch}" for run in range(3) for epoch in range(1, EPOCHS + 1))
    assert not list((shop / "checkpoints").glob("*-resume.pt"))
    assert results(latest(shop)) == undisturbed


def results(records: dict[int, Record]) -> dict[int, Any]:
    return {run: (record.state, record.metrics, record.curve, record.best_epoch) for run, record in records.items()}
