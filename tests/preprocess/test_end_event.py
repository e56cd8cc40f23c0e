"""`end_event`: what follows the last event of each sequence, against the same splits without it."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier.artifacts.events import Events, ends_with_end, without_ends
from sequifier.artifacts.split_file import read_events
from sequifier.errors import DataError
from tests.support.small_project import Project

COLUMNS = ["kind", "code", "is_new", "price"]
METHODS: list[dict[str, Any]] = [
    {"split_ratios": [0.6, 0.2, 0.2]},
    {"split_ratios": [0.3, 0.4, 0.3], "split_method": "between_sequence"},
    {"split_method": "last_events"},
    {"split_method": "last_events", "split_events": [3, 3]},  # the sequence of 5 events only trains
    {"split_method": "cutoff", "split_at": [3, 5]},
    {"split_method": "cutoff", "split_at": [3, 5, 8]},  # the end of the longest sequence is in no split
]


def splits(project: Project, path: Any, **fields: Any) -> list[Events]:
    metadata = project.run(path, **fields)
    hashes = metadata.sequifier.column_hashes
    return [
        read_events(project.root / split, COLUMNS, expected_hashes=hashes[number])
        for number, split in enumerate(metadata.split_paths)
    ]


def rows_of(events: Events) -> dict[int, list[tuple[Any, ...]]]:
    """Return the rows of each sequence, with whether a row is context."""
    columns = [events.positions.tolist(), *(events.columns[name].tolist() for name in COLUMNS)]
    rows = list(zip(*columns, strict=True))
    found = {}
    for number, sequence in enumerate(events.sequence_ids.tolist()):
        begin, end = events.offsets[number : number + 2].tolist()
        found[sequence] = [(row - begin < events.n_context[number], *rows[row]) for row in range(begin, end)]
    return found


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_an_end_follows_the_last_event_of_each_sequence_and_nothing_else_changes(
    project: Project, events: pl.DataFrame, method: dict[str, Any]
) -> None:
    path = project.write(events)
    before = [rows_of(split) for split in splits(project, path, **method)]
    plain = project.metadata
    found = splits(project, path, **method, end_event=["kind", "code"])
    metadata = project.metadata
    end_ids = {column: plain.n_classes[column] for column in ("kind", "code")}  # after the ids of the categories
    assert metadata.end_ids == end_ids
    last = dict(events.group_by("sequenceId").agg(pl.col("itemPosition").max()).iter_rows())
    n_ends = []
    for split, old in zip(found, before, strict=True):
        expected = dict(old)
        for sequence, rows in old.items():
            if rows[-1][1] == last[sequence]:
                end = (False, last[sequence], end_ids["kind"], end_ids["code"], -1)
                expected[sequence] = [*rows, end]
        n_ends.append(sum(len(rows) for rows in expected.values()) - sum(len(rows) for rows in old.values()))
        new = rows_of(split)
        assert {sequence: [row[:-1] for row in rows] for sequence, rows in new.items()} == {
            sequence: [row[:5] for row in rows] for sequence, rows in expected.items()
        }
        has_end = ends_with_end(split, end_ids)
        prices = split.columns["price"]
        assert np.isnan(prices[split.offsets[1:][has_end] - 1]).all() and np.isnan(prices).sum() == has_end.sum()
        assert rows_of(without_ends(split, has_end)) == old
    assert metadata.sequifier.rows == [n + more for n, more in zip(plain.sequifier.rows, n_ends, strict=True)]
    assert metadata.sequifier.sequences == plain.sequifier.sequences
    assert metadata.selected_columns_statistics == plain.selected_columns_statistics
    assert f"END in kind, code: {sum(n_ends)} of 3 sequences end in a split" in project.lines


def test_a_training_sequence_that_is_cut_does_not_end(project: Project) -> None:
    rows = [(s, position, "ab"[position % 2]) for s in (1, 2, 3) for position in range(3 * s, 3 * s + 4)]
    path = project.write(pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "kind"], orient="row"))
    fields: dict[str, Any] = {
        "split_method": "between_sequence",
        "split_order": "by_start",
        "split_ratios": [0.67, 0.33],
    }
    project.run(path, end_event=["kind"], split_overlap="cut", **fields)  # the third starts at 9, the second ends there
    assert [project.split(0).filter(sequenceId=s)["kind"].to_list()[-1] for s in (1, 2)] == [3, 1]
    assert project.split(1)["kind"].to_list()[-1] == 3


def test_end_is_the_last_class_of_a_column_of_any_type(project: Project, events: pl.DataFrame) -> None:
    metadata = project.run(project.write(events), end_event=["is_new", "kind", "code"])
    assert metadata.categories("kind") == ["a", "b", "c", "END"]
    assert metadata.categories("code") == [-2, -1, 0, 1, 2, "END"]
    assert metadata.categories("is_new") == [False, True, "END"]
    assert metadata.raw_categories("is_new") == [False, True]
    assert json.loads(project.metadata_path.read_text())["id_maps"]["is_new"] == {"false": 1, "true": 2, "END": 3}


def test_metadata_without_end_event_do_not_name_it(project: Project, events: pl.DataFrame) -> None:
    project.run(project.write(events))
    assert "end_event" not in project.metadata_path.read_text()


@pytest.mark.parametrize("fields", [{"write_format": "csv"}, {"write_format": "pt", "merge_output": False}])
def test_every_format_holds_the_same(project: Project, events: pl.DataFrame, fields: dict[str, Any]) -> None:
    path = project.write(events)
    expected = [rows_of(split) for split in splits(project, path, end_event=["kind"])]
    hashes = project.metadata.sequifier.column_hashes
    splits(project, path, end_event=["kind"], **fields)
    assert project.metadata.sequifier.column_hashes == hashes
    assert len(expected) == 3


def test_a_table_in_parts_has_the_same_ends(project: Project) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 400)
    table = pl.DataFrame(
        {
            "sequenceId": np.repeat(np.arange(400), lengths),
            "itemPosition": np.concatenate([np.arange(n) for n in lengths]),
            "kind": [f"k{row % 7}" for row in range(lengths.sum())],
        }
    )
    path = project.write(table)
    whole = project.run(path, end_event=["kind"]).fingerprint
    assert project.run(path, end_event=["kind"], memory_bytes=1 << 16).fingerprint == whole
    assert any("400 of 400 sequences end" in line for line in project.lines)


def test_new_data_of_stored_metadata_end_too(project: Project, events: pl.DataFrame) -> None:
    stored = project.run(project.write(events), end_event=["code"])
    new = events.filter(pl.col("sequenceId") == 5)
    fields: dict[str, Any] = {"metadata_config_path": str(project.metadata_path), "split_ratios": [1.0]}
    path = project.write(new, "newer.parquet")
    with pytest.raises(DataError, match=r"end_event \['kind'\] differs from \['code'\]"):
        project.run(path, **fields, end_event=["kind"])
    assert project.run(path, **fields).end_ids == stored.end_ids
    assert project.split(0)["code"].to_list()[-1] == stored.end_ids["code"]


def test_exact_windows_count_the_end(project: Project, events: pl.DataFrame) -> None:
    path = project.write(events.filter(pl.col("sequenceId") == 5))  # 7 events
    fields: dict[str, Any] = {"split_ratios": [1.0], "subsequence_start_mode": "exact", "seq_length": 3}
    project.run(path, stride_by_split=[3], **fields)
    with pytest.raises(DataError, match="8 rows in split 0; windows of 3 \\+ 1 every 3 rows leave 1 over"):
        project.run(path, stride_by_split=[3], end_event=["kind"], **fields)
    project.run(path, stride_by_split=[4], end_event=["kind"], **fields)


def test_an_end_is_a_target_where_a_sequence_has_one_event(project: Project) -> None:
    path = project.write(pl.DataFrame({"sequenceId": [1, 2, 3, 4], "itemPosition": [1] * 4, "kind": list("abab")}))
    fields: dict[str, Any] = {"split_method": "between_sequence", "split_ratios": [0.5, 0.5]}
    with pytest.raises(DataError, match="split 0 has no event to predict"):
        project.run(path, **fields)
    assert project.run(path, end_event=["kind"], **fields).sequifier.rows == [4, 4]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"end_event": ["kind"]},
            r"column `kind`: 2 of 4 values are `END`.*first at sequenceId=1 itemPosition=2.*another name in `kind`",
        ),
        ({"end_event": ["price"]}, "end_event names `price`, which is real.*column_types.price: categorical"),
        ({"end_event": ["kinds"]}, "end_event names `kinds`, which is not among the selected columns.*did you mean"),
    ],
)
def test_what_cannot_be_is_one_error(project: Project, fields: dict[str, Any], message: str) -> None:
    columns = {"sequenceId": [1, 1, 2, 2], "itemPosition": [1, 2, 1, 2]}
    path = project.write(pl.DataFrame({**columns, "kind": ["a", "END", "b", "END"], "price": [1.0, 2.0, 3.0, 4.0]}))
    with pytest.raises(DataError, match=f"(?s){message}"):
        project.run(path, split_ratios=[1.0], **fields)
    assert project.files() == set()
