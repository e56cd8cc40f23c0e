"""When a model is compiled."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sequifier.config.architecture import Architecture, Target
from sequifier.errors import ConfigError
from sequifier.model import positions
from sequifier.model.build import build_model
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


def test_a_gpu_is_compiled_for_only_on_request_and_needs_triton_with_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"triton": True, "gcc": True}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if found.get(name) else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if found.get(name) else None)
    monkeypatch.delenv("CC", raising=False)

    def on_cuda(**training: object) -> bool:
        return compiles(config_of(epochs=10_000, **training).training_spec, shape(), n_windows=1000, device_type="cuda")

    assert not on_cuda()
    assert on_cuda(torch_compile=True)
    found["gcc"] = False
    with pytest.raises(ConfigError, match="needs a C compiler on a GPU"):
        on_cuda(torch_compile=True)
    found["triton"] = False
    with pytest.raises(ConfigError, match="needs Triton on a GPU"):
        on_cuda(torch_compile=True)
    assert not on_cuda()


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_a_block_is_one_graph_with_the_rotation_of_a_gpu_too(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "_rotate_complex", positions.rotate_real)
    block = build_model(small(positional_encoding="rope"), torch.Generator().manual_seed(0)).blocks[0]
    rotation = positions.rotation_table(steps=8, head_width=4, theta=100.0)
    x = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=products == "bfloat16"):
        captured = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False)(x, None, rotation)
        expected = block(x, None, rotation)
    captured.sum().backward()
    assert all(weight.grad is not None for weight in block.parameters())
    # In bfloat16 the hand-written functions of the CPU round in other places.
    torch.testing.assert_close(captured, expected, **({} if products == "float32" else {"atol": 0.05, "rtol": 0.05}))


def test_an_older_torch_has_no_deterministic_mode_of_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.6, which `pyproject.toml` allows."""
    monkeypatch.setattr(torch, "compile", lambda block, **options: block)
    monkeypatch.delitem(torch._inductor.config._config, "deterministic")
    model = build_model(shape(), torch.Generator().manual_seed(0))
    model.compile_blocks(8)
    assert model.is_compiled


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
