"""Which device is taken, and that no float64 is asked of a device that has none."""

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sequifier.errors import ConfigError, RunError
from sequifier.model import device
from sequifier.model.device import (
    FullDeviceError,
    choose_device,
    device_index,
    device_name,
    in_double,
    is_lost,
    lost_device_reported,
    sums_device,
)
from sequifier.prepare import find_device
from sequifier.training.memory import is_out_of_memory

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", RuntimeError)  # torch 2.8

PACKAGE = Path(device.__file__).parents[1]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that these devices are there, with so many GPUs, of which the current one is the last."""

    def pretend(*names: str, gpus: int = 1, empty: Callable[..., Any] = lambda *size, device: None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: gpus - 1)
        monkeypatch.setattr(torch, "empty", empty)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    return pretend


def test_auto_takes_cuda_and_never_mps(there: Callable[..., None]) -> None:
    there()
    assert choose_device("auto") == (torch.device("cpu"), None)
    there("mps")
    found, note = choose_device("auto")
    assert found.type == "cpu" and note and "mps is available, but has not been tested" in note
    assert choose_device("mps") == (torch.device("mps"), None), "named, it is taken"
    there("cuda", "mps")
    found, note = choose_device("auto")
    assert found == torch.device("cuda", 0) and note and "has not been tested" in note


def test_auto_says_why_the_gpus_of_a_machine_are_not_used(
    there: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    there()
    (tmp_path / "gpus/0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(device, "_NVIDIA", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", too_old)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found, note = choose_device("auto")
    assert found.type == "cpu"
    assert note == (
        "device auto chose the CPU, although there are GPUs: The NVIDIA driver on your system is too old (found "
        "version 11040)."
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto") == (torch.device("cpu"), None), "the user has hidden them"


def test_a_gpu_is_taken_by_its_number_and_cuda_is_the_current_one(there: Callable[..., None]) -> None:
    there("cuda", gpus=3)
    assert choose_device("cuda:0")[0] == torch.device("cuda", 0)
    assert choose_device("cuda:1")[0] == torch.device("cuda", 1)
    assert choose_device("cuda")[0] == torch.device("cuda", 2)


def test_a_device_that_is_not_there_is_a_users_error(
    there: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    there()
    with pytest.raises(ConfigError, match="`mps` is not available here: none was found"):
        find_device("mps")
    with pytest.raises(ConfigError, match=r"`cuda:1` is not available here: .*\n.*fix: use `auto` or `cpu`"):
        find_device("cuda:1")
    there("cuda")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ConfigError, match="`cuda:1` is not available here: there is one GPU, `cuda:0`\n"):
        find_device("cuda:1")
    there("cuda", gpus=4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    with pytest.raises(ConfigError, match=r"there are 4 GPUs, `cuda:0` to `cuda:3` .CUDA_VISIBLE_DEVICES is `4,5,6,7`"):
        find_device("cuda:7")


def test_a_device_that_another_process_holds_is_a_users_error(there: Callable[..., None]) -> None:
    def held(*_: Any, **__: Any) -> None:
        raise ACCELERATOR_ERROR("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel ...")

    there("cuda", gpus=2, empty=held)
    with pytest.raises(ConfigError, match=r"`cuda:1` cannot be used: CUDA error: .*unavailable\n.*nvidia-smi"):
        find_device("cuda:1")


def test_a_full_device_is_out_of_memory_and_not_missing(there: Callable[..., None]) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ACCELERATOR_ERROR("CUDA error: out of memory")

    there("cuda", empty=full)
    words = "other processes use all memory of `cuda`: CUDA error: out of memory"
    with pytest.raises(FullDeviceError, match=words) as raised:
        find_device("cuda")
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", True),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", True),
        ("CUDA error: no CUDA-capable device is detected", True),
        ("No CUDA GPUs are available", True),
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA error: unknown error\nCUDA kernel errors might be asynchronously reported", True),
        ("CUDA error: device-side assert triggered", False),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: out of memory", False),
    ],
)
def test_a_lost_device_ends_a_search_and_a_programs_fault_does_not(message: str, expected: bool) -> None:
    error = ACCELERATOR_ERROR(message)
    assert is_lost(error) == expected
    with pytest.raises(RunError if expected else ACCELERATOR_ERROR) as raised, lost_device_reported(CUDA_1):
        raise error
    if expected:
        assert isinstance(raised.value, RunError) and raised.value.is_shared
        assert raised.value.what == f"device `cuda:1` is lost: {message.splitlines()[0]}"


CUDA_1 = torch.device("cuda", 1)


def test_a_gpu_is_named_as_the_machine_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_index(torch.device("cpu")) is None
    assert device_index(CUDA_1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7f3b")
    assert device_index(torch.device("cuda", 0)) == "4"
    assert device_index(CUDA_1) == "GPU-7f3b"


def test_float64_is_on_the_cpu_where_the_device_has_none() -> None:
    assert sums_device(torch.device("mps")).type == "cpu"
    assert sums_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    moved: list[object] = []
    on_mps = SimpleNamespace(device=torch.device("mps"), to=lambda where: moved.append(where) or torch.ones(2))
    assert in_double(on_mps).dtype == torch.float64 and moved == [torch.device("cpu")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "file",
    ["training/predictions.py", "training/evaluate.py", "training/tally.py", "training/loop.py", "training/step.py"],
)
def test_what_trains_and_measures_makes_float64_by_that_function_alone(file: str) -> None:
    """`.double()` of something on the device ends in a TypeError on mps."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        assert not (isinstance(node, ast.Attribute) and node.attr == "double"), ast.unparse(node)


def test_the_name_says_which_instructions_a_cpu_has() -> None:
    assert device_name(torch.device("cpu"), "Some CPU") == f"Some CPU ({torch.backends.cpu.get_cpu_capability()})"
