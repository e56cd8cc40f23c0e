"""The environment of a run: versions, machine, and what `__REPRODUCIBLE__` adds to its record.

    dependencies.json   package -> version, and its folder or URL when it is not installed from an index
    requirements.txt    the same for `pip install -r`
    environment.json    Python, system, working folder, commit, and the variables that change what a program computes
    code/               each imported Python file that belongs to no installed package
Other environment variables are left out, because they may hold keys and tokens.
"""

import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sequifier import __version__

_PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "polars", "pydantic", "pytorch_optimizer")
_VARIABLES = (
    *("PYTHONPATH", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TZ", "LANG", "LC_ALL"),
)


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run's numbers depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # slower to import than all of this package

    found = {"python": platform.python_version(), "sequifier": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int | None]:
    """Return the system, the processor and the number of cores."""
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


def packages() -> dict[str, dict[str, Any]]:
    """Return every installed package with its version, and `from` for one from a folder or URL."""
    return dict(sorted(_packages()))


def _packages() -> Iterator[tuple[str, dict[str, Any]]]:
    from importlib.metadata import distributions

    for package in distributions():
        about: dict[str, Any] = {"version": package.version}
        origin = package.read_text("direct_url.json")
        if origin and (url := json.loads(origin).get("url")):
            about["from"] = re.sub(r"//[^/@]*@", "//", url)  # without the user's name and token
        yield package.name, about


def requirements(packages: dict[str, dict[str, Any]]) -> str:
    """Return the content of a requirements.txt for these packages."""
    lines = [
        f"{name} @ {about['from']}" if "from" in about else f"{name}=={about['version']}"
        for name, about in packages.items()
    ]
    return "\n".join(lines) + "\n"


def environment(folder: Path) -> dict[str, Any]:
    """Return Python, system, working folder and variables, and the commit of the experiment's folder."""
    return {
        "python": sys.version,
        "executable": sys.executable,
        "platform": platform.platform(),
        "working_folder": str(Path.cwd()),
        "commit": _git(folder, "rev-parse", "HEAD"),
        "changed_files": (_git(folder, "status", "--porcelain") or "").splitlines(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def imported_sources(folder: Path) -> dict[str, Path]:
    """Return the file of each imported module that belongs to no installed package, by its name below code/.

    Args:
        folder: the experiment's. Files in it keep their place; others are named after their module.
    """
    installed = [Path(place).resolve() for place in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}]
    found: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        path = Path(file).resolve()
        if path.is_relative_to(folder):
            found[path.relative_to(folder).as_posix()] = path
        elif not any(path.is_relative_to(place) for place in installed) and "site-packages" not in path.parts:
            is_package = path.name == "__init__.py"
            found[name.replace(".", "/") + ("/__init__.py" if is_package else ".py")] = path
    return {place: path for place, path in found.items() if "site-packages" not in path.parts}


def _git(folder: Path, *words: str) -> str | None:
    """Return the output of a git command in a folder; None where there is no git or no repository."""
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
