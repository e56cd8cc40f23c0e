"""benchmarks/gpu.py where there is no GPU: it says so, and all of it that can run on a CPU does."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]


def gpu(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/gpu.py"), *words], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = gpu()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no GPU here, nothing measured: torch.cuda.is_available() is False\n"


def test_a_part_that_fails_is_printed_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu as script

    def fails(bench: Any) -> Iterator[str]:
        yield "the first table"
        raise RuntimeError("CUDA error: device-side assert triggered")

    def works(bench: Any) -> Iterator[str]:
        yield script.table(["a"], [[1]])

    monkeypatch.setattr(script, "PARTS", {"one": ("One", fails), "two": ("Two", works)})
    assert script.measure(script.Bench(tmp_path, "cpu", quick=True), ["one", "two"]) == 1
    printed = capsys.readouterr().out
    assert "### One\n\nthe first table\n\n**failed:**" in printed, "what was measured before is kept"
    assert "RuntimeError: CUDA error: device-side assert triggered" in printed
    assert "### Two\n\n| a |\n| --- |\n| 1 |" in printed


@pytest.mark.slow
def test_every_part_runs_on_a_cpu() -> None:
    done = gpu("--device", "cpu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("### ") == 5 and "failed" not in done.stdout
    assert "Halved and finished." in done.stdout
    assert "Losses: the same to the last digit." in done.stdout
