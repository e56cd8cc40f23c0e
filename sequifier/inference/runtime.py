"""Exported models that are loaded to predict. An ONNX file needs onnxruntime but not torch."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile, read_model_file
from sequifier.artifacts.read_file import reason_of
from sequifier.callbacks import Log
from sequifier.config.architecture import DROPOUT_RATIO, EVENT_COUNT, future_input
from sequifier.config.inference import InferConfig
from sequifier.errors import ModelError
from sequifier.inference.onnx_session import open_session

Array = NDArray[Any]

_LEAST_ROWS = 8
"""Smallest number of rows of a batch for each processor."""


class Model(Protocol):
    """A loaded model."""

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Predict one batch of windows.

        Args:
            columns: input column -> (B, seq_length) ids or standardised values, aligned on the last event; and where
                columns are known at the steps to come, `future_input` of each -> (B, horizon).
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


def open_model(path: Path, file: ModelFile, config: InferConfig, *, seed: int, log: Log) -> Model:
    """Load a model.

    Args:
        path: the file.
        file: its metadata.
        config: device, enforce_determinism, infer_with_dropout.
        seed: of the dropout.
        log: receives a line if the choice of the device may be unexpected.

    Raises:
        ModelError: it cannot be loaded on this device.
    """
    if path.suffix == ".pt":
        from sequifier.inference.torch_model import TorchModel

        return TorchModel(path, file, config, seed=seed, log=log)
    dropout_seed = seed if config.infer_with_dropout else None
    return OnnxModel(
        path,
        file,
        device=config.device,
        deterministic=config.enforce_determinism,
        dropout_seed=dropout_seed,
        log=log,
    )


class OnnxModel:
    """One ONNX file.

    Args:
        path: exported by Sequifier.
        file: its metadata.
        device, deterministic, log: as `open_session`.
        dropout_seed: of the dropout of a graph that has dropout; None switches it off.

    Raises:
        ModelError: the file is damaged, or the device is missing.
    """

    def __init__(
        self,
        path: Path,
        file: ModelFile,
        *,
        device: str,
        deterministic: bool,
        dropout_seed: int | None,
        log: Log,
    ) -> None:
        import onnxruntime

        self._path, self._seed, self._calls = path, dropout_seed, 0
        self._set_seed = onnxruntime.set_seed
        self._off = {DROPOUT_RATIO: np.zeros((), np.float32)} if file.has_dropout and dropout_seed is None else {}
        self._session, self._n_threads = open_session(path, device=device, deterministic=deterministic, log=log)
        self._pool = ThreadPoolExecutor(self._n_threads) if self._n_threads > 1 else None
        self._types = {
            column["name"]: {"categorical": np.int64, "real": np.float32}[column["kind"]]
            for column in file.columns["inputs"]
        }
        known = {name: future_input(name) for name in file.architecture.known_future}
        self._types |= {future: self._types[name] for name, future in known.items() if future in file.inputs}

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
