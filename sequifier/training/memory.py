"""Memory of the process: out-of-memory errors, limits, reuse between steps, and the peak."""

import ctypes
import errno
import gc
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.errors import SequifierError
from sequifier.memory_messages import reports_no_handle, reports_out_of_memory

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # malloc.h
_ROOM_FOR_A_HANDLE = 1 << 30
"""Free bytes of a device with which the libraries of CUDA can be set up: their code and workspaces take less."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, is an out-of-memory error."""
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        if _is_out_of_memory(here):
            return True
        seen.add(id(here))
        here = here.__cause__ or here.__context__
    return False


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:  # those of polars have words alone
        return error.errno == errno.ENOMEM
    if isinstance(error, (SequifierError, LookupError)):  # their words are the names of the user's files and columns
        return False
    message = str(error)
    return reports_out_of_memory(message) or (reports_no_handle(message) and not _has_room_for_a_handle())


def _has_room_for_a_handle() -> bool:
    """Return whether the current CUDA device is known to have memory to spare, in which no handle would fail."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        free, _ = torch.cuda.mem_get_info()
    except RuntimeError:  # after some errors a device answers nothing
        return False
    return free >= _ROOM_FOR_A_HANDLE


def limit_address_space(allowance_bytes: int) -> None:
    """Let this process grow by at most `allowance_bytes`; a larger allocation then fails (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + allowance_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors instead of returning it to the system at once.

    By default each tensor of more than a few megabytes is mapped anew, and the system clears all of its pages: 7,700
    page faults in a training step at width 64 and 26,000 at width 256, a twelfth of the time.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def release_device_memory() -> None:
    """Return memory that torch keeps for reuse to the devices in use, for other processes. None is touched anew."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # a run's objects refer to each other
        torch.cuda.empty_cache()


def reset_peak_memory(device: "torch.device") -> None:
    """Reset `peak_memory_bytes`, and return memory of earlier runs of this process to the system."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)
    # Not allowed everywhere, and absent outside Linux: the peak then counts from the start of the process.
    with suppress(OSError):
        _CLEAR.write_text("5")


def peak_memory_bytes(device: "torch.device") -> int:
    """Return the peak memory since the reset: of the device if it has its own memory, else of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


@cache
def _glibc() -> ctypes.CDLL | None:
    """Return glibc, which has these settings; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # musl
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
