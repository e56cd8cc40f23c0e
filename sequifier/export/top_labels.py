"""The most probable classes of a categorical target, as outputs of the end-to-end graph.

Shapes: N batch, T steps of the window, P prediction_length, C known classes, K returned ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from onnx import TensorProto, helper

from sequifier.config.architecture import Architecture, Target
from sequifier.config.train import TrainConfig
from sequifier.export.graph import GraphWriter
from sequifier.model.graph import Value

PROPERTY = "top_labels"  # in the model file


@dataclass(frozen=True)
class Top:
    """Which most probable classes a model returns.

    Attributes:
        k: number of classes; None: the model returns none.
        unseen: targets whose classes in the events of the window are left out.
    """

    k: int | None
    unseen: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: TrainConfig, k: int | None = None) -> Self:
        """Return what a config requests, or `k` classes."""
        unseen = (target for target, asked in config.ranking.items() if asked.exclude_seen)
        return cls(k or config.export_top_k, frozenset(unseen))

    def of_target(self, target: Target) -> int:
        """Return the number of classes of a target that are returned."""
        return 0 if self.k is None or target.kind == "real" else min(self.k, target.output_width)

    def names(self, target: Target) -> tuple[str, ...]:
        """Return the names of a target's outputs: labels, and their probabilities."""
        return target.top_names if self.of_target(target) else ()

    def as_properties(self) -> Mapping[str, str]:
        """Return what the model file says about them."""
        if self.k is None:
            return {}
        left_out = dict.fromkeys(sorted(self.unseen), "classes of the window's events")
        return {PROPERTY: json.dumps({"k": self.k, "left_out": left_out})}


NO_TOP = Top(None)


def write_top(
    writer: GraphWriter,
    logits: Value,
    probabilities: Value,
    k: int,
    shape: Architecture,
    seen: tuple[Value, Value] | None,
) -> tuple[Value, Value]:
    """Add the k classes with the largest logits, the largest first; of equal ones the smaller id.

    Args:
        writer: the graph.
        logits: of the known classes, (N, P, C).
        probabilities: by id, (N, P, C + 1).
        k: at most C.
        shape: of the model.
        seen: ids of the window's steps and which of them are events, (N, T) each, to leave out their classes; None:
            every class counts. A prediction leaves out those up to its own step.

    Returns:
        (N, P, k) class ids minus 1; (N, P, k) probabilities, 0 for a class that is left out, where too few remain.
    """
    known = _without_first(writer, probabilities)
    if seen is not None:
        logits = _masked(writer, logits, *seen, shape)
    values, places = writer.add_split("TopK", logits, writer.integers([k]), n_outputs=2, axis=-1)
    worth = writer.add("GatherElements", known, places, axis=-1)
    if seen is None:
        return places, worth
    is_left = writer.add("Greater", values, writer.number(-np.inf))
    return places, writer.add("Where", is_left, worth, writer.number(0.0))


def _masked(writer: GraphWriter, logits: Value, ids: Value, is_event: Value, shape: Architecture) -> Value:
    """Replace the logits of classes that a prediction has seen by minus infinity."""
    T, P = shape.seq_length, shape.prediction_length
    axis = writer.integers([1])
    events = writer.add("Mul", ids, writer.add("Cast", is_event, to=TensorProto.INT64))  # padding is class 0, unknown
    is_before = np.tri(P, T, T - P, dtype=np.int64)  # prediction p follows step T - P + p
    classes = writer.add("Mul", writer.add("Unsqueeze", events, axis), writer.constant(is_before[None]))  # (N, P, T)
    never = helper.make_tensor("never", TensorProto.FLOAT, [1], [-np.inf])
    with_unknown = writer.add("Pad", logits, writer.integers([0, 0, 1, 0, 0, 0]), writer.number(0.0))
    updates = writer.add("ConstantOfShape", writer.add("Shape", classes), value=never)
    return _without_first(writer, writer.add("ScatterElements", with_unknown, classes, updates, axis=2))


def _without_first(writer: GraphWriter, by_id: Value) -> Value:
    """Leave out class 0, (N, P, C + 1) -> (N, P, C)."""
    return writer.add("Slice", by_id, writer.integers([1]), writer.integers([2**62]), writer.integers([-1]))
