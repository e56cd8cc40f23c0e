"""The metadata JSON: v1's keys, typed categories, a fingerprint of content."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.artifacts.metadata import (
    Metadata,
    data_fingerprint,
    find_metadata,
    read_metadata,
    write_metadata,
)
from sequifier.errors import ConfigError, DataError
from tests.support.data_section import data_section


def small(**changes: Any) -> Metadata:
    values: dict[str, Any] = {
        "n_classes": {"code": 3, "flag": 3, "word": 3},
        "id_maps": {"code": {"-2": 1, "10": 2}, "flag": {"false": 1, "true": 2}, "word": {"é": 1, "true": 2}},
        "split_paths": ["data/x-split0.parquet"],
        "column_types": {"word": "String", "price": "Float64", "code": "Int64", "flag": "Boolean"},
        "selected_columns_statistics": {"price": {"std": 0.1 + 0.2, "mean": 1e-30}},
        "sequifier": data_section(
            ["word", "price", "code", "flag"],
            sequence_column="user",
            position_column="when",
            sequence_type="String",
            position_type="Datetime(us)",
            context_events=512,
            column_hashes=[{"word": "0" * 16}],
            fingerprint="4402a4392023ae9e",
        ),
    }
    return Metadata.model_validate(values | changes)


def test_the_file_comes_back_and_begins_with_the_keys_of_v1(tmp_path: Path) -> None:
    path = tmp_path / "configs" / "x.json"
    write_metadata(small(), path)
    assert read_metadata(path) == small()
    keys = ["n_classes", "id_maps", "split_paths", "column_types", "selected_columns_statistics", "sequifier"]
    assert list(json.loads(path.read_text())) == keys
    assert [item.name for item in path.parent.iterdir()] == ["x.json"]


def test_columns_keep_their_order_and_kinds() -> None:
    metadata = small()
    assert metadata.columns == ["word", "price", "code", "flag"]
    assert metadata.categorical_columns == ["word", "code", "flag"]
    assert metadata.real_columns == ["price"]
    assert metadata.kind("price") == "real"
    with pytest.raises(DataError, match="`prise` is not in the preprocessed data") as raised:
        metadata.kind("prise")
    assert "did you mean `price`?" in str(raised.value)


def test_categories_have_their_raw_type_again() -> None:
    metadata = small()
    assert metadata.categories("code") == [-2, 10]
    assert metadata.categories("flag") == [False, True]
    assert metadata.categories("word") == ["é", "true"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_classes": {"code": 3, "flag": 3}}, "name different columns"),
        ({"n_classes": {"code": 4, "flag": 3, "word": 3}}, "the ids of column code are not 1 to n_classes - 1"),
        ({"selected_columns_statistics": {}}, "either an id map or statistics"),
        ({"column_types": {"word": "String"}}, "column_types and sequifier.columns"),
        (
            {"column_types": {"word": "String", "price": "Int64", "code": "Int64", "flag": "Boolean"}},
            "column price has type Int64",
        ),
        (
            {"column_types": {"word": "Float64", "price": "Float64", "code": "Int64", "flag": "Boolean"}},
            "column word has type Float64",
        ),
        ({"selected_columns_statistics": {"price": {"std": 0.0, "mean": 1.0}}}, "column price needs .* a std above 0"),
        ({"selected_columns_statistics": {"price": {"std": 1.0}}}, "column price needs a mean"),
        ({"split_paths": []}, "split_paths is empty"),
        ({"split_paths": ["a", "b"]}, "split_paths has 2 entries, sequifier.stride_by_split has 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_files_that_are_no_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"

    def message() -> str:
        with pytest.raises(DataError) as raised:
            read_metadata(path)
        assert "x.json" in str(raised.value)
        return str(raised.value)

    assert "cannot read the metadata: No such file" in message()
    path.write_text("{")
    assert "cannot read the metadata: it is not JSON" in message()
    content = small().model_dump()
    path.write_text(json.dumps({key: content[key] for key in list(content)[:5]}))
    assert "written by Sequifier v1" in message()
    content["sequifier"]["rows"] = "many"
    path.write_text(json.dumps(content))
    assert "x.json, sequifier.rows" in message()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id_maps", {"code": {"-2": 2, "10": 1}, "flag": {"false": 1, "true": 2}, "word": {"é": 1, "true": 2}}),
        ("id_maps", {"code": {"-2": 1, "11": 2}, "flag": {"false": 1, "true": 2}, "word": {"é": 1, "true": 2}}),
        ("selected_columns_statistics", {"price": {"std": 0.3, "mean": 1e-30}}),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(small().model_dump() | {key: value}))
    with pytest.raises(DataError, match="the metadata were changed by hand") as raised:
        read_metadata(path)
    assert small().fingerprint in str(raised.value)
    assert "run `sequifier preprocess` again" in str(raised.value)


def test_the_fingerprint_depends_on_every_part_of_the_content() -> None:
    parts: list[Any] = [["a"], {"a": {"x": 1}}, {"b": {"std": 1.0, "mean": 0.5}}, [{"a": "0"}]]
    changed: list[Any] = [["b"], {"a": {"y": 1}}, {"b": {"std": 1.0, "mean": 0.5000000000000001}}, [{"a": "1"}]]
    expected = data_fingerprint(*parts)
    assert len(expected) == 16
    for index, part in enumerate(changed):
        assert data_fingerprint(*parts[:index], part, *parts[index + 1 :]) != expected
    assert data_fingerprint(*parts, sequence_columns=["a"]) != expected


@pytest.mark.parametrize(
    ("path", "kind"),
    [("configs", "a folder"), ("train.yaml", "a config"), ("data.csv", "a table"), ("none.json", "no such")],
)
def test_what_is_not_metadata_by_its_name_is_a_problem_of_the_config(path: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for name in ("train.yaml", "data.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match=kind) as caught:
        find_metadata(path, str(tmp_path))
    assert caught.value.problems[0].key == "metadata_config_path"


@pytest.mark.parametrize("n_classes", [10**9, 10**18, 0, -1, 2])
def test_a_damaged_number_of_classes_is_an_error_at_once(n_classes: int) -> None:
    with pytest.raises(ValidationError, match="the ids of column word are not 1 to n_classes - 1"):
        small(n_classes={"code": 3, "flag": 3, "word": n_classes})


def test_a_folder_is_no_metadata_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the metadata"):
        read_metadata(Path())  # as the search.yaml of a damaged folder names it
