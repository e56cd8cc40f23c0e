"""An exported model, ready to predict; loads onnxruntime and no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sequifier.artifacts.model_file import read_model_file
from sequifier.config.architecture import EVENT_COUNT
from sequifier.errors import ModelError

Array = NDArray[Any]


class OnnxModel:
    """One ONNX file.

    Args:
        path: exported by Sequifier.
        device: "cpu" or "cuda"; auto takes cuda where this onnxruntime has it, anything else runs on the CPU.

    Raises:
        ModelError: the file is missing, damaged or foreign.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self.path = path
        self.file = read_model_file(path)
        self.architecture = self.file.architecture
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
            for column in self.file.columns["inputs"]
        }

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Predict one batch of windows.

        Args:
            columns: input column -> (B, seq_length) ids or standardised values, aligned on the last event.
            n_events: (B,) how many of the last steps are events.
            outputs: names of the outputs wanted.

        Returns:
            Output name -> (B, prediction_length, ...).

        Raises:
            ModelError: onnxruntime fails, most likely for want of memory.
        """
        feed = {name: columns[name].astype(kind, copy=False) for name, kind in self._types.items()}
        feed[EVENT_COUNT] = n_events.astype(np.int64, copy=False)
        try:
            return dict(zip(outputs, self._session.run(list(outputs), feed), strict=True))
        except Exception as error:
            raise ModelError(
                f"onnxruntime failed on a batch of {len(n_events)} windows: {_reason(error)}",
                where=str(self.path),
                fix="a smaller inference_batch_size needs less memory",
            ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
