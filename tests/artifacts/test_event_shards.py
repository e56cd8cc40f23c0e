"""Splits in folders of shards: the same content as in one file, whatever the size of the shards."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts.event_parts import read_event_parts
from sequifier.artifacts.event_shards import sink_shards
from sequifier.artifacts.events import Events, Format
from sequifier.artifacts.mapped import map_events
from sequifier.artifacts.split_file import n_rows_of, read_events
from sequifier.errors import DataError
from tests.support.events import hashes, make_events, parts_of

FORMATS: tuple[Format, ...] = get_args(Format)


def drawn(lengths: list[int], *, text_ids: bool = False, dates: str = "", seed: int = 0) -> Events:
    """Sequences of given lengths; the first event of every other one is context."""
    generator = np.random.default_rng(seed)
    numbers, positions = np.arange(len(lengths)), np.arange(sum(lengths)) * 3
    columns = {
        "kind": generator.integers(0, 9, len(positions)).astype(np.int32),
        "a.b c": generator.standard_normal(len(positions), np.float32),
    }
    return make_events(
        lengths,
        columns,
        n_context=numbers % 2,
        sequence_ids=np.array([f"{s:04d}" for s in numbers], object) if text_ids else numbers * 2,
        positions=positions.astype(f"datetime64[{dates}]") if dates else positions,
    )


def write(folder: Path, events: Events, format: Format, per_shard: int, at: list[int] | None = None) -> Path:
    folder.mkdir(parents=True)
    sink_shards(folder, folder.name, parts_of(events, at or []), format, sequences_per_shard=per_shard)
    return folder


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("dates", ["", "D", "us", "ns"])
def test_events_come_back_as_they_were(tmp_path: Path, format: Format, text_ids: bool, dates: str) -> None:
    if text_ids and format == "csv" and dates:
        dates = "us"
    events = drawn([3, 1, 4, 2, 5], text_ids=text_ids, dates=dates)
    path = write(tmp_path / "x-split0", events, format, per_shard=2)
    assert sorted(file.name for file in path.iterdir()) == [
        *("metadata.json", *(f"x-split0-{k}.{format}" for k in range(3)))
    ]
    found = read_events(path, ["a.b c", "kind"], expected_hashes=hashes(events))
    assert list(found.columns) == ["a.b c", "kind"]
    assert found.sequence_ids.tolist() == events.sequence_ids.tolist()
    assert found.positions.dtype.kind == events.positions.dtype.kind
    parts = list(read_event_parts(path, ["kind"], rows_per_part=4))
    assert len(parts) > 1
    assert np.concatenate([part.columns["kind"] for part in parts]).tolist() == events.columns["kind"].tolist()
    assert n_rows_of(path) == 15
    mapped = map_events(path, ["a.b c"], expected_hashes=hashes(events))
    np.testing.assert_array_equal(mapped.columns["a.b c"][:], events.columns["a.b c"])
    assert [file.name.split(".")[0] for file in tmp_path.glob("*.arrow")] == ["x-split0"], "the copy lies beside it"


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    per_shard=st.integers(1, 13),
    cuts=st.sets(st.integers(1, 11), max_size=4),
)
def test_shards_do_not_depend_on_the_parts_they_come_in(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], per_shard: int, cuts: set[int]
) -> None:
    root = tmp_path_factory.mktemp("shards")
    events = drawn(lengths)
    at = sorted(place for place in cuts if place < len(lengths))
    whole = write(root / "whole" / "x", events, "pt", per_shard)
    parts = write(root / "parts" / "x", events, "pt", per_shard, at)
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == {
        file.name: file.read_bytes() for file in parts.iterdir()
    }
    index = json.loads((whole / "metadata.json").read_text())
    assert [shard["sequences"] for shard in index["shards"][:-1]] == [per_shard] * (len(index["shards"]) - 1)
    assert sum(shard["sequences"] for shard in index["shards"]) == len(lengths)
    read_events(whole, ["kind", "a.b c"], expected_hashes=hashes(events))


def test_a_pt_shard_is_a_dict_of_tensors_that_loads_without_running_code(tmp_path: Path) -> None:
    events = drawn([3, 2, 4], dates="D")
    path = write(tmp_path / "x-split1", events, "pt", per_shard=2)
    shard = torch.load(path / "x-split1-0.pt", weights_only=True)
    assert list(shard) == ["sequenceId", "itemPosition", "isContext", "kind", "a.b c"]
    kinds = {torch.int64: ["sequenceId", "itemPosition"], torch.bool: ["isContext"]}
    kinds |= {torch.int32: ["kind"], torch.float32: ["a.b c"]}
    for dtype, names in kinds.items():
        assert all(shard[name].dtype == dtype and shard[name].shape == (5,) for name in names)
    assert shard["sequenceId"].tolist() == [0, 0, 0, 2, 2]
    assert shard["itemPosition"].tolist() == [0, 3, 6, 9, 12], "days since 1970"
    assert shard["kind"].tolist() == events.columns["kind"][:5].tolist()
    one = read_events(path / "x-split1-1.pt", ["kind"], expected_hashes=None)
    assert one.sequence_ids.tolist() == [4]
    assert one.positions[0].astype(datetime) == datetime(1970, 1, 16).date()
    text = write(tmp_path / "y", drawn([2, 1], text_ids=True), "pt", per_shard=9)
    assert torch.load(text / "y-0.pt", weights_only=True)["sequenceId"] == ["0000", "0000", "0001"]


def index_of(folder: Path, **changes: Any) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def resave(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "x-1.pt"
    torch.save(change(torch.load(path, weights_only=True)), path)


class NotPlain:
    """Would be built by running code."""


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "x-1.pt").unlink(), "1 of 3 shards are missing, the first one is x-1.pt"),
        (lambda folder: (folder / "x-1.pt").write_bytes(b""), "cannot read x-1.pt as pt"),
        (lambda folder: (folder / "x-1.pt").write_bytes((folder / "x-1.pt").read_bytes()[:900]), "cannot read x-1.pt"),
        (lambda folder: (folder / "x-1.pt").write_text("hello"), "cannot read x-1.pt as pt"),
        (lambda folder: resave(folder, lambda shard: NotPlain()), "cannot read x-1.pt as pt"),
        (lambda folder: resave(folder, lambda shard: [1]), "x-1.pt is not a shard with the columns"),
        (lambda folder: resave(folder, lambda shard: {"kind": shard["kind"]}), "x-1.pt is not a shard"),
        (lambda folder: resave(folder, lambda shard: ({}, {}, 1, 2, 3)), "x-1.pt has windows of Sequifier v1"),
        (lambda folder: resave(folder, lambda shard: shard | {"kind": shard["kind"][:2]}), "metadata.json says 6"),
        (lambda folder: resave(folder, lambda shard: shard | {"kind": shard["kind"].double()}), "`kind` of x-1.pt"),
        (lambda folder: resave(folder, lambda shard: {k: v[:3] for k, v in shard.items()}), "metadata.json says 6"),
        (lambda folder: (folder / "metadata.json").unlink(), "it has no metadata.json"),
        (lambda folder: (folder / "metadata.json").write_text("{"), "cannot read metadata.json"),
        (lambda folder: index_of(folder, shards=[]), "cannot read metadata.json"),
        (lambda folder: index_of(folder, batch_files=[]), "has windows of Sequifier v1"),
    ],
)
def test_a_damaged_folder_is_an_error(tmp_path: Path, damage: Callable[[Path], Any], expected: str) -> None:
    folder = write(tmp_path / "x", drawn([3, 1, 4, 2, 5]), "pt", per_shard=2)
    damage(folder)
    for read in (
        lambda: read_events(folder, ["kind"], expected_hashes=None),
        lambda: list(read_event_parts(folder, ["kind"])),
        lambda: map_events(folder, ["kind"], expected_hashes=None),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert expected in str(caught.value)
        assert caught.value.fix and str(folder) in caught.value.where
    assert not list(tmp_path.glob("*.arrow"))
    assert not list(tmp_path.glob(".*"))


def test_another_format_than_the_one_given_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", drawn([3, 1]), "csv", per_shard=1)
    with pytest.raises(DataError, match="the shards are csv, not pt"):
        read_events(folder, ["kind"], expected_hashes=None, format="pt")
    pl.read_csv(folder / "x-0.csv").write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"it has no metadata\.json"):
        read_events(tmp_path, ["kind"], expected_hashes=None)
