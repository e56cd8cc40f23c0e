"""What a model file says about itself, and files that are none."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from sequifier import __version__
from sequifier.artifacts.model_file import add_properties, model_properties, read_model_file, write_model
from sequifier.config.architecture import Architecture, Target
from sequifier.errors import ModelError, RunError

ARCHITECTURE = Architecture(
    categorical=(("a.b", 4), ("flag", 3)),
    real=("size",),
    embedding_widths=(3, 3, 2),
    targets=(Target("a.b", "categorical", 4), Target("price", "real", 0)),
    seq_length=5,
    prediction_length=1,
    dim_model=8,
    n_head=2,
    n_kv_heads=1,
    num_layers=1,
    dim_feedforward=16,
    joint_embedding=False,
    activation_fn="swiglu",
    normalization="rmsnorm",
    norm_first=True,
    positional_encoding="rope",
    rope_theta=10000.0,
    dropout=0.1,
)
CONTENT: dict[str, Any] = {
    "vocabularies": {"a.b": ["ö", "x y", "z"], "flag": [False, True], "unused": [1]},
    "statistics": {name: {"mean": 0.1 + 0.2, "std": 1e-30} for name in ("size", "price", "unused")},
    "data": {"sequence_column": "user"},
    "config": {"model_name": "m", "seq_length": None},
    "metrics": {"val_loss": 1 / 3},
}


def graph(*, with_properties: bool = True) -> onnx.ModelProto:
    """A graph that returns its input."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "test", [x], [y]))
    if with_properties:
        add_properties(model, model_properties(ARCHITECTURE, **CONTENT) | {"parity": '{"tolerance": 0.1}'})
    return model


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph())
    read = read_model_file(tmp_path / "model.onnx")
    assert read.version == __version__
    assert read.architecture == ARCHITECTURE
    assert read.columns == {
        "inputs": [
            {"name": "a.b", "kind": "categorical"},
            {"name": "flag", "kind": "categorical"},
            {"name": "size", "kind": "real"},
        ],
        "targets": [{"name": "a.b", "kind": "categorical"}, {"name": "price", "kind": "real"}],
    }
    assert read.vocabularies == {"a.b": ["ö", "x y", "z"], "flag": [False, True]}
    assert read.statistics == {name: {"mean": 0.1 + 0.2, "std": 1e-30} for name in ("size", "price")}
    assert (read.data, read.config) == (CONTENT["data"], CONTENT["config"])
    assert (read.metrics, read.parity) == (CONTENT["metrics"], {"tolerance": 0.1})
    assert (read.inputs, read.outputs) == (("x",), ("y",))


def test_labels_keep_their_types(tmp_path: Path) -> None:
    labels = [0, 2**62, 5]
    vocabularies = {"a.b": labels, "flag": [False, True]}
    model = graph(with_properties=False)
    properties = model_properties(ARCHITECTURE, **CONTENT | {"vocabularies": vocabularies})
    add_properties(model, properties | {"parity": "{}"})
    write_model(tmp_path / "model.onnx", model)
    read = read_model_file(tmp_path / "model.onnx").vocabularies
    assert read == vocabularies
    assert [type(label) for label in read["a.b"] + read["flag"]] == [int, int, int, bool, bool]


def test_a_vocabulary_of_ten_thousand_entries_fits(tmp_path: Path) -> None:
    labels = [f"label {index}" for index in range(10_000)]
    model = graph(with_properties=False)
    content = CONTENT | {"vocabularies": CONTENT["vocabularies"] | {"a.b": labels}}
    add_properties(model, model_properties(ARCHITECTURE, **content) | {"parity": "{}"})
    write_model(tmp_path / "model.onnx", model)
    assert read_model_file(tmp_path / "model.onnx").vocabularies["a.b"] == labels


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        model_properties(ARCHITECTURE, **CONTENT | {"metrics": {"val_loss": float("nan")}})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the model: No such file(.|\n)*nowhere\.onnx"):
        read_model_file(tmp_path / "nowhere.onnx")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = graph().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_model_file(path)


def test_text_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("a model, honestly")
    with pytest.raises(ModelError, match="not an ONNX file, or it is cut off"):
        read_model_file(path)


def test_a_model_of_another_tool_is_recognised(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph(with_properties=False))
    with pytest.raises(ModelError, match="not exported by Sequifier"):
        read_model_file(tmp_path / "model.onnx")


def test_properties_of_another_version_are_named(tmp_path: Path) -> None:
    model = graph(with_properties=False)
    add_properties(model, {"sequifier_version": "9.9", "architecture": '{"new_field": 1}'})
    write_model(tmp_path / "model.onnx", model)
    with pytest.raises(ModelError, match=r"it says version 9\.9"):
        read_model_file(tmp_path / "model.onnx")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"cannot write model\.onnx"):
        write_model(tmp_path / "models" / "model.onnx", graph())
