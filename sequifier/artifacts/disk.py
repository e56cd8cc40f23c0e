"""Full disks: which errors mean one, and the free space."""

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sequifier.errors import SequifierError

WORDS = (
    "No space left on device",  # polars, and processes that end
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",  # the writer of torch does not give the reason, here and below
    "enforce fail at inline_container.cc",
    "iostream error",
    "Not enough free space to write",  # numpy, where the system reserves space first
    "database or disk is full",  # SQLite
)
"""Parts of messages that mean a full disk, for errors that are not the system's own."""

_SHORT_WRITE = re.compile(r"^(\d+) requested and (\d+) written$")
"""Message of numpy, where the disk became full during a write."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one of its causes, means that the disk is full."""
    return any(
        (isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT))
        or any(words in str(each) for words in WORDS)
        or _SHORT_WRITE.match(str(each)) is not None
        for each in _chain(error)
    )


def place_of(error: BaseException) -> str:
    """Return the file or folder of an error or its causes; "" where it is unknown."""
    for each in _chain(error):
        if isinstance(each, SequifierError) and each.where:
            return each.where
        if isinstance(each, OSError) and isinstance(each.filename, str):
            return each.filename
    return ""


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of a path, or of its nearest existing parent."""
    path = path.absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
