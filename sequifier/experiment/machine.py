"""What a run ran on: versions of packages, the system, the processor."""

import os
import platform
from functools import cache
from pathlib import Path

_PACKAGES = ("sequifier", "torch", "numpy", "onnx", "onnxruntime", "polars", "pydantic", "pytorch_optimizer")


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # takes longer to import than all of this package

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def installed_versions() -> dict[str, str]:
    """Python and the packages that a run's numbers depend on."""
    return dict(_versions())


def machine() -> dict[str, str | int | None]:
    """System, processor and number of cores."""
    return {"system": _system(), "processor": _processor(), "cores": os.cpu_count()}


@cache
def _system() -> str:
    return platform.platform()


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
