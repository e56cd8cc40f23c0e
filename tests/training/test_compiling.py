"""When a model is compiled."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sequifier.config.architecture import Architecture, Target
from sequifier.errors import ConfigError
from sequifier.training.compiling import compiles
from tests.support.shapes import small
from tests.support.shop import WriteConfig
from tests.support.tiny_training import config_of


def shape() -> Architecture:
    return small(
        categorical=(("kind", 6),),
        real=(),
        embedding_widths=(64,),
        targets=(Target("kind", "categorical", 6),),
        seq_length=48,
        dim_model=64,
        dim_feedforward=256,
        positional_encoding="learned",
    )


def test_auto_compiles_runs_that_are_long_enough_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    short, long = config_of(epochs=1).training_spec, config_of(epochs=10_000).training_spec
    assert not compiles(short, shape(), n_windows=1000, device_type="cpu")
    assert compiles(long, shape(), n_windows=1000, device_type="cpu")
    assert not compiles(
        config_of(epochs=10_000, max_steps=10).training_spec, shape(), n_windows=1000, device_type="cpu"
    )
    assert not compiles(
        config_of(epochs=10_000, torch_compile=False).training_spec, shape(), n_windows=1000, device_type="cpu"
    )


def test_without_a_compiler_auto_does_not_compile_and_true_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not compiles(config_of(epochs=10_000).training_spec, shape(), n_windows=1000, device_type="cpu")
    with pytest.raises(ConfigError, match="C\\+\\+ compiler"):
        compiles(config_of(torch_compile=True).training_spec, shape(), n_windows=1000, device_type="cpu")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_a_compiled_run_learns_as_another(shop: Path, train_config: WriteConfig) -> None:
    losses = {}
    for compiled in (False, True):
        path = train_config(training_spec={"epochs": 3, "batch_size": 8, "dropout": 0.0, "torch_compile": compiled})
        done = subprocess.run(
            [sys.executable, "-m", "sequifier", "train", "--config-path", str(path)],
            cwd=shop,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = (shop / "logs/tiny/latest/metrics.jsonl").read_text().splitlines()
        losses[compiled] = [json.loads(line)["val_loss"] for line in lines]
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)
    assert losses[True] != losses[False], "nothing was compiled"
