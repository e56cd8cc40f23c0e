"""Regular files, as opposed to pipes and devices, which may block a reader or never end."""

import errno
import os
import stat
from pathlib import Path


def check_is_file(path: Path) -> None:
    """Check that a path is a regular file.

    Raises:
        OSError: the path does not exist, or is something else.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", str(path))


def kind_of_stream(path: Path) -> str:
    """Return `a pipe`, `a socket` or `a device`; empty for a file, a folder and a path that does not exist."""
    if not path.exists() or path.is_file() or path.is_dir():
        return ""
    return "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file does not exist, cannot be read, or is not a regular file.
    """
    check_is_file(path)
    return path.read_bytes()
