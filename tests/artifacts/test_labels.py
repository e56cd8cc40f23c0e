"""A large metadata file is read without its labels, and with them when they are asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts import labels
from sequifier.artifacts.metadata import (
    Metadata,
    data_fingerprint,
    read_metadata,
    summarise_metadata,
    write_metadata,
)
from sequifier.errors import DataError
from tests.support.data_section import data_section

LABELS = [f"item {number} é" for number in range(50)]


def metadata_of(names: list[str]) -> Metadata:
    ids = {name: number for number, name in enumerate(sorted(names), start=1)}
    hashes = [{"item": "0", "sequenceId": "1", "itemPosition": "2", "isContext": "3"}]
    return Metadata.model_validate(
        {
            "n_classes": {"item": len(ids) + 1},
            "id_maps": {"item": ids},
            "split_paths": ["data/shop-split0.parquet"],
            "column_types": {"item": "String"},
            "selected_columns_statistics": {},
            "sequifier": data_section(
                ["item"],
                column_hashes=hashes,
                fingerprint=data_fingerprint(["item"], {"item": ids}, {}, hashes),
            ),
        }
    )


def written(metadata: Metadata, path: Path) -> None:
    write_metadata(metadata, path)
    summarise_metadata(metadata, path)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A metadata file that counts as large."""
    monkeypatch.setattr(labels, "LARGE_BYTES", 100)
    written(metadata_of(LABELS), tmp_path / "shop.json")
    return tmp_path / "shop.json"


def test_labels_are_parsed_on_first_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Any] = []
    real = labels.read_object
    monkeypatch.setattr(labels, "read_object", lambda *args, **rest: parsed.append(1) or real(*args, **rest))
    metadata, expected = read_metadata(path), metadata_of(LABELS)
    assert (metadata.n_classes, metadata.fingerprint, metadata.sequifier) == (
        expected.n_classes,
        expected.fingerprint,
        expected.sequifier,
    )
    assert metadata.kind("item") == "categorical"
    assert "item" in metadata.id_maps
    assert parsed == []
    assert metadata.categories("item") == sorted(LABELS)
    assert metadata.id_maps == expected.id_maps
    assert parsed == [1]
    assert "price" not in metadata.id_maps


def test_a_metadata_file_read_lazily_is_written_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    written(read_metadata(path), path)
    assert path.read_bytes() == before
    assert read_metadata(path).id_maps == metadata_of(LABELS).id_maps


def test_an_edited_file_is_found_out_despite_its_summary(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace("item 7 é", "item 7 e"), encoding="utf-8")
    with pytest.raises(DataError, match="changed by hand"):
        read_metadata(path)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"body": 3, "digests": {}}', "cut", "flipped"])
def test_a_damaged_summary_costs_time_alone(path: Path, damage: str) -> None:
    summary = path.with_name("shop.json.summary")
    text = summary.read_text(encoding="utf-8")
    damaged = {"cut": text[: len(text) // 2], "flipped": text.replace("rows", "cows")}.get(damage, damage)
    summary.write_text(damaged, encoding="utf-8")
    assert read_metadata(path).id_maps == metadata_of(LABELS).id_maps


def test_labels_of_a_file_that_changed_meanwhile_are_refused(path: Path) -> None:
    metadata = read_metadata(path)
    written(metadata_of(LABELS[1:]), path)
    with pytest.raises(DataError, match="changed during their use"):
        metadata.categories("item")
    assert read_metadata(path).n_classes == {"item": 50}


def test_a_small_file_has_no_summary(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path.with_name("shop.json.summary").exists()
    monkeypatch.setattr(labels, "LARGE_BYTES", 1 << 20)
    written(metadata_of(LABELS), path)
    assert [file.name for file in tmp_path.iterdir()] == ["shop.json"]
    assert json.loads(path.read_text(encoding="utf-8"))["id_maps"]["item"]
