"""The lock of a ledger: one process at a time works on a search.

It is a lock of the operating system (flock) on a file beside the ledger, which ends with the process that holds it,
however that died. The descriptor closes on exec, so workers do not inherit it.
"""

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from sequifier.errors import RunError

LOCK_FILE = "ledger.lock"

_READERS_SECONDS = 0.3
"""How long a search waits for the lock: whoever looks whether it is taken takes a shared one for a moment."""


def take_lock(folder: Path) -> int:
    """Create and lock the lock file in the folder of a ledger; returns its descriptor, which holds the lock.

    Raises:
        RunError: another process has the lock, the folder is not writable, or the file system has no locks.
    """
    path = folder / LOCK_FILE
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"cannot write the ledger: {error.strerror}", where=str(folder)) from error
        try:
            _wait_for(lock, folder)
            # The last holder may have removed the file before this lock was granted: then others lock a new file.
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _wait_for(lock: int, folder: Path) -> None:
    end = time.monotonic() + _READERS_SECONDS
    try:
        while not _take(lock, fcntl.LOCK_EX):
            if time.monotonic() > end:
                raise _other_process(lock, folder)
            time.sleep(_READERS_SECONDS / 10)
    except OSError as error:  # Lustre without the option `flock`, a network disk whose lock service is off
        raise RunError(
            f"the ledger cannot be locked, as this file system has no locks: {error.strerror}",
            where=str(folder / LOCK_FILE),
            fix="move the project to another disk, or let its administrator turn locks on (Lustre: mount with `flock`)",
        ) from error
    with suppress(OSError):  # a full disk, which the first record reports; the text only names the holder
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _other_process(lock: int, folder: Path) -> RunError:
    holder = os.read(lock, 300).decode(errors="replace").strip()
    return RunError(
        f"another process{f' ({holder})' if holder else ''} is running this search",
        where=str(folder),
        fix="wait for it, or stop it; to run a second search at the same time, choose another hp_search_name",
    )


def is_locked(folder: Path) -> bool:
    """Whether a process works on the search in `folder`; also one on another machine, where machines share locks."""
    try:
        with (folder / LOCK_FILE).open("rb") as lock:
            return not _take(lock.fileno(), fcntl.LOCK_SH)
    except OSError:  # there is no such file, or no lock can be taken
        return False


def _take(lock: int, kind: int) -> bool:
    """Take a lock without waiting; returns whether that was possible."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
