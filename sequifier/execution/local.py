"""Runs on this machine, one at a time, in one warm worker that is started again after it died."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sequifier.errors import RunError

_STDERR_TAIL = 4000


class LocalExecutor:
    """Gives run files to a worker and passes its events on.

    Args:
        log_path: file that takes what the worker prints to its standard error.
    """

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._process: subprocess.Popen[str] | None = None
        self._events: IO[str] | None = None
        self._log_start = 0
        self._is_ready = False

    def start(self) -> None:
        """Start the worker; it loads while the caller goes on. Does nothing when it is there already."""
        if self._process is not None and self._process.poll() is None:
            return
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        with self._log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sequifier.execution.worker", str(write_end)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[write_end],
                text=True,
            )
        os.close(write_end)
        self._events = os.fdopen(read_end, encoding="utf-8")
        self._is_ready = False

    def run(self, config_path: Path, *, resume: str) -> Iterator[dict[str, Any]]:
        """Train one run.

        Args:
            config_path: its run file.
            resume: "auto" to go on from its own checkpoint, "never" to begin at step 0.

        Yields:
            The worker's events. The last one is `finished`, `failed`, or `died` with the signal, whether the kernel's
            out-of-memory killer struck meanwhile, and the end of what the worker printed.

        Raises:
            RunError: the worker cannot even start.
        """
        self.start()
        assert self._events is not None
        kills = _kernel_oom_kills()
        self._send({"command": "run", "config": str(config_path), "resume": resume})
        for line in self._events:
            event = json.loads(line)
            self._is_ready = True  # its first event
            yield event
            if event["event"] in ("finished", "failed"):
                return
        yield self._death(kills)

    def stop(self) -> None:
        """Ask the worker to save and end its run after the current epoch."""
        self._send({"command": "stop"})

    def close(self) -> None:
        """End the worker at once and forget it; the next run starts a new one."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._events):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was still unsent has no reader any more
        self._process = self._events = None

    def _send(self, command: dict[str, str]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it died: the end of its events will say so

    def _death(self, kills_before: int | None) -> dict[str, Any]:
        assert self._process is not None
        code = self._process.wait()
        with self._log_path.open("rb") as log:
            log.seek(max(self._log_start, self._log_path.stat().st_size - _STDERR_TAIL))
            printed = log.read().decode(errors="replace")
        kills = _kernel_oom_kills()
        self.close()
        if not self._is_ready:
            last = printed.strip().splitlines()[-1] if printed.strip() else f"exit code {code}"
            raise RunError(f"the worker that trains cannot start: {last}", where=str(self._log_path))
        return {
            "event": "died",
            "signal": -code if code < 0 else None,
            "code": code,
            "kernel_oom": kills is not None and kills_before is not None and kills > kills_before,
            "stderr": printed,
        }


def _kernel_oom_kills() -> int | None:
    """Processes that the kernel killed for memory since it started, or None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
