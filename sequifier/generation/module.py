"""A torch model as a callable on arrays, as an ONNX session is.

Shapes: B windows, T steps of the window, P prediction_length.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.model.distributions.forms import MIDDLE, ScaleLike
from sequifier.model.known_future import Future
from sequifier.model.transformer import Transformer
from sequifier.model.window_normalization import WindowScale

Array = NDArray[Any]
Outputs = Callable[[Tensor, Mapping[str, WindowScale], Future | None], Mapping[str, Tensor]]
"""(B, P, D) vectors of the last steps, how normalized targets are restored, and what is known of the steps to come,
where the model reads that -> name -> (B, P, ...)."""


class ModulePredictor:
    """Calls a model in the mode it is in, without gradients; see `generate.Predict`.

    Args:
        model: on any device.
        categorical: names of its categorical inputs, in its order.
        real: names of its real inputs, in its order.
        prediction_length: P.
        outputs: computes the outputs; `probabilities_and_values` or a function of the caller.
        known: names of its categorical and its real inputs at the steps to come, in its order.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        categorical: Sequence[str],
        real: Sequence[str],
        prediction_length: int,
        outputs: Outputs,
        known: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> None:
        self._model, self._categorical, self._real = model, categorical, real
        self._prediction_length, self._outputs, self._known = prediction_length, outputs, known
        self._device = next(model.parameters()).device

    def __call__(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Predict a batch of windows.

        Args:
            columns: input column -> (B, T) ids or standardised values, aligned on the last event; inputs at the steps
                to come -> (B, H).
            n_events: (B,) how many of the last steps are events.
            outputs: names of the outputs to return.

        Returns:
            Output -> (B, P, ...). Steps of padding carry no meaning.
        """
        steps = next(iter(columns.values())).shape[1]
        categories = self._stacked(columns, self._categorical, (len(n_events), steps), np.int64)
        reals = self._stacked(columns, self._real, (len(n_events), steps), np.float32)
        is_event = None
        if (n_events < steps).any():
            is_event = torch.from_numpy(np.arange(steps, 0, -1) <= n_events[:, None]).to(self._device)
        with torch.inference_mode():
            hidden = self._model(categories, reals, is_event, n_last=self._prediction_length)
            future = self._future(columns, len(n_events))
            found = self._outputs(hidden, self._model.window_scales(reals, is_event), future)
            return {name: _as_array(found[name]) for name in outputs}

    def _future(self, columns: Mapping[str, Array], n_windows: int) -> Future | None:
        """Return the known columns at the steps to come, (B, 1, H, ...) each; None: none is given."""
        if not {*columns} & {name for names in self._known for name in names}:
            return None
        size = (n_windows, self._model.heads.horizon)
        categories, reals = (
            self._stacked(columns, names, size, kind)[:, None]
            for names, kind in zip(self._known, (np.int64, np.float32), strict=True)
        )
        return categories, reals

    def _stacked(
        self, columns: Mapping[str, Array], names: Sequence[str], shape: tuple[int, int], kind: type
    ) -> Tensor:
        stacked: Array = np.zeros((*shape, len(names)), kind)
        for index, name in enumerate(names):
            stacked[..., index] = columns[name]
        return torch.from_numpy(stacked).to(self._device)


def _as_array(values: Tensor) -> Array:
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


def probabilities_and_values(
    model: Transformer, output_of: Mapping[str, str], column_scales: Mapping[str, ScaleLike] = MappingProxyType({})
) -> Outputs:
    """Return a function from vectors to the predictions of each target: probabilities by id (0 for id 0), or values.

    Args:
        model: the model with the heads.
        output_of: target -> name of its output.
        column_scales: of the targets with a distribution; their value is the median.
    """

    def output(name: str, prediction: Tensor) -> Tensor:
        if (head := model.heads.distribution_head(name)) is not None:
            return head.distribution.quantiles(prediction, column_scales[name])[..., MIDDLE]
        if not model.heads.target_classes[name]:
            return prediction
        return torch.nn.functional.pad(prediction.float().softmax(-1), (1, 0))

    def outputs(hidden: Tensor, scales: Mapping[str, WindowScale], future: Future | None) -> dict[str, Tensor]:
        predictions = model.predict(hidden, scales=scales, future=future)
        return {output_of[name]: output(name, prediction) for name, prediction in predictions.items()}

    return outputs
