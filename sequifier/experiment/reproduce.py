"""What `__REPRODUCIBLE__` adds to a record: installed packages, environment, and every source that was imported.

    dependencies.json   package -> version, and where it lies when it is installed from a folder
    requirements.txt    the same for `pip install -r`
    environment.json    Python, system, working folder, commit, and the variables that change what a program computes
    code/               each imported Python file that belongs to no installed package
Other environment variables are left out: keys and tokens live there.
"""

import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sequifier.experiment.record import Record

_VARIABLES = (
    *("PYTHONPATH", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TZ", "LANG", "LC_ALL"),
)


def keep_environment(record: Record, folder: Path) -> None:
    """Write packages and environment into a record.

    Args:
        record: the run's.
        folder: of the experiment, whose commit is noted.
    """
    packages = dict(sorted(_packages()))
    record.commit_json("dependencies.json", packages)
    lines = [
        f"{name} @ {about['from']}" if "from" in about else f"{name}=={about['version']}"
        for name, about in packages.items()
    ]
    record.commit_raw("requirements.txt", "\n".join(lines) + "\n")
    environment = {
        "python": sys.version,
        "executable": sys.executable,
        "platform": platform.platform(),
        "working_folder": str(Path.cwd()),
        "commit": _git(folder, "rev-parse", "HEAD"),
        "changed_files": (_git(folder, "status", "--porcelain") or "").splitlines(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    record.commit_json("environment.json", environment)


def imported_sources(folder: Path) -> dict[str, Path]:
    """Name below code/ -> file of each module that was imported so far and belongs to no installed package.

    Args:
        folder: of the experiment; files in it keep their place, others lie under the name of their module.
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


def _packages() -> "list[tuple[str, dict[str, Any]]]":
    found = []
    for package in distributions():
        about: dict[str, Any] = {"version": package.version}
        origin = package.read_text("direct_url.json")
        if origin and (url := json.loads(origin).get("url")):
            about["from"] = re.sub(r"//[^/@]*@", "//", url)  # a user's name and token are no part of it
        found.append((package.name, about))
    return found


def _git(folder: Path, *words: str) -> str | None:
    """What git says of the folder; None where there is no git or no repository."""
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
