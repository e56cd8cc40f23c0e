"""The device of a run: its choice, its name, and where float64 sums are computed for devices that have no float64."""

import re
from pathlib import Path

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})
_NVIDIA = Path("/proc/driver/nvidia/version")


def choose_device(name: str) -> tuple[torch.device, str | None]:
    """Return the device of this name, and a note on the choice, or None.

    Args:
        name: cpu, cuda, mps or auto. auto is cuda where it is available, and else the CPU: mps has not been tested.

    Raises:
        ValueError: there is no such device here; the message has the reason.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), "device auto chose cuda, which has not been tested with this version yet"
        if torch.backends.mps.is_available():
            return torch.device("cpu"), "device auto chose the CPU: mps is available, but has not been tested yet"
        return torch.device("cpu"), None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        reason = "this torch was built without CUDA" if name == "cuda" and not torch.version.cuda else "none was found"
        raise ValueError(f"`{name}` is not available here: {reason}")
    return torch.device(name), None


def sums_device(device: torch.device) -> torch.device:
    """Return where results of `device` are summed in float64: there, or on the CPU if `device` has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def in_double(values: Tensor) -> Tensor:
    """Convert values to float64, on `sums_device` of their device."""
    return values.to(sums_device(values.device)).double()


def device_name(device: torch.device, processor: str) -> str:
    """Return the hardware that results depend on: GPU and driver, or processor and torch's instruction set.

    Args:
        device: the device that trains.
        processor: name of this machine's processor.
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
