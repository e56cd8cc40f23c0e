"""Makes runs of a search fail on purpose, from outside the product.

Python imports this module at its start when the folder is on PYTHONPATH. FAULTS holds a JSON object: name of a run ->
kind of failure. A failure that a second attempt survives leaves a file in the folder FAULTS_DONE, so that it happens
once. Everything that fails here fails for real: memory is asked for that no machine has, signals are sent, files are
written to a device without room.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FAULTS: dict[str, str] = json.loads(os.environ.get("FAULTS", "{}"))
SILENCE_SECONDS = 4.0
WAIT = 3600
TOO_MUCH = 1 << 60


def torch_runs_out_of_memory() -> None:
    import torch

    torch.empty(TOO_MUCH // 16)


def numpy_runs_out_of_memory() -> None:
    import numpy

    numpy.empty(TOO_MUCH // 16)


def python_runs_out_of_memory() -> None:
    bytearray(TOO_MUCH)


def wait_for_ever() -> None:
    """Wait in native code for what nobody gives, without the interpreter's lock, as a parked thread pool does."""
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def once(name: str) -> bool:
    """True the first time, in whatever process."""
    try:
        (Path(os.environ["FAULTS_DONE"]) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def in_worker() -> None:
    """Put failures into the functions that a run is made of."""
    from sequifier.execution.threads import share_processors

    share_processors()
    from sequifier import run
    from sequifier.artifacts import atomic
    from sequifier.stall import working_on
    from sequifier.training import evaluation_batch, loop

    current: dict[str, Any] = {}
    prepare, train_step, export_models = run.prepare, loop.train_step, run.export_models
    evaluate = evaluation_batch.evaluate

    def is_(kind: str) -> bool:
        return FAULTS.get(current["name"]) == kind

    def failing_prepare(config: Any, *rest: Any, **options: Any) -> Any:
        current.update(name=config.model_name, batch_size=config.training_spec.batch_size, step=0)
        if is_("out of memory at load"):
            torch_runs_out_of_memory()
        if is_("reads for ever") and once("reads for ever"):
            with working_on("reading a split"):
                wait_for_ever()
        return prepare(config, *rest, **options)

    def failing_step(state: Any, *rest: Any) -> Any:
        current["step"] += 1
        second_epoch = state.progress.epoch == 1
        if is_("out of memory at a step") and current["step"] == 3 and current["batch_size"] > 8:
            torch_runs_out_of_memory()
        if is_("out of memory always") and current["step"] == 1:
            torch_runs_out_of_memory()
        if second_epoch and is_("lost GPU") and once("lost GPU"):
            raise RuntimeError(
                "CUDA error: no CUDA-capable device is detected\nCUDA kernel errors might be reported later"
            )
        if is_("exception") and second_epoch:
            raise ValueError("the flux is out of bounds")
        if is_("NaN loss") and second_epoch:
            for parameter in state.model.parameters():
                parameter.data.fill_(float("nan"))
        if second_epoch and is_("SIGKILL") and once("SIGKILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        if second_epoch and is_("SIGSEGV") and once("SIGSEGV"):
            ctypes.string_at(0)
        if second_epoch and is_("SIGSEGV always"):
            ctypes.string_at(0)
        if second_epoch and is_("stopped") and once("stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
        if second_epoch and is_("hangs in a step"):
            time.sleep(WAIT)
        return train_step(state, *rest)

    def failing_evaluate(*arguments: Any, **options: Any) -> Any:
        if is_("out of memory at validation") and current["batch_size"] > 8:
            numpy_runs_out_of_memory()
        return evaluate(*arguments, **options)

    def failing_export(*arguments: Any, **options: Any) -> Any:
        if is_("out of memory at export"):
            python_runs_out_of_memory()
        if is_("full disk") and once("full disk"):
            # What is written to the model's file goes to the device that is always full.
            name = f"sequifier-{current['name']}-best-{options['last_epoch']}"
            atomic._token = lambda: "0"
            (options["root"] / "models" / f".{name}.{os.getpid()}.0.tmp.onnx").symlink_to("/dev/full")
        return export_models(*arguments, **options)

    run.prepare, loop.train_step, evaluation_batch.evaluate, run.export_models = (
        failing_prepare,
        failing_step,
        failing_evaluate,
        failing_export,
    )


def in_search() -> None:
    """Find out sooner that a worker is silent."""
    from sequifier.execution.local import LocalExecutor

    LocalExecutor.__init__.__kwdefaults__["silence_seconds"] = SILENCE_SECONDS


if FAULTS:
    if any("sequifier.execution.worker" in word for word in sys.orig_argv):
        in_worker()
    else:
        in_search()
