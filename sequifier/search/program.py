"""A program of the user's, started without a shell; it never outlives whoever asked for it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sequifier.search import guard
from sequifier.streams import hold_descriptors

_SHOWN_LINES = 5
_REST_SECONDS = 5  # for its last output, when its time was up


@dataclass(frozen=True)
class Ended:
    """What a program left.

    Attributes:
        output: its standard output.
        errors: its standard error.
        code: its exit code, above 128 when a signal ended it; None when its time was up.
    """

    output: str
    errors: str
    code: int | None

    @property
    def how(self) -> str:
        """How it ended, in words."""
        assert self.code is not None
        return (
            f"it was ended by {signal.Signals(self.code - 128).name}" if self.code > 128 else f"exit code {self.code}"
        )

    @property
    def last_words(self) -> str:
        """The last lines of its standard error, in one."""
        return " | ".join(line.strip() for line in self.errors.splitlines()[-_SHOWN_LINES:] if line.strip())


def run_program(
    command: str, told: str, *, cwd: str | Path, environment: Mapping[str, str], timeout_seconds: float
) -> Ended:
    """Run a program and wait for its end.

    It is killed with everything it started when its time is up, when this call is left by an exception, and when this
    process dies.

    Args:
        command: its words, quoted as for a shell.
        told: its standard input.
        cwd: its working folder.
        environment: all its variables.
        timeout_seconds: its time.
    """
    hold_descriptors()
    lifeline, held = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, str(lifeline), *shlex.split(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment,
            encoding="utf-8",
            errors="replace",
            pass_fds=[lifeline],
            start_new_session=True,  # Ctrl-C in the terminal is for the search to interpret
        )
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(lifeline)
    with process:
        try:
            text, errors = process.communicate(told, timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            os.close(held)
            held = -1
            try:
                text, errors = process.communicate(timeout=_REST_SECONDS)
            except subprocess.TimeoutExpired as still:
                # Something with a session of its own holds the pipes: they are closed on leaving `with`.
                text, errors = _text(still.stdout), _text(still.stderr)
            return Ended(text, errors, None)
        finally:
            if held != -1:
                os.close(held)
    return Ended(text, errors, process.returncode)


def _text(output: bytes | str | None) -> str:
    """What was read before the time was up: Python gives bytes, whatever the encoding."""
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""
