"""The ONNX graph from raw values to labels and original units, so that a caller needs no encoding of its own.

It has the vocabularies (ai.onnx.ml LabelEncoder), transforms and statistics of the columns around the nodes of
`export.backbone`.
Shapes: N batch, T steps of the window, P prediction_length, H prediction_horizon.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import Tensor, nn

from sequifier.artifacts.model_file import DROPOUT, END_TO_END, add_properties, write_model
from sequifier.artifacts.time_rules import NO_TIMES, TimeRules
from sequifier.artifacts.transforms import LOWEST
from sequifier.config.architecture import EVENT_COUNT, Architecture, future_input
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.config.preprocess_fields import Transform
from sequifier.errors import ModelError
from sequifier.export.backbone import write_backbone, write_is_event
from sequifier.export.graph import ML_DOMAIN, GraphWriter
from sequifier.export.onnx import (
    axes_of,
    write_choice,
    write_distribution,
    write_head,
    write_median,
    write_steps_to_come,
    write_value,
)
from sequifier.export.parity import Parity, check
from sequifier.export.raw_columns import RawColumn
from sequifier.export.raw_times import date_inputs, future_inputs, name_clash
from sequifier.export.time_nodes import date_kinds, write_computed_columns, write_dates
from sequifier.export.top_labels import NO_TOP, Top, write_top
from sequifier.model.graph import Value
from sequifier.model.window_normalization import ScaleNodes


def export_end_to_end(
    path: Path,
    architecture: Architecture,
    model: nn.Module,
    columns: Mapping[str, RawColumn],
    *,
    properties: Mapping[str, str],
    seed: int,
    with_dropout: bool = False,
    top: Top = NO_TOP,
    times: TimeRules = NO_TIMES,
) -> Parity:
    """Write a model that takes raw values, after comparing the graph with our own encoding and torch.

    Args:
        path: the file; it appears whole or not at all.
        architecture: the shape of `model`.
        model: a `Transformer` on any device, in any precision; the weights in the file are float32.
        columns: input and target columns by name, see `raw_columns`.
        properties: `artifacts.model_file.model_properties`.
        seed: seed of the windows that are compared.
        with_dropout: keep dropout active in the graph; it is compared with the ratio at 0.
        top: which most probable classes it also returns.
        times: the columns that are computed from dates.

    Raises:
        ModelError: the graph does not compute what torch does, or two names collide.
        RunError: the file cannot be written.
    """
    graph = build_end_to_end_graph(
        architecture,
        model.state_dict(),
        columns,
        metadata_props=properties,
        with_dropout=with_dropout,
        top=top,
        times=times,
    )
    column_scales = {name: column.scale for name, column in columns.items() if column.is_real}
    parity = check(
        graph,
        architecture,
        model.state_dict(),
        column_scales=column_scales,
        seed=seed,
        raw=columns,
        top=top,
        times=times,
    )
    add_properties(graph, {"parity": parity.as_json()})
    write_model(path, graph)
    return parity


def build_end_to_end_graph(
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    columns: Mapping[str, RawColumn],
    *,
    metadata_props: Mapping[str, str],
    with_dropout: bool = False,
    top: Top = NO_TOP,
    times: TimeRules = NO_TIMES,
) -> onnx.ModelProto:
    """Build the graph from raw values to labels.

    Inputs are each input column under its own name, (N, T) text, int64, bool, float32 or float64 as in the raw table,
    and `n_events`, (N,) int64: how many of the last steps are real events. In place of columns that are computed from
    dates it takes the dates, see `raw_times`. Missing values are filled as in training; see `raw_columns` for what they
    are. What is known of the steps to come, or the dates that it is computed from, are inputs `future_<input>` (N, H).
    Outputs are `<target>_label` (N, P),
    `<target>_probabilities` (N, P, n_classes) and `<target>_value` (N, P) in original units, with a distribution its
    median, and `<target>_quantiles` (N, P, levels); on request the K most
    probable classes, `<target>_top_labels` and `<target>_top_probabilities` (N, P, K). Outputs of a target that belongs
    to the whole sequence have no axis P; those of a model with a horizon of H steps are (N, 1, H) instead of (N, P).

    Raises:
        ModelError: a column has the name of a weight or an output.
    """
    shape = architecture
    times = times.only(shape.input_columns)
    given = [name for name in shape.input_columns if name not in times.derived]
    outputs = [name for target in shape.targets for name in (*target.end_to_end_names, *top.names(target))]
    inputs = [*given, *date_inputs(times)]
    inputs += [future_input(name) for names in future_inputs(shape.known_future, times) for name in names]
    clashes = {what: {*inputs} & {*names} for what, names in (("a weight", state_dict), ("an output", outputs))}
    clashes["an input for dates"] = {*filter(None, [name_clash(given, times)])}
    for what, names in clashes.items():
        if names:
            raise ModelError(
                f"column `{min(names)}` has the name of {what} in the exported model",
                fix="rename it in the raw data and preprocess again",
            )
    writer = GraphWriter(state_dict, [*inputs, *outputs, EVENT_COUNT], dropout=shape.dropout if with_dropout else None)
    raw = {name: writer.input(name, columns[name].input_kind, shape.seq_length) for name in given}
    dates, n_events = write_dates(writer, times, shape.seq_length), writer.input(EVENT_COUNT, np.int64)
    is_event = write_is_event(writer, shape.seq_length, n_events)
    future = _write_future(writer, shape, columns, times, raw | dates, n_events)
    raw |= write_computed_columns(writer, times, dates, n_events, shape.seq_length)
    encoded = {
        name: _encode(writer, raw[name], columns[name], is_event, shape.seq_length) for name in shape.input_columns
    }
    hidden, scales = write_backbone(writer, shape, encoded, is_event)
    steps = write_steps_to_come(writer, shape, hidden, future)
    _write_heads(writer, shape, columns, hidden, steps, scales, encoded, is_event, top)
    assert writer.weights == set(state_dict), f"weights without a place: {writer.weights ^ set(state_dict)}"
    model = writer.finish("end-to-end")
    dropout = {DROPOUT: "active"} if with_dropout else {}
    add_properties(model, {**metadata_props, END_TO_END: "true", **dropout, **top.as_properties()})
    return model


def _write_future(
    writer: GraphWriter,
    shape: Architecture,
    columns: Mapping[str, RawColumn],
    times: TimeRules,
    window: Mapping[str, Value],
    n_events: Value,
) -> dict[str, Value]:
    """Declare what is known of the steps to come, and add its encoding; returns known column -> (N, H).

    The steps follow those of the window, from which a missing value is carried forward, and times are measured.

    Args:
        writer: the graph.
        shape: the shape of the model.
        columns: of the model.
        times: the columns that are computed from dates.
        window: the inputs of the window, dates included.
        n_events: (N,) how many of its last steps are events.
    """
    if not shape.known_future:
        return {}
    H, n_steps = shape.horizon, shape.seq_length + shape.horizon
    given, dates = future_inputs(shape.known_future, times)
    kinds = {name: columns[name].input_kind for name in given}
    kinds |= {name: kind for name, kind in date_kinds(times).items() if name in dates}
    whole = dict(window)
    for name, kind in kinds.items():
        whole[name] = writer.add("Concat", window[name], writer.input(future_input(name), kind, H), axis=1)
    n_whole = writer.add("Add", n_events, writer.integers([H]))
    whole |= write_computed_columns(writer, times.only(shape.known_future), whole, n_whole, n_steps)
    is_event = write_is_event(writer, n_steps, n_whole)
    encoded = {name: _encode(writer, whole[name], columns[name], is_event, n_steps) for name in shape.known_future}
    return {name: writer.last_steps(values, H, axis=1) for name, values in encoded.items()}


def _encode(writer: GraphWriter, name: Value, column: RawColumn, is_event: Value, steps: int) -> Value:
    """Add the encoding of a column, (N, T) raw values -> ids or standardised values, which may be NaN or infinite."""
    if column.is_real:
        exact = writer.add("Cast", name, to=TensorProto.DOUBLE)
        scale = column.scale
        is_known = writer.add("LessOrEqual", writer.add("Abs", exact), _double(writer, np.finfo(np.float64).max))
        if (lowest := LOWEST[scale.transform]) > -np.inf:
            is_known = writer.add("And", is_known, writer.add("GreaterOrEqual", exact, _double(writer, lowest)))
        if not np.isnan(column.replacement) or lowest > -np.inf:
            exact = writer.add("Where", is_known, exact, _double(writer, column.replacement))
        exact = _transformed(writer, exact, scale.transform)
        z = writer.add("Div", writer.add("Sub", exact, _double(writer, scale.mean)), _double(writer, scale.std))
        z = writer.add("Cast", z, to=TensorProto.FLOAT)
        if column.fill == "forward":
            z = _carried_forward(writer, z, writer.add("And", is_known, is_event), writer.number(0.0), steps)
        return z
    if not column.categories:
        zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
        return writer.add("ConstantOfShape", writer.add("Shape", name), value=zero)
    by_value = column.ids
    if column.input_kind is np.bool_:
        yes, no = (writer.constant(np.array(by_value.get(value, 0), np.int64)) for value in (True, False))
        return writer.add("Where", name, yes, no)
    keys = "keys_strings" if column.input_kind is np.str_ else "keys_int64s"
    ids = writer.add(
        "LabelEncoder",
        name,
        domain=ML_DOMAIN,
        **{keys: list(by_value), "values_int64s": list(by_value.values()), "default_int64": 0},
    )
    if column.fill == "forward":
        zero_id = writer.constant(np.array(0, np.int64))
        is_known = writer.add("And", writer.add("GreaterOrEqual", ids, zero_id), is_event)
        ids = _carried_forward(writer, ids, is_known, zero_id, steps)
    return ids


def _carried_forward(writer: GraphWriter, values: Value, is_known: Value, otherwise: Value, steps: int) -> Value:
    """Fill each step of (N, T) with the last known value up to it, `otherwise` before the first known one."""
    numbers = writer.constant(np.arange(steps, dtype=np.float32))
    numbers = writer.add("Where", is_known, numbers, writer.number(-1.0))
    # ONNX has no running maximum; pooling over all steps so far is the same. Without a known step it is -1.
    channel = writer.integers([1])
    pooled = writer.add(
        "MaxPool", writer.add("Unsqueeze", numbers, channel), kernel_shape=[steps], pads=[steps - 1, 0], strides=[1]
    )
    last = writer.add("Squeeze", pooled, channel)
    place = writer.add("Cast", writer.add("Max", last, writer.number(0.0)), to=TensorProto.INT64)
    found = writer.add("GatherElements", values, place, axis=1)
    return writer.add("Where", writer.add("Less", last, writer.number(0.0)), otherwise, found)


def _write_heads(
    writer: GraphWriter,
    shape: Architecture,
    columns: Mapping[str, RawColumn],
    hidden: Value,
    steps: Value | None,
    scales: Mapping[str, ScaleNodes],
    encoded: Mapping[str, Value],
    is_event: Value,
    top: Top,
) -> None:
    """Add the outputs of each target, from (N, P, D); the most probable classes may depend on the window's events."""
    for index, target in enumerate(shape.targets):
        column, axes = columns[target.name], axes_of(shape, target)
        if target.kind == "real":
            name = target.end_to_end_names[0]
            if target.quantiles_name is None:
                value = _original(writer, write_value(writer, shape, index, hidden, steps, scales), column)
                writer.output(name, value, column.kind, *axes)
                continue
            _, quantiles = write_distribution(writer, shape, index, hidden, steps, scales, column.scale)
            quantiles = _original(writer, quantiles, column)
            writer.output(name, write_median(writer, quantiles), column.kind, *axes)
            writer.output(target.quantiles_name, quantiles, column.kind, *axes, len(LEVELS))
            continue
        label, probabilities = target.end_to_end_names
        logits = write_head(writer, shape, index, hidden, steps)
        shares, largest = write_choice(writer, logits, axes)
        kind = column.label_kind
        classes = writer.constant(np.array(column.labels, np.object_ if kind is np.str_ else kind))
        writer.output(label, writer.add("Gather", classes, largest, axis=0), kind, *axes)
        writer.output(probabilities, shares, np.float32, *axes, target.n_classes)
        if top.names(target):
            seen = (encoded[target.name], is_event) if target.name in top.unseen else None
            places, worth = write_top(writer, logits, shares, k := top.of_target(target), shape, seen)
            labels, probabilities = top.names(target)
            writer.output(labels, writer.add("Gather", classes, places, axis=0), kind, *axes, k)
            writer.output(probabilities, worth, np.float32, *axes, k)


