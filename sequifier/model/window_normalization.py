"""Values of a window relative to the window: the layer in torch and its nodes in ONNX.

Each real target is normalized by statistics of its own values in the window before the embedding, and its prediction is
brought back behind the decoder, so losses and outputs are in the units of the standardised column.

Source: Kim et al. 2022 (RevIN), https://openreview.net/forum?id=cGDAkQo1C0p. Differs: no learned affine map, 1e-5 is
added to the standard deviation, padding does not count, and `last` subtracts the last value, as NLinear does (Zeng et
al. 2023, https://arxiv.org/abs/2205.13504).

To add one: an entry in `WINDOW_STATISTICS` here, and its name in `config/train.py`.
Shapes: B batch, T steps of the window, R real columns, M normalized columns among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sequifier.model.graph import Graph, Value

EPSILON = 1e-5
"""Added to the standard deviation: a window of equal values has none."""


@dataclass(frozen=True)
class WindowScale:
    """How the normalized values of a column in each window lead back to those of the column.

    Attributes:
        shift: (B,), added last.
        scale: (B,), the factor; None: 1.
    """

    shift: Tensor
    scale: Tensor | None = None

    def restored(self, normalized: Tensor) -> Tensor:
        """Return the values of the column, (B, ...) -> (B, ...)."""
        shape = (-1, *[1] * (normalized.dim() - 1))
        if self.scale is not None:
            normalized = normalized * self.scale.view(shape)
        return normalized + self.shift.view(shape)


@dataclass(frozen=True)
class WindowStatistics:
    """One kind of normalization.

    Attributes:
        of: values (B, M, T), 0 in padding, and is_event (B, T) or None -> shift and scale, (B, M) each.
        write: the same in ONNX, of one column: (graph, values (N, T), is_event as float32 (N, T)) -> (N, 1) each.
    """

    of: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
    write: Callable[[Graph, Value, Value], tuple[Value, Value | None]]


def _last(values: Tensor, is_event: Tensor | None) -> tuple[Tensor, None]:
    return values[..., -1], None


def _write_last(graph: Graph, values: Value, is_event: Value) -> tuple[Value, None]:
    return graph.add("Slice", values, graph.integers([-1]), graph.integers([2**62]), graph.integers([1])), None


def _mean_std(values: Tensor, is_event: Tensor | None) -> tuple[Tensor, Tensor]:
    n_events = values.shape[-1] if is_event is None else is_event.sum(-1).clamp(min=1)[:, None]  # of a window
    mean = values.sum(-1) / n_events
    deviation = values - mean[..., None]
    if is_event is not None:
        deviation = deviation * is_event[:, None]
    return mean, (deviation.square().sum(-1) / n_events).sqrt() + EPSILON


def _write_mean_std(graph: Graph, values: Value, is_event: Value) -> tuple[Value, Value]:
    last = graph.integers([-1])
    n_events = graph.add("Max", graph.add("ReduceSum", is_event, last), graph.number(1.0))  # (N, 1)
    mean = graph.add("Div", graph.add("ReduceSum", values, last), n_events)
    deviation = graph.add("Mul", graph.add("Sub", values, mean), is_event)
    variance = graph.add("Div", graph.add("ReduceSum", graph.add("Mul", deviation, deviation), last), n_events)
    return mean, graph.add("Add", graph.add("Sqrt", variance), graph.number(EPSILON))


WINDOW_STATISTICS = {
    "last": WindowStatistics(_last, _write_last),
    "mean_std": WindowStatistics(_mean_std, _write_mean_std),
}


class WindowNormalization(nn.Module):
    """Normalizes the columns of some targets in each window; it has no weights.

    Args:
        kind: a name in `WINDOW_STATISTICS`.
        columns: target -> number of its column among the real ones.

    Attributes:
        columns: as given.
    """

    def __init__(self, kind: str, columns: Mapping[str, int]) -> None:
        super().__init__()
        self._statistics, self.columns = WINDOW_STATISTICS[kind], dict(columns)

    def forward(self, reals: Tensor, is_event: Tensor | None) -> tuple[Tensor, dict[str, WindowScale]]:
        """Normalize the windows of a batch.

        Args:
            reals: standardised values, (B, T, R); padding may hold any finite value.
            is_event: (B, T) bool; None: all are.

        Returns:
            The values with the columns of the targets normalized, 0 in their padding; and target -> how they lead back.
        """
        values = torch.stack([reals[..., column] for column in self.columns.values()], dim=1)  # (B, M, T)
        if is_event is not None:
            values = values * is_event[:, None]
        shift, scale = self._statistics.of(values, is_event)
        values = values - shift[..., None]
        if scale is not None:
            values = values / scale[..., None]
        if is_event is not None:
            values = values * is_event[:, None]
        place = {column: index for index, column in enumerate(self.columns.values())}
        columns = [values[:, place[each]] if each in place else reals[..., each] for each in range(reals.shape[-1])]
        scales = {
            target: WindowScale(shift[:, index], None if scale is None else scale[:, index])
            for index, target in enumerate(self.columns)
        }
        return torch.stack(columns, dim=-1), scales


@dataclass(frozen=True)
class ScaleNodes:
    """`WindowScale` in ONNX; shift and scale are (N, 1)."""

    shift: Value
    scale: Value | None

    def write_restored(self, graph: Graph, normalized: Value, *, n_axes: int) -> Value:
        """Add `restored`, (N, ...) with `n_axes` axes after N -> the same."""

        def in_axes(value: Value) -> Value:
            return value if n_axes == 1 else graph.add("Unsqueeze", value, graph.integers(range(2, n_axes + 1)))

        if self.scale is not None:
            normalized = graph.add("Mul", normalized, in_axes(self.scale))
        return graph.add("Add", normalized, in_axes(self.shift))


def write_normalized(graph: Graph, kind: str, values: Value, is_event: Value) -> tuple[Value, ScaleNodes]:
    """Add what `WindowNormalization` does to one column.

    Args:
        graph: the graph.
        kind: a name in `WINDOW_STATISTICS`.
        values: (N, T) float32, 0 in padding.
        is_event: (N, T) float32, 1 or 0.

    Returns:
        The normalized values (N, T), 0 in padding, and how they lead back.
    """
    shift, scale = WINDOW_STATISTICS[kind].write(graph, values, is_event)
    normalized = graph.add("Sub", values, shift)
    if scale is not None:
        normalized = graph.add("Div", normalized, scale)
    return graph.add("Mul", normalized, is_event), ScaleNodes(shift, scale)
