"""Comparison of an exported graph with the torch model.

onnxruntime and torch run the same random windows: a full batch, a padded one and a single row, with unknown categories
among them. A graph that takes raw values gets raw ones, and torch gets them as our own code encodes them. Predictions
may differ by `TOLERANCE`, far above the rounding of float32: see docs/decisions/002-onnx-graph-built-directly.md.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from sequifier.artifacts.time_rules import NO_TIMES, TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import EMBEDDING, EVENT_COUNT, Architecture, future_input
from sequifier.errors import ModelError
from sequifier.export.raw_columns import RawColumn
from sequifier.export.raw_times import computed_columns, future_inputs, random_dates
from sequifier.export.top_labels import NO_TOP, Top
from sequifier.model.build import build_model
from sequifier.model.distributions.outputs import value_outputs
from sequifier.model.known_future import Future
from sequifier.model.transformer import Transformer

TOLERANCE = 1e-3
ERRORS_ONLY = 3  # severity from which onnxruntime logs
FRACTION_MISSING = 0.2

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Parity:
    """The result of a comparison that passed."""

    tolerance: float
    largest_difference: float

    def as_json(self) -> str:
        """Return the text that is stored in a model file."""
        return json.dumps(asdict(self))


def check(
    graph: onnx.ModelProto,
    architecture: Architecture,
    state_dict: Mapping[str, Tensor],
    *,
    column_scales: Mapping[str, Scale] = MappingProxyType({}),
    seed: int,
    embedding: bool = False,
    raw: Mapping[str, RawColumn] | None = None,
    top: Top = NO_TOP,
    times: TimeRules = NO_TIMES,
) -> Parity:
    """Compare a graph with the torch model of the same weights, in float32 on the CPU.

    A difference is |a - b| / (|b| + scale), where b is torch's number. The scale is 1 for standardised values and for
    embeddings, and 1 / n_classes for probabilities, so that small probabilities of many classes count as well.

    Args:
        graph: from `build_graph`.
        architecture: the shape of the model.
        state_dict: its weights, on any device, in any precision.
        column_scales: of the real targets.
        seed: seed of the random windows.
        embedding: whether `graph` is the embedding graph.
        raw: the columns of a graph from `build_end_to_end_graph`; values are compared as standardised ones, labels by
            their ids.
        top: which most probable classes that graph returns.
        times: the columns that it computes from dates.

    Raises:
        ModelError: onnxruntime cannot run the graph, or an output differs by more than the tolerance.
    """
    shape = architecture
    with torch.random.fork_rng(devices=[]):  # a training run goes on after this, with the random state that it had
        reference = build_model(shape).eval()
    reference.load_state_dict(state_dict)
    try:
        session = open_session(graph.SerializeToString())
    except Exception as error:  # onnxruntime's exceptions are undocumented
        raise ModelError(f"onnxruntime cannot load the exported model: {error}") from error
    generator = np.random.default_rng(seed)
    # A graph with dropout is compared at ratio 0.
    off = {value.name: np.zeros((), np.float32) for value in session.get_overridable_initializers()}
    largest = 0.0
    known = () if embedding else shape.known_future
    ahead = {future_input(name) for name in (*known, *future_inputs(known, times)[1])}
    for case, n_events in _cases(shape.seq_length).items():
        feed = _random_windows(shape, n_events, generator, known)
        given = feed
        if raw is not None:
            given, encoded = _raw_feed(shape, feed, raw, times.only(shape.input_columns), generator)
            feed |= encoded
        given = _with_anything_in_padding(shape, given, ahead)
        names = [output.name for output in session.get_outputs()]
        ours = dict(zip(names, session.run(names, given | off), strict=True))
        theirs = _run_torch(reference, shape, feed, embedding, column_scales)
        if raw is not None:
            ours |= _encoded_outputs(shape, ours, raw)
            for target in (target for target in shape.targets if target.kind == "real"):
                lowest = np.float32(raw[target.name].scale.lowest)  # of a log1p column, lower values become 0
                theirs.pop(target.parameters_name or "", None)
                for name in filter(None, (target.output_names[0], target.quantiles_name)):
                    theirs[name] = np.maximum(theirs[name], lowest)
            theirs |= _top(shape, feed, ours, theirs, raw, top)
        for name in _rounded_away(shape, raw or {}):
            theirs.pop(name)
        for name, expected in theirs.items():
            difference = _difference(name, ours, expected, shape)
            if not difference <= TOLERANCE:  # a NaN is not within any tolerance either
                raise ModelError(
                    f"the exported model differs from torch in `{name}` by {difference:.2g} "
                    f"(at most {TOLERANCE:g}) on a {case} batch",
                    fix="this is a bug of the export, not a fault in the data; the checkpoint has the trained model",
                )
            largest = max(largest, difference)
    return Parity(TOLERANCE, largest)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph into onnxruntime, on one CPU thread; only errors are printed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = 1  # for a few rows, starting threads would take longer
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _cases(seq_length: int) -> dict[str, list[int]]:
    """Return the number of real events in each row of each batch."""
    return {
        "full": [seq_length] * 3,
        "padded": sorted({1, (seq_length + 1) // 2, max(1, seq_length - 1), seq_length}),
        "single-row": [max(1, seq_length * 2 // 3)],
    }


def _random_windows(
    shape: Architecture, n_events: list[int], generator: np.random.Generator, known: Collection[str]
) -> dict[str, Array]:
    """Return inputs by name. Padding has random values too, which do not change torch's predictions."""
    size, ahead = (len(n_events), shape.seq_length), (len(n_events), shape.horizon)
    found: dict[str, Array] = {name: generator.integers(0, n_classes, size) for name, n_classes in shape.categorical}
    found |= {name: generator.standard_normal(size, np.float32) for name in shape.real}
    for name, n_classes in shape.categorical:
        if name in known:
            found[future_input(name)] = generator.integers(0, n_classes, ahead)
    found |= {future_input(name): generator.standard_normal(ahead, np.float32) for name in shape.real if name in known}
    return found | {EVENT_COUNT: np.array(n_events, dtype=np.int64)}


