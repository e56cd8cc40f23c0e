"""The ONNX file of a model: a graph that takes encoded events and returns predictions, or vectors.

Initializers are exactly the weights of the state dict, names and values, beside the dropout ratio.
Shapes: N batch, T steps of the window, P prediction_length, H prediction_horizon, D model width.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from torch import Tensor, nn

from sequifier.artifacts.model_file import DROPOUT, add_properties, write_model
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import EMBEDDING, EVENT_COUNT, Architecture, Target, future_input
from sequifier.config.catalogue.distributions import LEVELS, MEDIAN
from sequifier.errors import ModelError
from sequifier.export.backbone import write_backbone, write_is_event, write_usable
from sequifier.export.graph import GraphWriter
from sequifier.export.parity import Parity, check
from sequifier.model.distributions.family import DISTRIBUTIONS
from sequifier.model.graph import Value
from sequifier.model.window_normalization import ScaleNodes

_OF_PREDICTIONS = ("heads.", "steps_to_come.")
"""First parts of the names of weights that an embedding does not need."""


def export_onnx(
    path: Path,
    architecture: Architecture,
    model: nn.Module,
    *,
    properties: Mapping[str, str],
    column_scales: Mapping[str, Scale] = MappingProxyType({}),
    seed: int,
    embedding: bool = False,
    with_dropout: bool = False,
) -> Parity:
    """Write a model as ONNX after comparing the graph with torch; the result is stored in its properties.

    Args:
        path: the file; it appears whole or not at all.
        architecture: the shape of `model`.
        model: a `Transformer` on any device, in any precision; the file is float32.
        properties: `artifacts.model_file.model_properties`.
        column_scales: of the real targets.
        seed: seed of the windows that are compared.
        embedding: export the vectors of the steps instead of predictions.
        with_dropout: keep dropout active in the graph; it is compared with the ratio at 0.

    Raises:
        ModelError: the graph does not compute what torch does.
        RunError: the file cannot be written.
    """
    graph = build_graph(
        architecture,
        model.state_dict(),
        embedding=embedding,
        metadata_props=properties,
        column_scales=column_scales,
        with_dropout=with_dropout,
    )
    parity = check(graph, architecture, model.state_dict(), column_scales=column_scales, seed=seed, embedding=embedding)
    add_properties(graph, {"parity": parity.as_json()})
    write_model(path, graph)
    return parity


def build_graph(
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    *,
    embedding: bool = False,
    metadata_props: Mapping[str, str],
    column_scales: Mapping[str, Scale] = MappingProxyType({}),
    with_dropout: bool = False,
) -> onnx.ModelProto:
    """Build the graph that returns predictions, or the one that returns vectors.

    Inputs are each input column under its own name, (N, T) int64 ids or float32 standardised values, and `n_events`,
    (N,) int64: how many of the last steps are real events. Outputs are `<target>_probabilities` (N, P, n_classes),
    `<target>_id` (N, P) and `<target>_value` (N, P), or `embedding` (N, P, D). The value of a distribution is its
    median, beside which there are `<target>_quantiles` (N, P, levels), and `<target>_parameters` (N, P, parameters) of
    a distribution with a density. Each column that is known at the steps to come is a further input,
    `future_<column>` (N, H). Outputs of a target that belongs to the whole sequence have no axis P, those of a
    model with a horizon are (N, 1, H) instead of (N, P). With dropout the scalar `dropout_ratio` is an optional input:
    its default is the ratio of training.

    Raises:
        ModelError: a column has the name of a weight.
    """
    wanted = {name for name in state_dict if not (embedding and name.startswith(_OF_PREDICTIONS))}
    outputs = [EMBEDDING] if embedding else [name for target in architecture.targets for name in target.output_names]
    known = () if embedding else architecture.known_future
    columns = {*architecture.input_columns, *map(future_input, known), *outputs}
    if clash := sorted(columns & wanted):
        raise ModelError(
            f"column `{clash[0]}` has the name of a weight in the exported model",
            fix="rename it in the raw data and preprocess again",
        )
    shape = architecture
    writer = GraphWriter(state_dict, [*columns, EVENT_COUNT], dropout=shape.dropout if with_dropout else None)
    inputs = {name: writer.input(name, np.int64, shape.seq_length) for name, _ in shape.categorical}
    inputs |= {name: writer.input(name, np.float32, shape.seq_length) for name in shape.real}
    future = {
        name: writer.input(future_input(name), kind, shape.horizon)
        for names, kind in (([name for name, _ in shape.known_categorical], np.int64), (shape.known_real, np.float32))
        for name in names
        if name in known
    }
    is_event = write_is_event(writer, shape.seq_length, writer.input(EVENT_COUNT, np.int64))
    hidden, scales = write_backbone(writer, shape, inputs, is_event)
    if embedding:
        writer.output(EMBEDDING, hidden, np.float32, shape.prediction_length, shape.dim_model)
    else:
        steps = write_steps_to_come(writer, shape, hidden, future)
        _write_heads(writer, shape, hidden, steps, scales, column_scales)
    assert writer.weights == wanted, f"weights without a place in the graph: {writer.weights ^ wanted}"
    model = writer.finish("embedding" if embedding else "predictions")
    add_properties(model, {**metadata_props, **({DROPOUT: "active"} if with_dropout else {})})
    return model


def axes_of(shape: Architecture, target: Target) -> tuple[int, ...]:
    """Return the axes of a target's outputs between the batch and the classes: (P,), (1, H) or none.

    A target of the whole sequence has none; H is there for a model with a horizon.
    """
    if target.of_sequence:
        return ()
    return (shape.prediction_length,) if shape.horizon == 1 else (1, shape.horizon)


def write_steps_to_come(
    writer: GraphWriter, shape: Architecture, hidden: Value, future: Mapping[str, Value]
) -> Value | None:
    """Add the vectors of the steps to come, (N, 1, D) -> (N, 1, H, D); None: nothing is known of them.

    Args:
        writer: the graph.
        shape: the shape of the model.
        hidden: (N, 1, D).
        future: known column -> (N, H) ids or standardised values. An id that is out of range is unknown, and NaN or an
            infinity is the mean.
    """
    if not shape.known_future:
        return None
    usable = write_usable(writer, shape.known_categorical, shape.known_real, future)
    x = writer.linear(hidden, "steps_to_come.origin", bias=True)  # (N, 1, D)
    for index, (name, _) in enumerate(shape.known_categorical):
        table = writer.weight(f"steps_to_come.categorical.{index}.weight")
        x = writer.add("Add", x, writer.add("Gather", table, usable[name]))
    for index, name in enumerate(shape.known_real):
        column = writer.add("Unsqueeze", usable[name], writer.integers([-1]))
        x = writer.add("Add", x, writer.linear(column, f"steps_to_come.real.{index}", bias=True))
    return writer.add("Unsqueeze", writer.add("Relu", x), writer.integers([1]))


def write_head(
    writer: GraphWriter, shape: Architecture, index: int, hidden: Value, steps: Value | None = None
) -> Value:
    """Add the head of target number `index`: (N, *axes, n_classes - 1) logits from class 1, or (N, *axes, 1) values.

    A target that belongs to the whole sequence is predicted from the last event alone. `steps` are the vectors of the
    steps to come.
    """
    if shape.targets[index].of_sequence:
        hidden = writer.add("Squeeze", writer.last_steps(hidden, 1, axis=1), writer.integers([1]))  # (N, D)
    name = shape.targets[index].name
    if name not in shape.tied:
        outputs = writer.linear(hidden, f"heads.linear.{index}", bias=True)
        if shape.horizon == 1:
            return outputs
        outputs = writer.add("Reshape", outputs, writer.integers([0, 1, shape.horizon, -1]))
        if steps is None:
            return outputs
        return writer.add("Add", outputs, writer.linear(steps, f"heads.step.{index}", bias=False))
    column = shape.tied_columns[shape.tied.index(name)]
    if shape.joint_embedding:
        start = sum(shape.embedding_widths[:column])
        end = start + shape.embedding_widths[column]
        joint = writer.weight("embedding.joint.weight")
        joint = writer.add("Slice", joint, *map(writer.integers, ([start], [end], [1])))
        hidden = writer.add("MatMul", hidden, joint)  # (N, P, D) -> (N, P, E)
    table = writer.weight(f"embedding.categorical.{column}.weight")
    known = writer.add("Slice", table, *map(writer.integers, ([1], [2**62], [0])))  # from class 1
    return writer.product(hidden, known)


def write_value(
    writer: GraphWriter,
    shape: Architecture,
    index: int,
    hidden: Value,
    steps: Value | None,
    scales: Mapping[str, ScaleNodes],
) -> Value:
    """Add the standardised values of real target number `index`, (N, P, D) -> (N, *axes); see `write_backbone`."""
    value = writer.add("Squeeze", write_head(writer, shape, index, hidden, steps), writer.integers([-1]))
    scale = scales.get(shape.targets[index].name)
    return (
        value
        if scale is None
        else scale.write_restored(writer, value, n_axes=len(axes_of(shape, shape.targets[index])))
    )


def write_distribution(
    writer: GraphWriter,
    shape: Architecture,
    index: int,
    hidden: Value,
    steps: Value | None,
    scales: Mapping[str, ScaleNodes],
    column_scale: Scale,
) -> tuple[Value, Value]:
    """Add the distribution of target number `index`: (N, P, parameters), and its standardised quantiles."""
    name = shape.targets[index].distribution
    assert name is not None
    distribution = DISTRIBUTIONS[name]
    raw = write_head(writer, shape, index, hidden, steps)
    statistics = writer.weight(f"heads.linear.{index}.statistics") if distribution.n_statistics else None
    parameters = distribution.write_parameters(writer, raw, statistics)
    if (scale := scales.get(shape.targets[index].name)) is not None:
        parameters = scale.write_restored(writer, parameters, n_axes=1 + len(axes_of(shape, shape.targets[index])))
    return parameters, distribution.write_quantiles(writer, parameters, column_scale)


def write_median(writer: GraphWriter, quantiles: Value) -> Value:
    """Add the median, (..., levels) -> (...)."""
    return writer.add(
        "Squeeze", writer.add("Gather", quantiles, writer.integers([MEDIAN]), axis=-1), writer.integers([-1])
    )


def write_choice(writer: GraphWriter, logits: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """Add the choice of a class, logits -> (N, *axes, n_classes) probabilities by id, (N, *axes) of the largest logit.

    The index counts from class 1: it is the class id minus 1.
    """
    known = writer.add("Softmax", logits, axis=-1)  # classes 1, 2, ...; class 0 is never predicted
    # A zero in front of the last axis: one entry before, none behind.
    before = [0] * (1 + len(axes))
    pads = writer.integers([*before, 1, *before, 0])
    probabilities = writer.add("Pad", known, pads, writer.number(0.0))
    return probabilities, writer.add("ArgMax", logits, axis=-1, keepdims=0)


def _write_heads(
    writer: GraphWriter,
    shape: Architecture,
    hidden: Value,
    steps: Value | None,
    scales: Mapping[str, ScaleNodes],
    column_scales: Mapping[str, Scale],
) -> None:
    """Add the outputs of each target, from (N, P, D)."""
    for index, target in enumerate(shape.targets):
        axes = axes_of(shape, target)
        if target.shape is not None and target.quantiles_name is not None:
            parameters, quantiles = write_distribution(
                writer, shape, index, hidden, steps, scales, column_scales[target.name]
            )
            writer.output(target.output_names[0], write_median(writer, quantiles), np.float32, *axes)
            writer.output(target.quantiles_name, quantiles, np.float32, *axes, len(LEVELS))
            if target.parameters_name is not None:
                writer.output(target.parameters_name, parameters, np.float32, *axes, target.shape.n_parameters)
            continue
        if target.kind == "real":
            value = write_value(writer, shape, index, hidden, steps, scales)
            writer.output(target.output_names[0], value, np.float32, *axes)
            continue
        probabilities, best = target.output_names
        shares, largest = write_choice(writer, write_head(writer, shape, index, hidden, steps), axes)
        writer.output(probabilities, shares, np.float32, *axes, target.n_classes)
        writer.output(best, writer.add("Add", largest, writer.integers([1])), np.int64, *axes)
