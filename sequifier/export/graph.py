"""A small writer of ONNX graphs: nodes in order, weights under their torch names, constants as nodes.

Opset 20 is the oldest with Gelu. See docs/decisions/002-onnx-graph-built-directly.md.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from sequifier.config.architecture import DROPOUT_RATIO
from sequifier.model.graph import Value

OPSET = 20
IR_VERSION = 9  # of the same release as the opset; the default of a new onnx package may be too new for a runtime
ML_DOMAIN = "ai.onnx.ml"
ML_OPSET = 3  # of the same release
BATCH = "batch"


class GraphWriter:
    """Collects the nodes of one graph.

    Args:
        state_dict: the weights by torch name. `weight` adds one to the graph, unchanged, under that name.
        reserved: names of inputs and outputs, which no other value may have.
        dropout: default of the input DROPOUT_RATIO, the fraction that `drop` drops; None: `drop` does nothing.
    """

    def __init__(
        self, state_dict: Mapping[str, Tensor], reserved: Collection[str], *, dropout: float | None = None
    ) -> None:
        self._state_dict = state_dict
        self._taken = {*state_dict, *reserved, DROPOUT_RATIO}
        self._dropout = dropout
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    @property
    def weights(self) -> set[str]:
        """Names of the weights in the graph so far."""
        return set(self._weights)

    def input(self, name: str, kind: type[np.generic], *shape: int) -> Value:
        """Declare an input, (batch, *shape)."""
        self._inputs.append(_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: Value, kind: type[np.generic], *shape: int) -> None:
        """Declare `value`, (batch, *shape), as an output with this name."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"{name} output"))
        self._outputs.append(_value_info(name, kind, shape))

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node with one output."""
        return self.add_split(operator, *inputs, n_outputs=1, **attributes)[0]

    def add_split(self, operator: str, *inputs: Value, n_outputs: int, **attributes: Any) -> list[Value]:
        """Add a node with several outputs."""
        name = self._fresh(operator)
        outputs = [name] if n_outputs == 1 else [f"{name}.{index}" for index in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """Add a constant tensor: a node, not an initializer, so that all initializers are weights."""
        return self.add("Constant", value=numpy_helper.from_array(np.ascontiguousarray(array)))

    def integers(self, values: Sequence[int]) -> Value:
        """Add a constant list of integers: a shape, axes, a slice."""
        return self.constant(np.array(values, dtype=np.int64))

    def number(self, value: float) -> Value:
        """Add a constant float32 scalar."""
        return self.constant(np.array(value, dtype=np.float32))

    def weight(self, name: str) -> Value:
        """Add a weight, in float32 and with the values of the state dict."""
        if name not in self._weights:
            array = self._state_dict[name].detach().float().cpu().contiguous().numpy()
            self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def linear(self, x: Value, module: str, *, bias: bool) -> Value:
        """Add `torch.nn.Linear` over the last dimension. Runtimes transpose its weight once, as they load the model."""
        y = self.product(x, self.weight(f"{module}.weight"))
        return self.add("Add", y, self.weight(f"{module}.bias")) if bias else y

    def drop(self, x: Value) -> Value:
        """Add `model.cpu.dropout.drop`, as in training."""
        if self._dropout is None:
            return x
        in_training = self.add("Constant", value=numpy_helper.from_array(np.array(True)))  # a scalar, not (1,)
        dropped, kept = self.add_split("Dropout", x, DROPOUT_RATIO, in_training, n_outputs=2)
        # onnxruntime removes a Dropout node when it loads a model, unless its second output is used.
        return self.add("Where", kept, dropped, self.number(0.0))

    def product(self, x: Value, weight: Value) -> Value:
        """Add x times the transpose of a weight, (..., D) and (F, D) -> (..., F)."""
        return self.add("MatMul", x, self.add("Transpose", weight, perm=[1, 0]))

    def last_steps(self, x: Value, count: int, *, axis: int) -> Value:
        """Add the last `count` entries of x along an axis."""
        return self.add("Slice", x, self.integers([-count]), self.integers([2**62]), self.integers([axis]))

    def finish(self, name: str) -> onnx.ModelProto:
        """Return the model of everything that was added."""
        inputs, initializers = list(self._inputs), list(self._weights.values())
        if self._dropout is not None:  # an initializer that is an input too is a default value
            inputs.append(helper.make_tensor_value_info(DROPOUT_RATIO, TensorProto.FLOAT, []))
            initializers.append(numpy_helper.from_array(np.array(self._dropout, np.float32), DROPOUT_RATIO))
        graph = helper.make_graph(self._nodes, name, inputs, self._outputs, initializer=initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="sequifier",
        )

    def _fresh(self, operator: str) -> str:
        name = f"{operator}_{len(self._nodes)}"
        while name in self._taken:  # a column of the user's table may have this name
            name = f"_{name}"
        return name


def _value_info(name: str, kind: type[np.generic], shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[kind], [BATCH, *shape])


_TYPES: Mapping[type[np.generic], int] = {
    np.int64: TensorProto.INT64,
    np.float32: TensorProto.FLOAT,
    np.float64: TensorProto.DOUBLE,
    np.bool_: TensorProto.BOOL,
    np.str_: TensorProto.STRING,
}
