"""The ledger of a search: `logs/[hp_search_name]/ledger.jsonl`, one JSON line for each change of a run's state.

The file is append-only, and each append is synced to disk, so a crash loses at most the line that is being written.
Readers ignore a torn last line (one without a line end, or invalid JSON), and the next append cuts it off. Any other
line that is not a valid record is an error, and nothing is cut off. Results, resuming and reports all read the ledger.

One process at a time may write: `Ledger.open` holds the lock of artifacts/ledger_lock.py.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sequifier.artifacts.atomic import sync_folder
from sequifier.artifacts.ledger_lock import LOCK_FILE, take_lock
from sequifier.artifacts.read_file import NestingError, parse_json, wrap_read_errors
from sequifier.config.identity import setting_of
from sequifier.errors import RunError
from sequifier.regular_file import read_bytes

LEDGER_FILE = "ledger.jsonl"
_SAMPLER_KEY = "sampler_type"  # in every record of a sampler search, in none of a training search

State = Literal["planned", "running", "finished", "pruned", "failed", "diverged", "oom", "interrupted"]
DONE: frozenset[State] = frozenset({"finished", "pruned", "diverged"})
"""States with a result: the run is never trained again."""
FAILED: frozenset[State] = frozenset({"failed", "oom"})
"""States without a result: the run is trained again only with --retry-failed."""


def now() -> str:
    """The time of a record: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Record(BaseModel):
    """One line of the ledger: the state of a run from this moment on, and what the run is."""

    # A ledger outlives versions: keys of later versions are ignored.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    run: int = Field(ge=0)
    name: str
    identity: str  # of the planned config and the data, see config/identity.py
    merge_key: str = ""  # identity of its normal form, see config/normal_form.py; "" in older ledgers
    data: str  # fingerprint of the data set
    state: State
    attempt: int = Field(1, ge=1)
    batch_size: int = Field(ge=1)  # of this attempt; the planned one is in the identity
    accumulation_steps: int = Field(1, ge=1)
    seed: int  # training seed
    known: int | None = None  # number of records on which this start, proposal or promotion was decided
    best_val_loss: float | None = None
    best_epoch: int | None = None
    n_targets: dict[str, int] | None = None  # evaluated targets by target column; the same in all runs of a search
    metrics: dict[str, float] = Field(default_factory=dict)  # at the best epoch
    curve: list[float] = Field(default_factory=list)  # the metric that training compares, after each epoch
    seconds: dict[str, float] = Field(default_factory=dict)  # by stage, and `total`
    peak_memory_bytes: int | None = None
    error: str | None = None
    # What a result depends on besides its settings; None in records of versions that did not store it. A record of a
    # start (`running`) has the number of threads, and none of the others.
    device: str | None = None  # the GPU with its driver, or the processor
    device_index: str | None = None  # the GPU's number on its machine, or its UUID; None for other devices
    products: str | None = None  # number format of matrix products
    torch: str | None = None  # version
    cpu_threads: int | None = None
    sequifier: str | None = None  # version
    arithmetic: int | None = None  # see `sequifier.ARITHMETIC`
    files: dict[str, str] = Field(default_factory=dict)  # what (`best_onnx`, ...) -> path below project_root
    inputs: dict[str, str] = Field(default_factory=dict)  # other inputs that all runs must have in common
    # What the run is. None or empty in older ledgers: results/run_files.py completes them from the run files.
    settings: dict[str, Any] | None = None  # searched values by dotted key of train.yaml
    proposed: dict[str, Any] = Field(default_factory=dict)  # searched values that the search config writes differently
    fixed: dict[str, Any] = Field(default_factory=dict)  # values that are not searched and not the default
    configuration: str = ""  # identity of the normal form without the training seed: the same for repeats
    n_parameters: int | None = None
    columns: list[str] | None = None  # target columns
    order_of: int | None = None  # run whose configuration it is, on histories in random order; such a run has no rank
    time: str = Field(default_factory=now)

    @field_validator("time")
    @classmethod
    def _a_moment(cls, time: str) -> str:
        datetime.fromisoformat(time).astimezone(UTC)
        return time

    def setting(self, key: str) -> Any:
        """The value of a field that counts in the identity, by dotted key; None where it is not known."""
        if self.settings is None:
            return None
        return setting_of(self.settings, self.fixed, key)

    def value_of(self, metric: str) -> float | None:
        """The value of a metric at the best epoch."""
        return self.metrics.get(metric, self.best_val_loss if metric == "val_loss" else None)


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Ledger:
    """The ledger of one search, open for writing. Also a context manager.

    Attributes:
        kind: class of the records.
        records: all records, oldest first, including those appended since.
        torn: the torn last line that was found on opening, or "".
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
        self._readers: list[Callable[[Any], None]] = []

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Lock and read the ledger in `folder`; a missing folder or ledger is created.

        Raises:
            RunError: another process has it open, the folder is not writable, or the ledger is damaged.
        """
        lock = take_lock(folder)
        try:
            return cls(folder, lock)
        except BaseException:
            os.close(lock)
            raise

    def append(self, *records: Record) -> None:
        """Append records; they are on disk when this returns.

        Raises:
            RunError: the disk is full or the file is not writable, and the ledger is then unchanged; or the file was
                moved or removed.
        """
        # json, not pydantic: it writes floats by repr, so they are read back exactly and look as in the logs.
        lines = [json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False) + "\n" for record in records]
        content = "".join(lines).encode()
        if not content:
            return
        if self._is_gone():
            raise RunError(
                "the ledger was moved or removed while the search ran",
                where=str(self.path),
                fix="put it back, then run the same command again: finished runs are kept",
            )
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                sync_folder(self.path.parent)
                os.ftruncate(self._file, self._size)  # cuts off a torn line
            try:
                _write_all(self._file, content)
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
        self._size += len(content)
        self.records += records
        self._latest |= {record.run: record for record in records}
        for record in records:
            for read in self._readers:
                read(record)

    def _is_gone(self) -> bool:
        """Whether the file is not at its path any more, so that what is written would be lost or incomplete."""
        try:
            found = self.path.stat()
        except OSError:
            return self._file is not None or self._size > 0
        return self._file is not None and not os.path.samestat(os.fstat(self._file), found)

    def follow(self, read: Callable[[Any], None]) -> None:
        """Call `read` with every record: with those of now, oldest first, and with each one that is appended.

        What follows from all records can thus be kept up to date without reading them again after each run.
        """
        for record in self.records:
            read(record)
        self._readers.append(read)

    def latest(self) -> dict[int, Record]:
        """The last record of each run, by run number."""
        return dict(sorted(self._latest.items()))

    def last(self, run: int) -> Record | None:
        """The last record of one run, in constant time; None before the run has one."""
        return self._latest.get(run)

    def close(self) -> None:
        """Release the lock. Where the ledger has no record, its lock file and empty folder are removed."""
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
    """Read all records in `folder`, oldest first; an empty list where there is no ledger. Takes no lock.

    Raises:
        RunError: a line other than a torn last one is damaged, another kind of search wrote the ledger, or the file is
            not readable.
    """
    path = folder / LEDGER_FILE
    return _parse(_content(path), path, kind)[0]


