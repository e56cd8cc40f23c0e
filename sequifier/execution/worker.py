"""The warm worker: a child process that trains one run after another.

`python -m sequifier.execution.worker EVENTS_FD` reads commands from standard input and writes events to EVENTS_FD, one
JSON object per line. Imports, data and the device's context are paid once. It ends when standard input closes, and on
Linux the kernel kills it with its parent, however that died.

Commands: {"command": "run", "config": FILE, "resume": HOW}, with HOW as in training/checkpoints.py, and
{"command": "stop"}: end the run after the current epoch; no other run is asked for then.
Events: ready, started, stage, log, step, epoch, and at the end of a run finished or failed.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sequifier.execution.threads import share_processors

MEMORY_ALLOWANCE = "SEQUIFIER_WORKER_MEMORY_MB"
"""Environment variable: how much a worker may grow beyond its size after start-up, in megabytes (Linux)."""


def main() -> None:
    """Serve commands until standard input closes."""
    _die_with_parent()
    # Ctrl-C reaches the whole process group; what it means is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    writing = threading.Lock()

    def emit(event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}) + "\n"
        with writing:
            channel.write(line)
            channel.flush()

    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(commands, stop), daemon=True).start()
    share_processors()
    _warm_up()
    from sequifier.run import Shared

    shared = Shared()
    if allowance := os.environ.get(MEMORY_ALLOWANCE):
        from sequifier.training.memory import limit_address_space

        limit_address_space(int(allowance) << 20)
    emit("ready")
    while True:
        command = commands.get()
        _serve(command, emit, stop, shared)


def _listen(commands: "queue.Queue[dict[str, Any]]", stop: threading.Event) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "stop":
            stop.set()
        else:
            commands.put(command)
    os._exit(0)  # the parent is gone, or has no more work: nothing is worth finishing


def _serve(command: dict[str, Any], emit: Any, stop: threading.Event, shared: Any) -> None:
    from sequifier.config.load import load
    from sequifier.config.train import TrainConfig
    from sequifier.errors import SequifierError
    from sequifier.run import run
    from sequifier.training.memory import is_out_of_memory

    stage = "load"

    def staged(event: str, **fields: Any) -> None:
        nonlocal stage
        if event == "stage":
            stage = fields["stage"]
        emit(event, **fields)

    try:
        config = load(TrainConfig, Path(command["config"])).config
        result = run(config, emit=staged, shared=shared, should_stop=stop.is_set, resume=command["resume"])
    except Exception as error:
        message = error.in_one_line() if isinstance(error, SequifierError) else f"{type(error).__name__}: {error}"
        kind = "oom" if is_out_of_memory(error) else "error"
        traceback.print_exc()  # goes to the search's worker.log
        emit("failed", kind=kind, stage=stage, error=message)
    else:
        emit("finished", result=asdict(result))


def _warm_up() -> None:
    """Load what a run would import, and start the threads of every library, before the first run is timed."""
    import io

    import onnxruntime  # noqa: F401
    import polars
    import torch

    from sequifier.run import set_threads

    set_threads(None)
    torch.ones(64, 64, requires_grad=True).matmul(torch.ones(64, 64)).sum().backward()  # type: ignore[no-untyped-call]
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    file = io.BytesIO()
    polars.DataFrame({"column": [1]}).write_parquet(file)
    file.seek(0)
    polars.read_parquet(file)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None, use_errno=True).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() == 1:  # it died before the line above
        os._exit(0)


if __name__ == "__main__":
    main()
