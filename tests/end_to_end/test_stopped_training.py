"""`train` stopped within an epoch, also the first: it keeps a checkpoint, says how to go on, and loses nothing."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.checkpoint import read_checkpoint
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.run import run
from sequifier.training.evaluation_batch import Evaluator
from sequifier.training.tally import Evaluation
from tests.support.command_line import command
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import WriteConfig


def entries(root: Path, name: str) -> list[dict[str, Any]]:
    """What metrics.jsonl holds, except for what depends on the machine."""
    lines = (root / "logs" / name / "latest" / "metrics.jsonl").read_text().splitlines()
    of_machine = ("seconds", "windows_per_second", "events_per_second", "peak_memory_bytes", "time")
    return [{key: value for key, value in json.loads(line).items() if key not in of_machine} for line in lines]


def interrupted_in(call: int) -> Callable[[Evaluator, Any], Evaluation]:
    """Evaluate as `Evaluator` does, but end the call with this number, from 1, as Ctrl-C does."""
    evaluate, numbers = Evaluator.__call__, count(1)

    def evaluate_or_end(evaluator: Evaluator, model: Any) -> Evaluation:
        if next(numbers) == call:
            raise KeyboardInterrupt
        return evaluate(evaluator, model)

    return evaluate_or_end


def test_a_training_stopped_in_a_step_and_in_validations_resumes_as_if_nothing_had_happened(
    shop: Path, train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"epochs": 2, "dropout": 0.2, "eval_interval_steps": 2, "batch_size": 16}
    train(train_config(training_spec=settings, model_name="whole"))
    config = load(TrainConfig, train_config(training_spec=settings)).config
    calls = iter([False, False, True])
    stopped = run(config, emit=quiet, stops_now=lambda: next(calls))
    assert (stopped.ended, stopped.last_epoch) == ("interrupted", 0)
    progress = read_checkpoint(shop / "checkpoints" / "tiny-resume.pt")["progress"]
    assert (progress["epoch"], progress["step"]) == (0, 3)
    log = (shop / "logs" / "tiny" / "latest" / "experiment_log.txt").read_text()
    assert "interrupted in epoch 1, after step 3 of " in log

    n_steps = entries(shop, "whole")[-1]["step"] // 2
    n_within = (n_steps - 1) // 2  # evaluations within the epoch, the first of which was before the stop
    for call, step in ((1, 4), (n_within, n_steps)):
        with monkeypatch.context() as patched:
            patched.setattr(Evaluator, "__call__", interrupted_in(call))
            again = run(config, emit=quiet)
        assert (again.ended, again.last_epoch) == ("interrupted", 0)
        progress = read_checkpoint(shop / "checkpoints" / "tiny-resume.pt")["progress"]
        assert (progress["epoch"], progress["steps_in_epoch"], progress["step"]) == (0, step, step)
    assert run(config, emit=quiet).ended == "finished"
    assert entries(shop, "tiny") == entries(shop, "whole")


def test_sigterm_in_the_first_epoch_keeps_a_checkpoint_and_says_how_to_go_on(
    shop: Path, train_config: WriteConfig
) -> None:
    train_config(training_spec={"epochs": 2, "batch_size": 1, "log_interval": 1}, window_stride=1)
    with subprocess.Popen(
        command("train", "--verbose", "--no-resume"), stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/2  step 2/"):
                process.send_signal(signal.SIGTERM)
                break
        lines = [*filter(None, process.stderr.read().splitlines())]
        assert process.wait(timeout=60) == 130
    assert lines[-2:] == ["the same command with --resume resumes it", "interrupted"]
    (ended,) = [line for line in lines if line.startswith("interrupted in epoch 1, after step ")]
    progress = read_checkpoint(shop / "checkpoints" / "tiny-resume.pt")["progress"]
    assert ended.startswith(f"interrupted in epoch 1, after step {progress['step']} of ")
    assert not (shop / "models").exists() or not [*(shop / "models").iterdir()]
