"""Folders of records: `[YYYY-MM-DD__HH-MM-SS__id]`, one for each run, whole from the moment they can be seen."""

import secrets
import shutil
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from sequifier.errors import RunError

CACHE = "cache"
"""Survives in a folder that is used again."""
_ID_LENGTH = 6
_TRIES = 20


def random_string(length: int = 4, characters: str = string.ascii_lowercase + string.digits) -> str:
    """Random characters; the random numbers of an experiment, seeded or not, are not touched."""
    return "".join(secrets.choice(characters) for _ in range(length))


def new_folder(parent: Path, started: datetime, fill: Callable[[Path], None], *, prefix: str = "") -> Path:
    """Make a folder that no other run has.

    It is filled under a hidden name and then renamed, which fails when a folder of that name exists: then another id is
    drawn. So whoever sees the folder sees a whole record, and two runs never share one.

    Args:
        parent: of all runs of this name; made when missing.
        started: the time in the folder's name.
        fill: writes the first files.
        prefix: stands before the time.

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
    """Make a folder of this name.

    Args:
        parent: of all runs.
        name: of the folder.
        fill: writes the first files.
        reuse: empty the folder when it exists, except for its cache; otherwise it must be new.

    Raises:
        RunError: it exists and is not to be used again, or cannot be written to.
    """
    path = parent / name
    with _folder_errors(parent):
        if reuse and path.is_dir():
            _empty(path)
            fill(path)
            return path
        with _filled(parent, fill) as hidden:
            if path.exists():
                raise RunError(f"there is a folder `{name}` already", where=str(parent), fix="choose another name")
            hidden.rename(path)
    return path


def point_latest(parent: Path, target: Path) -> None:
    """Let `parent/latest` be a link to the newest folder.

    Raises:
        OSError: something else has that name, or the file system has no links.
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
    """A hidden folder with its first files; removed when the block raises."""
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
