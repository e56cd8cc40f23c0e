"""Standard streams that end nothing: closed ones, broken pipes, full disks, and encodings without the letters."""

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


def hold_descriptors() -> None:
    """Let 0, 1 and 2 be open: the next file or pipe would get a closed one's number, and what is printed end in it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            assert opened == descriptor, "the lowest free number"
            os.set_inheritable(descriptor, True)


def speak_utf8() -> None:
    """Begin again in Python's UTF-8 mode where names of files cannot have every letter, as in the POSIX locale."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    output = sys.stdout.encoding if sys.stdout else "utf-8"  # what the terminal takes stays
    environment = {"PYTHONIOENCODING": f"{output}:backslashreplace", **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


class Lasting(io.FileIO):
    """Writes to a standard stream. When that fails, what comes is lost, and whoever writes goes on.

    Attributes:
        lost: why it failed, or None.
    """

    lost: OSError | None = None

    def write(self, content: "ReadableBuffer", /) -> int:
        """Write all of it, or lose it."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        while rest and self.lost is None:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:  # somebody made the pipe non-blocking
                select.select([], [self.fileno()], [])
            except OSError as error:
                self.lost = error
        return size


class LastingText(io.TextIOWrapper):
    """Text for a standard stream; what its encoding lacks is written as an escape."""

    def __init__(self, raw: Lasting, before: TextIO | None, *, is_log: bool, by_line: bool) -> None:
        encoding = before.encoding if before else "utf-8"
        super().__init__(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=by_line)
        self._is_log = is_log

    def write(self, text: str, /) -> int:
        """Write text; in a log, what steers a terminal becomes visible."""
        return super().write(printable(text) if self._is_log else text)


@contextmanager
def lasting_streams(*, is_log: bool = False) -> Iterator[Lasting]:
    """Replace stdin, stdout and stderr of this process.

    Args:
        is_log: they are a file, not a terminal.

    Yields:
        What is below stdout.
    """
    hold_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    raw, raw_error = Lasting(1, "wb", closefd=False), Lasting(2, "wb", closefd=False)
    sys.stdout = LastingText(raw, before[1], is_log=is_log, by_line=is_log or raw.isatty())
    sys.stderr = LastingText(raw_error, before[2], is_log=is_log, by_line=True)
    try:
        yield raw
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def is_gone(error: OSError | None) -> bool:
    """Whether the reader went away, which is its own affair; a full disk is not."""
    return error is not None and error.errno in (errno.EPIPE, errno.ECONNRESET)
