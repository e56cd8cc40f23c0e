"""Exported models with distributions against torch."""

from typing import Any

import numpy as np
import pytest

from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.export.end_to_end import build_end_to_end_graph
from sequifier.export.onnx import axes_of, build_graph
from sequifier.export.parity import check
from sequifier.export.raw_columns import RawColumn
from tests.support.graphs import feed_of, run_graph
from tests.support.shapes import lively, small

SCALES = {"length": Scale(5.0, 2.0), "depth": Scale(1.5, 0.5, "log1p", 60.0)}
QUANTILES = Target("length", "real", 0, distribution="quantiles")
MIXTURE = Target("depth", "real", 0, distribution="lognormal_mixture")
SHAPES: dict[str, dict[str, Any]] = {
    "both beside a class": {"targets": (Target("kind", "categorical", 7), QUANTILES, MIXTURE)},
    "three predictions": {"targets": (MIXTURE, QUANTILES), "prediction_length": 3},
    "windows by mean and deviation": {"targets": (QUANTILES,), "window_normalization": "mean_std"},
    "windows by their last value": {"targets": (QUANTILES,), "window_normalization": "last"},
    "a horizon": {"targets": (QUANTILES, MIXTURE), "horizon": 3},
    "a horizon, windows by mean and deviation": {
        "targets": (QUANTILES,),
        "horizon": 3,
        "window_normalization": "mean_std",
    },
    "of the whole sequence": {
        "targets": (Target("length", "real", 0, of_sequence=True, distribution="quantiles"),),
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_graphs_compute_what_torch_does_and_quantiles_do_not_cross(name: str) -> None:
    shape = small(**SHAPES[name])
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props={}, column_scales=SCALES)
    assert check(graph, shape, weights, seed=0, column_scales=SCALES).largest_difference < 1e-4
    outputs = run_graph(graph, feed_of(shape, [8, 3, 5, 8]))
    for target in shape.targets:
        if target.distribution is not None:
            quantiles = outputs[f"{target.name}_quantiles"]
            axes = axes_of(shape, target)
            assert quantiles.shape == (4, *axes, 19)
            assert (np.diff(quantiles) >= 0).all()
            assert np.array_equal(outputs[f"{target.name}_value"], quantiles[..., 9])


@pytest.mark.parametrize("name", ["both beside a class", "a horizon, windows by mean and deviation"])
def test_end_to_end_quantiles_are_in_original_units(name: str) -> None:
    shape = small(**SHAPES[name], positional_encoding="learned")
    columns = {column: RawColumn(np.float32, (), scale) for column, scale in SCALES.items()}
    columns |= {"kind": RawColumn(np.int64, tuple(range(6))), "place": RawColumn(np.int64, tuple(range(4)))}
    weights = lively(shape).state_dict()
    whole = build_end_to_end_graph(shape, weights, columns, metadata_props={})
    assert check(whole, shape, weights, seed=0, raw=columns, column_scales=SCALES).largest_difference < 1e-4
    feed = feed_of(shape, [8, 3, 5, 8])
    raw = {column: columns[column].decoded(values) if column in columns else values for column, values in feed.items()}
    encoded = {
        column: columns[column].encoded(values) if column in columns else values for column, values in raw.items()
    }
    standardised = run_graph(build_graph(shape, weights, metadata_props={}, column_scales=SCALES), encoded)
    original = run_graph(whole, raw)
    for target in shape.targets:
        if target.distribution is not None:
            output = f"{target.name}_quantiles"
            expected = SCALES[target.name].original(standardised[output].astype(np.float64))
            np.testing.assert_allclose(original[output], expected, rtol=1e-4, atol=1e-5)
