"""Graphs that are exported with dropout."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sequifier.artifacts.model_file import DROPOUT
from sequifier.config.architecture import Architecture, Target
from sequifier.export.end_to_end import export_end_to_end
from sequifier.export.onnx import build_graph, export_onnx
from sequifier.export.parity import TOLERANCE, open_session
from sequifier.export.raw_columns import RawColumn
from tests.support.graphs import feed_of
from tests.support.shapes import describe, lively, pairwise, small, windows

OFF = {"dropout_ratio": np.zeros((), np.float32)}


@pytest.mark.parametrize("shape", pairwise()[:6], ids=describe)
@pytest.mark.parametrize("embedding", [False, True])
def test_without_its_dropout_a_graph_is_the_one_without_dropout(shape: Architecture, embedding: bool) -> None:
    shape, model, feed = replace(shape, dropout=0.3), lively(shape), feed_of(shape, [8, 3])
    options = {"embedding": embedding, "metadata_props": {}}
    graph = build_graph(shape, model.state_dict(), with_dropout=True, **options)
    onnx.checker.check_model(graph, full_check=True)
    # In the embedding, and in each block twice in attention and twice in the feed-forward part, as in torch.
    assert Counter(node.op_type for node in graph.graph.node)["Dropout"] == 1 + 4 * shape.num_layers
    session = open_session(graph.SerializeToString())
    assert {value.name for value in session.get_inputs()} == set(feed), "a caller need not know of the ratio"
    assert [value.name for value in session.get_overridable_initializers()] == ["dropout_ratio"]
    plain = open_session(build_graph(shape, model.state_dict(), **options).SerializeToString()).run(None, feed)
    for ours, theirs in zip(session.run(None, feed | OFF), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(session.run(None, feed)[0], plain[0])
    assert not np.allclose(session.run(None, feed)[0], session.run(None, feed)[0]), "each call draws anew"


def test_samples_are_distributed_as_in_torch() -> None:
    shape, n = small(dropout=0.25, num_layers=1), 4000
    model = lively(shape)
    feed = {name: np.repeat(values, n, axis=0) for name, values in feed_of(shape, [8]).items()}
    session = open_session(
        build_graph(shape, model.state_dict(), with_dropout=True, metadata_props={}).SerializeToString()
    )
    onnxruntime.set_seed(1)
    ours = session.run(["length_value"], feed)[0][:, 0]
    categories, reals = (values.expand(n, -1, -1) for values in windows(shape, 1))
    torch.manual_seed(1)
    with torch.no_grad():
        theirs = model.train().predict(model(categories, reals)[:, -1])["length"].numpy()
    # Of 4,000 draws the mean has an error of 1.6 % of the deviation, the deviation of some 2 % (tails are heavier).
    assert abs(ours.mean() - theirs.mean()) < 5 * theirs.std() * (2 / n) ** 0.5
    assert abs(ours.std() / theirs.std() - 1) < 0.12
    assert theirs.std() > 0.05


def test_every_export_is_compared_without_dropout_and_says_that_it_has_it(tmp_path: Path) -> None:
    shape = small(categorical=(("kind", 3),), real=(), embedding_widths=(16,), dropout=0.5)
    shape = replace(shape, targets=(Target("kind", "categorical", 3),))
    columns = {"kind": RawColumn(np.str_, ("a", "b"))}
    options = {"properties": {"format_version": "1"}, "seed": 0, "with_dropout": True}
    found = [
        export_onnx(tmp_path / "plain.onnx", shape, lively(shape), **options),
        export_onnx(tmp_path / "embedding.onnx", shape, lively(shape), embedding=True, **options),
        export_end_to_end(tmp_path / "raw.onnx", shape, lively(shape), columns, **options),
    ]
    assert all(parity.largest_difference < TOLERANCE / 10 for parity in found)
    for path in tmp_path.iterdir():
        assert {prop.key: prop.value for prop in onnx.load(path).metadata_props}[DROPOUT] == "active"
