"""Standard streams that do not end a command: closed ones, broken pipes, full disks, limited encodings."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from sequifier.printable import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def open_standard_descriptors() -> None:
    """Open 0, 1 and 2 where they are closed: otherwise the next file gets such a number, and output ends in it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            assert opened == descriptor, "the lowest free number"
            os.set_inheritable(descriptor, True)


def restart_in_utf8_mode() -> None:
    """Restart in Python's UTF-8 mode where file names cannot have every letter, as in the POSIX locale."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    output = sys.stdout.encoding if sys.stdout else "utf-8"  # the encoding of the terminal does not change
    environment = {"PYTHONIOENCODING": f"{output}:backslashreplace", **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


class RobustFile(io.FileIO):
    """A standard stream whose write errors are not raised: later output is discarded.

    Attributes:
        error: the first write error, or None.
    """

    error: OSError | None = None

    def write(self, content: "ReadableBuffer", /) -> int:
        """Write all of the content, or discard it."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        while rest and self.error is None:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # the pipe was made non-blocking by another process
                select.select([], [self.fileno()], [])
            except OSError as error:
                self.error = error
        return size


class RobustText(io.TextIOWrapper):
    """A standard stream for text; characters outside its encoding are written as escapes."""

    def __init__(self, raw: RobustFile, before: TextIO | None, *, is_log: bool, by_line: bool) -> None:
        encoding = before.encoding if before else "utf-8"
        super().__init__(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=by_line)
        self._is_log = is_log

    def write(self, text: str, /) -> int:
        """Write text; in a log, control characters are escaped."""
        return super().write(printable(text) if self._is_log else text)


@contextmanager
def robust_streams(*, is_log: bool = False) -> Iterator[RobustFile]:
    """Replace stdin, stdout and stderr of this process.

    Args:
        is_log: whether the streams are a log file, not a terminal.

    Yields:
        The raw stream of stdout.
    """
    open_standard_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    raw, raw_error = RobustFile(1, "wb", closefd=False), RobustFile(2, "wb", closefd=False)
    sys.stdout = RobustText(raw, before[1], is_log=is_log, by_line=is_log or raw.isatty())
    sys.stderr = RobustText(raw_error, before[2], is_log=is_log, by_line=True)
    try:
        yield raw
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def is_reader_gone(error: OSError | None) -> bool:
    """Whether an error means that the reader closed the pipe, which is not a failure of ours."""
    return error is not None and error.errno in (errno.EPIPE, errno.ECONNRESET)
