"""The transformer as ONNX nodes, from encoded events to the vectors that the heads read.

It computes what `Transformer` computes in eval mode, or on request with dropout as in training; of the
last block the last `prediction_length` steps alone.
Shapes: N batch, T steps of the window, P prediction_length, D model width, H heads, K heads of keys and values,
G heads that share keys (H // K), E width of a head.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from sequifier.config.architecture import Architecture
from sequifier.export.graph import GraphWriter
from sequifier.model.activations import ACTIVATIONS
from sequifier.model.graph import Value
from sequifier.model.norms import NORMS
from sequifier.model.positions import rotation_table
from sequifier.model.window_normalization import ScaleNodes, write_normalized

NEVER = -1e30
"""Added to the scores of masked steps: large enough for a softmax of exactly 0, far from overflow."""


def write_is_event(writer: GraphWriter, steps: int, n_events: Value) -> Value:
    """Add which steps are events: (N,) number of events, the last steps -> (N, T) bool."""
    from_the_end = writer.integers(range(steps, 0, -1))  # the last step is 1
    return writer.add("LessOrEqual", from_the_end, writer.add("Unsqueeze", n_events, writer.integers([1])))


def write_backbone(
    writer: GraphWriter, architecture: Architecture, columns: Mapping[str, Value], is_event: Value
) -> tuple[Value, dict[str, ScaleNodes]]:
    """Add everything before the heads.

    Args:
        writer: the graph.
        architecture: the shape of the model.
        columns: input column -> (N, T) int64 ids or float32 standardised values. Padding may hold any value. In events,
            an id that is out of range is unknown, and NaN or an infinity is the mean.
        is_event: (N, T) bool.

    Returns:
        (N, P, D), after the final norm; and how the predictions of targets with normalized windows are restored.
    """
    usable, scales = write_usable(writer, architecture.categorical, architecture.real, columns, is_event), {}
    if architecture.normalized:
        events = writer.add("Cast", is_event, to=TensorProto.FLOAT)
        for target in architecture.normalized:
            usable[target], scales[target] = write_normalized(
                writer, architecture.window_normalization, usable[target], events
            )
    return _Backbone(writer, architecture).write(usable, is_event), scales


def write_usable(
    writer: GraphWriter,
    categorical: Sequence[tuple[str, int]],
    real: Sequence[str],
    columns: Mapping[str, Value],
    is_event: Value | None = None,
) -> dict[str, Value]:
    """Replace padding, values that are not finite and ids out of range by 0: the mean, or unknown.

    A weight of 0 in attention does not cancel a NaN or an infinity, and a look-up outside of its table fails.

    Args:
        writer: the graph.
        categorical: columns with their classes.
        real: the others.
        columns: their values.
        is_event: False on padding; None: there is none.
    """

    def where_event(condition: Value) -> Value:
        return condition if is_event is None else writer.add("And", condition, is_event)

    # A constant that nothing reads would be one of onnxruntime's warnings.
    largest, zero = (writer.number(float(np.finfo(np.float32).max)), writer.number(0.0)) if real else ("", "")
    unknown = writer.constant(np.array(0, np.int64)) if categorical else ""
    found = {}
    for name in real:
        is_number = writer.add("LessOrEqual", writer.add("Abs", columns[name]), largest)
        found[name] = writer.add("Where", where_event(is_number), columns[name], zero)
    for name, n_classes in categorical:
        end = writer.constant(np.array(n_classes, np.int64))
        is_id = writer.add(
            "And",
            writer.add("GreaterOrEqual", columns[name], unknown),
            writer.add("Less", columns[name], end),
        )
        found[name] = writer.add("Where", where_event(is_id), columns[name], unknown)
    return found


class _Backbone:
    """The nodes from columns to the vectors of the last P steps."""

    def __init__(self, writer: GraphWriter, architecture: Architecture) -> None:
        self.writer, self.shape = writer, architecture
        self.head_width = architecture.dim_model // architecture.n_head
        self.group = architecture.n_head // architecture.n_kv_heads

    def write(self, columns: Mapping[str, Value], is_event: Value) -> Value:
        writer, shape = self.writer, self.shape
        x = self._embed(columns)
        if shape.positional_encoding == "rope":
            self._write_rotation()
        else:
            x = writer.add("Add", x, writer.weight("positions.weight"))
        x = writer.drop(x)
        self.mask = self._write_mask(is_event)
        for index in range(shape.num_layers):
            # In the last block, only keys and values are needed of steps that are not returned.
            steps = shape.prediction_length if index == shape.num_layers - 1 else shape.seq_length
            x = self._block(x, f"blocks.{index}", steps)
        return self._norm(x, "norm") if shape.norm_first else x

    def _embed(self, columns: Mapping[str, Value]) -> Value:
        """Columns (N, T) each -> (N, T, D)."""
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
        """(N, T) -> (N, 1, 1, T, T), 0 where a step may attend, else NEVER; see `model.attention.padding_mask`."""
        writer, steps = self.writer, self.shape.seq_length
        is_event = writer.add("Unsqueeze", is_event, writer.integers([1, 2, 3]))  # (N, 1, 1, 1, T)
        may = writer.add("And", is_event, writer.constant(np.tri(steps, dtype=np.bool_)))
        may = writer.add("Or", may, writer.constant(np.eye(steps, dtype=np.bool_)))
        return writer.add("Where", may, writer.number(0.0), writer.number(NEVER))

    def _write_rotation(self) -> None:
        """Add the constants of `_rotate`, which computes `model.positions.rotate` as `x * cosine + swap(x) * sine`.

        `swap` exchanges the members of each pair and negates the first, by a product with a constant matrix (E, E):
        runtimes compute that faster than strided copies.
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
        writer, activation = self.writer, ACTIVATIONS[self.shape.activation_fn]
        hidden = writer.linear(x, f"{module}.up", bias=False)
        if activation.is_gated:
            gate = writer.linear(x, f"{module}.gate", bias=False)
            hidden = writer.add("Mul", activation.write(writer, gate), hidden)
        else:
            hidden = activation.write(writer, hidden)
        return writer.linear(writer.drop(hidden), f"{module}.down", bias=False)

    def _norm(self, x: Value, module: str) -> Value:
        return NORMS[self.shape.normalization].write(self.writer, x, module)

    def _split(self, heads: Value, counts: list[int]) -> list[Value]:
        return self.writer.add_split("Split", heads, self.writer.integers(counts), n_outputs=len(counts), axis=2)

    def _last(self, x: Value, steps: int, *, axis: int) -> Value:
        return x if steps == self.shape.seq_length else self.writer.last_steps(x, steps, axis=axis)
