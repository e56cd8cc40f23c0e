"""Runs on this machine, one at a time, in one warm worker that is started again after it died.

A run without a result ends in one of five ways: the worker reports that it failed; the worker dies; or it is killed
because it stops answering, does nothing for minutes, or takes longer than the run may. A heartbeat proves the process
alive; its figures show whether it does anything (sequifier/stall.py). An endless loop is found by the time limit alone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sequifier.activity import Activity, IdleTime
from sequifier.errors import RunError
from sequifier.execution.worker_events import LOOK_SECONDS, AwakeTime, EventPipe
from sequifier.processes import describe_death, ending, last_words
from sequifier.stall import STALL_SECONDS
from sequifier.streams import open_standard_descriptors

SILENCE_SECONDS = 60.0
"""A worker without a heartbeat for this long counts as dead. A call into a library that keeps Python's lock is silent
too; none that a run makes is known to last for more than a second."""

START_SECONDS = 900.0
"""The same until the worker is ready: loading libraries from a cold network disk takes minutes and keeps the lock."""

_WORKER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from sequifier.execution.worker import main; main()"
)
"""The program of a worker. It imports what this process imports: `python -m` would prefer files of the working folder,
such as a project's own queue.py, to those of Python."""

_BEATS_IN_SILENCE = 12
_END_SECONDS = 30.0
_STACKS_SECONDS = 0.5
_STDERR_TAIL = 4000
_LAST = ("finished", "scored", "checked", "failed")


