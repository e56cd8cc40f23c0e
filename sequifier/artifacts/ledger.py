"""The ledger of a search: `logs/[hp_search_name]/ledger.jsonl`, one JSON line for each change of a run's state.

It is append-only and synced line by line, so a crash at any moment loses at most the line being written; a torn last
line (one without an end, or that is no JSON) is dropped by readers and cut off before the next append. A whole line
that does not fit is an error, whatever its place: nothing of it is cut off. Results, resume and reports are readings of
the ledger.

One process at a time may write: `Ledger.open` holds a lock (flock) on a file beside it. The system releases the lock
when the process dies, however it dies. The descriptor closes on exec, so spawned workers do not inherit it.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sequifier.artifacts.atomic import sync_folder
from sequifier.artifacts.read_file import NestingError, parse_json, wrap_read_errors
from sequifier.errors import RunError
from sequifier.regular_file import read_bytes

LEDGER_FILE = "ledger.jsonl"
LOCK_FILE = "ledger.lock"
_SAMPLER_KEY = "sampler_type"  # in every record of a sampler search, in none of a training search

State = Literal["planned", "running", "finished", "pruned", "failed", "diverged", "oom", "interrupted"]
DONE: frozenset[State] = frozenset({"finished", "pruned", "diverged"})
"""States with a result: never run again."""
FAILED: frozenset[State] = frozenset({"failed", "oom"})
"""States without a result: run again only when asked to."""


def now() -> str:
    """The time of a record: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Record(BaseModel):
    """One line: the state of a run from this moment on."""

    # A ledger outlives versions: keys of a later one are passed over.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    run: int = Field(ge=0)
    name: str
    identity: str  # of the planned config and the data, see config/identity.py
    merge_key: str = ""  # of its normal form, see config/normal_form.py; "" in older ledgers
    data: str  # fingerprint of the data set
    state: State
    attempt: int = Field(1, ge=1)
    batch_size: int = Field(ge=1)  # of this attempt; the planned one is in the identity
    accumulation_steps: int = Field(1, ge=1)
    seed: int  # that the run trains with
    best_val_loss: float | None = None
    best_epoch: int | None = None
    n_targets: dict[str, int] | None = None  # evaluated targets of each target column; equal in all runs of a search
    metrics: dict[str, float] = Field(default_factory=dict)  # at the best epoch
    curve: list[float] = Field(default_factory=list)  # the metric that ranks, after each epoch
    seconds: dict[str, float] = Field(default_factory=dict)  # of each stage, and in `total`
    peak_memory_bytes: int | None = None
    error: str | None = None
    # What a result depends on besides its settings; None in records of versions that did not store it.
    device: str | None = None  # the GPU with its driver, or the processor
    products: str | None = None  # number format of the products of matrices
    torch: str | None = None  # version
    cpu_threads: int | None = None
    sequifier: str | None = None  # version
    arithmetic: int | None = None  # see `sequifier.ARITHMETIC`
    files: dict[str, str] = Field(default_factory=dict)  # what (`best_onnx`, ...) -> path below project_root
    inputs: dict[str, str] = Field(default_factory=dict)  # what runs have in common beside `data`
    time: str = Field(default_factory=now)

    @field_validator("time")
    @classmethod
    def _a_moment(cls, time: str) -> str:
        datetime.fromisoformat(time).astimezone(UTC)
        return time

    def value_of(self, metric: str) -> float | None:
        """The value of a metric at the best epoch."""
        return self.metrics.get(metric, self.best_val_loss if metric == "val_loss" else None)


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Ledger:
    """The ledger of one search, open for writing. Also a context manager.

    Attributes:
        kind: of its records.
        records: all records, oldest first, the appended ones included.
        torn: the incomplete last line that was found on opening, or "".
    """

    kind: ClassVar[type[Record]] = Record

    def __init__(self, folder: Path, lock: int) -> None:
        """Use `Ledger.open`."""
        self.path = folder / LEDGER_FILE
        self._lock = lock
        content = _content(self.path)
        self.records, self._size = _parse(content, self.path, self.kind)
        self._latest = {record.run: record for record in self.records}
        self.torn = content[self._size :].decode(errors="replace")
        self._file: int | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Lock and read the ledger in `folder`; both are made when missing.

        Raises:
            RunError: another process writes to it, the folder cannot be written to, or the ledger is damaged.
        """
        lock = _locked(folder)
        try:
            return cls(folder, lock)
        except BaseException:
            os.close(lock)
            raise

    def append(self, record: Record) -> None:
        """Write one record; it is on disk when this returns.

        Raises:
            RunError: the disk is full or the file cannot be written to; the ledger is then as it was.
        """
        # json, not pydantic: it writes floats by repr, so they come back to the last digit and look as logged.
        line = json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                sync_folder(self.path.parent)
                os.ftruncate(self._file, self._size)  # cuts off a torn line
            try:
                _write_all(self._file, line)
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
        except OSError as error:
            raise RunError(
                f"cannot write to the ledger: {error.strerror}",
                where=str(self.path),
                fix="free some space, then run the same command again: finished runs are kept",
            ) from error
        self._size += len(line)
        self.records.append(record)
        self._latest[record.run] = record

    def latest(self) -> dict[int, Record]:
        """The last record of each run, by run number."""
        return dict(sorted(self._latest.items()))

    def last(self, run: int) -> Record | None:
        """The last record of one run; None before it has one. Takes the same time however long the ledger is."""
        return self._latest.get(run)

    def close(self) -> None:
        """Let another process write. Where nothing was written, no trace of the attempt is left."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if not self.path.exists():
            with suppress(OSError):  # other files are in the folder
                (self.path.parent / LOCK_FILE).unlink()
                self.path.parent.rmdir()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@overload
