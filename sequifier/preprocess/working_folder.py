"""The hidden folder beside the splits for what does not fit in memory, and for going on after an interruption.

A table that is processed in parts is dealt out file by file (`partition.py`) and prepared part by part (`prepared.py`);
each step is marked when it is whole. With `continue_preprocessing` the folder survives an interruption, and the next
call skips what is marked, provided that settings and files are the same. Without it, a folder that a killed process
left behind is emptied.
"""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sequifier import __version__
from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.metadata import Metadata
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError, RunError
from sequifier.preprocess.source import Source

DEALT = "dealt-"
"""Marks of files that have been dealt out: this and the number of the last one."""

METADATA_FOLDER = Path("configs", "metadata_configs")
STATE, LOCK = "state", "lock"

_NOT_PART_OF_IT = {"continue_preprocessing", "n_cores", "process_by_file", "project_root", "user"}


@contextmanager
def working_folder(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    memory_bytes: int,
    log: Log,
) -> Iterator[Path]:
    """The folder, locked; removed at the end, unless the work is interrupted and is to be continued.

    Args:
        source: the files.
        config: their settings.
        stored: metadata to encode with.
        memory_bytes: size of the parts.
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
        _take(lock, path)
        _clear_up(config.root, source.name)
        found = state.read_text(encoding="utf-8") if state.exists() else None
        if found == same and config.continue_preprocessing:
            n_files = max((int(mark.name.removeprefix(DEALT)) + 1 for mark in path.rglob(f"{DEALT}*")), default=0)
            log(f"going on with an interrupted run: {n_files:,} of {len(source.files):,} files have been read")
        else:
            if found is not None and config.continue_preprocessing:
                log("note: files or settings are not those of the interrupted run; everything is read again")
            _empty(path)
            write_text(state, same)
        try:
            yield path
        except BaseException as error:
            # What is wrong with the data stays wrong: nothing is to be continued.
            if not config.continue_preprocessing or isinstance(error, DataError):
                _remove(path)
            raise
        _remove(path)
    finally:
        os.close(lock)


def _clear_up(root: Path, name: str) -> None:
    """Remove what killed processes left of splits and metadata that they were writing; the lock says they are gone."""
    for folder, ours in ((root / "data", rf"{re.escape(name)}-split\d+"), (root / METADATA_FOLDER, re.escape(name))):
        for item in folder.glob(f".{glob.escape(name)}*.tmp*"):
            if not re.fullmatch(rf"\.{ours}\.\d+(?:\.[0-9a-f]+)?\.tmp(?:\.\w+)?", item.name):
                continue
            with suppress(OSError):  # what cannot be removed does no harm
                shutil.rmtree(item) if item.is_dir() else item.unlink()


def _remove(path: Path) -> None:
    _empty(path)
    shutil.rmtree(path)


def _empty(path: Path) -> None:
    (path / STATE).unlink(missing_ok=True)  # first: what is half emptied is nothing to go on from
    for item in path.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != LOCK:
            item.unlink()


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            "another `sequifier preprocess` is at work on data of this name",
            where=str(path),
            fix="wait until it has finished, or stop it",
        ) from error


def _fingerprint(source: Source, config: PreprocessConfig, stored: Metadata | None, memory_bytes: int) -> str:
    files = [(str(file), status.st_size, status.st_mtime_ns) for file in source.files for status in [file.stat()]]
    content = {
        "version": __version__,
        "settings": config.model_dump(mode="json", exclude=_NOT_PART_OF_IT),
        "metadata": stored.fingerprint if stored else None,
        "memory_bytes": memory_bytes,
        "files": files,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
