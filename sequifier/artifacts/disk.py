"""A disk without room: how to tell, and how much is left."""

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sequifier.errors import SequifierError

WORDS = (
    "No space left on device",  # polars, and what a dying process prints
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",  # torch's own writer does not say why, nor in the next lines
    "enforce fail at inline_container.cc",
    "iostream error",
    "Not enough free space to write",  # numpy, where the system reserves the room first
    "database or disk is full",  # SQLite
)
"""What a message says when the disk is full and the error is not the system's own."""

_SHORT_WRITE = re.compile(r"^(\d+) requested and (\d+) written$")
"""numpy, where the room ended while it wrote."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it follows from, says that a file found no room."""
    return any(
        (isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT))
        or any(words in str(each) for words in WORDS)
        or _SHORT_WRITE.match(str(each)) is not None
        for each in _chain(error)
    )


def place_of(error: BaseException) -> str:
    """The file or folder that an error, or one that it follows from, is about; "" where none says it."""
    for each in _chain(error):
        if isinstance(each, SequifierError) and each.where:
            return each.where
        if isinstance(each, OSError) and isinstance(each.filename, str):
            return each.filename
    return ""


def free_bytes(path: Path) -> int:
    """Room on the disk of a path, or of what exists above it."""
    path = path.absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
