"""Runs a command that must not outlive whoever asked for it. A program of its own, standard library only.

    python -I guard.py LIFELINE COMMAND...

LIFELINE is a file descriptor, the reading end of a pipe. When its other end closes, because it was closed or because
its process died, however it died, the command is killed with everything it started. The command's exit code is passed
on, 128 + the signal's number where one ended it, and 127 where it cannot be started.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

CANNOT_START = 127


def main(lifeline: int, command: list[str]) -> int:
    """Run the command; standard input, output and error are its own."""
    try:
        process = subprocess.Popen(command, process_group=0)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return CANNOT_START

    def kill_group() -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter of dead ones
            os.killpg(process.pid, signal.SIGKILL)

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        kill_group()

    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    kill_group()  # what it left running would keep the output open
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
