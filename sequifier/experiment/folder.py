"""The folder of a run: named `[YYYY-MM-DD__HH-MM-SS__id]`, whole from the moment it can be seen; files in it.

experiment_log.txt    log lines with their times
experiment_meta.json  name, status, times, parameters, versions, machine
experiment_data.json  values and series
code/                 sources that belong to no package
...                   artifacts, under the names given
"""

import fcntl
import os
import secrets
import shutil
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path, PurePath
from typing import IO, Any, Protocol

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import RunError
from sequifier.experiment.json_values import json_text

LOG, META, DATA, CODE = "experiment_log.txt", "experiment_meta.json", "experiment_data.json", "code"
_OWN = (LOG, META, DATA, CODE)
CACHE = "cache"
"""Folder that is kept when the folder of a run is used again."""
_ID_LENGTH = 6
_TRIES = 20
"""Names that are tried before the id gets one more character."""


def random_string(length: int = 4, characters: str = string.ascii_lowercase + string.digits) -> str:
    """Return random characters, without touching the random numbers of the experiment."""
    return "".join(secrets.choice(characters) for _ in range(length))


def new_folder(parent: Path, started: datetime, fill: Callable[[Path], None], *, prefix: str = "") -> Path:
    """Make a folder that no other run has.

    The folder is filled under a hidden name and then renamed. Renaming fails where a folder of that name exists, and
    another id is tried. Two runs therefore never share a folder, and a visible folder is a whole record.

    Args:
        parent: the folder of all runs of this name; made when missing.
        started: the time in the folder's name.
        fill: writes the first files.
        prefix: the first part of the folder's name.

    Raises:
        RunError: the folder cannot be written to.
    """
    stamp = started.strftime("%Y-%m-%d__%H-%M-%S")
    if prefix:
        stamp = f"{prefix}__{stamp}"
    with _folder_errors(parent), _filled(parent, fill) as hidden:
        for tries in count():
            path = parent / f"{stamp}__{random_string(_ID_LENGTH + tries // _TRIES)}"
            try:
                hidden.rename(path)
            except OSError:
                if not path.exists():
                    raise
                continue
            return path
    raise AssertionError("unreachable")


def named_folder(parent: Path, name: str, fill: Callable[[Path], None], *, reuse: bool) -> Path:
    """Make a folder with this name.

    Args:
        parent: the folder of all runs.
        name: the name of the new folder.
        fill: writes the first files.
        reuse: empty an existing folder, except for its cache. Otherwise the folder must be new.

    Raises:
        RunError: the folder exists and must be new, or it cannot be written to.
    """
    path = parent / name
    with _folder_errors(parent):
        if reuse and path.is_dir():
            _empty(path)
            fill(path)
            return path
        with _filled(parent, fill) as hidden:
            if path.exists():
                raise RunError(f"the folder `{name}` exists already", where=str(parent), fix="choose another name")
            hidden.rename(path)
    return path


def lock_folder(folder: Path) -> int | None:
    """Lock a folder that is used again, until the returned file descriptor is closed or the process ends.

    Returns:
        The descriptor; None where the file system has no locks.

    Raises:
        RunError: another run has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            return None
        raise RunError(
            f"another run is using the folder `{folder.name}`",
            where=str(folder),
            fix="wait until it has ended, or run with __DEBUG__ = False, which makes a new folder",
        ) from None
    return descriptor


def point_latest(parent: Path, target: Path) -> None:
    """Make `parent/latest` a link to the newest folder.

    Raises:
        OSError: something else has that name, or the file system does not support links.
    """
    temporary = parent / f".latest.{target.name}"
    try:
        temporary.symlink_to(target.name)
        temporary.replace(parent / "latest")
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _filled(parent: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Make a hidden folder with its first files; remove it when the block raises."""
    parent.mkdir(parents=True, exist_ok=True)
    hidden = parent / f".new-{random_string(12)}"
    hidden.mkdir()
    try:
        fill(hidden)
        yield hidden
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _empty(path: Path) -> None:
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            if child.name != CACHE:
                shutil.rmtree(child)
        else:
            child.unlink()


@contextmanager
def _folder_errors(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot make a folder for the run's record: {error.strerror}",
            where=str(parent),
            fix="choose a project_root or base_path that can be written to",
        ) from error


class Figure(Protocol):
    """A figure of matplotlib, or another object that can save itself."""

    def savefig(self, fname: Any, **options: Any) -> Any: ...


class Artifacts:
    """Files in the folder of a run: `commit_...` writes a whole file or nothing, `open` opens any file."""

    @property
    def path(self) -> Path:
        """The folder."""
        raise NotImplementedError

    def open(self, name: str, mode: str = "r", **options: Any) -> IO[Any]:
        """Open a file in the run's folder, and make the folders in its name.

        Args:
            name: path of the file below the folder.
            mode: as for Python's `open`; text is UTF-8.
            options: as for Python's `open`.
        """
        path = self._artifact(name, writes=mode.strip("bt") != "r")
        if "b" not in mode:
            options.setdefault("encoding", "utf-8")
        return path.open(mode, **options)

    def commit_json(self, name: str, data: Any) -> Path:
        """Write data as JSON, also numbers and arrays of numpy and torch, paths and times. NaN becomes null."""
        return self.commit_raw(name, json_text(data, indent=1, ensure_ascii=False) + "\n")

    def commit_raw(self, name: str, content: str | bytes) -> Path:
        """Write text or bytes."""
        path = self._artifact(name, writes=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def commit_fig(self, name: str, figure: Figure, **options: Any) -> Path:
        """Save a figure of matplotlib.

        Args:
            name: path of the file; its ending selects the format.
            figure: the figure, or axes in it.
            options: as for `savefig`.

        Raises:
            TypeError: the argument is not a figure.
        """
        owner: Any = figure if hasattr(figure, "savefig") else getattr(figure, "figure", None)
        if not hasattr(owner, "savefig"):
            raise TypeError(
                f"expected a figure, got {type(figure).__name__}; `fig, ax = plt.subplots()` makes one with matplotlib "
                "(`pip install sequifier-search[experiment]`)"
            )
        path = self._artifact(name, writes=True)
        with atomic_path(path) as temporary:
            owner.savefig(temporary, **options)
        return path

    def keep_code(self, sources: Mapping[str, Path]) -> None:
        """Copy sources into code/.

        Args:
            sources: name below code/ -> file. A name that exists already is skipped.
        """
        for name, source in sources.items():
            target = self.path / CODE / name
            if not target.exists() and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def _artifact(self, name: str | PurePath, *, writes: bool) -> Path:
        path = self.path / name
        inside = path.resolve()
        folder = self.path.resolve()
        if not inside.is_relative_to(folder) or inside == folder:
            raise ValueError(f"{str(name)!r} is not a file in the folder of the run")
        if writes:
            if inside.relative_to(folder).parts[0] in _OWN:
                raise ValueError(f"{str(name)!r} belongs to the record itself: choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
        return path
