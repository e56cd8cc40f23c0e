"""Reading a path that anybody may have put there."""

import errno
import os
import stat
from pathlib import Path


def check_is_file(path: Path) -> None:
    """Make sure that a path is a file: opening a named pipe would wait for ever, and a device may never end.

    Raises:
        OSError: there is nothing, or something else.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def kind_of_stream(path: Path) -> str:
    """What a path is that can be read only once, or without an end: `a pipe`; empty for files, folders and nothing."""
    if not path.exists() or path.is_file() or path.is_dir():
        return ""
    return "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: it is missing, cannot be read, or is not a file.
    """
    check_is_file(path)
    return path.read_bytes()