def latest_by_run(records: Iterable[AnyRecord]) -> dict[int, AnyRecord]:
    """The last record of each run, by run number in ascending order, without the runs of `order_check`."""
    latest = {record.run: record for record in records if record.order_of is None}
    return dict(sorted(latest.items()))


def latest_order_checks(records: Iterable[AnyRecord]) -> dict[int, AnyRecord]:
    """The last record of each run of `order_check`, by run number in ascending order."""
    latest = {record.run: record for record in records if record.order_of is not None}
    return dict(sorted(latest.items()))


def _content(path: Path) -> bytes:
    """The bytes of a ledger; empty where there is no ledger yet."""
    if not path.exists():
        return b""
    fix = "it must be a readable file: move away what is at this path, or choose another hp_search_name"
    with wrap_read_errors("the ledger", path, fix=fix, error=RunError):
        return read_bytes(path)


def _parse(content: bytes, path: Path, kind: type[AnyRecord]) -> tuple[list[AnyRecord], int]:
    """The records, and the number of bytes of `content` that are whole lines."""
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
        fix="repair or delete that line; without it, its run has the state of its previous record",
    )


def _check_kind(values: dict[str, Any], path: Path, number: int, kind: type[Record]) -> None:
    """Refuse the ledger of the other kind of search: both are in `logs`, so a name can be used twice."""
    is_sampler = _SAMPLER_KEY in values
    if is_sampler != (_SAMPLER_KEY in kind.model_fields):
        raise RunError(
            f"this folder belongs to a {'sampler' if is_sampler else 'training'} search",
            where=f"{path}:{number}",
            fix="choose another name",
        )


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
