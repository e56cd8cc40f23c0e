"""An exported model, ready to predict. An ONNX file loads onnxruntime and no torch."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile, read_model_file
from sequifier.config.architecture import DROPOUT_RATIO, EVENT_COUNT
from sequifier.config.inference import InferConfig
from sequifier.errors import ModelError

Array = NDArray[Any]

_LARGE = 16 << 20
"""Bytes of a model whose products keep several processors busy by themselves. Of a smaller one each processor takes
rows of its own: 2,570 instead of 2,080 windows/s at width 128 x 4 on two, twice as many when others use them too."""
_LEAST_ROWS = 8
"""Rows of a batch below which a processor of its own is not worth it."""


class Model(Protocol):
    """What predicts."""

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Predict one batch of windows.

        Args:
            columns: input column -> (B, seq_length) ids or standardised values, aligned on the last event.
            n_events: (B,) how many of the last steps are events.
            outputs: names of the outputs wanted.

        Returns:
            Output name -> (B, prediction_length, ...).

        Raises:
            ModelError: the runtime fails, most likely for want of memory.
        """
        ...


def read_model(path: Path) -> ModelFile:
    """What a model file, .onnx or .pt, says about itself.

    Raises:
        ModelError: the file is missing, damaged or foreign.
    """
    if path.suffix == ".pt":
        from sequifier.inference.torch_model import read_torch_file

        return read_torch_file(path)
    return read_model_file(path)


def open_model(path: Path, file: ModelFile, config: InferConfig, *, seed: int) -> Model:
    """Load a model.

    Args:
        path: the file.
        file: what it says.
        config: device, enforce_determinism, infer_with_dropout.
        seed: of the dropout.

    Raises:
        ModelError: it cannot be loaded, or not on this device.
    """
    if path.suffix == ".pt":
        from sequifier.inference.torch_model import TorchModel

        return TorchModel(path, file, config, seed=seed)
    dropout_seed = seed if config.infer_with_dropout else None
    return OnnxModel(
        path, file, device=config.device, deterministic=config.enforce_determinism, dropout_seed=dropout_seed
    )


class OnnxModel:
    """One ONNX file.

    Args:
        path: exported by Sequifier.
        file: what it says about itself.
        device: "cpu" or "cuda"; auto takes cuda where this onnxruntime has it, anything else runs on the CPU.
        deterministic: take deterministic kernels only.
        dropout_seed: of the dropout of a graph that has it; None: it drops nothing.

    Raises:
        ModelError: the file is damaged, or the device is missing.
    """

    def __init__(
        self,
        path: Path,
        file: ModelFile,
        *,
        device: str = "auto",
        deterministic: bool = False,
        dropout_seed: int | None = None,
    ) -> None:
        import onnxruntime

        self._path, self._seed, self._calls = path, dropout_seed, 0
        self._set_seed = onnxruntime.set_seed
        self._off = {DROPOUT_RATIO: np.zeros((), np.float32)} if file.has_dropout and dropout_seed is None else {}
        available = onnxruntime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] if device in ("auto", "cuda") else []
        if device == "cuda" and "CUDAExecutionProvider" not in available:
            raise ModelError(
                "device cuda: this onnxruntime was built without CUDA",
                fix="install onnxruntime-gpu, or use device: auto",
            )
        providers = [*(name for name in wanted if name in available), "CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are about optimisations that it skipped
        options.use_deterministic_compute = deterministic
        n_threads = _processors() if len(providers) == 1 and path.stat().st_size < _LARGE else 1
        if n_threads > 1:
            options.intra_op_num_threads = 1
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._n_threads = n_threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own kinds share no base class but this
            raise ModelError(
                f"onnxruntime cannot load the model: {_reason(error)}",
                where=str(path),
                fix="export or copy the model again",
            ) from error
        self._types = {
            column["name"]: {"categorical": np.int64, "real": np.float32}[column["kind"]]
            for column in file.columns["inputs"]
        }

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """See `Model`."""
        feed = {name: np.ascontiguousarray(columns[name], dtype=kind) for name, kind in self._types.items()}
        feed[EVENT_COUNT] = n_events.astype(np.int64, copy=False)
        n_parts = min(self._n_threads, max(1, len(n_events) // _LEAST_ROWS))
        if self._seed is not None:  # one generator draws for all threads, so in no order
            n_parts = 1
            self._set_seed(int(np.random.SeedSequence([self._seed, self._calls]).generate_state(1, np.uint32)[0] >> 1))
            self._calls += 1
        try:
            if self._pool is None or n_parts == 1:
                found = self._session.run(list(outputs), feed | self._off)
            else:
                cuts = [len(n_events) * part // n_parts for part in range(n_parts + 1)]
                feeds = [{name: rows[slice(*cut)] for name, rows in feed.items()} for cut in pairwise(cuts)]
                parts = list(self._pool.map(lambda rows: self._session.run(list(outputs), rows | self._off), feeds))
                found = [np.concatenate(values) for values in zip(*parts, strict=True)]
            return dict(zip(outputs, found, strict=True))
        except Exception as error:
            raise ModelError(
                f"onnxruntime failed on a batch of {len(n_events)} windows: {_reason(error)}",
                where=str(self._path),
                fix="a smaller inference_batch_size needs less memory",
            ) from error


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
