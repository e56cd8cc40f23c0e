"""One run, one folder: `logs/[name]/[YYYY-MM-DD__HH-MM-SS__id]/`, readable at every moment.

    experiment_log.txt    what was said, with times
    experiment_meta.json  name, status, times, parameters, versions, machine
    experiment_data.json  results and series of numbers
    metrics.jsonl         one line per epoch
    config.yaml           the resolved config
`logs/[name]/latest` points to the newest folder.
"""

import json
import os
import platform
import secrets
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Literal

from sequifier.artifacts.atomic import write_text
from sequifier.errors import RunError

Status = Literal["running", "done", "failed", "interrupted"]
LOG, META, DATA, METRICS, CONFIG = (
    "experiment_log.txt",
    "experiment_meta.json",
    "experiment_data.json",
    "metrics.jsonl",
    "config.yaml",
)
_PACKAGES = ("sequifier", "torch", "numpy", "onnx", "onnxruntime", "polars", "pydantic", "pytorch_optimizer")


class RunRecord:
    """The folder of one run, written as the run goes on.

    Args:
        parent: folder of all runs of this name; made when missing.
        name: the run's name.
        parameters: what the run was told, as plain values.

    Raises:
        RunError: the folder cannot be written to.
    """

    def __init__(self, parent: Path, name: str, parameters: Mapping[str, Any]) -> None:
        self.started = datetime.now().astimezone()
        self.path = _new_folder(parent, self.started)
        self._log: IO[str] = (self.path / LOG).open("a", encoding="utf-8")
        self._metrics: IO[str] = (self.path / METRICS).open("a", encoding="utf-8")
        self.meta: dict[str, Any] = {
            "name": name,
            "status": "running",
            "start_time": self.started.isoformat(timespec="seconds"),
            "end_time": None,
            "duration_seconds": None,
            "parameters": dict(parameters),
            "versions": installed_versions(),
            "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
            "command": sys.argv,
        }
        self.data: dict[str, Any] = {}
        self._write_meta()
        write_text(self.path / DATA, "{}\n")
        _point_latest(parent, self.path)

    def log(self, line: str) -> None:
        """Add a line to the log."""
        stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        for part in line.splitlines() or [""]:
            self._log.write(f"{stamp}  {part}\n")
        self._log.flush()

    def track(self, values: Mapping[str, Any]) -> None:
        """Add one line of numbers, and each of them to its series."""
        self._metrics.write(json.dumps(values) + "\n")
        self._metrics.flush()
        series = self.data.setdefault("metrics", {})
        for key, value in values.items():
            series.setdefault(key, []).append(value)
        self.save_data()

    def save_data(self) -> None:
        """Write results and series to disk."""
        write_text(self.path / DATA, json.dumps(self.data, indent=1) + "\n")

    def finish(self, status: Status, *, results: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the record."""
        ended = datetime.now().astimezone()
        self.meta |= {
            "status": status,
            "end_time": ended.isoformat(timespec="seconds"),
            "duration_seconds": (ended - self.started).total_seconds(),
        }
        if error is not None:
            self.meta["error"] = error
        if results is not None:
            self.data["results"] = dict(results)
        self.save_data()
        self._write_meta()
        self._log.close()
        self._metrics.close()

    def _write_meta(self) -> None:
        write_text(self.path / META, json.dumps(self.meta, indent=1, default=str) + "\n")


def installed_versions() -> dict[str, str]:
    """Python and the packages that a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def latest_record(parent: Path) -> Path | None:
    """The newest run folder below `parent`, or None."""
    link = parent / "latest"
    return link.resolve() if link.exists() else None


def _new_folder(parent: Path, started: datetime) -> Path:
    stamp = started.strftime("%Y-%m-%d__%H-%M-%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = parent / f"{stamp}__{secrets.token_hex(2)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another process drew the same id within the same second
            return path
    except OSError as error:
        raise RunError(
            f"cannot make a folder for the run's record: {error.strerror}",
            where=str(parent),
            fix="choose a project_root that can be written to",
        ) from error


def _point_latest(parent: Path, target: Path) -> None:
    temporary = parent / f".latest.{target.name}"
    temporary.symlink_to(target.name)
    temporary.replace(parent / "latest")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