def _original(writer: GraphWriter, z: Value, column: RawColumn) -> Value:
    """Add `Scale.original` of standardised values, in the type of the column."""
    z, scale = writer.add("Cast", z, to=TensorProto.DOUBLE), column.scale
    value = writer.add("Add", writer.add("Mul", z, _double(writer, scale.std)), _double(writer, scale.mean))
    value = _restored(writer, value, scale.transform)
    if scale.unit != 1:
        value = writer.add("Div", value, _double(writer, scale.unit))
    return writer.add("Cast", value, to=TensorProto.FLOAT) if column.kind is np.float32 else value


def _transformed(writer: GraphWriter, x: Value, transform: Transform | None) -> Value:
    """Add `artifacts.transforms.transformed`; onnxruntime has no log1p, and no asinh of doubles."""
    match transform:
        case "log1p":
            return writer.add("Log", writer.add("Add", x, _double(writer, 1.0)))
        case "asinh":  # sign(x) log(|x| + sqrt(x^2 + 1))
            root = writer.add("Sqrt", writer.add("Add", writer.add("Mul", x, x), _double(writer, 1.0)))
            size = writer.add("Log", writer.add("Add", writer.add("Abs", x), root))
            return writer.add("Mul", writer.add("Sign", x), size)
    return x


def _restored(writer: GraphWriter, y: Value, transform: Transform | None) -> Value:
    """Add `artifacts.transforms.restored`."""
    match transform:
        case "log1p":
            value = writer.add("Sub", writer.add("Exp", y), _double(writer, 1.0))
            return writer.add("Max", value, _double(writer, LOWEST[transform]))
        case "asinh":
            twice = writer.add("Sub", writer.add("Exp", y), writer.add("Exp", writer.add("Neg", y)))
            return writer.add("Mul", twice, _double(writer, 0.5))
    return y


def _double(writer: GraphWriter, value: float) -> Value:
    return writer.constant(np.array(value, np.float64))