def read_ledger(folder: Path) -> list[Record]: ...
@overload
def read_ledger(folder: Path, kind: type[AnyRecord]) -> list[AnyRecord]: ...
def read_ledger(folder: Path, kind: type[Any] = Record) -> list[Any]:
    """All records in `folder`, oldest first; none when there is no ledger. Needs no lock.

    Raises:
        RunError: a line is damaged and no torn last one, another kind of search wrote it, or the file cannot be read.
    """
    path = folder / LEDGER_FILE
    return _parse(_content(path), path, kind)[0]


def latest_by_run(records: Iterable[AnyRecord]) -> dict[int, AnyRecord]:
    """The last record of each run, in order of run number."""
    latest = {record.run: record for record in records}
    return dict(sorted(latest.items()))


def _content(path: Path) -> bytes:
    """The bytes of a ledger; none when there is none yet."""
    if not path.exists():
        return b""
    fix = "it must be a file that can be read; move away what is there, or choose another hp_search_name"
    with wrap_read_errors("the ledger", path, fix=fix, error=RunError):
        return read_bytes(path)


def _parse(content: bytes, path: Path, kind: type[AnyRecord]) -> tuple[list[AnyRecord], int]:
    """The records, and how many bytes of `content` are whole lines of them."""
    records: list[AnyRecord] = []
    whole = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line has no end")
            values = parse_json(line)
        except ValueError as error:
            if number == len(lines) and not isinstance(error, NestingError):
                break
            raise _damaged(path, number, error) from error
        if isinstance(values, dict):
            _check_kind(values, path, number, kind)
        try:
            records.append(kind.model_validate(values))
        except Exception as error:
            raise _damaged(path, number, error) from error
        whole += len(line)
    return records, whole


def _damaged(path: Path, number: int, error: Exception) -> RunError:
    return RunError(
        f"line {number} of the ledger is damaged: {'; '.join(str(error).splitlines()[:3])}",
        where=f"{path}:{number}",
        fix="repair or delete that line; without it, its run counts as being in its state before",
    )


def _check_kind(values: dict[str, Any], path: Path, number: int, kind: type[Record]) -> None:
    """Training and sampler searches share `logs`, so one can be given the other's name."""
    is_sampler = _SAMPLER_KEY in values
    if is_sampler != (_SAMPLER_KEY in kind.model_fields):
        raise RunError(
            f"this folder belongs to a {'sampler' if is_sampler else 'training'} search",
            where=f"{path}:{number}",
            fix="choose another name",
        )


def _locked(folder: Path) -> int:
    """Make and lock the lock file; its descriptor."""
    path = folder / LOCK_FILE
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"cannot write the ledger: {error.strerror}", where=str(folder)) from error
        try:
            _take(lock, folder)
            # Who held it before may have written nothing and removed it: then others lock the next file of this name.
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        raise RunError(
            f"another process{f' ({holder})' if holder else ''} is running this search",
            where=str(folder / LEDGER_FILE),
            fix="wait for it or stop it; for a second search at the same time choose another hp_search_name",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()}\n".encode(), 0)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
