"""The non-linearities of the feed-forward part, by name: the function in torch and its nodes in ONNX.

Sources: SwiGLU from Shazeer 2020, https://arxiv.org/abs/2002.05202; GELU (the exact one) from Hendrycks & Gimpel 2016,
https://arxiv.org/abs/1606.08415.

To add one: an entry in `ACTIVATIONS` here, and its name and sizes in `config/catalogue/layers.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.model.graph import Graph, Value

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """One non-linearity.

    Attributes:
        function: elementwise; of the gate where there is one, else of the widened step.
        write: (graph, x) -> function(x).
        is_gated: the layer has a second matrix, and the function of its result multiplies the widened step.
        gradient: (gradient of function(x), x) -> gradient of x, for `model/cpu/fused.py`; None: that file is not used.
    """

    function: Callable[[Tensor], Tensor]
    write: Callable[[Graph, Value], Value]
    is_gated: bool = False
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None


ACTIVATIONS = {
    "swiglu": Activation(
        F.silu,
        lambda graph, x: graph.add("Mul", x, graph.add("Sigmoid", x)),
        is_gated=True,
        gradient=aten.silu_backward,
    ),
    "gelu": Activation(F.gelu, lambda graph, x: graph.add("Gelu", x), gradient=aten.gelu_backward),
    "relu": Activation(
        F.relu,
        lambda graph, x: graph.add("Relu", x),
        gradient=lambda gradient, x: aten.threshold_backward(gradient, x, 0),
    ),
}
