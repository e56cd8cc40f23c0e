"""The comparison finds what is wrong."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import onnx
import pytest
import torch

from sequifier.errors import ModelError
from sequifier.export.onnx import build_graph
from sequifier.export.parity import TOLERANCE, check
from sequifier.model.build import build_model
from tests.support.shapes import lively, small


def pairs_of_one_shape(weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    for first, second in combinations(weights, 2):
        if weights[first].shape == weights[second].shape and not torch.equal(weights[first], weights[second]):
            yield first, second


def swap(graph: onnx.ModelProto, first: str, second: str) -> None:
    """Exchange the values of two initializers."""
    by_name = {initializer.name: initializer for initializer in graph.graph.initializer}
    one, other = by_name[first].raw_data, by_name[second].raw_data
    by_name[first].raw_data, by_name[second].raw_data = other, one


def test_two_swapped_weights_are_found_even_in_an_untrained_model() -> None:
    shape = small()
    weights = build_model(shape, torch.Generator().manual_seed(0)).state_dict()
    pairs = list(pairs_of_one_shape(weights))
    assert len(pairs) > 5
    for first, second in pairs:
        graph = build_graph(shape, weights, metadata_props={})
        swap(graph, first, second)
        with pytest.raises(ModelError, match="differs from torch"):
            check(graph, shape, weights, seed=0)


def test_the_weights_of_another_epoch_are_found() -> None:
    shape = small()
    before, after = lively(shape).state_dict(), lively(shape)
    with torch.no_grad():
        after.blocks[1].attention.out.weight += 0.05
    graph = build_graph(shape, before, metadata_props={})
    with pytest.raises(ModelError, match="differs from torch"):
        check(graph, shape, after.state_dict(), seed=0)


def test_a_wrong_mask_is_found_on_padded_batches() -> None:
    shape = small()
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props={})
    for node in graph.graph.node:
        if node.op_type == "LessOrEqual":
            node.op_type = "Equal"  # the first event alone counts as real
    with pytest.raises(ModelError, match="differs from torch"):
        check(graph, shape, weights, seed=0)


def test_a_nan_is_found() -> None:
    shape = small()
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props={})
    initializer = next(weight for weight in graph.graph.initializer if weight.name == "heads.linear.1.bias")
    initializer.CopyFrom(onnx.numpy_helper.from_array(np.array([np.nan], dtype=np.float32), initializer.name))
    with pytest.raises(ModelError, match="`length_value` by nan"):
        check(graph, shape, weights, seed=0)


def test_a_graph_that_cannot_be_loaded_is_an_error_of_its_own() -> None:
    shape = small()
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props={})
    graph.graph.node[-1].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="onnxruntime cannot load the exported model"):
        check(graph, shape, weights, seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_weights_ten_times_as_large_as_drawn_ones_stay_within_the_tolerance(seed: int) -> None:
    shape = small(num_layers=4)
    weights = build_model(shape, torch.Generator().manual_seed(seed)).state_dict()
    large = {name: 10 * weight if weight.ndim > 1 else weight for name, weight in weights.items()}
    assert check(build_graph(shape, large, metadata_props={}), shape, large, seed=seed).largest_difference < TOLERANCE
