"""Which device computes, what it is called, and where sums in float64 are: some devices have no such numbers."""

import re
from pathlib import Path

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})
_NVIDIA = Path("/proc/driver/nvidia/version")


def choose_device(name: str) -> tuple[torch.device, str | None]:
    """The device of this name, and what to say of the choice.

    Args:
        name: cpu, cuda, mps or auto. auto takes cuda where it is there, and else the CPU: mps has not been tested.

    Raises:
        ValueError: there is no such device here; the message says why.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), "device auto takes cuda, which has not been tested with this version yet"
        if torch.backends.mps.is_available():
            return torch.device("cpu"), "device auto takes the CPU: mps is there and has not been tested yet"
        return torch.device("cpu"), None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        reason = "this torch was built without CUDA" if name == "cuda" and not torch.version.cuda else "none was found"
        raise ValueError(f"`{name}` is not available here: {reason}")
    return torch.device(name), None


def sums_device(device: torch.device) -> torch.device:
    """Where float64 sums of what `device` computes are: there, or on the CPU where it has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def in_double(values: Tensor) -> Tensor:
    """The values as float64, on `sums_device` of their device."""
    return values.to(sums_device(values.device)).double()


def device_name(device: torch.device, processor: str) -> str:
    """What results depend on: the GPU with its driver, or the processor with the instructions that torch uses.

    Args:
        device: that trains.
        processor: what this machine calls it.
    """
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, driver {_driver()}"
    if device.type == "cpu":
        return f"{processor} ({torch.backends.cpu.get_cpu_capability()})"
    return f"{processor} ({device.type})"


def _driver() -> str:
    try:
        found = re.search(r"Kernel Module\D*([\d.]+)", _NVIDIA.read_text())
    except OSError:
        found = None
    return found[1] if found else f"unknown (CUDA {torch.version.cuda})"
