"""Where an ONNX model computes: the GPU if onnxruntime can use it, else the CPU, and never there without a word."""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sequifier.artifacts.read_file import reason_of
from sequifier.callbacks import Log
from sequifier.errors import ModelError

CUDA = "CUDAExecutionProvider"

_LARGE = 16 << 20
"""Bytes of a model whose products keep several processors busy. With a smaller model each processor computes its own
rows: 2,570 instead of 2,080 windows/s at width 128 and 4 layers on two processors, twice as many on shared ones."""


def open_session(path: Path, *, device: str, deterministic: bool, log: Log) -> tuple[Any, int]:
    """Load a model into onnxruntime.

    Args:
        path: the ONNX file.
        device: cpu, cuda, cuda:N or mps, which onnxruntime does not have; auto is cuda where it can be used.
        deterministic: use deterministic kernels only.
        log: receives a line if the choice of the device may be unexpected.

    Returns:
        The session, and the number of threads that may call it at the same time.

    Raises:
        ModelError: the file is damaged, or the device cannot be used.
    """
    import onnxruntime

    kind, _, number = device.partition(":")
    if kind == "mps":
        log(f"note: {path.name} runs on the CPU: onnxruntime does not have the device mps")
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if kind == "cuda" or (kind == "auto" and has_cuda):
        session, reason = None, "this onnxruntime was built without CUDA"
        if has_cuda:
            session, reason = _on_cuda(path, int(number or 0), deterministic)
        if session is not None:
            if kind == "auto":
                log("note: device auto chose cuda, which has not been tested with this version yet")
            return session, 1
        if kind == "cuda":
            raise ModelError(
                f"device {device} cannot be used: {reason}",
                where=str(path),
                fix="install onnxruntime-gpu with the CUDA and cuDNN that it needs, or use device: cpu",
            )
        log(f"note: {path.name} runs on the CPU, because onnxruntime cannot use cuda: {reason}")
    n_threads = _processors() if path.stat().st_size < _LARGE else 1
    options = _options(deterministic)
    if n_threads > 1:
        options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), n_threads
    except Exception as error:  # onnxruntime's exceptions have no other common base class
        raise ModelError(
            f"onnxruntime cannot load the model: {reason_of(error)}",
            where=str(path),
            fix="export or copy the model again",
        ) from error


def _on_cuda(path: Path, number: int, deterministic: bool) -> tuple[Any | None, str]:
    """Return a session on a GPU, or None and the reason why there is none."""
    import onnxruntime

    # onnxruntime finds the CUDA libraries that pip has installed only after this call, which prints what is missing.
    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(printed):
            onnxruntime.preload_dlls()
    # TF32 is on by default there: a file would predict something else than it does on a CPU.
    on_cuda = (CUDA, {"device_id": number, "use_tf32": 0})
    try:
        session = onnxruntime.InferenceSession(
            str(path), _options(deterministic), providers=[on_cuda, "CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        return None, reason_of(error)
    if CUDA in session.get_providers():
        return session, ""
    # Without its libraries onnxruntime leaves CUDA out and goes on.
    failed = [line for line in printed.getvalue().splitlines() if line.startswith("Failed")]
    return None, failed[0] if failed else "onnxruntime cannot load its libraries"


def _options(deterministic: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about skipped optimisations
    options.use_deterministic_compute = deterministic
    return options


def _processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
