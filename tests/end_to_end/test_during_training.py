"""What happens while a run trains: evaluations and checkpoints by steps, hooks, what is logged."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from sequifier import api
from sequifier.artifacts.checkpoint import read_checkpoint
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, RunError
from sequifier.run import run
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import WriteConfig

OF_THE_CLOCK = ("seconds", "windows_per_second", "events_per_second", "peak_memory_bytes")


def entries(root: Path, name: str = "tiny") -> list[dict[str, Any]]:
    """metrics.jsonl of the newest run, without what the clock says."""
    lines = (root / "logs" / name / "latest" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in OF_THE_CLOCK} for line in lines]


def weights(root: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(root / "models" / name, weights_only=True)["weights"])


def checkpoints(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "checkpoints").iterdir())


def test_evaluations_within_epochs_are_logged_and_count_but_change_nothing(
    shop: Path, train_config: WriteConfig
) -> None:
    train(train_config(model_name="plain"))
    plain = entries(shop, "plain")
    result = train(train_config(training_spec={"eval_interval_steps": 3}))
    found = entries(shop)
    within = [entry for entry in found if isinstance(entry["epoch"], float)]
    assert [entry for entry in found if isinstance(entry["epoch"], int)] == plain
    last = plain[-1]["step"]
    per_epoch = last // 3
    assert [entry["step"] for entry in within] == [step for step in range(3, last, 3) if step % per_epoch]
    assert all(entry["epoch"] == pytest.approx(entry["step"] / per_epoch) for entry in within)
    assert [entry["step"] for entry in found] == sorted(entry["step"] for entry in found)
    assert all(entry.keys() == plain[0].keys() for entry in within)
    best = min(found, key=lambda entry: entry["val_loss"])
    assert (result.best_val_loss, result.best_step) == (best["val_loss"], best["step"])
    assert result.best_epoch == -(-best["step"] // per_epoch)
    assert len(result.curve) == 3, "the curve has one value for each epoch"


def test_the_best_weights_may_be_from_the_middle_of_an_epoch(shop: Path, train_config: WriteConfig) -> None:
    # A learning rate that doubles with each step soon does harm.
    spec = {
        "epochs": 1,
        "eval_interval_steps": 2,
        "checkpoint_interval_steps": 2,
        "scheduler": {"name": "ExponentialLR", "gamma": 2.0},
        "scheduler_step_on": "batch",
    }
    result = train(train_config(training_spec=spec, export_pt=True))
    assert 0 < result.best_step < steps_per_epoch(shop)
    assert (result.best_epoch, result.best_val_loss) == (1, min(entry["val_loss"] for entry in entries(shop)))
    saved = read_checkpoint(shop / "checkpoints" / f"tiny-step-{result.best_step}.pt")["model"]
    exported = weights(shop, "sequifier-tiny-best-1.pt")
    assert all(torch.equal(saved[name], exported[name]) for name in saved)


def test_step_checkpoints_are_whole_and_the_newest_ones_are_kept(shop: Path, train_config: WriteConfig) -> None:
    spec = {"checkpoint_interval_steps": 4, "keep_checkpoints": 2, "epochs": 2}
    train(train_config(training_spec=spec))
    last = entries(shop)[-1]["step"]
    steps = list(range(4, last + 1, 4))[-2:]
    assert checkpoints(shop) == sorted(
        [*(f"tiny-step-{step}.pt" for step in steps), "tiny-epoch-1.pt", "tiny-epoch-2.pt"]
    )
    content = read_checkpoint(shop / "checkpoints" / f"tiny-step-{steps[0]}.pt")
    assert content["progress"]["step"] == steps[0]
    assert content["progress"]["steps_in_epoch"] == steps[0] % (last // 2)
    for name in checkpoints(shop):
        if "epoch" in name or str(steps[-1]) in name:
            (shop / "checkpoints" / name).unlink()
    whole = entries(shop)
    train(train_config(training_spec=spec), resume="always")
    assert entries(shop) == whole


HOOKS = """
import os, signal
from pathlib import Path

