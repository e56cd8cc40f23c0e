"""Which device is taken, and that no float64 is asked of a device that has none."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sequifier.errors import ConfigError
from sequifier.model import device
from sequifier.model.device import choose_device, device_name, in_double, sums_device

PACKAGE = Path(device.__file__).parents[1]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch):
    """Pretend that these devices are there."""

    def pretend(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)

    return pretend


def test_auto_takes_cuda_and_never_mps(there) -> None:
    there()
    assert choose_device("auto") == (torch.device("cpu"), None)
    there("mps")
    found, note = choose_device("auto")
    assert found.type == "cpu" and "mps is available, but has not been tested" in note
    assert choose_device("mps") == (torch.device("mps"), None), "named, it is taken"
    there("cuda", "mps")
    found, note = choose_device("auto")
    assert found.type == "cuda" and "has not been tested" in note


def test_a_device_that_is_not_there_is_a_users_error(there) -> None:
    from sequifier.prepare import find_device

    there()
    with pytest.raises(ConfigError, match="`mps` is not available here: none was found"):
        find_device("mps")


def test_float64_is_on_the_cpu_where_the_device_has_none() -> None:
    assert sums_device(torch.device("mps")).type == "cpu"
    assert sums_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    moved: list[object] = []
    on_mps = SimpleNamespace(device=torch.device("mps"), to=lambda where: moved.append(where) or torch.ones(2))
    assert in_double(on_mps).dtype == torch.float64 and moved == [torch.device("cpu")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "file", ["training/predictions.py", "training/evaluate.py", "training/loop.py", "training/step.py"]
)
def test_what_trains_and_measures_makes_float64_by_that_function_alone(file: str) -> None:
    """`.double()` of something on the device ends in a TypeError on mps."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        assert not (isinstance(node, ast.Attribute) and node.attr == "double"), ast.unparse(node)


def test_the_name_says_which_instructions_a_cpu_has() -> None:
    assert device_name(torch.device("cpu"), "Some CPU") == f"Some CPU ({torch.backends.cpu.get_cpu_capability()})"
