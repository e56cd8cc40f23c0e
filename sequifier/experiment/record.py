"""The record of a run: its log, values and metadata, in one folder that can be read at any moment.

`folder.py` lists the files. A training run has two more: metrics.jsonl has one line per evaluation, and config.yaml is
the resolved config.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.read_file import read_object
from sequifier.errors import RunError
from sequifier.experiment.data import Data, Saver
from sequifier.experiment.environment import installed_versions, machine
from sequifier.experiment.folder import CODE as CODE
from sequifier.experiment.folder import DATA as DATA
from sequifier.experiment.folder import LOG as LOG
from sequifier.experiment.folder import META as META
from sequifier.experiment.folder import Artifacts, lock_folder, named_folder, new_folder, point_latest
from sequifier.experiment.json_values import as_json_or_text, json_text
from sequifier.printable import printable

Status = Literal["running", "done", "failed", "interrupted"]
METRICS, CONFIG = "metrics.jsonl", "config.yaml"
Echo = Callable[[str], None]


def show(line: str) -> None:
    """Print a line at once. A closed pipe is ignored, because the experiment also writes its log."""
    with suppress(OSError):
        try:
            print(printable(line), flush=True)
        except UnicodeEncodeError as error:  # a terminal without the letters
            print(printable(line).encode(error.encoding, "backslashreplace").decode(error.encoding), flush=True)


def local_now() -> datetime:
    """Return the local time with its offset; the time in UTC where TZ is not valid."""
    try:
        return datetime.now().astimezone()
    except (ValueError, OverflowError):
        return datetime.now(UTC)


class Record(Artifacts, Data):
    """The record of one run, written while it runs.

    Log lines are written at once, values within a second. A process that is killed therefore leaves a readable record,
    with the status `running`.

    Args:
        echo: shows each line that is logged.

    Attributes:
        path: the folder; None before the run.
        name: the name of the folder; None before the run, unless it is set to choose one.
        metadata: the content of experiment_meta.json.
        data: the content of experiment_data.json. Names that begin with _ stay in memory.
        error: the exception that ended the run; its text for a record that was loaded.
    """

    def __init__(self, *, echo: Echo = show) -> None:
        Data.__init__(self)
        self._echo = echo
        self._folder: Path | None = None
        self._log: IO[str] | None = None
        self._metrics: IO[str] | None = None
        self._folder_lock: int | None = None
        self.name: str | None = None
        self.metadata: dict[str, Any] = {}
        self.error: Any = None

    @property
    def path(self) -> Path:
        """The folder of the run.

        Raises:
            ValueError: the run has not started.
        """
        if self._folder is None:
            raise ValueError("the experiment has no folder yet: it is made when the experiment runs")
        return self._folder

    @property
    def log_path(self) -> Path:
        """The log file."""
        return self.path / LOG

    @property
    def data_path(self) -> Path:
        """The file with the data."""
        return self.path / DATA

    @property
    def metadata_path(self) -> Path:
        """The file with name, status, times and parameters."""
        return self.path / META

    @property
    def is_running(self) -> bool:
        """Whether the record is open."""
        return self._log is not None

    def seconds(self) -> float:
        """Return the seconds since the run started."""
        return (local_now() - self._started).total_seconds()

    # Life of a record

    def _open(
        self, parent: Path, metadata: Mapping[str, Any], *, prefix: str = "", reuse: bool = False, latest: bool = False
    ) -> None:
        """Make the folder with its first files.

        Args:
            parent: the folder of all runs of this experiment.
            metadata: metadata that are known before the run.
            prefix: the first part of the folder's name.
            reuse: use an existing folder of this name again.
            latest: whether to make a link `latest` to the folder.
        """
        started = local_now()
        self.metadata = {
            "name": parent.name,
            "status": "running",
            "start_time": started.isoformat(timespec="seconds"),
            "end_time": None,
            "duration_seconds": None,
            **metadata,
            "versions": installed_versions(),
            "machine": machine(),
            "command": list(sys.argv),
        }
        self._started = started
        if self.name is None:
            path = new_folder(parent, started, self._fill, prefix=prefix)
        else:
            path = self._named_folder(parent, self.name, reuse=reuse)
        self._folder, self.name = path, path.name
        self._log = self.log_path.open("a", encoding="utf-8")
        self._saver = Saver(self.save_data, self._not_saved)
        if latest:
            try:
                point_latest(parent, path)
            except OSError as error:  # the run does not need the link
                self.log(f"warning: `latest` does not point to this folder: {error.strerror}")

    def _named_folder(self, parent: Path, name: str, *, reuse: bool) -> Path:
        if not reuse:
            return named_folder(parent, name, self._fill, reuse=False)
        if (parent / name).is_dir():
            self._folder_lock = lock_folder(parent / name)  # before it is emptied
        try:
            path = named_folder(parent, name, self._fill, reuse=True)
        except BaseException:
            self._unlock()
            raise
        if self._folder_lock is None:
            self._folder_lock = lock_folder(path)
        return path

    def _unlock(self) -> None:
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None

    def _fill(self, folder: Path) -> None:
        # The folder is hidden until these files are in it, so they need not be written atomically.
        (folder / CODE).mkdir()
        (folder / LOG).touch()
        (folder / META).write_text(self._meta_text(), encoding="utf-8")
        (folder / DATA).write_text(self._data_text(), encoding="utf-8")

    def finish(self, status: Status, *, results: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the record; a second call has no effect.

        Args:
            status: how the run ended.
            results: stored in the data under the name `results`.
            error: the error that ended the run.
        """
        if self._log is None:
            return
        ended = local_now()
        self.metadata |= {
            "status": status,
            "end_time": ended.isoformat(timespec="seconds"),
            "duration_seconds": (ended - self._started).total_seconds(),
        }
        if error is not None:
            self.metadata["error"] = error
        if results is not None:
            with self._lock:
                self.data["results"] = dict(results)
        log, self._log = self._log, None
        metrics, self._metrics = self._metrics, None
        try:
            if self._saver is not None:
                self._saver.stop()
            try:
                self.save_data()
            finally:
                self.save_metadata()
        finally:
            self._saver = None
            log.close()
            if metrics is not None:
                metrics.close()
            self._unlock()

    # Log

    def log(self, message: object = "", *, echo: bool = True) -> None:
        """Add a line to the log, and show it.

        Args:
            message: one or several lines.
            echo: whether to show it.
        """
        line = printable(str(message))
        stamp = local_now().strftime("%Y-%m-%d %H:%M:%S")
        with self._lock:
            if self._log is not None:
                self._log.write("".join(f"{stamp}  {part}\n" for part in line.splitlines() or [""]))
                self._log.flush()
        if echo:
            self._echo(line)

    def log_lines(self, lines: list[str]) -> None:
        """Add several lines to the log."""
        for line in lines:
            self.log(line)

    def log_pretty(self, value: object) -> None:
        """Log a nested value over several lines."""
        from pprint import pformat

        self.log(pformat(value, width=100, compact=True, sort_dicts=False))

    # Data

    def add_metrics(self, entry: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl, and append each value to its series in the group `metrics`."""
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        self._metrics.write(json_text(entry) + "\n")
        self._metrics.flush()
        with self._lock:
            for key, value in entry.items():
                self.data.setdefault("metrics", {}).setdefault(key, []).append(value)
        self.save_data()

    def save_data(self) -> None:
        """Write the data to disk now."""
        with self._lock:
            write_text(self.data_path, self._data_text())

    def save_metadata(self) -> None:
        """Write name, status, times and parameters to disk now."""
        with self._lock:
            write_text(self.metadata_path, self._meta_text())

    # Texts

    def _not_saved(self, error: Exception) -> None:
        self.log(f"warning: the data could not be saved: {error}")

    def _data_text(self) -> str:
        kept = {name: value for name, value in self.data.items() if not name.startswith("_")}
        return json_text(kept, indent=1, default=as_json_or_text) + "\n"

    def _meta_text(self) -> str:
        return json_text(self.metadata, indent=1, default=as_json_or_text) + "\n"


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """Read one of the JSON files of a record.

    Raises:
        RunError: the folder is not a record, or the file is damaged.
    """
    path = folder / name
    fix = "name the folder of one run, like results/NAME/2026-01-15__14-30-00__abc123"
    if not path.exists():
        raise RunError(f"the folder is not the record of a run: {name} is missing", where=str(folder), fix=fix)
    return read_object(name, path, fix=fix, error=RunError)
