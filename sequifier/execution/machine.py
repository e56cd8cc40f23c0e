"""What this machine has to train on, found without torch: cores, memory, and the GPUs that torch could use."""

import csv
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from sequifier.machine import cores, memory_bytes

_ROOT = Path("/")
_SMI = "nvidia-smi"
_SMI_SECONDS = 60.0


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch could use.

    Attributes:
        number: as torch counts them: the place in CUDA_VISIBLE_DEVICES where that is set.
        name: of the model, "NVIDIA H100 80GB HBM3"; "" where it is not known.
        key: its UUID, or its number on the machine.
        memory: bytes; None where they are not known.
        variable: which hides the other GPUs when it has the key of this one.
    """

    number: int
    name: str
    key: str
    memory: int | None = None
    variable: str = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Machine:
    """What this process may use of the machine.

    Attributes:
        cores: physical cores.
        processors: hardware threads of the machine, which is the number of threads of a run without `cpu_threads`.
        memory: bytes.
        gpus: that torch could use, in its order.
    """

    cores: int
    processors: int
    memory: int
    gpus: tuple[Gpu, ...] = ()


def this_machine() -> Machine:
    """What this process may use of this machine."""
    return Machine(cores(), os.cpu_count() or 1, memory_bytes(), find_gpus(os.environ))


def find_gpus(environment: Mapping[str, str], root: Path = _ROOT, torch: Path | None = None) -> tuple[Gpu, ...]:
    """The GPUs that torch could use; none where it was built without CUDA and ROCm.

    Args:
        environment: variables of this process, of which CUDA_VISIBLE_DEVICES (or HIP_VISIBLE_DEVICES) hides GPUs.
        root: folder in which /proc and /sys are; another one in tests.
        torch: folder of the library; None for the installed one.
    """
    built = _torch_built_for(_torch_folder() if torch is None else torch)
    if built == "cuda":
        return _visible(_nvidia(root), environment.get("CUDA_VISIBLE_DEVICES"))
    if built == "hip":
        return _visible(_amd(root), environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES")))
    return ()


def _torch_folder() -> Path | None:
    found = find_spec("torch")  # of a package at the top level: nothing is imported
    return None if found is None or found.origin is None else Path(found.origin).parent


def _torch_built_for(folder: Path | None) -> str:
    """`cuda`, `hip` (AMD's ROCm) or "", from the lines `cuda: Optional[str] = '12.8'` of torch/version.py."""
    try:
        text = "" if folder is None else (folder / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((name for name in ("hip", "cuda") if re.search(rf"^{name}\b[^=\n]*= *['\"]", text, re.MULTILINE)), "")


def _nvidia(root: Path) -> list[Gpu]:
    """NVIDIA's GPUs, by nvidia-smi or, where it is not installed, by what the driver has in /proc (without memory)."""
    program = shutil.which(_SMI)
    if program is not None:
        query = [program, "--query-gpu=index,name,uuid,memory.total", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
            return [_of_smi(row) for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True) if row]
        except (OSError, subprocess.SubprocessError, ValueError):
            pass  # of another driver version, or not permitted
    gpus = []
    for number, file in enumerate(sorted(root.glob("proc/driver/nvidia/gpus/*/information"))):
        try:
            text = file.read_text()
        except OSError:
            continue
        name, uuid = (re.search(rf"^{key}:\s*(.*\S)", text, re.MULTILINE) for key in ("Model", "GPU UUID"))
        has_uuid = uuid is not None and "?" not in uuid[1]  # not known before its first use
        gpus.append(Gpu(number, "" if name is None else name[1], uuid[1] if uuid and has_uuid else str(number)))
    return gpus


def _of_smi(row: Sequence[str]) -> Gpu:
    """A GPU of a line of nvidia-smi: `0, NVIDIA H100, GPU-5a..., 81559`, the last one in MiB or `[N/A]`."""
    number, name, uuid, megabytes = row
    return Gpu(int(number), name, uuid, int(megabytes) << 20 if megabytes.isdigit() else None)


def _amd(root: Path) -> list[Gpu]:
    """AMD's GPUs, by what the driver has in /sys: nodes of its topology with shader units."""
    nodes = sorted(root.glob("sys/class/kfd/kfd/topology/nodes/*/properties"), key=lambda path: int(path.parent.name))
    gpus: list[Gpu] = []
    for properties in nodes:
        try:
            units = re.search(r"^simd_count ([1-9]\d*)$", properties.read_text(), re.MULTILINE)
        except OSError:
            continue  # hidden from this container
        if units is not None:
            gpus.append(Gpu(len(gpus), "", str(len(gpus)), variable="HIP_VISIBLE_DEVICES"))
    return gpus


def _visible(gpus: Sequence[Gpu], variable: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows, in its order: as CUDA does, up to the first entry that is not a GPU.

    Args:
        gpus: of the machine.
        variable: value of CUDA_VISIBLE_DEVICES, `2,0` or `GPU-5a...`; None where it is not set.
    """
    if variable is None:
        return tuple(gpus)
    shown: list[Gpu] = []
    for entry in map(str.strip, variable.split(",")):
        by_number = [gpu for gpu in gpus if entry == str(gpu.number)]
        by_key = [gpu for gpu in gpus if entry.startswith("GPU-") and gpu.key.startswith(entry)]
        if entry.startswith("MIG-"):  # a part of a GPU, which has a UUID of its own
            shown.append(Gpu(len(shown), "MIG", entry))
        elif len(found := by_number or by_key) == 1:
            shown.append(replace(found[0], number=len(shown)))
        else:
            break
    return tuple(shown)
