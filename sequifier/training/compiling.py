"""Whether the blocks of a model are compiled.

The answer depends on the config and the data alone, never on measured time: compiled sums differ in their last digits,
and a repeated run must give the same numbers.
"""

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
        ConfigError: `torch_compile: true` on a CPU without a C++ compiler.
    """
    if spec.torch_compile is False:
        return False
    has_compiler = shutil.which(os.environ.get("CXX", "g++")) is not None
    if spec.torch_compile is True:
        if device_type == "cpu" and not has_compiler:
            raise ConfigError(
                [
                    Problem(
                        "training_spec.torch_compile",
                        "true needs a C++ compiler, and there is no `g++` here",
                        fix="install g++, name another compiler in the variable CXX, or leave it at auto",
                    )
                ]
            )
        return True
    windows = spec.optimizer_steps(n_windows) * spec.step_size
    operations = 6 * parameter_count(shape) * shape.seq_length * windows
    return device_type == "cpu" and has_compiler and operations > LONG_RUN
