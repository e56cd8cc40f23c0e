"""Runs on this machine, one at a time, in one warm worker that is started again after it died.

A worker can end in five ways that are no result: it says that the run failed; it dies; it stops answering, it does
nothing for minutes, or the run takes longer than it may, so it is killed. A heartbeat proves the process alive; its
figures show whether it does anything (sequifier/stall.py). A loop that never ends is found by the time limit alone.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sequifier.errors import RunError
from sequifier.processes import describe_death, ending, last_words
from sequifier.stall import STALL_SECONDS, Activity, Idle
from sequifier.streams import hold_descriptors

SILENCE_SECONDS = 60.0
"""Without a heartbeat for so long, a worker counts as dead. A call into a library that keeps Python's lock is silent
too; none that a run makes is known to last for more than a second."""

START_SECONDS = 900.0
"""The same until the worker is ready: libraries from a cold network disk take minutes, and keep the lock meanwhile."""

_BEATS_IN_SILENCE = 12
_LOOK_SECONDS = 1.0
_END_SECONDS = 30.0
_STACKS_SECONDS = 0.5
_STDERR_TAIL = 4000
_LAST = ("finished", "scored", "checked", "failed")


class LocalExecutor:
    """Gives run files to a worker and passes its events on.

    Args:
        log_path: file that takes what the worker prints to its standard error.
        silence_seconds: after which a worker that sends nothing is killed; it sends a heartbeat twelve times as often.
        stall_seconds: after which a worker is killed that sends no event, hardly computes and reads nothing.
    """

    def __init__(
        self, log_path: Path, *, silence_seconds: float = SILENCE_SECONDS, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._log_path = log_path
        self._silence_seconds = silence_seconds
        self._stall_seconds = stall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._events: _EventPipe | None = None
        self._log_start = 0
        self._is_ready = False
        self._failed_starts = 0  # in a row
        self._is_stopping = False

    def start(self) -> None:
        """Start the worker; it loads while the caller goes on. Does nothing when it is there already."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hold_descriptors()  # else the pipe could get the number of the worker's standard output
            self._start()
        except OSError as error:  # too many open files or processes
            raise RunError(
                f"the worker that trains cannot be started: {error.strerror or error}",
                fix="raise the limits of this process (ulimit -n, ulimit -u), or close what uses them up",
            ) from error
        if self._is_stopping:
            self.stop()

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        beat = self._silence_seconds / _BEATS_IN_SILENCE
        # The worker must know whom it serves, to see that it was orphaned before it could ask to be told.
        arguments = [str(write_end), str(os.getpid()), str(beat)]
        try:
            with self._log_path.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "sequifier.execution.worker", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write_end],
                    bufsize=0,
                )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._events = _EventPipe(read_end)
        self._is_ready = False

    def run(
        self,
        config_path: Path,
        *,
        data: str,
        resume: str,
        until_epoch: int | None = None,
        thresholds: Mapping[int, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Train one run.

        Args:
            config_path: its run file.
            data: fingerprint of the data it was planned on; the worker refuses other data.
            resume: "auto" to go on from its own checkpoint, "never" to begin at step 0; see training/checkpoints.py.
            until_epoch: pause after this epoch.
            thresholds: epoch -> the metric's worst value with which the run may go on after it.
            timeout_seconds: how long this attempt may take once the worker is ready. Time in which this process was
                itself stopped does not count.

        Yields:
            The worker's events. The last one is `finished`, `failed`, `timeout` with the seconds, or `died` with the
            signal, whether the kernel's out-of-memory killer struck meanwhile, the end of what the worker printed and,
            if it was killed for its silence or for doing nothing, how long that was.

        Raises:
            RunError: two workers in a row could not even start.
        """
        command = {
            "command": "run",
            "config": str(config_path),
            "data": data,
            "resume": resume,
            "until_epoch": until_epoch,
            "thresholds": {str(epoch): value for epoch, value in (thresholds or {}).items()},
        }
        yield from self._do(command, timeout_seconds)

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Evaluate an exported model on another split.

        Args:
            config_path: run file of the model.
            model_path: the ONNX file.
            split_path: the encoded events, as the metadata names them.
            data: as `run`.
            sums: file to write: see `run.score`.

        Returns:
            The metrics of `run.score`.

        Raises:
            RunError: it could not be done.
        """
        event: dict[str, Any] = {}
        command: dict[str, Any] = {"command": "score", "config": str(config_path), "data": data}
        command |= {"model": str(model_path), "split": split_path, "sums": None if sums is None else str(sums)}
        for _ in range(2):  # once more after a crash, as a run
            for event in self._do(command, None):
                if event["event"] == "scored":
                    return dict(event["metrics"])
            if event["event"] != "died":
                break
        reason = event["error"] if event["event"] == "failed" else describe_death(event)
        raise RunError(f"{model_path.name} could not be scored on {split_path}: {reason}", where=str(self._log_path))

    def check(self, device: str) -> None:
        """Make sure that the worker can train on a device: once, instead of in every run.

        Raises:
            RunError: it cannot.
        """
        event: dict[str, Any] = {}
        for event in self._do({"command": "check", "device": device}, None):
            if event["event"] == "checked":
                return
        raise RunError(event["error"] if event["event"] == "failed" else describe_death(event))

    def stop(self) -> None:
        """Ask the worker, and any that replaces it, to save and end its run after the current epoch."""
        self._is_stopping = True
        self._send({"command": "stop"})

    def close(self) -> None:
        """End the worker at once and forget it; the next run starts a new one."""
        process, events = self._process, self._events
        if process is None:
            return
        self._process = self._events = None  # first, because a signal handler may send `stop` meanwhile
        process.kill()
        # One that hangs in the kernel (a driver, a network disk) dies when it comes back; nobody need wait for that.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        assert process.stdin is not None and events is not None
        process.stdin.close()
        events.close()

    def _do(self, command: dict[str, Any], timeout_seconds: float | None) -> Iterator[dict[str, Any]]:
        """Send a command and yield what comes of it, up to its last event."""
        self.start()
        process, events = self._process, self._events
        assert process is not None and events is not None
        if self._is_ready:
            self._log_start = self._log_path.stat().st_size
        kills = _kernel_oom_kills()
        self._send(command)
        silence, ran = _Waited(), _Waited()
        idle = Idle(self._silence_seconds / _BEATS_IN_SILENCE)
        while True:
            for event in events.read(_LOOK_SECONDS):
                silence = _Waited()
                if event["event"] == "heartbeat":
                    if "moved" in event and idle.add(_activity(event), counts=event["counts"]) >= self._stall_seconds:
                        self._show_stacks()
                        yield self._death(None, stalled_seconds=idle.seconds, doing=event["doing"])
                        return
                    continue
                idle.reset()
                if event["event"] == "ready":
                    self._is_ready, self._failed_starts = True, 0
                    ran = _Waited()
                yield event
                if event["event"] in _LAST:
                    return
            # A process that a worker left behind may still hold its end of the pipe.
            if events.has_ended or (process.poll() is not None and not events.has_more()):
                yield self._death(kills)
                return
            if silence.seconds() > (self._silence_seconds if self._is_ready else START_SECONDS):
                yield self._death(None, silent_seconds=silence.seconds())
                return
            if timeout_seconds is not None and ran.seconds() > timeout_seconds and self._is_ready:
                self.close()
                yield {"event": "timeout", "seconds": timeout_seconds}
                return

    def _send(self, command: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # One unbuffered write: a signal handler may send `stop` while `run` is being sent. Shorter than what a pipe
        # takes whole. If the worker died, the end of its events will say so.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def _show_stacks(self) -> None:
        """Let a stalled worker print the stacks of its threads to its log."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(_STACKS_SECONDS)

    def _death(self, kills_before: int | None, **why: Any) -> dict[str, Any]:
        """The event of a worker that is dead, or that is killed here for a reason."""
        process = self._process
        assert process is not None
        if not why:  # its events ended, so it is about to be gone: with which code?
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        self.close()
        code = -signal.SIGKILL if process.returncode is None else process.returncode
        kills = _kernel_oom_kills()
        with self._log_path.open("rb") as log:
            log.seek(max(self._log_start, self._log_path.stat().st_size - _STDERR_TAIL))
            printed = log.read().decode(errors="replace")
        if not self._is_ready:
            self._failed_starts += 1
            if self._failed_starts > 1:
                raise RunError(
                    f"the worker that trains cannot start: {last_words(printed) or ending(code)}",
                    where=str(self._log_path),
                    fix="if memory, threads or files are short, raise the limits (ulimit -a shows them)",
                )
        return {
            "event": "died",
            "signal": -code if code < 0 else None,
            "code": code,
            "kernel_oom": kills is not None and kills_before is not None and kills > kills_before,
            "stderr": printed,
            **why,
        }


class _EventPipe:
    """The reading end of the pipe that brings events, one JSON object per line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._unfinished = b""
        self.has_ended = False

    def read(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The events that are there, or that come within so many seconds; none when nothing comes."""
        if self.has_ended or not self._selector.select(seconds):
            return
        content = os.read(self._descriptor, 1 << 16)
        self.has_ended = not content
        # What a dying process did not finish writing is no event.
        *lines, self._unfinished = (self._unfinished + content).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def has_more(self) -> bool:
        """Whether something waits to be read."""
        return not self.has_ended and bool(self._selector.select(0))

    def close(self) -> None:
        """Close the pipe."""
        self._selector.close()
        os.close(self._descriptor)


class _Waited:
    """Seconds since it was made, in which this process was awake.

    After Ctrl-Z and `fg`, or when the machine slept, nobody waited: from one look at it to the next, which are about a
    second apart, no more than two looks count.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """How many they are by now."""
        now = time.monotonic()
        self._seconds += min(now - self._last, 2 * _LOOK_SECONDS)
        self._last = now
        return self._seconds


def _activity(heartbeat: dict[str, Any]) -> Activity:
    return Activity(heartbeat["cpu_seconds"], heartbeat["moved"])


def _kernel_oom_kills() -> int | None:
    """Processes that the kernel killed for memory since it started, or None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
