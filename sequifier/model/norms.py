"""The normalisations of step vectors, by name: the layer in torch and its nodes in ONNX.

RMSNorm: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467; LayerNorm: Ba et al. 2016,
https://arxiv.org/abs/1607.06450. Both are torch's own, with a fixed epsilon: torch's default for RMSNorm depends on
the type of its input, so a model trained in bfloat16 would differ from its float32 export.

To add one: an entry in `NORMS` here, and its name and number of weights in `config/catalogue/layers.py`.
Shapes: D model width.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from sequifier.model.graph import Graph, Value

RMS_EPSILON, LAYER_EPSILON = 1e-6, 1e-5


@dataclass(frozen=True)
class Norm:
    """One kind of normalisation.

    Attributes:
        build: D -> a layer over the last dimension, (..., D) -> (..., D).
        write: (graph, x, the layer's name in the state dict) -> what the layer returns for x.
    """

    build: Callable[[int], nn.Module]
    write: Callable[[Graph, Value, str], Value]


def _write_rms_norm(graph: Graph, x: Value, module: str) -> Value:
    weight = graph.weight(f"{module}.weight")
    # These six nodes are the pattern that onnxruntime fuses into one.
    square = graph.add("Pow", x, graph.number(2.0))
    mean = graph.add("ReduceMean", square, graph.integers([-1]), keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", mean, graph.number(RMS_EPSILON)))
    return graph.add("Mul", graph.add("Div", x, root), weight)


def _write_layer_norm(graph: Graph, x: Value, module: str) -> Value:
    weight, bias = graph.weight(f"{module}.weight"), graph.weight(f"{module}.bias")
    return graph.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=LAYER_EPSILON)


NORMS = {
    "rmsnorm": Norm(lambda width: nn.RMSNorm(width, eps=RMS_EPSILON), _write_rms_norm),
    "layer_norm": Norm(lambda width: nn.LayerNorm(width, eps=LAYER_EPSILON), _write_layer_norm),
}


def build_norm(normalization: str, dim_model: int) -> nn.Module:
    """Build the normalisation of that name.

    Raises:
        ValueError: there is none.
    """
    if normalization not in NORMS:
        raise ValueError(f"normalization {normalization!r} is not one of {', '.join(NORMS)}")
    return NORMS[normalization].build(dim_model)
