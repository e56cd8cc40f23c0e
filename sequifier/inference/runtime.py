"""An exported model, ready to predict; loads onnxruntime and no torch."""

from collections.abc import Iterator, Mapping
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
        device: "cpu" or "cuda"; auto takes cuda where this onnxruntime has it.

    Raises:
        ModelError: the file is missing, damaged or foreign.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self.path = path
        self.file = read_model_file(path)
        self.architecture = self.file.architecture
        available = onnxruntime.get_available_providers()
        wanted = [] if device == "cpu" else ["CUDAExecutionProvider"]
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
            reason = str(error).splitlines()[0]
            raise ModelError(f"onnxruntime cannot load the model: {reason}", where=str(path)) from error

    def predict(self, columns: Mapping[str, Array], n_events: Array, *, batch_size: int) -> Iterator[dict[str, Array]]:
        """Predict windows, a batch at a time.

        Args:
            columns: input column -> (W, seq_length) ids or standardised values, aligned on the last event.
            n_events: (W,) how many of the last steps are events.
            batch_size: windows per call.

        Yields:
            Output name -> (B, prediction_length, ...) of the next windows.
        """
        kinds = {column["name"]: column["kind"] for column in self.file.columns["inputs"]}
        types = {"categorical": np.int64, "real": np.float32}
        for start in range(0, len(n_events), batch_size):
            here = slice(start, start + batch_size)
            feed = {name: columns[name][here].astype(types[kind], copy=False) for name, kind in kinds.items()}
            feed[EVENT_COUNT] = n_events[here].astype(np.int64, copy=False)
            yield dict(zip(self.file.outputs, self._session.run(None, feed), strict=True))