def kill_once(e, *, step, **context):
    mark = Path(e.parameters["user"]["mark"])
    if step == e.parameters["user"]["kill_at"] and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("optimizer", "kill_at", "interval"), [("AdamW", 13, 5), ("ScheduleFreeAdamW", 18, 4), ("Muon", 2, 1)]
)
def test_a_run_killed_within_an_epoch_resumes_from_its_step_as_if_nothing_had_happened(
    shop: Path, train_config: WriteConfig, optimizer: str, kill_at: int, interval: int
) -> None:
    (shop / "my_hooks.py").write_text(HOOKS)
    values: dict[str, Any] = {
        "cpu_threads": 1,
        "export_pt": True,
        "hooks": {"after_step": "my_hooks:kill_once"},
        "user": {"mark": "killed", "kill_at": kill_at},
        "training_spec": {
            "optimizer": {"name": optimizer},
            "scheduler": {"name": "OneCycleLR", "max_lr": 0.02, "total_steps": "auto", "cycle_momentum": False},
            "scheduler_step_on": "batch",
            "checkpoint_interval_steps": interval,
            "eval_interval_steps": 3,
        },
    }
    if optimizer == "ScheduleFreeAdamW":
        values["training_spec"] |= {"scheduler": {"name": "StepLR", "step_size": 1}, "scheduler_step_on": "epoch"}
    path = train_config(**values)
    command = [sys.executable, "-m", "sequifier", "train", "--config-path", str(path), "--quiet"]
    killed = subprocess.run(command, cwd=shop, check=False, capture_output=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    resumed_at = kill_at - 1 - (kill_at - 1) % interval
    assert read_checkpoint(shop / "checkpoints" / "tiny-resume.pt")["progress"]["step"] == resumed_at
    train(path)
    assert f"resumes after epoch {(resumed_at) // steps_per_epoch(shop)}, step {resumed_at}" in log(shop)
    train(train_config(**{**values, "model_name": "whole"}))
    assert entries(shop) == entries(shop, "whole")
    for which in ("best", "last"):
        one, other = (weights(shop, f"sequifier-{name}-{which}-3.pt") for name in ("tiny", "whole"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def steps_per_epoch(root: Path, name: str = "tiny") -> int:
    return next(entry["step"] for entry in entries(root, name) if entry["epoch"] == 1)


def log(root: Path, name: str = "tiny") -> str:
    return (root / "logs" / name / "latest" / "experiment_log.txt").read_text()


def test_a_run_may_resume_with_fewer_steps_than_it_has_taken(shop: Path, train_config: WriteConfig) -> None:
    train(train_config(training_spec={"checkpoint_interval_steps": 3}))
    for path in (shop / "checkpoints").glob("*"):
        if path.name != "tiny-step-3.pt":
            path.unlink()
    result = train(train_config(training_spec={"max_steps": 2}), resume="always")
    assert (result.ended, result.last_epoch, result.best_step) == ("finished", 1, 3)


def test_throughput_memory_shares_and_skill_are_in_the_record(shop: Path, train_config: WriteConfig) -> None:
    result = train(train_config(training_spec={"class_share_log_columns": ["item"], "eval_interval_steps": 4}))
    record = shop / "logs" / "tiny" / "latest"
    lines = [json.loads(line) for line in (record / "metrics.jsonl").read_text().splitlines()]
    for entry in lines:
        assert entry["events_per_second"] > entry["windows_per_second"] > 0
        assert entry["peak_memory_bytes"] > 1 << 20
        shares = entry["class_shares"]["item"]
        assert set(shares) <= {f"item{number}" for number in range(6)}
        assert sum(shares.values()) == pytest.approx(1, abs=0.2)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert "item is predicted as item" in log(shop)
    results = json.loads((record / "experiment_data.json").read_text())["results"]
    assert results["throughput"]["windows_per_second"] > 0
    baseline = min(scores["val_loss"] for scores in result.baselines.values())
    assert results["skill"] == pytest.approx(1 - (result.best_val_loss or 0) / baseline)
    assert all("val_item_macro_f1" in scores for scores in result.baselines.values())
    with pytest.raises(ConfigError, match="`price` is real"):
        train(train_config(training_spec={"class_share_log_columns": ["price"]}))


def test_a_model_file_says_nothing_of_the_machine(shop: Path, train_config: WriteConfig) -> None:
    files = []
    for _ in range(2):
        result = train(train_config(cpu_threads=1))
        files.append({what: (shop / path).read_bytes() for what, path in result.files.items() if "onnx" in what})
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "metric", ["val_item_macro_f1", "val_item_mrr", "val_item_calibration_error", "val_item_accuracy"]
)
def test_each_metric_can_choose_the_best_epoch(shop: Path, train_config: WriteConfig, metric: str) -> None:
    direction = "minimize" if metric.endswith("error") else "maximize"
    result = train(train_config(metric=metric, direction=direction))
    values = [entry[metric] for entry in entries(shop)]
    assert result.curve == values
    assert values[result.best_epoch - 1] == (min if direction == "minimize" else max)(values)


POINTS = """
import torch

def see(e, **context):
    e.track("seen/" + context.pop("point", "point"), sorted(context))

def before_training(e, **context): see(e, point="before_training", **context)
def after_step(e, **context):
    assert context["loss"].dim() == 0
    see(e, point="after_step", **context)
def after_epoch(e, *, metrics, epoch, **context):
    assert metrics["epoch"] == epoch
    e.log(f"mine: {metrics['val_loss']!r} of {e.parameters['user']['word']}")
    see(e, point="after_epoch", metrics=metrics, epoch=epoch, **context)
def after_validation(e, **context): see(e, point="after_validation", **context)
def after_checkpoint(e, **context):
    assert context["path"].exists()
    see(e, point="after_checkpoint", **context)
def after_training(e, **context):
    assert context["paths"]["best_onnx"].exists()
    see(e, point="after_training", **context)
"""


def test_hooks_are_called_at_their_points_with_what_the_documentation_says(
    shop: Path, train_config: WriteConfig
) -> None:
    train(train_config(model_name="plain", training_spec={"eval_interval_steps": 5}))
    (shop / "points.py").write_text(POINTS)
    points = (
        *("before_training", "after_step", "after_epoch", "after_validation"),
        *("after_checkpoint", "after_training"),
    )
    said: list[str] = []
    train(
        train_config(
            hooks={point: f"points:{point}" for point in points},
            user={"word": "loss"},
            training_spec={"eval_interval_steps": 5},
        ),
        emit=lambda event, **fields: said.append(fields["line"]) if event == "log" else None,
    )
    assert entries(shop) == entries(shop, "plain"), "looking changes nothing"
    seen = json.loads((shop / "logs/tiny/latest/experiment_data.json").read_text())["seen"]
    always = ["epoch", "model", "optimizer", "step"]
    expected = {
        "before_training": (1, []),
        "after_step": (entries(shop)[-1]["step"], ["loss"]),
        "after_epoch": (3, ["is_best", "metrics"]),
        "after_validation": (len(entries(shop)), ["is_best", "metrics"]),
        "after_checkpoint": (3, ["path"]),
        "after_training": (1, ["ended", "metrics", "paths"]),
    }
    assert seen == {point: [sorted([*always, *more])] * times for point, (times, more) in expected.items()}
    losses = [entry["val_loss"] for entry in entries(shop) if isinstance(entry["epoch"], int)]
    assert [line for line in said if line.startswith("mine")] == [f"mine: {loss!r} of loss" for loss in losses]


def test_hooks_that_do_not_exist_are_found_before_anything_begins(shop: Path, train_config: WriteConfig) -> None:
    with pytest.raises(ConfigError, match="there is no module `nowhere`"):
        train(train_config(hooks={"after_epoch": "nowhere:f"}))
    assert not (shop / "logs").exists()


WATCHING = """
import os, subprocess, sys
def f(e, *, epoch, **context):
    os.chdir("/")
    read = sys.stdin.read(), subprocess.run(["cat"], capture_output=True, timeout=60, text=True).stdout
    e.track("mine", [epoch, *read])
def g(e, *, model, **context):
    import torch
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
"""


def test_hooks_run_in_a_search_whatever_they_do_and_missing_ones_end_it_before_its_first_run(
    shop: Path, search_config: WriteConfig
) -> None:
    hooks = {"after_epoch": "watching:f", "after_training": "watching:g"}
    with pytest.raises(ConfigError, match="there is no module `watching`"):
        api.search(load(SearchConfig, search_config(hooks=hooks)).config, emit=quiet)
    assert not (shop / "logs").exists()
    (shop / "watching.py").write_text(WATCHING)
    (shop / "queue.py").write_text("raise SystemExit('a file of the project, not the module of Python')\n")
    config = load(SearchConfig, search_config(hooks=hooks)).config
    with ThreadPoolExecutor(1) as other_thread:  # as in a program with a window, which gets no Ctrl-C
        result = other_thread.submit(api.search, config, emit=quiet).result()
    assert result.ended == "complete"
    for planned in result.plan.runs:
        data = json.loads((shop / "logs" / planned.name / "latest" / "experiment_data.json").read_text())
        assert data["mine"] == [[1, "", ""], [2, "", ""]], "the commands of the search are not for hooks to read"


def test_a_hook_that_fails_fails_the_run(shop: Path, train_config: WriteConfig) -> None:
    (shop / "failing.py").write_text("def f(e, *, step, **context):\n    if step == 3: raise KeyError('volume')\n")
    with pytest.raises(RunError, match="the hook `failing:f` failed at after_step: KeyError: 'volume'"):
        train(train_config(hooks={"after_step": ["failing:f"]}))
    assert "Traceback" in log(shop)
    assert "failing.py" in log(shop)
    assert json.loads((shop / "logs/tiny/latest/experiment_meta.json").read_text())["status"] == "failed"


def samples(root: Path) -> list[str]:
    """What the log shows below each `sample after step`, without the times."""
    lines = [line.partition("  ")[2] for line in log(root).splitlines()]
    return [after for before, after in pairwise(lines) if before.startswith("sample after step")]


@pytest.mark.parametrize("optimizer", ["Adam", "ScheduleFreeAdamW"])
def test_samples_are_logged_and_change_nothing(shop: Path, train_config: WriteConfig, optimizer: str) -> None:
    columns = {"input_columns": ["item"], "target_columns": ["item"]}
    spec: dict[str, Any] = {"optimizer": {"name": optimizer}, "epochs": 2}
    train(train_config(**columns, training_spec=spec, model_name="plain"))
    sampling = {"sampling_interval_steps": 4, "sampling_prompt": ["item2", "item3"], "sampling_max_length": 5}
    said: list[str] = []
    train(
        train_config(**columns, training_spec=spec | sampling),
        emit=lambda event, **fields: said.append(fields["line"]) if event == "log" else None,
    )
    assert entries(shop) == entries(shop, "plain")
    last = entries(shop)[-1]["step"]
    assert [line.split(":")[0] for line in said if line.startswith("sample")] == [
        f"sample after step {step}" for step in range(4, last + 1, 4)
    ]
    for sample in samples(shop):
        assert sample.split()[:2] == ["item2", "item3"]
        assert len(sample.split()) == 7
        assert set(sample.split()) <= {f"item{number}" for number in range(6)}


def test_a_sample_of_several_columns_has_events(shop: Path, train_config: WriteConfig) -> None:
    spec = {
        "epochs": 1,
        "sampling_interval_steps": 3,
        "sampling_prompt": [{"item": "item1", "price": 11}],
        "sampling_max_length": 2,
        "sampling_temperature": 0,
    }
    train(train_config(training_spec=spec))
    found = samples(shop)
    assert found
    assert all(re.fullmatch(r"item1,11( item\d,-?[\d.]+){2}", sample) for sample in found), found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"target_columns": ["item"]}, "input column `price` is not a target"),
        ({"target_columns": ["item"], "input_columns": ["item"], "prompt": ["itme2"]}, "did you mean `item2`"),
        ({"prompt": "item1"}, "a string cannot prompt 2 input columns"),
    ],
)
def test_samples_that_cannot_be_are_refused_before_training(
    shop: Path, train_config: WriteConfig, values: dict[str, Any], expected: str
) -> None:
    spec = {"sampling_interval_steps": 3, "sampling_prompt": values.pop("prompt", None)}
    with pytest.raises(ConfigError) as caught:
        train(train_config(**values, training_spec=spec))
    assert expected in str(caught.value)
    assert not (shop / "logs").exists()


def test_deterministic_algorithms_give_the_same_run_and_are_off_again_for_the_next(
    shop: Path, train_config: WriteConfig
) -> None:
    spec = {"class_share_log_columns": ["item"], "enforce_determinism": True}
    states = []

    def emit(event: str, **fields: Any) -> None:
        if event == "epoch":
            states.append(torch.are_deterministic_algorithms_enabled())

    columns = ["item", "price"]
    train(train_config(target_columns=columns, training_spec=spec), emit=emit)
    deterministic = entries(shop)
    config = load(
        TrainConfig, train_config(target_columns=columns, training_spec={**spec, "enforce_determinism": False})
    )
    run(config.config, emit=emit)
    assert states == [True] * 3 + [False] * 3
    assert entries(shop) == deterministic
