"""Exported graphs against torch, through onnxruntime."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sequifier.artifacts.model_file import model_properties
from sequifier.config.architecture import Architecture, Target
from sequifier.errors import ModelError
from sequifier.export.graph import OPSET
from sequifier.export.onnx import build_graph, export_onnx
from sequifier.export.parity import TOLERANCE, open_session
from sequifier.model.transformer import Transformer
from tests.support.graphs import Arrays, feed_of, run_graph
from tests.support.rounding import rounding
from tests.support.shapes import HORIZONS, NORMALIZED, TIED, describe, lively, pairwise, small, windows

NO_PROPERTIES: dict[str, str] = {}


def run(graph: onnx.ModelProto, shape: Architecture, n_events: list[int], seed: int = 0) -> Arrays:
    """Return the outputs of a graph on random windows."""
    return run_graph(graph, feed_of(shape, n_events, seed))


@torch.no_grad()
def torch_predictions(
    model: Transformer, shape: Architecture, n_events: list[int], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Predictions after the last steps, on the windows of `run`."""
    is_event = torch.arange(shape.seq_length, 0, -1) <= torch.tensor(n_events)[:, None]
    categories, reals = windows(shape, len(n_events), seed)
    hidden = model(categories, reals, is_event)
    return model.predict(hidden[:, -shape.prediction_length :], scales=model.window_scales(reals, is_event))


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED, *HORIZONS], ids=describe)
def test_every_option_computes_what_torch_does(shape: Architecture) -> None:
    model, n_events = lively(shape), [8, 3, 5, 8]
    outputs = run(build_graph(shape, model.state_dict(), metadata_props=NO_PROPERTIES), shape, n_events)
    expected = torch_predictions(model, shape, n_events)
    # Logits of up to 10 in float32, through two layers: measured 1e-6.
    close = {"atol": 1e-5, "rtol": 1e-4}
    known = torch.from_numpy(outputs["kind_probabilities"][..., 1:])
    torch.testing.assert_close(known, expected["kind"].softmax(-1), **close)
    torch.testing.assert_close(torch.from_numpy(outputs["length_value"]), expected["length"], **close)
    assert np.array_equal(outputs["kind_id"], expected["kind"].argmax(-1).numpy() + 1)


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED, *HORIZONS], ids=describe)
def test_every_option_passes_the_checker_and_the_comparison(shape: Architecture, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    parity = export_onnx(path, shape, lively(shape), properties=NO_PROPERTIES, seed=0)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert parity.largest_difference < TOLERANCE / 10


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED, *HORIZONS], ids=describe)
def test_initializers_are_the_weights_by_name_and_value(shape: Architecture) -> None:
    weights = lively(shape).state_dict()
    graph = build_graph(shape, weights, metadata_props=NO_PROPERTIES).graph
    stored = {initializer.name: onnx.numpy_helper.to_array(initializer) for initializer in graph.initializer}
    assert set(stored) == set(weights)
    for name, weight in weights.items():
        assert np.array_equal(stored[name], weight.numpy())


def test_probabilities_sum_to_1_and_class_0_has_none() -> None:
    shape = small(prediction_length=3)
    probabilities = run(build_graph(shape, lively(shape).state_dict(), metadata_props={}), shape, [8, 3])[
        "kind_probabilities"
    ]
    assert probabilities.shape == (2, 3, 7)
    assert np.array_equal(probabilities[..., 0], np.zeros((2, 3)))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=rounding(7))


@pytest.mark.parametrize("n_windows", [1, 2, 65])
def test_one_graph_takes_any_batch(n_windows: int) -> None:
    shape = small()
    model, n_events = lively(shape), [8] * n_windows
    values = run(build_graph(shape, model.state_dict(), metadata_props=NO_PROPERTIES), shape, n_events)["length_value"]
    expected = torch_predictions(model, shape, n_events)["length"]
    torch.testing.assert_close(torch.from_numpy(values), expected, atol=1e-5, rtol=1e-4)


