"""A small writer of ONNX graphs: nodes in order, weights under their torch names, constants as nodes.

Opset 20: the oldest with Gelu. See docs/decisions/002-onnx-graph-built-directly.md.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from sequifier.config.architecture import DROPOUT_RATIO

OPSET = 20
IR_VERSION = 9  # of the same release as the opset; the default of a new onnx package may be too new for a runtime
ML_DOMAIN = "ai.onnx.ml"
ML_OPSET = 3  # of the same release
BATCH = "batch"

Value = str  # the name of a tensor in the graph


class GraphWriter:
    """Collects the nodes of one graph.

    Args:
        state_dict: the weights by torch name. `weight` puts one into the graph, unchanged, under that name.
        reserved: names of inputs and outputs, which no other value may take.
        dropout: the ratio that `drop` drops, unless a caller sets the input DROPOUT_RATIO; None: it drops nothing.
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
        """Declare `value`, (batch, *shape), as an output of that name."""
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
        """A constant tensor: a node, not an initializer, so that initializers are weights alone."""
        return self.add("Constant", value=numpy_helper.from_array(np.ascontiguousarray(array)))

    def integers(self, values: Sequence[int]) -> Value:
        """A constant list of integers: a shape, axes, a slice."""
        return self.constant(np.array(values, dtype=np.int64))

    def number(self, value: float) -> Value:
        """A constant float32 scalar."""
        return self.constant(np.array(value, dtype=np.float32))

    def weight(self, name: str) -> Value:
        """A weight, in float32 and exactly as in the state dict."""
        if name not in self._weights:
            array = self._state_dict[name].detach().float().cpu().contiguous().numpy()
            self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def linear(self, x: Value, module: str, *, bias: bool) -> Value:
        """`torch.nn.Linear` over the last dimension. Runtimes transpose the weight once, when they load the model."""
        y = self.product(x, self.weight(f"{module}.weight"))
        return self.add("Add", y, self.weight(f"{module}.bias")) if bias else y

    def drop(self, x: Value) -> Value:
        """`model.cpu.dropout.drop`, as in training."""
        if self._dropout is None:
            return x
        in_training = self.add("Constant", value=numpy_helper.from_array(np.array(True)))  # a scalar, of no dimension
        dropped, kept = self.add_split("Dropout", x, DROPOUT_RATIO, in_training, n_outputs=2)
        # onnxruntime removes a Dropout node when it loads a model, unless its second output is used.
        return self.add("Where", kept, dropped, self.number(0.0))

    def product(self, x: Value, weight: Value) -> Value:
        """x times the transpose of a weight, (..., D) and (F, D) -> (..., F)."""
        return self.add("MatMul", x, self.add("Transpose", weight, perm=[1, 0]))

    def last_steps(self, x: Value, count: int, *, axis: int) -> Value:
        """The last `count` entries along an axis."""
        return self.add("Slice", x, self.integers([-count]), self.integers([2**62]), self.integers([axis]))

    def finish(self, name: str) -> onnx.ModelProto:
        """The model of everything added."""
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
        while name in self._taken:  # a column of the user's may be called so
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
