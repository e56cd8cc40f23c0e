"""Child processes: a user's program, run so that it never outlives its caller, and how a process died, in words.

`run_program` starts this file as a script of its own, the guard, which starts the program and kills it:

    python -I processes.py LIFELINE COMMAND...

LIFELINE is a file descriptor, the reading end of a pipe. When the other end closes, because the caller closed it or
died, however it died, the guard kills the command with everything that the command started. The guard's exit code is
that of the command, 128 + the signal's number where a signal ended it, and 127 where it cannot be started.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_CANNOT_START = 127
_SHOWN_LINES = 5
_LOOK_SECONDS = 0.5
_REST_SECONDS = 5  # for the last output of a program that exceeded its time
_SAYS_WHY = re.compile(r"^\w*(Error|Exception)\b|memory allocation|Thread creation failed|terminate called|bad_alloc")


class Ended(NamedTuple):
    """The output and exit code of a program.

    Attributes:
        output: its standard output.
        errors: its standard error.
        code: its exit code, above 128 when a signal ended it; None when it exceeded its time.
    """

    output: str
    errors: str
    code: int | None

    @property
    def how(self) -> str:
        """How it ended, in words."""
        assert self.code is not None
        return f"it was ended by {_signal_name(self.code - 128)}" if self.code > 128 else f"exit code {self.code}"

    @property
    def last_words(self) -> str:
        """The last lines of its standard error, in one."""
        return " | ".join(line.strip() for line in self.errors.splitlines()[-_SHOWN_LINES:] if line.strip())


def run_program(
    command: str,
    stdin: str,
    *,
    cwd: str | Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run a user's program without a shell and wait for its end. One that cannot be started has exit code 127.

    It is killed with everything it started when it exceeds its time, when it is cancelled, when this call is left by an
    exception, and when this process dies.

    Args:
        command: the program and its arguments, quoted as for a shell.
        stdin: its standard input.
        cwd: its working folder.
        environment: all its variables.
        timeout_seconds: its time limit.
        is_cancelled: asked now and then; True ends it as if its time were up.
    """
    try:
        process, held = _start(command, cwd, environment)
    except OSError as error:  # no process, memory or file is left, or the environment is too large
        return Ended("", f"cannot run {command}: {error.strerror}", _CANNOT_START)
    with process:
        try:
            text, errors = _communicate(process, stdin, timeout_seconds, is_cancelled)
        except subprocess.TimeoutExpired:
            os.close(held)
            held = -1
            try:
                text, errors = process.communicate(timeout=_REST_SECONDS)
            except subprocess.TimeoutExpired as still:
                # A process in a session of its own holds the pipes open: leaving `with` closes them.
                text, errors = _text(still.stdout), _text(still.stderr)
            return Ended(text, errors, None)
        finally:
            if held != -1:
                os.close(held)
    return Ended(text, errors, process.returncode)


def _start(command: str, cwd: str | Path, environment: Mapping[str, str]) -> tuple["subprocess.Popen[str]", int]:
    """Start the guard of a program; returns it, and the descriptor by which it is ended."""
    from sequifier.streams import (
        open_standard_descriptors,  # not at the top: the guard imports the standard library alone
    )

    open_standard_descriptors()
    lifeline, held = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(lifeline), *shlex.split(command)],
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
    return process, held


def _communicate(
    process: "subprocess.Popen[str]", stdin: str, timeout_seconds: float, is_cancelled: Callable[[], bool]
) -> tuple[str, str]:
    """The output of a program that ended; raises TimeoutExpired when its time is up or it is cancelled."""
    given, end = stdin or None, time.monotonic() + timeout_seconds
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(given, timeout=min(max(left, 0.0), _LOOK_SECONDS))
        except subprocess.TimeoutExpired:
            given = None  # it has got all of it, or gets the rest by the next call
            if left <= _LOOK_SECONDS or is_cancelled():
                raise


def _text(output: bytes | str | None) -> str:
    """The output that was read before the timeout: Python gives bytes, whatever the encoding."""
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""


def guard(lifeline: int, command: list[str]) -> int:
    """Run the command with the standard input, output and error of this process; returns its exit code."""
    try:
        process = subprocess.Popen(command, process_group=0)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return _CANNOT_START

    def kill_group() -> None:
        with suppress(ProcessLookupError, PermissionError):  # all are gone; macOS raises the latter then
            os.killpg(process.pid, signal.SIGKILL)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        kill_group()

    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    kill_group()  # processes that it left running would keep the output open
    return 128 - code if code < 0 else code


def describe_death(event: Mapping[str, Any]) -> str:
    """How a worker died, in words; `event` is the `died` event of an executor."""
    if event.get("silent_seconds") is not None:
        return f"the worker gave no sign of life for {event['silent_seconds']:.0f} s, so it was ended"
    if event.get("stalled_seconds") is not None:
        return (
            f"the worker did nothing for {event['stalled_seconds']:.0f} s (no event, no processor time, nothing read), "
            f"so it was ended: {event['doing']} never ended; its stacks are in {event['log']}"
        )
    number, printed = event["signal"], last_words(event["stderr"])
    how = ending(event["code"] if number is None else -number)
    return f"the worker died ({how})" + (f": {printed}" if printed else "")


def ending(code: int) -> str:
    """A process's exit code in words; below 0 it is the signal that ended it."""
    return f"exit code {code}" if code >= 0 else _signal_name(-code)


def last_words(printed: str) -> str:
    """The line in which a dying process printed why: its last error, else its last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if _SAYS_WHY.search(line)), lines[-1] if lines else "")


def _signal_name(number: int) -> str:
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}")  # real-time signals have no names


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2:]))
