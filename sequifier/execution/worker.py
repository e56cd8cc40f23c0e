"""The warm worker: a child process that trains one run after another.

`main`, with the arguments EVENTS_FD PARENT_PID BEAT_SECONDS THREADS AUTO, reads commands from standard input and writes
events to EVENTS_FD, one JSON object per line. Imports, data and the context of a GPU are loaded once, and THREADS
threads are started (0: one for each processor). AUTO replaces the device of a run file that says `auto`. The worker
ends when standard input closes, and on Linux the kernel kills it when its parent dies, however that died.

Commands; data with another fingerprint are refused:

- {"command": "run", "config": FILE, "data": FINGERPRINT, "resume": HOW, "until_epoch": N or null,
  "thresholds": {EPOCH: VALUE}, "fence": [FILE, TOKEN] or null}: HOW as in training/checkpoints.py, the limits as in
  training/limits.py, the fence as in artifacts/fence.py;
- {"command": "score", "config": FILE, "data": FINGERPRINT, "model": FILE, "split": FILE, "sums": FILE or null};
- {"command": "check", "device": NAME}: whether runs can train on it;
- {"command": "stop"}: end the run after the current epoch; no other run follows.

Events are those of search/executor.py; the last one of a command is finished, scored, checked or failed. A thread of
its own sends a heartbeat every BEAT_SECONDS, whatever the others do: with the processor time and the bytes read and
written by this process so far, whether idle time counts, and what the main thread is doing.
"""

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sequifier.activity import ActivityMeter
from sequifier.artifacts.fence import entered, is_void
from sequifier.execution.threads import share_processors
from sequifier.model.deterministic import fix_workspaces
from sequifier.stall import are_stalls_checked, current_call
from sequifier.streams import robust_streams

MEMORY_ALLOWANCE = "SEQUIFIER_WORKER_MEMORY_MB"
"""Environment variable: how much a worker may grow beyond its size after start-up, in megabytes (Linux)."""


def main() -> None:
    """Serve commands until standard input closes."""
    with robust_streams(is_log=True):  # what a hook prints is read in a terminal, from worker.log
        _serve_all(_taken_input())


def _taken_input() -> int:
    """Standard input as another file descriptor; hooks, and what they start, find standard input empty."""
    given, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return given


def _serve_all(descriptor: int) -> None:
    """Serve the commands that a file descriptor brings."""
    _die_with_parent()
    # Ctrl-C reaches the whole process group; the parent decides what follows, and blocked it until here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    channel = _Channel(int(sys.argv[1]))
    emit = channel.emit
    faulthandler.register(signal.SIGUSR1)  # by which the parent asks a stalled worker for its stacks
    threading.Thread(target=channel.beat, args=(float(sys.argv[3]),), daemon=True).start()
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(descriptor, commands, stop), daemon=True).start()
    share_processors()
    fix_workspaces()
    try:
        _warm_up(int(sys.argv[4]) or None)
        import sequifier.score  # noqa: F401 - and prepare: before the memory is limited
        from sequifier.training.shared import Shared

        shared = Shared()
    except BaseException as error:
        traceback.print_exc()
        # The parent quotes the last line.
        print(f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}", file=sys.stderr)
        os._exit(1)
    from sequifier.training.memory import limit_address_space, release_device_memory

    if allowance := os.environ.get(MEMORY_ALLOWANCE):
        limit_address_space(int(allowance) << 20)
    emit("ready")
    while True:
        command = commands.get()
        _serve(command, emit, stop, shared)
        _reset_torch()
        release_device_memory()  # here, where no frame holds tensors of the run any more


class _Channel:
    """Writes events, from any thread."""

    _HEARTBEAT = b'{"event": "heartbeat"}\n'  # made beforehand, for when memory runs out

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writing = threading.Lock()

    def emit(self, event: str, **fields: Any) -> None:
        """Send an event."""
        self._write(json.dumps({"event": event, **fields}).encode() + b"\n")

    def beat(self, seconds: float) -> None:
        """Send heartbeats for ever, with the activity of this process so far; see sequifier/stall.py.

        They end, and this process with them, when its attempt was given up.
        """
        meter = ActivityMeter()
        while True:
            time.sleep(seconds)
            if is_void():
                os._exit(1)
            try:
                activity = meter.now()
                figures = {"cpu_seconds": activity.cpu_seconds, "moved": activity.moved, "counts": are_stalls_checked()}
                line = json.dumps({"event": "heartbeat", **figures, "doing": current_call()}).encode() + b"\n"
            except MemoryError:
                line = self._HEARTBEAT
            self._write(line)

    def _write(self, line: bytes) -> None:
        with self._writing:
            while line:
                line = line[os.write(self._descriptor, line) :]


