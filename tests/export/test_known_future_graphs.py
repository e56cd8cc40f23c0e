"""Exported models that read columns at the steps to come, against torch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture, Target
from sequifier.export.end_to_end import build_end_to_end_graph
from sequifier.export.onnx import build_graph
from sequifier.export.parity import check, open_session
from sequifier.export.raw_columns import RawColumn
from tests.support.graphs import feed_of, run_graph
from tests.support.shapes import KNOWN_FUTURE, describe, lively, small

SCALES = {"length": Scale(5.0, 2.0), "depth": Scale(1.5, 0.5, "log1p", 60.0)}


@pytest.mark.parametrize("shape", KNOWN_FUTURE, ids=describe)
def test_graphs_compute_what_torch_does(shape: Architecture) -> None:
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props={}, column_scales=SCALES)
    assert check(graph, shape, weights, seed=0, column_scales=SCALES).largest_difference < 1e-4
    vectors = build_graph(shape, weights, metadata_props={}, embedding=True)
    assert check(vectors, shape, weights, seed=0, embedding=True).largest_difference < 1e-4
    assert not [value.name for value in vectors.graph.input if value.name.startswith("future_")]


def test_unusable_values_to_come_are_unknown_or_the_mean() -> None:
    shape = KNOWN_FUTURE[0]
    graph = build_graph(shape, lively(shape).state_dict(), metadata_props={}, column_scales=SCALES)
    feed = feed_of(shape, [8, 5])
    worst = {"future_place": np.array([[5, -1, 10**9]] * 2), "future_depth": np.array([[np.nan, np.inf, -np.inf]] * 2)}
    plain = {"future_place": np.zeros((2, 3), np.int64), "future_depth": np.zeros((2, 3), np.float32)}
    found = run_graph(graph, feed | worst | {"future_depth": worst["future_depth"].astype(np.float32)})
    for name, expected in run_graph(graph, feed | plain).items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("fill", [None, "forward"])
@pytest.mark.parametrize("shape", KNOWN_FUTURE, ids=describe)
def test_end_to_end_graphs_encode_the_values_to_come_as_those_of_the_window(shape: Architecture, fill: Any) -> None:
    columns = {column: RawColumn(np.float32, (), scale, fill) for column, scale in SCALES.items()}
    columns |= {"kind": RawColumn(np.int64, tuple(range(6)), fill=fill), "place": RawColumn(np.str_, tuple("abcd"))}
    weights = lively(shape).state_dict()
    graph = build_end_to_end_graph(shape, weights, columns, metadata_props={})
    assert check(graph, shape, weights, seed=0, raw=columns, column_scales=SCALES).largest_difference < 1e-4
    shapes = {value.name: value.shape for value in open_session(graph.SerializeToString()).get_inputs()}
    for name in shape.known_future:
        assert shapes[f"future_{name}"] == ["batch", shape.horizon]


@pytest.mark.parametrize(
    ("known", "inputs"),
    [
        (("time_hour", "time_weekday"), {"future_position"}),
        (("due_until", "time_gap", "time_hour"), {"future_position", "future_due"}),
    ],
)
def test_the_calendar_of_the_steps_to_come_follows_from_their_dates(known: tuple[str, ...], inputs: set[str]) -> None:
    rules = TimeRules(
        time_features={"itemPosition": ["gap", "hour", "weekday"], "due": ["until", "month"]}, time_zone="Europe/Berlin"
    )
    shape = small(
        categorical=(("kind", 7), ("time_hour", 25), ("time_weekday", 8), ("due_month", 13)),
        real=("length", "time_gap", "due_until"),
        embedding_widths=(4, 2, 2, 2, 2, 2, 2),
        targets=(Target("length", "real", 0),),
        horizon=3,
    )
    shape = replace(shape, known_future=known)
    starts_and_sizes = {"kind": (0, 6), "time_hour": (0, 24), "time_weekday": (0, 7), "due_month": (1, 12)}
    columns = {
        name: RawColumn(np.int64, tuple(range(start, start + size))) for name, (start, size) in starts_and_sizes.items()
    }
    scales = {"length": Scale(5.0, 2.0), "time_gap": Scale(9.0, 3.0, "log1p"), "due_until": Scale(0.0, 1e6, "asinh")}
    columns |= {name: RawColumn(np.float32, (), scale) for name, scale in scales.items()}
    weights = lively(shape).state_dict()
    graph = build_end_to_end_graph(shape, weights, columns, metadata_props={}, times=rules)
    found = check(graph, shape, weights, seed=0, raw=columns, column_scales=scales, times=rules)
    assert found.largest_difference < 1e-4
    assert {value.name for value in graph.graph.input if value.name.startswith("future_")} == inputs
