"""Atomic files and folders: written under a temporary name, synced, then renamed."""

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sequifier.artifacts.fence import check_fence
from sequifier.errors import RunError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` when the block ends without an error.

    The temporary file is removed when the block raises, so a full disk or a crash leaves the old file unchanged.

    Raises:
        RunError: the folder cannot be made or written to, the disk is full, or this process may not write any more
            (artifacts/fence.py).
    """
    # The token differs between threads; the suffix remains because some writers use it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{_token()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        check_fence()
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        # A name that the system refuses cannot be removed either; the first error is raised.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which replaces `path` when the block ends without an error.

    Raises:
        RunError: the folder cannot be made or written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        _clear_up(path, temporary)
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(temporary)
        if path.is_dir() and not path.is_symlink():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        for rest in (temporary, old):
            with suppress(OSError):
                shutil.rmtree(rest)


def _cannot_write(path: Path, error: OSError) -> RunError:
    is_long = error.errno == errno.ENAMETOOLONG
    return RunError(
        f"cannot write {path.name}: {error.strerror or error}",
        where=str(path.parent),
        fix="choose a shorter name" if is_long else "free some space or choose a writable folder; nothing was changed",
    )


def _clear_up(path: Path, temporary: Path) -> None:
    """Remove the folders of killed processes, which in a container often had the same process id."""
    if temporary.is_dir():
        shutil.rmtree(temporary)
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.old"):
        if path.exists():
            shutil.rmtree(old)
        else:
            old.replace(path)  # killed between the two renames: restore the folder


def _token() -> str:
    return secrets.token_hex(3)


_TEMPORARY = re.compile(r"^\.(?P<stem>.+)\.(?P<process>\d+)\.[0-9a-f]{6}\.tmp(\.[^.]*)?$")


def remove_leftovers(folder: Path, of: str) -> None:
    """Remove the temporary files of `atomic_path` that processes left when they were killed.

    Args:
        folder: where to look, not below it.
        of: regular expression for the whole stem of the files that were being written.
    """
    with suppress(OSError):  # what cannot be removed does no harm
        for path in folder.iterdir():
            named = _TEMPORARY.match(path.name)
            if named and re.fullmatch(of, named["stem"]) and not _is_running(int(named["process"])):
                path.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(folder: Path) -> None:
    """Check before an expensive step that a folder can be made and written to.

    Raises:
        RunError: it cannot.
    """
    probe = folder / ".writable"
    write_text(probe, "")
    probe.unlink(missing_ok=True)  # another worker may check the same folder


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
