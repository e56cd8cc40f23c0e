"""A model exported by `export_pt`, computed by torch. No other file here imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.model_file import ModelFile, model_file
from sequifier.artifacts.read_file import reason_of
from sequifier.artifacts.torch_model_file import read_torch_model
from sequifier.artifacts.transforms import Scale
from sequifier.callbacks import Log
from sequifier.config.architecture import EMBEDDING, Architecture, future_input
from sequifier.config.inference import InferConfig
from sequifier.errors import ModelError
from sequifier.generation.module import ModulePredictor
from sequifier.model.build import build_model
from sequifier.model.deterministic import use_deterministic_algorithms
from sequifier.model.device import NoDeviceError, choose_device
from sequifier.model.distributions.outputs import value_outputs
from sequifier.model.known_future import Future
from sequifier.model.products import float32_products
from sequifier.model.transformer import Transformer
from sequifier.model.window_normalization import WindowScale

Array = NDArray[Any]


def read_torch_file(path: Path) -> ModelFile:
    """Return the metadata of a .pt model.

    Raises:
        ModelError: the file is missing, damaged, or not an exported model but, for example, a checkpoint.
    """
    _, properties, has_checksum = read_torch_model(path)
    properties |= {"parity": "{}"}  # there is nothing to compare: it is computed by torch itself
    return model_file(properties, inputs=(), outputs=(), path=path, has_checksum=has_checksum)


class TorchModel:
    """One .pt file, which predicts and embeds.

    Args:
        path: exported by Sequifier.
        file: its metadata.
        config: device, enforce_determinism, infer_with_dropout.
        seed: of the dropout, which depends on the batches too.
        log: receives a line if the choice of the device may be unexpected.

    Raises:
        ModelError: the file is damaged, or the device is missing.
    """

    def __init__(self, path: Path, file: ModelFile, config: InferConfig, *, seed: int, log: Log) -> None:
        shape = file.architecture
        self._path, self._seed, self._calls = path, seed, 0
        self._with_dropout = config.infer_with_dropout
        self._device = _find_device(config.device, log)
        use_deterministic_algorithms(config.enforce_determinism)
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced
            model = build_model(shape)
        try:
            model.load_state_dict(read_torch_model(path)[0])
        except RuntimeError as error:
            raise ModelError(
                f"the weights do not fit the model's architecture: {reason_of(error)}",
                where=str(path),
                fix="export or copy the model again",
            ) from error
        model.to(self._device).train(self._with_dropout)
        column_scales = {target.name: file.scale(target.name) for target in shape.targets if target.kind == "real"}
        self._predict = ModulePredictor(
            model,
            categorical=[name for name, _ in shape.categorical],
            real=shape.real,
            prediction_length=shape.prediction_length,
            outputs=lambda hidden, scales, future: _outputs(model, shape, hidden, scales, column_scales, future),
            known=(
                [future_input(name) for name, _ in shape.known_categorical],
                [future_input(name) for name in shape.known_real],
            ),
        )

    def predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """See `runtime.Model`."""
        try:
            with float32_products(self._device.type, tf32=False):
                return self._in_float32(columns, n_events, outputs)
        except RuntimeError as error:  # torch raises it for exhausted memory, too
            raise ModelError(
                f"torch failed on a batch of {len(n_events)} windows: {reason_of(error)}",
                where=str(self._path),
                fix="a smaller inference_batch_size needs less memory",
            ) from error

    def _in_float32(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        if not self._with_dropout:
            return self._predict(columns, n_events, outputs)
        # Dropout uses torch's default generator, which is the caller's: its state is restored.
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            state = np.random.SeedSequence([self._seed, self._calls]).generate_state(1, np.uint32)
            torch.manual_seed(int(state[0]))
            self._calls += 1
            return self._predict(columns, n_events, outputs)


def _outputs(
    model: Transformer,
    shape: Architecture,
    hidden: Tensor,
    scales: Mapping[str, WindowScale],
    column_scales: Mapping[str, Scale],
    future: Future | None,
) -> dict[str, Tensor]:
    """Return the outputs of an exported graph, computed from hidden states (B, P, D)."""
    found = {EMBEDDING: hidden}
    if shape.known_future and future is None:
        return found
    for target in shape.targets:
        of_target = hidden[:, -1] if target.of_sequence else hidden
        prediction = model.predict(of_target, [target.name], scales, future)[target.name].float()
        if target.kind == "real":
            found |= value_outputs(target, prediction, column_scales)
            continue
        probabilities, best = target.output_names
        found[probabilities] = torch.nn.functional.pad(prediction.softmax(-1), (1, 0))
        found[best] = prediction.argmax(-1) + 1
    return found


def _find_device(name: str, log: Log) -> torch.device:
    try:
        device, note = choose_device(name)
    except NoDeviceError as error:
        raise ModelError(f"device {error}", fix=error.fix) from error
    if note is not None:
        log(f"note: {note}")
    return device
