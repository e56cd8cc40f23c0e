"""One run, one folder: `logs/[name]/[YYYY-MM-DD__HH-MM-SS__id]/`, readable at every moment.

    experiment_log.txt    what was said, with times
    experiment_meta.json  name, status, times, parameters, versions, machine
    experiment_data.json  results and series of numbers
    metrics.jsonl         one line per evaluation
    config.yaml           the resolved config
`logs/[name]/latest` points to the newest folder.
"""

import json
import os
import platform
import secrets
import sys
from collections.abc import Callable, Mapping
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
    """The folder of one run, written as the run goes on. Hooks get it as their first argument.

    Args:
        parent: folder of all runs of this name; made when missing.
        name: the run's name.
        parameters: what the run was told, as plain values.
        echo: gets each line that is logged, to show it.

    Raises:
        RunError: the folder cannot be written to.
    """

    def __init__(
        self, parent: Path, name: str, parameters: Mapping[str, Any], *, echo: Callable[[str], None] | None = None
    ) -> None:
        self._echo = echo
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

    @property
    def parameters(self) -> dict[str, Any]:
        """What the run was told: for a training run the resolved config, `user` included, as plain values."""
        return dict(self.meta["parameters"])

    def log(self, line: str, *, echo: bool = True) -> None:
        """Add a line to the log.

        Args:
            line: may be several.
            echo: whether it is shown too.
        """
        stamp = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        for part in line.splitlines() or [""]:
            self._log.write(f"{stamp}  {part}\n")
        self._log.flush()
        if echo and self._echo is not None:
            self._echo(line)

    def track(self, name: str, value: Any) -> None:
        """Add a value to the series of this name in experiment_data.json; slashes in the name make groups.

        Args:
            name: `custom/gradient_norm` is `gradient_norm` in the group `custom`.
            value: JSON can hold it. Reaches the disk with the next evaluation, or at the end.

        Raises:
            ValueError: the name is taken by a group or by something that is no series.
            TypeError: JSON cannot hold the value.
        """
        json.dumps(value)
        *groups, last = name.split("/")
        here: Any = self.data
        for group in groups:
            here = here.setdefault(group, {})
            if not isinstance(here, dict):
                raise ValueError(f"{name!r}: `{group}` is no group")
        series = here.setdefault(last, [])
        if not isinstance(series, list):
            raise ValueError(f"{name!r} is no series")
        series.append(value)

    def add_metrics(self, values: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl, and each value to its series in the group `metrics`."""
        self._metrics.write(json.dumps(values) + "\n")
        self._metrics.flush()
        for key, value in values.items():
            self.data.setdefault("metrics", {}).setdefault(key, []).append(value)
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