def _raw_feed(
    shape: Architecture,
    feed: Mapping[str, Array],
    raw: Mapping[str, RawColumn],
    rules: TimeRules,
    generator: np.random.Generator,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return random raw inputs of windows, and what our own code encodes them as.

    They are encoded again, because raw values are rounded to the column's type, and booleans have no unknown value.
    What is known of the steps to come follows the window.
    """
    T, count, known = shape.seq_length, feed[EVENT_COUNT], shape.known_future
    columns, of_dates = future_inputs(known, rules)
    H = shape.horizon if known else 0
    given = {
        name: _raw_values(raw[name], feed[name], generator) for name in shape.input_columns if name not in rules.derived
    }
    whole = {
        name: np.concatenate([given[name], _raw_values(raw[name], feed[future_input(name)], generator)], axis=1)
        for name in columns
    }
    dates = random_dates(count + H, T + H, rules, generator)
    given |= {name: values[:, :T] if values.ndim > 1 else values for name, values in dates.items()}
    values, is_event = given | computed_columns(given, count, rules), _is_event(T, count)
    encoded = {name: raw[name].encoded(values[name], is_event) for name in shape.input_columns}
    if H:
        whole |= dates
        values = whole | computed_columns(whole, count + H, rules.only(known))
        is_event = _is_event(T + H, count + H)
        encoded |= {future_input(name): raw[name].encoded(values[name], is_event)[:, T:] for name in known}
        given |= {future_input(name): whole[name][:, T:] for name in (*columns, *of_dates)}
    return given | {EVENT_COUNT: count}, encoded


def _raw_values(column: RawColumn, numbers: Array, generator: np.random.Generator) -> Array:
    """Decode ids or standardised values to raw values, and make some of them missing."""
    values = column.decoded(numbers)
    missing = np.nan if column.is_real else column.missing
    if missing is not None:
        values[generator.random(values.shape) < FRACTION_MISSING] = missing
    return values


def _is_event(steps: int, n_events: Array) -> Array:
    """Return which steps are events, (N, T) bool."""
    found: Array = np.arange(steps, 0, -1) <= n_events[:, None]
    return found


def _with_anything_in_padding(
    shape: Architecture, given: Mapping[str, Array], ahead: Collection[str]
) -> dict[str, Array]:
    """Return the same events with padding that would show in the result if it counted: NaN and ids out of range.

    The inputs in `ahead` are those of steps to come, which have no padding.
    """
    is_event = _is_event(shape.seq_length, given[EVENT_COUNT])
    worst: dict[str, Any] = {"f": np.nan, "i": np.iinfo(np.int64).max, "O": "?", "b": True}
    changed = {
        name: np.where(is_event, values, np.array(worst[values.dtype.kind], values.dtype))
        for name, values in given.items()
        if values.ndim > 1 and name not in ahead
    }
    return {**given, **changed}


def _encoded_outputs(shape: Architecture, ours: dict[str, Array], raw: Mapping[str, RawColumn]) -> dict[str, Array]:
    """Convert labels and values in original units to ids and standardised values, under the names of `build_graph`."""
    found = {}
    for target in shape.targets:
        column, names = raw[target.name], target.end_to_end_names
        # NaN and infinities stay: the comparison must find them.
        if column.is_real:
            for name in names:
                found[name] = column.scale.standardised(ours[name].astype(np.float64) * column.scale.unit)
        else:
            found[target.output_names[-1]] = column.label_ids(ours[names[0]])
    return found


def _top(
    shape: Architecture,
    feed: Mapping[str, Array],
    ours: dict[str, Array],
    theirs: Mapping[str, Array],
    raw: Mapping[str, RawColumn],
    top: Top,
) -> dict[str, Array]:
    """Return torch's largest probabilities, and add to `ours` torch's probabilities of the returned labels.

    Labels are not compared themselves, because a tie may go either way.
    """
    P, found = shape.prediction_length, {}
    for target in shape.targets:
        if not top.names(target):
            continue
        probabilities = theirs[target.output_names[0]].copy()
        if target.name in top.unseen:
            seen = np.where(_is_event(shape.seq_length, feed[EVENT_COUNT]), feed[target.name], 0)
            for place in range(P):
                before = seen[:, : shape.seq_length - P + place + 1]
                np.put_along_axis(probabilities[:, place], before, np.float32(0), axis=-1)
        probabilities[..., 0] = np.where(np.isnan(probabilities[..., 1]), np.nan, -1)
        labels, worth = target.top_names
        ids = raw[target.name].label_ids(ours[labels])
        found[worth] = -np.sort(-probabilities, axis=-1)[..., : top.of_target(target)]
        found[labels] = found[worth]
        ours[labels] = np.take_along_axis(probabilities, ids, axis=-1)
    return found


def _rounded_away(shape: Architecture, raw: Mapping[str, RawColumn]) -> list[str]:
    """Return outputs that cannot be compared: rounding of the original units is as large as the standard deviation.

    An example is a column with the constant value 1e18.
    """
    return [
        name
        for target in shape.targets
        if target.name in raw and raw[target.name].rounding > TOLERANCE / 2
        for name in filter(None, (target.output_names[0], target.quantiles_name))
    ]


@torch.no_grad()
def _run_torch(
    model: Transformer, shape: Architecture, feed: dict[str, Array], embedding: bool, column_scales: Mapping[str, Scale]
) -> dict[str, Array]:
    """Return the float outputs that the graph should have. `<target>_id` follows from the probabilities."""
    size = (len(feed[EVENT_COUNT]), shape.seq_length)
    categories = torch.zeros(*size, len(shape.categorical), dtype=torch.int64)
    reals = torch.zeros(*size, len(shape.real))
    for index, (name, _) in enumerate(shape.categorical):
        categories[..., index] = torch.from_numpy(feed[name])
    for index, name in enumerate(shape.real):
        reals[..., index] = torch.from_numpy(feed[name])
    is_event = torch.from_numpy(_is_event(shape.seq_length, feed[EVENT_COUNT]))
    # Without padding torch computes without a mask: the graph is compared with both ways.
    shown = None if is_event.all() else is_event
    hidden, scales = model(categories, reals, shown)[:, -shape.prediction_length :], model.window_scales(reals, shown)
    hidden = torch.where(is_event[:, -shape.prediction_length :, None], hidden, torch.nan)  # padding has no meaning
    if embedding:
        return {EMBEDDING: hidden.numpy()}
    outputs = {}
    future = _future(shape, feed)
    for target in shape.targets:
        of_target = hidden[:, -1] if target.of_sequence else hidden
        prediction = model.predict(of_target, [target.name], scales, future)[target.name]
        if target.kind == "categorical":
            outputs[target.output_names[0]] = torch.nn.functional.pad(prediction.softmax(-1), (1, 0))
        else:
            outputs |= value_outputs(target, prediction, column_scales)
    return {name: values.numpy() for name, values in outputs.items()}


def _future(shape: Architecture, feed: Mapping[str, Array]) -> Future | None:
    """Return what is known of the steps to come, (N, 1, H, ...) each; None: nothing is."""
    if not shape.known_future:
        return None
    size = (len(feed[EVENT_COUNT]), 1, shape.horizon)
    categories, reals = (
        np.stack([feed[future_input(name)][:, None] for name in names], axis=-1)
        if names
        else np.zeros((*size, 0), kind)
        for names, kind in (([name for name, _ in shape.known_categorical], np.int64), (shape.known_real, np.float32))
    )
    return torch.from_numpy(categories), torch.from_numpy(reals)


def _difference(name: str, ours: dict[str, Array], expected: Array, shape: Architecture) -> float:
    """Return the largest relative difference at real events."""
    is_event = ~np.isnan(expected)
    scale, wrong_choice = 1.0, 0.0
    for target in shape.targets:
        if target.kind == "categorical" and name in target.top_names:
            scale = 1.0 / target.n_classes
        elif target.kind == "categorical" and name == target.output_names[0]:
            scale = 1.0 / target.n_classes
            ids = ours[target.output_names[1]]
            chosen = np.take_along_axis(expected, ids[..., None], axis=-1)[..., 0]
            behind = (expected.max(-1) - chosen) / (chosen + scale)  # a tie may go either way
            wrong_choice = float(np.max(behind[is_event[..., 0]]))
    difference = np.abs(ours[name] - expected) / (np.abs(expected) + scale)
    return max(float(np.max(difference[is_event])), wrong_choice)
