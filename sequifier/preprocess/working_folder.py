"""The hidden folder beside the splits for parts that do not fit in memory, and for resuming after an interruption.

A table in parts is distributed file by file (`partition.py`) and prepared part by part (`prepared.py`). Each complete
step leaves a mark. With `continue_preprocessing` the folder survives an interruption, and the next call skips the
marked steps if config and files are equal. Otherwise the folder of a killed process is emptied.
"""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sequifier import __version__
from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.metadata import Metadata
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError, RunError
from sequifier.preprocess.source import Source, table_path

DISTRIBUTED = "dealt-"
"""Prefix of the marks of distributed files; the number of the last file follows."""

METADATA_FOLDER = Path("configs", "metadata_configs")
STATE, LOCK = "state", "lock"

_IRRELEVANT = {"continue_preprocessing", "n_cores", "process_by_file", "project_root", "user"}


@contextmanager
def working_folder(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    memory_bytes: int,
    log: Log,
) -> Iterator[Path]:
    """Make and lock the folder; remove it at the end, unless an interrupted run is to be resumed.

    Args:
        source: the files.
        config: the config.
        stored: metadata whose encoding is used.
        memory_bytes: decoded size of a part.
        log: receives lines for the user.

    Raises:
        RunError: the disk is read-only, or another process works on the same data.
    """
    path = config.root / "data" / f".{source.name}-unfinished"
    state = path / STATE
    same = _fingerprint(source, config, stored, memory_bytes)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(
            f"cannot write to the folder for the splits: {error.strerror or error}",
            where=str(path.parent),
            fix="choose a project_root that can be written to",
        ) from error
    try:
        _acquire(lock, path)
        _clear_up(config.root, source.name)
        found = state.read_text(encoding="utf-8") if state.exists() else None
        if found == same and config.continue_preprocessing:
            n_files = max(
                (int(mark.name.removeprefix(DISTRIBUTED)) + 1 for mark in path.rglob(f"{DISTRIBUTED}*")), default=0
            )
            log(f"resuming an interrupted run: {n_files:,} of {len(source.files):,} files have been read")
        else:
            if found is not None and config.continue_preprocessing:
                log("note: files or config differ from those of the interrupted run; all files are read again")
            _empty(path)
            write_text(state, same)
        try:
            yield path
        except BaseException as error:
            # An error in the data would occur again: there is nothing to resume.
            if not config.continue_preprocessing or isinstance(error, DataError):
                _remove(path)
            raise
        _remove(path)
    finally:
        os.close(lock)


def file_stamps(source: Source, config: PreprocessConfig) -> dict[Path, tuple[int, int]]:
    """Return the size in bytes and the time of the last change of each file that is read."""
    read = [*source.files, *([] if config.sequence_table is None else [table_path(config)])]
    return {file: _stamp(file) for file in read}


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def check_unchanged(stamps: Mapping[Path, tuple[int, int]]) -> None:
    """Check that no file was changed since its stamp was taken: the last row that was read may have been incomplete.

    Raises:
        DataError: one was.
    """
    if changed := [file for file, stamp in stamps.items() if not file.exists() or _stamp(file) != stamp]:
        raise DataError(
            f"`{changed[0].name}` changed while it was read",
            where=str(changed[0]),
            fix="run `sequifier preprocess` again; of a file that is still written to, give a copy",
        )


def _clear_up(root: Path, name: str) -> None:
    """Remove the temporary splits and metadata of killed processes; the lock shows that none of them runs."""
    for folder, ours in ((root / "data", rf"{re.escape(name)}-split\d+"), (root / METADATA_FOLDER, re.escape(name))):
        for item in folder.glob(f".{glob.escape(name)}*.tmp*"):
            if not re.fullmatch(rf"\.{ours}\.\d+(?:\.[0-9a-f]+)?\.tmp(?:\.\w+)?", item.name):
                continue
            with suppress(OSError):  # a remaining file does no harm
                shutil.rmtree(item) if item.is_dir() else item.unlink()


def _remove(path: Path) -> None:
    _empty(path)
    shutil.rmtree(path)


def _empty(path: Path) -> None:
    (path / STATE).unlink(missing_ok=True)  # first: a partly emptied folder cannot be resumed
    for item in path.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()


def _acquire(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            "another `sequifier preprocess` is running on data with this name",
            where=str(path),
            fix="wait until it ends, or stop it",
        ) from error


def _fingerprint(source: Source, config: PreprocessConfig, stored: Metadata | None, memory_bytes: int) -> str:
    files = [(str(file), *stamp) for file, stamp in file_stamps(source, config).items()]
    content = {
        "version": __version__,
        "settings": config.model_dump(mode="json", exclude=_IRRELEVANT),
        "metadata": stored.fingerprint if stored else None,
        "memory_bytes": memory_bytes,
        "files": files,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
