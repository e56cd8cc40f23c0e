"""Whether the blocks of a model are compiled.

The answer depends on the config and the data alone, never on measured time: compiled sums differ in their last digits,
and a repeated run must give the same numbers.
"""

import importlib.util
import os
import shutil

from sequifier.config.architecture import Architecture
from sequifier.config.size import parameter_count
from sequifier.config.training import TrainingSpec
from sequifier.errors import ConfigError, Problem

LONG_RUN = 1e14
"""Floating-point operations of a run from which `auto` compiles: about 10 minutes on two cores. Compiling takes 8 to
40 s and saves about 6 % of a step that uses `model/cpu/fused.py` (docs/decisions/005-a-fast-step.md)."""


def compiles(spec: TrainingSpec, shape: Architecture, *, n_windows: int, device_type: str) -> bool:
    """Whether the blocks of this run's model are compiled.

    Args:
        spec: `torch_compile`, epochs and batches.
        shape: of the model.
        n_windows: training windows.
        device_type: cpu, cuda or mps.

    Raises:
        ConfigError: `torch_compile: true` without the programs that compile.
    """
    if spec.torch_compile is False:
        return False
    missing = _missing(device_type)
    if spec.torch_compile is True:
        if missing is not None:
            what, fix = missing
            raise ConfigError([Problem("training_spec.torch_compile", what, fix=f"{fix}, or leave it at auto")])
        return True
    windows = spec.optimizer_steps(n_windows) * spec.step_size
    operations = 6 * parameter_count(shape) * shape.seq_length * windows
    return device_type == "cpu" and missing is None and operations > LONG_RUN


def _missing(device_type: str) -> tuple[str, str] | None:
    """Return what is missing to compile for a device, and how to get it, or None."""
    if device_type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        what = "true needs a C++ compiler, and there is no `g++` here"
        return what, "install g++, name another compiler in the variable CXX"
    if device_type == "cuda" and importlib.util.find_spec("triton") is None:
        return "true needs Triton on a GPU, and it is not installed", "install the triton that belongs to this torch"
    if device_type == "cuda" and not any(map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang"))):
        what = "true needs a C compiler on a GPU, and there is no `gcc` here"
        return what, "install gcc, name another compiler in the variable CC"
    return None
