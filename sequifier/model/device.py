"""The device of a run: its choice, its name, what a lost one means, and where sums in float64 are computed."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from sequifier.errors import RunError
from sequifier.memory_messages import reports_out_of_memory

WITHOUT_FLOAT64 = frozenset({"mps"})
_NVIDIA = Path("/proc/driver/nvidia")

_LOST = re.compile(
    "(?:devices are|is/are) busy or unavailable"  # held by another process, in the mode that allows one
    "|no CUDA-capable device is detected"
    "|no (?:CUDA|HIP) GPUs are available"
    "|found no NVIDIA driver"
    "|invalid device ordinal"
    "|GPU is lost|fallen off the bus"
    "|uncorrectable ECC error"
    "|unsupported display driver|driver version is insufficient"  # the driver was replaced meanwhile
    "|driver shutting down"
    "|MPS (?:client|server|control daemon)"  # Nvidia's Multi-Process Service
    "|(?:CUDA|HIP) error: unknown error",
    re.IGNORECASE,
)
"""Errors of a device that no later run could use either; torch's words for CUDA's."""


class NoDeviceError(ValueError):
    """There is no such device, or it cannot be used; the message has the reason, `fix` what to do."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class FullDeviceError(RuntimeError):
    """A GPU has no memory left although this process has nothing on it."""


def choose_device(name: str) -> tuple[torch.device, str | None]:
    """Return the device of this name, and a note on the choice, or None. Only `cpu` leaves all GPUs untouched.

    Args:
        name: cpu, mps, cuda (the current GPU of this process), cuda:N, or auto. auto is cuda where it is available,
            and else the CPU: mps has not been tested.

    Raises:
        NoDeviceError: there is no such device here, or it cannot be used.
        FullDeviceError: other processes use all of its memory.
    """
    kind, _, number = name.partition(":")
    if name == "auto":
        if torch.cuda.is_available():
            return _usable(None), "device auto chose cuda, which has not been tested with this version yet"
        if torch.backends.mps.is_available():
            return torch.device("cpu"), "device auto chose the CPU: mps is available, but has not been tested yet"
        return torch.device("cpu"), _unused_gpus()
    if kind == "mps" and not torch.backends.mps.is_available():
        raise NoDeviceError("`mps` is not available here: none was found", fix="use `auto` or `cpu`")
    if kind != "cuda":
        return torch.device(name), None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise NoDeviceError(f"`{name}` is not available here: {_why_no_gpu()}", fix="use `auto` or `cpu`")
    if number and int(number) >= count:
        there = "is one GPU, `cuda:0`" if count == 1 else f"are {count} GPUs, `cuda:0` to `cuda:{count - 1}`"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is `{visible}`)"
        raise NoDeviceError(f"`{name}` is not available here: there {there}{limit}", fix="use one of them, or `cpu`")
    return _usable(int(number) if number else None), None


def _usable(number: int | None) -> torch.device:
    """Return a GPU on which memory can be allocated.

    Raises:
        NoDeviceError: it is held by another process, or broken.
        FullDeviceError: other processes use all of its memory.
    """
    name = "cuda" if number is None else f"cuda:{number}"
    try:
        device = torch.device("cuda", torch.cuda.current_device() if number is None else number)
        torch.empty(1, device=device)
    except RuntimeError as error:
        if reports_out_of_memory(str(error)):
            raise FullDeviceError(f"other processes use all memory of `{name}`: {_first_line(error)}") from error
        raise NoDeviceError(
            f"`{name}` cannot be used: {_first_line(error)}",
            fix="end the program that holds it (`nvidia-smi` lists them), or use another device",
        ) from error
    return device


def _why_no_gpu() -> str:
    if not (torch.version.cuda or torch.version.hip):
        return "this torch was built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:  # which says, for example, that the driver is too old
        return _first_line(error)
    return "none was found"


def _unused_gpus() -> str | None:
    """Return why `auto` uses the CPU of a machine whose driver has GPUs, or None; the user may have hidden them."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or torch.version.cuda is None or not any(_NVIDIA.glob("gpus/*")):
        return None
    return f"device auto chose the CPU, although there are GPUs: {_why_no_gpu()}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch means that a device is gone or held by another process, also for later runs."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


@contextmanager
def lost_device_reported(device: torch.device) -> Iterator[None]:
    """Turn the error of a device that is lost into one that ends a search, since its other runs would meet it too.

    Raises:
        RunError: the device is lost.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        lost = RunError(
            f"device `{device}` is lost: {_first_line(error)}",
            fix="see `nvidia-smi` and the system's log; the same command resumes from the last checkpoint, also on "
            "another device",
        )
        lost.is_shared = True
        raise lost from error


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


def device_index(device: torch.device) -> str | None:
    """Return the number, or the UUID, by which the machine knows a GPU; None for other devices.

    A process that may use some GPUs only (CUDA_VISIBLE_DEVICES) counts those from 0.
    """
    if device.type != "cuda":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    variable = os.environ.get("HIP_VISIBLE_DEVICES") or os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = [name.strip() for name in variable.split(",")]
    return visible[index] if visible != [""] and index < len(visible) else str(index)


def _driver() -> str:
    try:
        found = re.search(r"Kernel Module\D*([\d.]+)", (_NVIDIA / "version").read_text())
    except OSError:
        found = None
    return found[1] if found else f"unknown (CUDA {torch.version.cuda}, ROCm {torch.version.hip})"
