"""What a model file says about itself, and files that are none."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from sequifier import __version__
from sequifier.artifacts.metadata import RawValueRules
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
    targets = (Target("a.b", "categorical", 10_001), *ARCHITECTURE.targets[1:])
    shape = replace(ARCHITECTURE, categorical=(("a.b", 10_001), ("flag", 3)), targets=targets)
    add_properties(model, model_properties(shape, **content) | {"parity": "{}"})
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
    with pytest.raises(ModelError, match="not an ONNX file, or it is truncated"):
        read_model_file(path)


def test_a_model_of_another_tool_is_recognised(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", graph(with_properties=False))
    with pytest.raises(ModelError, match="not exported by Sequifier"):
        read_model_file(tmp_path / "model.onnx")


def test_properties_of_another_version_are_named(tmp_path: Path) -> None:
    model = graph(with_properties=False)
    add_properties(model, {"sequifier_version": "9.9", "architecture": '{"new_field": 1}'})
    write_model(tmp_path / "model.onnx", model)
    with pytest.raises(ModelError, match=r"exported by version 9\.9"):
        read_model_file(tmp_path / "model.onnx")


def test_the_last_property_is_the_checksum_of_all_bytes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, graph())
    content = path.read_bytes()
    digest = hashlib.sha256(content[:-76]).hexdigest()  # docs/deploy.md and the module say so
    assert content.endswith(b"sha256\x12@" + digest.encode())
    assert {prop.key: prop.value for prop in onnx.load(path).metadata_props}["sha256"] == digest
    onnx.save(onnx.load(path), path)
    assert read_model_file(path).has_checksum, "read and written again it is the same file"


def test_a_bit_that_is_flipped_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, graph())
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(ModelError) as caught:
            read_model_file(path)
        assert caught.value.fix


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.metadata_props.pop(),  # the checksum itself
        lambda model: model.metadata_props.add(key="note", value="mine"),
        lambda model: setattr(model.metadata_props[2], "value", "{}"),
        lambda model: setattr(model.graph.node[0], "op_type", "Neg"),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, change: Callable[[onnx.ModelProto], Any]) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, graph())
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match="changed or damaged since it was exported"):
        read_model_file(path)


def test_a_file_of_a_version_without_checksums_is_read(tmp_path: Path) -> None:
    model = graph()
    old = [prop for prop in model.metadata_props if prop.key not in ("format_version", "reading")]
    del model.metadata_props[:]
    model.metadata_props.extend(old)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    read = read_model_file(tmp_path / "model.onnx")
    assert not read.has_checksum
    assert read.reading == RawValueRules()


@pytest.mark.parametrize("version", ["99", "two", "0", "-1"])
def test_another_format_version_is_refused(tmp_path: Path, version: str) -> None:
    model = graph()
    (prop,) = (prop for prop in model.metadata_props if prop.key == "format_version")
    prop.value = version
    write_model(tmp_path / "model.onnx", model)
    with pytest.raises(ModelError, match=r"format version .* reads versions up to 1"):
        read_model_file(tmp_path / "model.onnx")


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("architecture", "vocabularies", "reading")
            for value in (DEEP, "[1]", "null", "{}x")
        ),
        ("columns", '{"inputs": [{"name": "../../x"}], "targets": []}'),
        ("vocabularies", '{"a.b": ["a"], "flag": [false, true]}'),
        ("vocabularies", '{"a.b": ["a", 1, 2], "flag": [false, true]}'),
        ("statistics", '{"size": {"mean": 0, "std": 0}, "price": {"mean": 0, "std": 1}}'),
        ("statistics", '{"size": {"mean": 0, "std": 1}, "price": {"mean": NaN, "std": 1}}'),
        ("reading", '{"fill_null": {"size": "unknown"}}'),
        ("reading", '{"fill_null": {"a.b": 3}}'),
        ("reading", '{"unheard_of": 3}'),
    ],
)
def test_properties_that_do_not_fit_are_one_error(tmp_path: Path, key: str, value: str) -> None:
    model = graph()
    (prop,) = (prop for prop in model.metadata_props if prop.key == key)
    prop.value = value
    write_model(tmp_path / "model.onnx", model)
    with pytest.raises(ModelError, match="cannot read the model's properties") as caught:
        read_model_file(tmp_path / "model.onnx")
    assert len(str(caught.value)) < 1000


def test_what_is_no_file_is_found_before_it_is_read(tmp_path: Path) -> None:
    pipe, device, folder, huge = (tmp_path / f"{name}.onnx" for name in ("pipe", "device", "folder", "huge"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    folder.mkdir()
    huge.touch()
    os.truncate(huge, 6 << 30)
    for path, expected in (
        (pipe, "it is a pipe or a device"),
        (device, "it is a pipe or a device"),
        (folder, "Is a directory"),
        (huge, "not an ONNX file: it has 6,442,450,944 bytes"),
    ):
        with pytest.raises(ModelError, match=expected):
            read_model_file(path)
    os.truncate(huge, 1 << 30)
    with pytest.raises(ModelError, match="not an ONNX file"):
        read_model_file(huge)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"cannot write model\.onnx"):
        write_model(tmp_path / "models" / "model.onnx", graph())
