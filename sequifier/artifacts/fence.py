"""A fence around the files of a run: an attempt that was given up on another machine writes nothing more.

A node of a cluster that lost its connection may train on while the search has given the run to another node. So each
attempt has a token: the search writes it to a file that both see, and replaces or removes it when it gives the attempt
up. The process that trains enters the fence with its token; every file of a run is renamed into place only while the
file still has this token, and the process ends itself when it notices that it does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sequifier.errors import RunError

_entered: tuple[Path, str] | None = None


@contextmanager
def entered(path: Path, token: str) -> Iterator[None]:
    """Write files within the block only while the file `path` has the text `token`.

    One attempt at a time, as a process trains one run at a time.
    """
    global _entered
    _entered = path, token
    try:
        yield
    finally:
        _entered = None


def is_void() -> bool:
    """Whether the attempt in which this process is was given up."""
    if (fence := _entered) is None:
        return False
    path, token = fence
    try:
        return path.read_text(encoding="utf-8") != token
    except FileNotFoundError:
        return True
    except OSError:
        return False  # a shared folder that does not answer for a moment; writing then fails by itself


def check_fence() -> None:
    """Make sure that this process may still write.

    Raises:
        RunError: its attempt was given up.
    """
    if is_void():
        raise RunError("this attempt was given up, and the run continues elsewhere: nothing more is written")