def _listen(descriptor: int, commands: "queue.Queue[dict[str, Any]]", stop: threading.Event) -> None:
    for line in os.fdopen(descriptor, encoding="utf-8"):
        command = json.loads(line)
        if command["command"] == "stop":
            stop.set()
        else:
            commands.put(command)
    os._exit(0)  # the parent died or has no more work: there is nothing to finish


def _serve(command: dict[str, Any], emit: Any, stop: threading.Event, shared: Any) -> None:
    from sequifier.artifacts.disk import is_disk_full, place_of
    from sequifier.config.loading.load import load
    from sequifier.config.train import TrainConfig
    from sequifier.errors import SequifierError
    from sequifier.model.device import FullDeviceError
    from sequifier.prepare import find_device
    from sequifier.run import run
    from sequifier.score import score
    from sequifier.training.limits import Limits
    from sequifier.training.memory import is_out_of_memory

    stage = "load"

    def staged(event: str, **fields: Any) -> None:
        nonlocal stage
        if event == "stage":
            stage = fields["stage"]
        emit(event, **fields)

    try:
        if command["command"] == "check":
            find_device(command["device"])
            emit("checked")
            return
        config = load(TrainConfig, Path(command["config"])).config
        if config.training_spec.device == "auto":
            spec = config.training_spec.model_copy(update={"device": sys.argv[5]})
            config = config.model_copy(update={"training_spec": spec})
        if command["command"] == "score":
            metrics = score(
                config,
                Path(command["model"]),
                command["split"],
                data=command["data"],
                sums=None if command["sums"] is None else Path(command["sums"]),
                shared=shared,
            )
            emit("scored", metrics=metrics)
            return
        thresholds = {int(epoch): value for epoch, value in command["thresholds"].items()}
        with nullcontext() if command["fence"] is None else entered(Path(command["fence"][0]), command["fence"][1]):
            result = run(
                config,
                emit=staged,
                shared=shared,
                should_stop=stop.is_set,
                resume=command["resume"],
                limits=Limits(command["until_epoch"], thresholds),
                data=command["data"],
            )
        emit("finished", result=asdict(result))
    except BaseException as error:  # sys.exit in a user's hook and a panic in polars are not an Exception
        message = error.in_one_line() if isinstance(error, SequifierError) else f"{type(error).__name__}: {error}"
        kind = "oom" if is_out_of_memory(error) else "disk" if is_disk_full(error) else "error"
        if kind == "error" and isinstance(error, SequifierError) and error.is_shared:
            kind = "shared"
        elif isinstance(error, FullDeviceError):
            kind = "full"
        with suppress(OSError):  # the disk may be full
            traceback.print_exc()  # goes to the search's worker.log
        emit("failed", kind=kind, stage=stage, error=message, where=place_of(error) if kind == "disk" else "")


def _warm_up(cpu_threads: int | None) -> None:
    """Load what a run would import, and start the threads of every library, before the first run is timed.

    No GPU is touched: runs may be for the CPU, and a context takes half a gigabyte of the GPU of others.
    """
    import io

    import onnxruntime  # noqa: F401
    import polars
    import torch

    from sequifier.errors import ConfigError
    from sequifier.training.threads import set_threads

    try:
        set_threads(cpu_threads)
    except ConfigError:
        torch.set_num_threads(1)  # a run that needs more raises the same error
    torch.ones(64, 64, requires_grad=True).matmul(torch.ones(64, 64)).sum().backward()  # type: ignore[no-untyped-call]
    file = io.BytesIO()
    polars.DataFrame({"column": [1]}).write_parquet(file)
    file.seek(0)
    polars.read_parquet(file)


def _reset_torch() -> None:
    """Undo what a hook set for all of torch, for example to evaluate the model: the next run trains as if alone."""
    import torch

    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None, use_errno=True).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):  # it died before the line above
        os._exit(0)


if __name__ == "__main__":
    main()