class LocalExecutor:
    """Passes run files to a worker and its events back; see search/executor.py for the commands and events.

    Args:
        log_path: file for the standard output and error of the worker.
        silence_seconds: a worker that sends nothing for this long is killed; heartbeats come twelve times as often.
        stall_seconds: a worker that sends no event, hardly computes and reads nothing for this long is killed.
        cpu_threads: threads that the worker starts beforehand; None is one for each processor.
        auto_device: what `device: auto` of a run file means for the worker: `cpu`, or `auto` as for `train`.
        environment: variables of the worker, beside those of this process.
    """

    def __init__(
        self,
        log_path: Path,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        cpu_threads: int | None = None,
        auto_device: str = "auto",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log_path = log_path
        self._silence_seconds = silence_seconds
        self._stall_seconds = stall_seconds
        self._cpu_threads, self._auto_device = cpu_threads, auto_device
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._events: EventPipe | None = None
        self._log_start = 0
        self._is_ready = False
        self._failed_starts = 0  # in a row
        self._is_stopping = False
        self._reader: int | None = None  # the thread that reads the worker's events
        self._is_closed = False  # by another thread than that
        self._closing = threading.Lock()

    def start(self) -> None:
        """Start the worker, which loads in the background; do nothing when it is there already."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            open_standard_descriptors()  # else the pipe could get the number of the worker's standard output
            self._start()
        except OSError as error:  # too many open files or processes
            raise RunError(
                f"the worker that trains cannot be started: {error.strerror or error}",
                fix="raise the limits of this process (ulimit -n, ulimit -u), or end programs that use them up",
            ) from error
        if self._is_stopping:
            self.stop()

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        beat = self._silence_seconds / _BEATS_IN_SILENCE
        # With the process id of its parent a worker notices that the parent died before it could ask to be signalled.
        arguments = [str(write_end), str(os.getpid()), str(beat), str(self._cpu_threads or 0), self._auto_device]
        try:
            with self._log_path.open("ab") as log, _blocked(signal.SIGINT):
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _WORKER, json.dumps([*map(str, sys.path)]), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write_end],
                    env={**os.environ, **self._environment},
                    bufsize=0,
                )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._events = EventPipe(read_end)
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
        fence: tuple[Path, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Train one run and yield the worker's events, with `died` as the last one where it had to be killed.

        Time in which this process was itself stopped does not count in `timeout_seconds`, and loading the worker does
        not either. `fence` is the file of artifacts/fence.py and the token that it must have.

        Raises:
            RunError: two workers in a row died while they started.
        """
        command = {
            "command": "run",
            "config": str(config_path),
            "data": data,
            "resume": resume,
            "until_epoch": until_epoch,
            "thresholds": {str(epoch): value for epoch, value in (thresholds or {}).items()},
            "fence": None if fence is None else [str(fence[0]), fence[1]],
        }
        yield from self._do(command, timeout_seconds)

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Evaluate an exported model on another split; returns the metrics of `prepare.score`."""
        event: dict[str, Any] = {}
        command: dict[str, Any] = {"command": "score", "config": str(config_path), "data": data}
        command |= {"model": str(model_path), "split": split_path, "sums": None if sums is None else str(sums)}
        for _ in range(2):  # once more after a crash, like a run
            for event in self._do(command, None):
                if event["event"] == "scored":
                    return dict(event["metrics"])
            if event["event"] != "died":
                break
        reason = event["error"] if event["event"] == "failed" else describe_death(event)
        raise RunError(f"{model_path.name} could not be scored on {split_path}: {reason}", where=str(self._log_path))

    def check(self, device: str) -> None:
        """Make sure that the worker can train on a device: once, instead of in every run."""
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
        """End the worker at once; the next run starts a new one. In another thread, `run` then ends with `died`."""
        with self._closing:
            process, events = self._process, self._events
            if process is None:
                return
            process.kill()
            if self._reader not in (None, threading.get_ident()):
                self._is_closed = True
                return  # the thread that reads the events sees their end, and closes the rest
            self._process = self._events = None  # first, because a signal handler may send `stop` meanwhile
        # One that hangs in the kernel (a driver, a network disk) dies when it comes back; nothing waits for that.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        assert process.stdin is not None and events is not None
        process.stdin.close()
        events.close()

    def _do(self, command: dict[str, Any], timeout_seconds: float | None) -> Iterator[dict[str, Any]]:
        """Send a command and yield its events, up to the last one."""
        self._reader, self._is_closed = threading.get_ident(), False
        try:
            for event in self._events_of(command, timeout_seconds):
                is_start = event["event"] == "died" and not self._is_ready
                if is_start and self._failed_starts == 1 and not self._is_closed:
                    yield from self._events_of(command, timeout_seconds)  # no run is to blame for it
                else:
                    yield event
        finally:
            self._reader = None

    def _events_of(self, command: dict[str, Any], timeout_seconds: float | None) -> Iterator[dict[str, Any]]:
        self.start()
        process, events = self._process, self._events
        assert process is not None and events is not None
        if self._is_ready:
            self._log_start = self._log_size()
        kills = _kernel_oom_kills()
        self._send(command)
        silence, ran = AwakeTime(), AwakeTime()
        idle = IdleTime(self._silence_seconds / _BEATS_IN_SILENCE)
        while True:
            for event in events.read(LOOK_SECONDS):
                silence = AwakeTime()
                if event["event"] == "heartbeat":
                    if "moved" in event and idle.add(_activity(event), counts=event["counts"]) >= self._stall_seconds:
                        self._show_stacks()
                        yield self._death(
                            None, stalled_seconds=idle.seconds, doing=event["doing"], log=self._log_path.name
                        )
                        return
                    continue
                idle.reset()
                if event["event"] == "ready":
                    self._is_ready, self._failed_starts = True, 0
                    ran = AwakeTime()
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
        process = self._process  # another thread may end it meanwhile
        if process is None or process.stdin is None:
            return
        # One unbuffered write, shorter than what a pipe takes whole: a signal handler may send `stop` while `run` is
        # being sent. If the worker died, its events end.
        with suppress(OSError, ValueError):  # ValueError: it was closed here
            process.stdin.write(json.dumps(command).encode() + b"\n")

    def _log_size(self) -> int:
        try:
            return self._log_path.stat().st_size
        except OSError:
            return 0  # somebody removed it

    def _show_stacks(self) -> None:
        """Let a stalled worker print the stacks of its threads to its log."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(_STACKS_SECONDS)

    def _death(self, kills_before: int | None, **why: Any) -> dict[str, Any]:
        """The event of a worker that died, or that is killed here for the reason in `why`."""
        process = self._process
        assert process is not None
        if not why:  # its events ended: its exit code comes in a moment
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        self.close()
        code = -signal.SIGKILL if process.returncode is None else process.returncode
        kills = _kernel_oom_kills()
        printed = ""
        with suppress(OSError), self._log_path.open("rb") as log:
            log.seek(max(self._log_start, self._log_size() - _STDERR_TAIL))
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


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Keep a signal from this thread, and from processes that it starts until they allow it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _activity(heartbeat: dict[str, Any]) -> Activity:
    return Activity(heartbeat["cpu_seconds"], heartbeat["moved"])


def _kernel_oom_kills() -> int | None:
    """Processes that the kernel killed for memory since it started; None where it does not count them."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
