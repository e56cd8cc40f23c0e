"""Exported models that are loaded to predict. An ONNX file needs onnxruntime but not torch."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile, read_model_file
from sequifier.artifacts.read_file import reason_of
from sequifier.config.architecture import DROPOUT_RATIO, EVENT_COUNT
from sequifier.config.inference import InferConfig
from sequifier.errors import ModelError

Array = NDArray[Any]

_LARGE = 16 << 20
"""Bytes of a model whose products keep several processors busy. With a smaller model each processor computes its own
rows: 2,570 instead of 2,080 windows/s at width 128 and 4 layers on two processors, twice as many on shared ones."""
_LEAST_ROWS = 8
"""Smallest number of rows of a batch for each processor."""


class Model(Protocol):
    """A loaded model."""

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Predict one batch of windows.

        Args:
            columns: input column -> (B, seq_length) ids or standardised values, aligned on the last event.
            n_events: number of last steps that are events, (B,).
            outputs: names of the outputs to compute.

        Returns:
            Output name -> (B, prediction_length, ...).

        Raises:
            ModelError: the runtime fails, most likely because memory is exhausted.
        """
        ...


def read_model(path: Path) -> ModelFile:
    """Return the metadata of a model file, .onnx or .pt.

    Raises:
        ModelError: the file is missing, damaged, or not one of Sequifier's.
    """
    if path.suffix == ".pt":
        from sequifier.inference.torch_model import read_torch_file

        return read_torch_file(path)
    return read_model_file(path)


def open_model(path: Path, file: ModelFile, config: InferConfig, *, seed: int) -> Model:
    """Load a model.

    Args:
        path: the file.
        file: its metadata.
        config: device, enforce_determinism, infer_with_dropout.
        seed: of the dropout.

    Raises:
        ModelError: it cannot be loaded on this device.
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
        file: its metadata.
        device: cpu, cuda or cuda:N; auto takes cuda where this onnxruntime has it, anything else runs on the CPU.
        deterministic: use deterministic kernels only.
        dropout_seed: of the dropout of a graph that has dropout; None switches it off.

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
        providers = _providers(device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its warnings are about skipped optimisations
        options.use_deterministic_compute = deterministic
        n_threads = _processors() if len(providers) == 1 and path.stat().st_size < _LARGE else 1
        if n_threads > 1:
            options.intra_op_num_threads = 1
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._n_threads = n_threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no other common base class
            raise ModelError(
                f"onnxruntime cannot load the model: {reason_of(error)}",
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
        if self._seed is not None:  # all threads share one generator, so their order would matter
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
                f"onnxruntime failed on a batch of {len(n_events)} windows: {reason_of(error)}",
                where=str(self._path),
                fix="a smaller inference_batch_size needs less memory",
            ) from error


def _providers(device: str) -> list[tuple[str, dict[str, int]]]:
    """Return onnxruntime's execution providers for a device with their options, the preferred one first."""
    import onnxruntime

    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    if kind == "cuda" and not has_cuda:
        raise ModelError(
            f"device {device}: this onnxruntime was built without CUDA",
            fix="install onnxruntime-gpu, or use device: auto",
        )
    on_cuda = [("CUDAExecutionProvider", {"device_id": int(number or 0)})]
    return [*(on_cuda if has_cuda and kind in ("auto", "cuda") else []), ("CPUExecutionProvider", {})]


def _processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