def test_inputs_and_outputs_are_declared_with_their_shapes() -> None:
    shape = small(prediction_length=3)
    graph = build_graph(shape, lively(shape).state_dict(), metadata_props=NO_PROPERTIES)
    session = open_session(graph.SerializeToString())
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("kind", "tensor(int64)", ["batch", 8]),
        ("place", "tensor(int64)", ["batch", 8]),
        ("length", "tensor(float)", ["batch", 8]),
        ("depth", "tensor(float)", ["batch", 8]),
        ("n_events", "tensor(int64)", ["batch"]),
    ]
    assert [(value.name, value.type, value.shape) for value in session.get_outputs()] == [
        ("kind_probabilities", "tensor(float)", ["batch", 3, 7]),
        ("kind_id", "tensor(int64)", ["batch", 3]),
        ("length_value", "tensor(float)", ["batch", 3]),
    ]
    assert graph.opset_import[0].version == OPSET


def test_the_embedding_graph_gives_the_vectors_of_the_last_steps() -> None:
    shape = small(prediction_length=3)
    model = lively(shape)
    graph = build_graph(shape, model.state_dict(), embedding=True, metadata_props=NO_PROPERTIES)
    with torch.no_grad():
        expected = model(*windows(shape, 2))[:, -3:]
    torch.testing.assert_close(torch.from_numpy(run(graph, shape, [8, 8])["embedding"]), expected, atol=1e-5, rtol=1e-4)
    assert {weight.name for weight in graph.graph.initializer} == {
        name for name in model.state_dict() if not name.startswith("heads.")
    }


@pytest.mark.parametrize("embedding", [False, True])
def test_an_export_of_either_graph_is_compared_with_torch(embedding: bool, tmp_path: Path) -> None:
    shape = small(positional_encoding="learned")
    path = tmp_path / "model.onnx"
    export_onnx(path, shape, lively(shape), properties=NO_PROPERTIES, seed=1, embedding=embedding)
    stored = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(stored["parity"])["tolerance"] == TOLERANCE
    assert 0 < json.loads(stored["parity"])["largest_difference"] < TOLERANCE


def test_column_names_may_hold_anything() -> None:
    shape = small(
        categorical=(("a.b", 7), ("Straße 5", 5)),
        real=("事件/長さ", "MatMul_3"),
        targets=(
            Target("a.b", "categorical", 7),
            Target("事件/長さ", "real", 0),
            Target("Straße 5", "categorical", 5),
            Target("not an input", "real", 0),
        ),
    )
    graph = build_graph(shape, lively(shape).state_dict(), metadata_props=NO_PROPERTIES)
    onnx.checker.check_model(graph, full_check=True)
    assert list(run(graph, shape, [8])) == [
        "a.b_probabilities",
        "a.b_id",
        "事件/長さ_value",
        "Straße 5_probabilities",
        "Straße 5_id",
        "not an input_value",
    ]


def test_a_column_called_like_a_weight_is_refused() -> None:
    shape = small(real=("length", "heads.linear.0.bias"))
    with pytest.raises(ModelError, match=r"`heads\.linear\.0\.bias` has the name of a weight"):
        build_graph(shape, lively(shape).state_dict(), metadata_props=NO_PROPERTIES)


