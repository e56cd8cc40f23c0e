"""The ONNX graph of a model, written node by node from its architecture and weights.

It computes what `Transformer` computes in eval mode, or on request with dropout as in training; the last
`prediction_length` steps alone where nothing else is needed. Initializers are exactly the weights of the state dict,
names and values, beside the ratio of dropout.
Shapes: N batch, T steps of the window, P prediction_length, D model width, H heads, K heads of keys and values,
G heads that share keys (H // K), E width of a head.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from torch import Tensor, nn

from sequifier.artifacts.model_file import DROPOUT, add_properties, write_model
from sequifier.config.architecture import EMBEDDING, EVENT_COUNT, Architecture
from sequifier.errors import ModelError
from sequifier.export.graph import GraphWriter, Value
from sequifier.export.parity import Parity, check
from sequifier.model.norms import EPSILON
from sequifier.model.positions import rotation_table

NEVER = -1e30  # added to a score that may not count: large enough for a softmax of exactly 0, far from overflow


def export_onnx(
    path: Path,
    architecture: Architecture,
    model: nn.Module,
    *,
    properties: Mapping[str, str],
    seed: int,
    embedding: bool = False,
    with_dropout: bool = False,
) -> Parity:
    """Write a model as ONNX after running it against torch.

    The graph that is compared is the one written; the result of the comparison is added to its properties.

    Args:
        path: the file; it appears whole or not at all.
        architecture: the shape of `model`.
        model: a `Transformer` on any device, in any precision; the file is float32.
        properties: `artifacts.model_file.model_properties`.
        seed: of the windows that are compared.
        embedding: export the vectors of the steps instead of predictions.
        with_dropout: keep dropout active in the graph; it is compared with the ratio at 0.

    Raises:
        ModelError: the graph does not compute what torch does.
        RunError: the file cannot be written.
    """
    graph = build_graph(
        architecture, model.state_dict(), embedding=embedding, metadata_props=properties, with_dropout=with_dropout
    )
    parity = check(graph, architecture, model.state_dict(), seed=seed, embedding=embedding)
    add_properties(graph, {"parity": parity.as_json()})
    write_model(path, graph)
    return parity


def build_graph(
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    *,
    embedding: bool = False,
    metadata_props: Mapping[str, str],
    with_dropout: bool = False,
) -> onnx.ModelProto:
    """The graph that predicts, or the one that embeds.

    Inputs are each input column under its own name, (N, T) int64 ids or float32 standardised values, and `n_events`,
    (N,) int64: how many of the last steps are real events. Outputs are `<target>_probabilities` (N, P, n_classes),
    `<target>_id` (N, P) and `<target>_value` (N, P), or `embedding` (N, P, D). With dropout the scalar
    `dropout_ratio` is an input that may be left out: its default is the ratio of training.

    Raises:
        ModelError: a column is called like a weight.
    """
    wanted = {name for name in state_dict if not (embedding and name.startswith("heads."))}
    outputs = [EMBEDDING] if embedding else [name for target in architecture.targets for name in target.output_names]
    columns = {*architecture.input_columns, *outputs}
    if clash := sorted(columns & wanted):
        raise ModelError(
            f"column `{clash[0]}` has the name of a weight in the exported model",
            fix="rename it in the raw data and preprocess again",
        )
    shape = architecture
    writer = GraphWriter(state_dict, [*columns, EVENT_COUNT], dropout=shape.dropout if with_dropout else None)
    inputs = {name: writer.input(name, np.int64, shape.seq_length) for name, _ in shape.categorical}
    inputs |= {name: writer.input(name, np.float32, shape.seq_length) for name in shape.real}
    is_event = write_is_event(writer, shape, writer.input(EVENT_COUNT, np.int64))
    hidden = write_backbone(writer, shape, inputs, is_event)
    if embedding:
        writer.output(EMBEDDING, hidden, np.float32, shape.prediction_length, shape.dim_model)
    else:
        _write_heads(writer, shape, hidden)
    assert writer.weights == wanted, f"weights without a place in the graph: {writer.weights ^ wanted}"
    model = writer.finish("embedding" if embedding else "predictions")
    add_properties(model, {**metadata_props, **({DROPOUT: "active"} if with_dropout else {})})
    return model


def write_is_event(writer: GraphWriter, architecture: Architecture, n_events: Value) -> Value:
    """(N,) how many of the last steps are events -> (N, T) bool."""
    from_the_end = writer.integers(range(architecture.seq_length, 0, -1))  # the last step is 1
    return writer.add("LessOrEqual", from_the_end, writer.add("Unsqueeze", n_events, writer.integers([1])))


def write_backbone(
    writer: GraphWriter, architecture: Architecture, columns: Mapping[str, Value], is_event: Value
) -> Value:
    """Everything before the heads.

    Args:
        writer: of the graph.
        architecture: the shape.
        columns: input column -> (N, T) int64 ids or float32 standardised values. Padding may hold anything. In events,
            an id that is out of range is unknown, and NaN or an infinity is the mean.
        is_event: (N, T) bool.

    Returns:
        (N, P, D), after the final norm.
    """
    return _Backbone(writer, architecture).write(columns, is_event)


class _Backbone:
    """Columns in, vectors of the last P steps out."""

    def __init__(self, writer: GraphWriter, architecture: Architecture) -> None:
        self.writer, self.shape = writer, architecture
        self.head_width = architecture.dim_model // architecture.n_head
        self.group = architecture.n_head // architecture.n_kv_heads

    def write(self, columns: Mapping[str, Value], is_event: Value) -> Value:
        writer, shape = self.writer, self.shape
        x = self._embed(self._usable(columns, is_event))
        if shape.positional_encoding == "rope":
            self._write_rotation()
        else:
            x = writer.add("Add", x, writer.weight("positions.weight"))
        x = writer.drop(x)
        self.mask = self._write_mask(is_event)
        for index in range(shape.num_layers):
            # Past the keys and values of the last block, only the predicted steps matter.
            steps = shape.prediction_length if index == shape.num_layers - 1 else shape.seq_length
            x = self._block(x, f"blocks.{index}", steps)
        return self._norm(x, "norm") if shape.norm_first else x

    def _usable(self, columns: Mapping[str, Value], is_event: Value) -> dict[str, Value]:
        """The columns with 0, the mean or unknown, for what is padding, not a number or not an id.

        Attention's weight of 0 does not undo a NaN or an infinity, and a look-up outside of its table fails.
        """
        writer = self.writer
        largest, zero = writer.number(float(np.finfo(np.float32).max)), writer.number(0.0)
        unknown = writer.constant(np.array(0, np.int64))
        found = {}
        for name in self.shape.real:
            is_number = writer.add("LessOrEqual", writer.add("Abs", columns[name]), largest)
            found[name] = writer.add("Where", writer.add("And", is_number, is_event), columns[name], zero)
        for name, n_classes in self.shape.categorical:
            end = writer.constant(np.array(n_classes, np.int64))
            is_id = writer.add(
                "And",
                writer.add("GreaterOrEqual", columns[name], unknown),
                writer.add("Less", columns[name], end),
            )
            found[name] = writer.add("Where", writer.add("And", is_id, is_event), columns[name], unknown)
        return found

    def _embed(self, columns: Mapping[str, Value]) -> Value:
        """-> (N, T, D)."""
        writer, shape = self.writer, self.shape
        parts = []
        for index, (column, _) in enumerate(shape.categorical):
            weight = writer.weight(f"embedding.categorical.{index}.weight")
            parts.append(writer.add("Gather", weight, columns[column]))
        for index, column in enumerate(shape.real):
            part = writer.add("Unsqueeze", columns[column], writer.integers([-1]))  # (N, T, 1)
            if shape.embedding_widths[len(shape.categorical) + index] > 1:
                part = writer.linear(part, f"embedding.real.{index}", bias=True)
            parts.append(part)
        x = writer.add("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]
        return writer.linear(x, "embedding.joint", bias=True) if shape.joint_embedding else x

    def _write_mask(self, is_event: Value) -> Value:
        """-> (N, 1, 1, T, T), 0 where a step may attend and NEVER elsewhere; see `model.attention.padding_mask`."""
        writer, steps = self.writer, self.shape.seq_length
        is_event = writer.add("Unsqueeze", is_event, writer.integers([1, 2, 3]))  # (N, 1, 1, 1, T)
        may = writer.add("And", is_event, writer.constant(np.tri(steps, dtype=np.bool_)))
        may = writer.add("Or", may, writer.constant(np.eye(steps, dtype=np.bool_)))
        return writer.add("Where", may, writer.number(0.0), writer.number(NEVER))

    def _write_rotation(self) -> None:
        """Rotation of pairs as in `model.positions`, here as `x * cosine + swap(x) * sine`.

        `swap` exchanges the members of each pair and negates the first: a product with a constant matrix, E x E, which
        runtimes do faster than strided copies.
        """
        width = self.head_width
        table = rotation_table(
            steps=self.shape.seq_length, head_width=width, theta=self.shape.rope_theta
        ).numpy()  # (T, 1, E/2, 2)
        swap = np.kron(np.eye(width // 2), [[0.0, 1.0], [-1.0, 0.0]]).astype(np.float32)
        self.cosine = self.writer.constant(np.repeat(table[..., 0], 2, axis=-1))  # (T, 1, E)
        self.sine = self.writer.constant(np.repeat(table[..., 1], 2, axis=-1))
        self.swap = self.writer.constant(swap)

    def _rotate(self, heads: Value, steps: int) -> Value:
        """(N, steps, heads, E) -> (N, steps, heads, E), for the last steps of the window."""
        writer = self.writer
        cosine, sine = (self._last(table, steps, axis=0) for table in (self.cosine, self.sine))
        swapped = writer.add("MatMul", heads, self.swap)
        return writer.add("Add", writer.add("Mul", heads, cosine), writer.add("Mul", swapped, sine))

    def _block(self, x: Value, module: str, steps: int) -> Value:
        """(N, T, D) -> (N, steps, D)."""
        writer = self.writer
        attended = self._norm(x, f"{module}.attention_norm") if self.shape.norm_first else x
        mixed = writer.drop(self._attention(attended, f"{module}.attention", steps))
        x = writer.add("Add", self._last(x, steps, axis=1), mixed)
        if self.shape.norm_first:
            transformed = self._feed_forward(self._norm(x, f"{module}.feed_forward_norm"), f"{module}.feed_forward")
            return writer.add("Add", x, writer.drop(transformed))
        x = self._norm(x, f"{module}.attention_norm")
        transformed = self._feed_forward(x, f"{module}.feed_forward")
        return self._norm(writer.add("Add", x, writer.drop(transformed)), f"{module}.feed_forward_norm")

    def _attention(self, x: Value, module: str, steps: int) -> Value:
        """(N, T, D) -> (N, steps, D)."""
        writer, shape = self.writer, self.shape
        K, G, E = shape.n_kv_heads, self.group, self.head_width
        q, k, v = self._queries_keys_values(x, f"{module}.qkv", steps)
        q = writer.add("Reshape", q, writer.integers([0, steps, K, G, E]))
        q = writer.add("Transpose", q, perm=[0, 2, 3, 1, 4])  # (N, K, G, steps, E)
        k = writer.add("Transpose", k, perm=[0, 2, 3, 1])  # (N, K, E, T)
        v = writer.add("Transpose", v, perm=[0, 2, 1, 3])  # (N, K, T, E)
        shared = writer.integers([2])  # keys and values serve all G heads of their group
        scores = writer.add("MatMul", q, writer.add("Unsqueeze", k, shared))  # (N, K, G, steps, T)
        scores = writer.add("Mul", scores, writer.number(E**-0.5))
        scores = writer.add("Add", scores, self._last(self.mask, steps, axis=3))
        shares = writer.drop(writer.add("Softmax", scores, axis=-1))
        y = writer.add("MatMul", shares, writer.add("Unsqueeze", v, shared))  # (N, K, G, steps, E)
        y = writer.add("Transpose", y, perm=[0, 3, 1, 2, 4])
        y = writer.add("Reshape", y, writer.integers([0, steps, shape.dim_model]))
        return writer.linear(y, f"{module}.out", bias=False)

    def _queries_keys_values(self, x: Value, module: str, steps: int) -> list[Value]:
        """(N, T, D) -> (N, steps, H, E), (N, T, K, E), (N, T, K, E)."""
        writer, shape = self.writer, self.shape
        H, K, E, rope = shape.n_head, shape.n_kv_heads, self.head_width, shape.positional_encoding == "rope"
        if steps == shape.seq_length:  # one product for all
            heads = writer.linear(x, module, bias=False)
            heads = writer.add("Reshape", heads, writer.integers([0, steps, H + 2 * K, E]))
            if not rope:
                return self._split(heads, [H, K, K])
            qk, v = self._split(heads, [H + K, K])
            return [*self._split(self._rotate(qk, steps), [H, K]), v]
        of_queries, others = writer.add_split(
            "Split", writer.weight(f"{module}.weight"), writer.integers([H * E, 2 * K * E]), n_outputs=2, axis=0
        )
        q = writer.product(self._last(x, steps, axis=1), of_queries)
        q = writer.add("Reshape", q, writer.integers([0, steps, H, E]))
        kv = writer.add("Reshape", writer.product(x, others), writer.integers([0, shape.seq_length, 2 * K, E]))
        k, v = self._split(kv, [K, K])
        return [self._rotate(q, steps), self._rotate(k, shape.seq_length), v] if rope else [q, k, v]

    def _feed_forward(self, x: Value, module: str) -> Value:
        writer = self.writer
        hidden = writer.linear(x, f"{module}.up", bias=False)
        if self.shape.activation_fn == "swiglu":
            gate = writer.linear(x, f"{module}.gate", bias=False)
            hidden = writer.add("Mul", writer.add("Mul", gate, writer.add("Sigmoid", gate)), hidden)
        else:
            hidden = writer.add({"gelu": "Gelu", "relu": "Relu"}[self.shape.activation_fn], hidden)
        return writer.linear(writer.drop(hidden), f"{module}.down", bias=False)

    def _norm(self, x: Value, module: str) -> Value:
        writer, epsilon = self.writer, EPSILON[self.shape.normalization]
        weight = writer.weight(f"{module}.weight")
        if self.shape.normalization == "layer_norm":
            bias = writer.weight(f"{module}.bias")
            return writer.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)
        # These six nodes are the pattern that onnxruntime fuses into one.
        square = writer.add("Pow", x, writer.number(2.0))
        mean = writer.add("ReduceMean", square, writer.integers([-1]), keepdims=1)
        root = writer.add("Sqrt", writer.add("Add", mean, writer.number(epsilon)))
        return writer.add("Mul", writer.add("Div", x, root), weight)

    def _split(self, heads: Value, counts: list[int]) -> list[Value]:
        return self.writer.add_split("Split", heads, self.writer.integers(counts), n_outputs=len(counts), axis=2)

    def _last(self, x: Value, steps: int, *, axis: int) -> Value:
        return x if steps == self.shape.seq_length else self.writer.last_steps(x, steps, axis=axis)


def write_value(writer: GraphWriter, index: int, hidden: Value) -> Value:
    """(N, P, D) -> (N, P), the standardised value of real target number `index`."""
    return writer.add("Squeeze", _head(writer, index, hidden), writer.integers([-1]))


def write_choice(writer: GraphWriter, index: int, hidden: Value) -> tuple[Value, Value]:
    """(N, P, D) -> (N, P, n_classes) probabilities by id, and (N, P) the largest, counted from class 1 as 0."""
    logits = _head(writer, index, hidden)
    known = writer.add("Softmax", logits, axis=-1)  # classes 1, 2, ...; class 0 is never predicted
    # A zero in front of the last axis: one entry before, none behind.
    probabilities = writer.add("Pad", known, writer.integers([0, 0, 1, 0, 0, 0]), writer.number(0.0))
    return probabilities, writer.add("ArgMax", logits, axis=-1, keepdims=0)


def _head(writer: GraphWriter, index: int, hidden: Value) -> Value:
    return writer.linear(hidden, f"heads.linear.{index}", bias=True)


def _write_heads(writer: GraphWriter, shape: Architecture, hidden: Value) -> None:
    """(N, P, D) -> the outputs of each target."""
    P = shape.prediction_length
    for index, target in enumerate(shape.targets):
        if target.kind == "real":
            writer.output(target.output_names[0], write_value(writer, index, hidden), np.float32, P)
            continue
        probabilities, best = target.output_names
        shares, largest = write_choice(writer, index, hidden)
        writer.output(probabilities, shares, np.float32, P, target.n_classes)
        writer.output(best, writer.add("Add", largest, writer.integers([1])), np.int64, P)
