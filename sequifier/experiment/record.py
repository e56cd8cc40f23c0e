"""One run, one folder, readable at every moment: what an `Experiment` writes.

    experiment_log.txt    what was said, with times
    experiment_meta.json  name, status, times, parameters, versions, machine
    experiment_data.json  results and series of numbers
    code/                 the sources that are not in a package
    ...                   artifacts, under the names given
A training run has two files more: metrics.jsonl, one line per evaluation, and config.yaml, the resolved config.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.read_file import read_object
from sequifier.errors import RunError
from sequifier.experiment import values
from sequifier.experiment.artifacts import CODE as CODE
from sequifier.experiment.artifacts import DATA as DATA
from sequifier.experiment.artifacts import LOG as LOG
from sequifier.experiment.artifacts import META as META
from sequifier.experiment.artifacts import Artifacts
from sequifier.experiment.flusher import Flusher
from sequifier.experiment.folder import named_folder, new_folder, point_latest
from sequifier.experiment.machine import installed_versions, machine
from sequifier.printable import printable

Status = Literal["running", "done", "failed", "interrupted"]
METRICS, CONFIG = "metrics.jsonl", "config.yaml"
Echo = Callable[[str], None]


def show(line: str) -> None:
    """Print a line at once, also into a pipe. A pipe that nobody reads any more ends no experiment: it has its log."""
    with suppress(OSError):
        try:
            print(printable(line), flush=True)
        except UnicodeEncodeError as error:  # a terminal without the letters
            print(printable(line).encode(error.encoding, "backslashreplace").decode(error.encoding), flush=True)


def local_now() -> datetime:
    """The time here with its offset; in UTC where TZ names no offset that there is."""
    try:
        return datetime.now().astimezone()
    except (ValueError, OverflowError):
        return datetime.now(UTC)


class Record(Artifacts):
    """The folder of one run, written as the run goes on.

    Values are on disk within a second, the log at once, so a process that is killed leaves a record that can be read;
    its status then stays `running`.

    Args:
        echo: gets each line that is logged, to show it.

    Attributes:
        path: the folder, None before the run.
        name: of the folder, None before the run; give one to have it called that.
        metadata: what experiment_meta.json holds.
        data: what experiment_data.json holds. Names that begin with _ stay in memory.
        error: what ended the run; of a record that was loaded, its text.
    """

    def __init__(self, *, echo: Echo = show) -> None:
        self._echo = echo
        self._folder: Path | None = None
        self._log: IO[str] | None = None
        self._metrics: IO[str] | None = None
        self._lock = threading.RLock()
        self._flusher: Flusher | None = None
        self.name: str | None = None
        self.metadata: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.error: Any = None

    @property
    def path(self) -> Path:
        """The folder of the run.

        Raises:
            ValueError: the run has not begun.
        """
        if self._folder is None:
            raise ValueError("the experiment has no folder yet: it gets one when it runs")
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
        """How long the run has lasted."""
        return (local_now() - self._started).total_seconds()

    # Life of a record

    def _open(
        self, parent: Path, metadata: Mapping[str, Any], *, prefix: str = "", reuse: bool = False, latest: bool = False
    ) -> None:
        """Make the folder with its first files.

        Args:
            parent: of all runs of this name.
            metadata: what is known before the run.
            prefix: stands before the time in the folder's name.
            reuse: use a folder of this name again.
            latest: whether a link `latest` points to the folder.
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
            path = named_folder(parent, self.name, self._fill, reuse=reuse)
        self._folder, self.name = path, path.name
        self._log = self.log_path.open("a", encoding="utf-8")
        self._flusher = Flusher(self.save_data, self._not_saved)
        if latest:
            try:
                point_latest(parent, path)
            except OSError as error:  # the run does not need it
                self.log(f"warning: `latest` does not point to this folder: {error.strerror}")

    def _fill(self, folder: Path) -> None:
        # Nobody sees the folder before these are in it, so they need no care of their own.
        (folder / CODE).mkdir()
        (folder / LOG).touch()
        (folder / META).write_text(self._meta_text(), encoding="utf-8")
        (folder / DATA).write_text(self._data_text(), encoding="utf-8")

    def finish(self, status: Status, *, results: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        """Close the record; a second call changes nothing.

        Args:
            status: how it ended.
            results: what it came to; kept in the data under that name.
            error: what went wrong.
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
            if self._flusher is not None:
                self._flusher.stop()
            try:
                self.save_data()
            finally:
                self.save_metadata()
        finally:
            self._flusher = None
            log.close()
            if metrics is not None:
                metrics.close()

    # What is said

    def log(self, message: object = "", *, echo: bool = True) -> None:
        """Add a line to the log, and show it.

        Args:
            message: may be several lines.
            echo: whether it is shown.
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

    def __getitem__(self, name: str) -> Any:
        """The value of a name, or the group: `e["metrics/loss"]` is a list, `e["metrics"]` a dict."""
        return values.look_up(self.data, name)

    def __setitem__(self, name: str, value: Any) -> None:
        """Keep a value; slashes in the name make groups.

        Raises:
            TypeError: JSON cannot hold the value, and the name does not begin with _.
            ValueError: the name goes through a value that is no group.
        """
        values.check(name, value)
        with self._lock:
            values.assign(self.data, name, value)
        self._has_changed()

    def __contains__(self, name: str) -> bool:
        try:
            values.look_up(self.data, name)
        except KeyError:
            return False
        return True

    __iter__: ClassVar[None] = None  # without it, Python would ask for e[0], e[1], ...

    def track(self, name: str, value: Any) -> None:
        """Add a value to the series of this name; slashes in the name make groups.

        Args:
            name: `metrics/loss` is the series `loss` in the group `metrics`.
            value: JSON can hold it.

        Raises:
            ValueError: the name is taken by a group or by something that is no series.
            TypeError: JSON cannot hold the value.
        """
        values.check(name, value)
        with self._lock:
            values.append(self.data, name, value)
        self._has_changed()

    def track_many(self, data: Mapping[str, Any]) -> None:
        """Add a value to each of several series."""
        for name, value in data.items():
            self.track(name, value)

    def add_metrics(self, entry: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl, and each value to its series in the group `metrics`."""
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        self._metrics.write(values.json_text(entry) + "\n")
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

    def _has_changed(self) -> None:
        if self._flusher is not None:
            self._flusher.changed()

    def _not_saved(self, error: Exception) -> None:
        self.log(f"warning: the data could not be saved: {error}")

    def _data_text(self) -> str:
        kept = {name: value for name, value in self.data.items() if not name.startswith("_")}
        return values.json_text(kept, indent=1, default=values.as_json_or_text) + "\n"

    def _meta_text(self) -> str:
        return values.json_text(self.metadata, indent=1, default=values.as_json_or_text) + "\n"


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """One of the JSON files of a record.

    Raises:
        RunError: the folder is no record, or the file is damaged.
    """
    path = folder / name
    fix = "name the folder of one run, like results/NAME/2026-01-15__14-30-00__abc123"
    if not path.exists():
        raise RunError(f"there is no record of a run: {name} is missing", where=str(folder), fix=fix)
    return read_object(name, path, fix=fix, error=RunError)