@pytest.mark.parametrize(
    "columns",
    [
        {"categorical": (), "embedding_widths": (9, 7)},
        {"real": (), "embedding_widths": (9, 7)},
        {"categorical": (), "real": ("length",), "embedding_widths": (16,)},
        {"seq_length": 1},
        {"num_layers": 1, "prediction_length": 8},
        {"targets": (Target("kind", "categorical", 2),)},
    ],
)
def test_smallest_and_one_sided_models_match_too(columns: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    shape = small(**columns)
    parity = export_onnx(tmp_path / "model.onnx", shape, lively(shape), properties=NO_PROPERTIES, seed=0)
    assert parity.largest_difference < TOLERANCE / 10


def test_a_model_of_low_precision_is_exported_in_float32(tmp_path: Path) -> None:
    shape = small()
    model = lively(shape).bfloat16()
    export_onnx(tmp_path / "model.onnx", shape, model, properties=NO_PROPERTIES, seed=0)
    assert next(model.parameters()).dtype == torch.bfloat16
    stored = onnx.load(tmp_path / "model.onnx").graph.initializer
    assert {initializer.data_type for initializer in stored} == {onnx.TensorProto.FLOAT}


def test_an_export_leaves_the_random_numbers_of_training_alone(tmp_path: Path) -> None:
    shape = small()
    model = lively(shape)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    export_onnx(tmp_path / "model.onnx", shape, model, properties=NO_PROPERTIES, seed=0)
    assert torch.equal(torch.rand(4), expected)


SCRIPT = """
import json, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
labels = json.loads(session.get_modelmeta().custom_metadata_map["vocabularies"])["kind"]
window = {name: numpy.ones((1, 8), type) for name, type in
          {"kind": "int64", "place": "int64", "length": "float32", "depth": "float32"}.items()}
best = session.run(["kind_id"], window | {"n_events": numpy.array([8])})[0]
print(labels[best[0, 0] - 1])
"""


def test_a_few_lines_with_onnxruntime_and_numpy_predict_a_label_in_silence(tmp_path: Path) -> None:
    shape, path = small(), tmp_path / "model.onnx"
    labels = ["for", "in", "größer", "a b", "€", "fn"]
    properties = model_properties(
        shape,
        vocabularies={"kind": labels, "place": [1, 2, 3, 4]},
        statistics={"length": {"mean": 0.0, "std": 1.0}, "depth": {"mean": 0.0, "std": 1.0}},
        data={},
        config={},
        metrics={},
    )
    export_onnx(path, shape, lively(shape), properties=properties, seed=0)
    script = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, check=True)
    assert script.stdout.strip() in labels
    assert script.stderr == ""


def test_onnxruntime_fuses_the_norms_and_the_gate(tmp_path: Path) -> None:
    shape = small()
    graph = build_graph(shape, lively(shape).state_dict(), metadata_props=NO_PROPERTIES)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file suits this machine alone
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("SimplifiedLayerNormalization") == 2 * shape.num_layers + 1
    assert operators.count("QuickGelu") == shape.num_layers


@pytest.mark.parametrize("embedding", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_values_in_padding_change_no_bit(embedding: bool, joint: bool) -> None:
    shape = small(joint_embedding=joint, prediction_length=3)
    graph = build_graph(shape, lively(shape).state_dict(), embedding=embedding, metadata_props={})
    session = open_session(graph.SerializeToString())
    feed = feed_of(shape, [1, 3, 7])
    expected = session.run(None, feed)
    padding = np.arange(shape.seq_length, 0, -1) > feed["n_events"][:, None]
    for number, id in ((np.nan, -1), (np.inf, 7), (-np.inf, 2**63 - 1), (3e38, -(2**63))):
        changed = {name: array.copy() for name, array in feed.items()}
        for name, _ in shape.categorical:
            changed[name][padding] = id
        for name in shape.real:
            changed[name][padding] = number
        for ours, theirs in zip(session.run(None, changed), expected, strict=True):
            assert np.array_equal(ours, theirs)
            assert np.isfinite(ours).all()


@pytest.mark.parametrize("embedding", [False, True])
def test_in_an_event_a_missing_number_is_the_mean_and_an_invalid_id_is_unknown(embedding: bool) -> None:
    shape = small()
    graph = build_graph(shape, lively(shape).state_dict(), embedding=embedding, metadata_props={})
    session = open_session(graph.SerializeToString())

    def outputs(**values: float) -> list[np.ndarray]:
        changed = feed_of(shape, [8, 2])
        for name, value in values.items():
            changed[name][:, -1] = value
        return session.run(None, changed)

    expected = outputs(length=0, depth=0, kind=0, place=0)
    assert not np.array_equal(outputs(length=0, depth=0, kind=1, place=0)[0], expected[0])
    for number in (np.nan, np.inf, -np.inf):
        for id in (-1, -(2**63), 7, 2**40):
            found = outputs(length=number, depth=number, kind=id, place=id)
            assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
