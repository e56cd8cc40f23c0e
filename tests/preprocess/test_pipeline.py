"""What preprocessing writes, against plain Python."""

import statistics
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier.artifacts import labels, metadata
from sequifier.artifacts.split_file import read_events
from tests.support.small_project import Project

RATIOS = [0.6, 0.2, 0.2]


def own_rows(split: pl.DataFrame) -> pl.DataFrame:
    return split.filter(~pl.col("isContext")).drop("isContext")


def sorted_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return sorted(frame.to_dicts(), key=lambda row: (row["sequenceId"], row["itemPosition"]))


def test_every_value_comes_back_from_its_split(project: Project, events: pl.DataFrame) -> None:
    metadata = project.run(project.write(events), split_ratios=RATIOS)

    decoded = []
    for number in range(3):
        split = project.split(number)
        assert split.columns == ["sequenceId", "itemPosition", "isContext", "kind", "code", "is_new", "price"]
        assert split.dtypes[3:] == [pl.Int32, pl.Int32, pl.Int32, pl.Float32]
        for row in own_rows(split).to_dicts():
            for column in ("kind", "code", "is_new"):
                row[column] = metadata.categories(column)[row[column] - 1]
            scale = metadata.selected_columns_statistics["price"]
            row["price"] = round(row["price"] * scale["std"] + scale["mean"], 4)
            decoded.append(row)
    decoded.sort(key=lambda row: (row["sequenceId"], row["itemPosition"]))
    assert decoded == sorted_rows(events)


def test_metadata_holds_vocabularies_in_sorted_order_and_statistics_of_split_0(
    project: Project, events: pl.DataFrame
) -> None:
    metadata = project.run(project.write(events), split_ratios=RATIOS)

    assert metadata.id_maps == {
        "kind": {"a": 1, "b": 2, "c": 3},
        "code": {"-2": 1, "-1": 2, "0": 3, "1": 4, "2": 5},
        "is_new": {"false": 1, "true": 2},
    }
    assert metadata.n_classes == {column: len(ids) + 1 for column, ids in metadata.id_maps.items()}
    assert metadata.column_types == {"kind": "String", "code": "Int64", "is_new": "Boolean", "price": "Float64"}
    lengths = {11: 6, 5: 4, 8: 3}  # 0.6 of 10, 7 and 5 rows, half up
    training = [row["price"] for row in sorted_rows(events) if row["itemPosition"] < lengths[row["sequenceId"]]]
    stored = metadata.selected_columns_statistics["price"]
    assert stored["mean"] == pytest.approx(statistics.mean(training), rel=1e-15)
    assert stored["std"] == pytest.approx(statistics.stdev(training), rel=1e-14)
    assert metadata.sequifier.rows == [13, 5, 4]
    assert metadata.sequifier.sequences == [3, 3, 3]


def test_later_splits_begin_with_the_events_just_before_them(project: Project, events: pl.DataFrame) -> None:
    project.run(project.write(events), split_ratios=RATIOS, context_events=3)

    assert not project.split(0)["isContext"].any()
    first = {11: 6, 5: 4, 8: 3}
    for (sequence,), rows in project.split(1).group_by("sequenceId"):
        context = rows.filter(pl.col("isContext"))["itemPosition"].to_list()
        assert context == list(range(max(0, first[sequence] - 3), first[sequence]))
        own = rows.filter(~pl.col("isContext"))["itemPosition"].to_list()
        assert own[0] == first[sequence]
        assert rows["itemPosition"].is_sorted()


def test_context_defaults_to_the_larger_of_seq_length_and_512(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1] * 2000, "itemPosition": range(2000), "a": [0, 1] * 1000})
    for seq_length, expected in ((4, 512), (600, 600)):
        project.run(project.write(frame), seq_length=seq_length)
        assert project.split(1)["isContext"].sum() == expected


def test_rows_in_any_order_give_the_same_files(project: Project, events: pl.DataFrame) -> None:
    project.run(project.write(events, "a/x.parquet"), split_ratios=RATIOS)
    expected = [(project.root / path).read_bytes() for path in project.metadata.split_paths]
    metadata = project.metadata_path.read_bytes()

    project.run(project.write(events.sample(fraction=1, shuffle=True, seed=3), "b/x.parquet"), split_ratios=RATIOS)

    assert [(project.root / path).read_bytes() for path in project.metadata.split_paths] == expected
    assert project.metadata_path.read_bytes() == metadata


def test_a_sequence_spread_over_files_of_a_folder_is_one_sequence(project: Project, events: pl.DataFrame) -> None:
    expected = project.run(project.write(events, "whole.parquet"), split_ratios=RATIOS)
    project.write(events[1::2], "parts/z/first.parquet")
    project.write(events[0::2].select(reversed(events.columns)), "parts/a.parquet")

    folder = project.root / "raw" / "parts"
    columns = ["kind", "code", "is_new", "price"]
    metadata = project.run(folder, read_format="parquet", split_ratios=RATIOS, selected_columns=columns)

    assert metadata.fingerprint == expected.fingerprint
    assert metadata.split_paths[0] == "data/parts-split0.parquet"


@pytest.mark.parametrize("merge_output", [True, False])
@pytest.mark.parametrize("write_format", ["parquet", "csv", "arrow", "pt"])
def test_content_does_not_depend_on_the_format_of_the_splits(
    project: Project, events: pl.DataFrame, write_format: str, merge_output: bool
) -> None:
    if write_format == "pt" and merge_output:
        pytest.skip("pt is written in shards")
    path = project.write(events.with_columns(sequenceId=pl.format("{}", "sequenceId")))  # text that looks like numbers
    expected = project.run(path, split_ratios=RATIOS)
    shards = {"merge_output": merge_output, "batches_per_file": 2}
    metadata = project.run(path, write_format=write_format, split_ratios=RATIOS, **shards)

    assert metadata.fingerprint == expected.fingerprint
    assert metadata.sequifier.column_hashes == expected.sequifier.column_hashes
    assert metadata.split_paths[1] == (f"data/events-split1.{write_format}" if merge_output else "data/events-split1")
    stored = read_events(
        project.root / metadata.split_paths[1],
        ["price", "kind"],
        expected_hashes=metadata.sequifier.column_hashes[1],
    )
    assert stored.sequence_ids.tolist() == ["11", "5", "8"]


def test_csv_and_parquet_input_give_the_same_data(project: Project, events: pl.DataFrame) -> None:
    from_parquet = project.run(project.write(events), split_ratios=RATIOS)
    from_csv = project.run(project.write(events, "events.csv"), split_ratios=RATIOS)
    assert from_csv == from_parquet


@pytest.mark.parametrize(
    ("positions", "expected_type", "expected_first"),
    [
        (["2013-01-31", "2013-02-01"], "Date", date(2013, 1, 31)),
        (["2013-01-31T17:05:00", "2013-01-31T17:05:00.250"], "Datetime(us)", datetime(2013, 1, 31, 17, 5)),
        (["2013-01-31 17:05", "2013-02-01 09:00"], "Datetime(us)", datetime(2013, 1, 31, 17, 5)),
        (["2013-01-31T17:05:00Z", "2013-01-31T19:05:01+01:00"], "Datetime(us)", datetime(2013, 1, 31, 17, 5)),
        (["-3", "12"], "Int64", -3),
    ],
)
@pytest.mark.parametrize("write_format", ["parquet", "csv", "arrow"])
def test_positions_are_integers_dates_or_datetimes(project, positions, expected_type, expected_first, write_format):
    lines = [f"{sequence},{position},x" for sequence in ("u1", "u2") for position in reversed(positions)]
    path = project.write_text("\n".join(["user,when,kind", *lines]) + "\n")

    metadata = project.run(
        path,
        sequence_column="user",
        position_column="when",
        split_ratios=[1.0],
        write_format=write_format,
    )

    assert metadata.sequifier.position_type == expected_type
    stored = read_events(project.root / metadata.split_paths[0], ["kind"], expected_hashes=None)
    assert stored.positions[0] == np.array(expected_first, dtype=stored.positions.dtype)
    assert (np.diff(stored.positions[:2]) > np.zeros(1, np.diff(stored.positions).dtype)).all()


def test_parquet_datetimes_keep_nanoseconds_and_lose_their_zone(project: Project) -> None:
    nanoseconds = pl.Series([10**18, 10**18 + 1]).cast(pl.Datetime("ns"))
    frame = pl.DataFrame({"sequenceId": [1, 1], "itemPosition": nanoseconds, "a": [0, 1]})
    assert project.run(project.write(frame), split_ratios=[1]).sequifier.position_type == "Datetime(ns)"

    zoned = frame.with_columns(pl.col("itemPosition").dt.convert_time_zone("Asia/Tokyo"))
    assert project.run(project.write(zoned), split_ratios=[1]).fingerprint == project.metadata.fingerprint
    assert project.split(0)["itemPosition"].dtype == pl.Datetime("ns")


def test_a_folder_that_also_takes_the_splits_can_be_preprocessed_again(project: Project, events: pl.DataFrame) -> None:
    project.write(events, "../data/table.parquet")
    (project.root / "data" / ".hidden.parquet").write_text("not ours")
    first = project.run(project.root / "data", read_format="parquet", split_ratios=RATIOS)
    assert first.split_paths[0] == "data/data-split0.parquet"
    assert project.run(project.root / "data", read_format="parquet", split_ratios=RATIOS) == first


def test_selected_columns_fix_the_order_and_leave_out_the_rest(project: Project, events: pl.DataFrame) -> None:
    metadata = project.run(project.write(events), selected_columns=["price", "kind"], split_ratios=RATIOS)
    assert metadata.columns == ["price", "kind"]
    assert project.split(0).columns[3:] == ["price", "kind"]
    assert metadata.categorical_columns == ["kind"]
    assert metadata.real_columns == ["price"]


def test_a_feature_may_have_the_name_of_a_column_of_ours(project: Project, events: pl.DataFrame) -> None:
    """Those of columns that exist while rows are read, as far as a user may think of them."""
    named = events.rename({"kind": "observation start", "code": "hash of the row", "is_new": "observation end"})
    metadata = project.run(project.write(named), drop_duplicates=True)
    assert metadata.columns == ["observation start", "hash of the row", "observation end", "price"]


def test_the_unnamed_column_of_an_index_is_left_out_with_a_note(project: Project) -> None:
    path = project.write_text(",sequenceId,itemPosition,a\n0,1,1,x\n1,1,2,y\n2,1,3,x\n")
    metadata = project.run(path, split_ratios=[1])
    assert metadata.columns == ["a"]
    assert any("column without a name" in line for line in project.lines)


def test_max_rows_reads_the_first_rows(project: Project, events: pl.DataFrame) -> None:
    metadata = project.run(project.write(events), max_rows=10, split_ratios=[0.5, 0.5])
    assert metadata.sequifier.rows == [5, 5]
    assert project.split(0)["sequenceId"].unique().to_list() == [11]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("real", "Float64"), ("Float64", "Float64"), ("String", "String"), ("categorical", "Int64")],
)
def test_column_types_decide_what_an_integer_column_is(
    project: Project, events: pl.DataFrame, declared: str, expected: str
) -> None:
    metadata = project.run(project.write(events), column_types={"code": declared}, split_ratios=RATIOS)
    assert metadata.column_types["code"] == expected
    assert metadata.kind("code") == ("real" if expected == "Float64" else "categorical")


def test_digits_declared_as_text_keep_their_zeros(project: Project) -> None:
    path = project.write_text("sequenceId,itemPosition,zip\n1,1,007\n1,2,7\n1,3,010\n")
    assert project.run(path, column_types={"zip": "String"}, split_ratios=[1]).categories("zip") == ["007", "010", "7"]
    assert not any("zeros" in line for line in project.lines)
    assert project.run(path, split_ratios=[1]).categories("zip") == ["007", "010", "7"]
    assert (
        "note: column `zip` has leading zeros (`007`), so it remains text; "
        "to read integers, declare column_types.zip: Int64"
    ) in project.lines
    assert project.run(path, column_types={"zip": "Int64"}, split_ratios=[1]).categories("zip") == [7, 10]
    project.run(path, column_types={"zip": "real"}, split_ratios=[1])
    assert not any("zeros" in line for line in project.lines)


def test_sequences_keep_the_zeros_of_their_names(project: Project) -> None:
    path = project.write_text("sequenceId,itemPosition,a\n10,01,0\n010,02,-0.5\n10,03,2\n10,04,1\n010,05,1\n")
    metadata = project.run(path, split_ratios=[1])
    assert (metadata.sequifier.sequence_type, metadata.sequifier.position_type) == ("String", "Int64")
    assert project.split(0)["sequenceId"].to_list() == ["010", "010", "10", "10", "10"]
    assert project.split(0)["itemPosition"].to_list() == [2, 5, 1, 3, 4]
    assert any("column `sequenceId` has leading zeros (`010`), so it remains text" in line for line in project.lines)


def test_whole_floats_may_be_declared_categorical(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1, 1, 1], "itemPosition": [1, 2, 3], "a": [3.0, 1.0, 3.0]})
    metadata = project.run(project.write(frame), column_types={"a": "categorical"}, split_ratios=[1])
    assert metadata.categories("a") == [1, 3]
    assert project.split(0)["a"].to_list() == [2, 1, 2]


def test_a_csv_column_whose_type_shows_late_is_read_with_it(project: Project) -> None:
    rows = [f"1,{i},{i},," for i in range(1500)] + ["2,0,0.5,late,", "2,1,3,later,7", "2,2,1,late,8"]
    path = project.write_text("\n".join(["sequenceId,itemPosition,amount,word,number", *rows]) + "\n")
    fills = {"word": "unknown", "number": "unknown"}
    metadata = project.run(path, split_ratios=[1], fill_null=fills)
    assert metadata.column_types == {"amount": "Float64", "word": "String", "number": "Int64"}
    assert metadata.categories("word") == ["late", "later"]
    assert metadata.categories("number") == [7, 8]


def test_types_are_agreed_over_all_csv_files(project: Project) -> None:
    project.write_text("sequenceId,itemPosition,amount\n1,1,1\n1,2,2\n", "folder/a.csv")
    project.write_text("amount,sequenceId,itemPosition\n1.5,x,1\n2,x,2\n", "folder/b.csv")
    metadata = project.run(project.root / "raw" / "folder", read_format="csv", split_ratios=[1])
    assert metadata.column_types == {"amount": "Float64"}
    assert project.split(0)["sequenceId"].unique().sort().to_list() == ["1", "x"]


def test_numbers_spoilt_by_a_word_are_noted(project: Project) -> None:
    rows = [f"1,{i},{i / 4}" for i in range(300)] + ["1,300,broken"]
    path = project.write_text("\n".join(["sequenceId,itemPosition,amount", *rows]) + "\n")
    metadata = project.run(path, split_ratios=[1])
    assert metadata.kind("amount") == "categorical"
    assert any("`broken`" in line and "row 301" in line and "fill_null" in line for line in project.lines)


def test_whole_sequences_go_to_splits_when_splitting_between_them(project: Project) -> None:
    frame = pl.DataFrame(
        {
            "sequenceId": [f"s{i}" for i in range(20) for _ in range(3)],
            "itemPosition": [0, 1, 2] * 20,
            "a": [0, 1, 2] * 20,
        }
    )
    path = project.write(frame)

    def sequences(seed: int | None) -> list[set[str]]:
        project.run(path, split_method="between_sequence", split_ratios=[0.7, 0.2, 0.1], seed=seed)
        return [set(project.split(number)["sequenceId"]) for number in range(3)]

    first = sequences(7)
    assert [len(ids) for ids in first] == [14, 4, 2]
    assert len(set.union(*first)) == 20
    assert not any(project.split(number)["isContext"].any() for number in range(3))
    assert sequences(7) == first
    assert sequences(8) != first
    assert project.metadata.sequifier.split_seed == 8
    sequences(None)
    assert f"seed: {project.metadata.sequifier.split_seed}" in project.lines


def test_a_project_below_the_home_folder(
    project: Project, events: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project.root))
    monkeypatch.chdir(project.root)
    project.run(project.write(events), project_root="~/shop", split_ratios=[1])
    assert project.files() == {"shop/configs/metadata_configs/events.json", "shop/data/events-split0.parquet"}


def test_data_path_is_looked_for_in_the_working_folder_first(
    project: Project, events: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(events, "../here/events.parquet")
    project.write(events.head(10), "../events.parquet")
    monkeypatch.chdir(project.root / "here")
    (project.root / "here" / "raw").mkdir()
    path = Path("events.parquet")
    assert sum(project.run(path, split_ratios=[1]).sequifier.rows) == 22
    Path("events.parquet").unlink()
    assert sum(project.run(path, split_ratios=[1]).sequifier.rows) == 10


def test_a_large_metadata_file_gets_a_summary_and_is_read_by_it(
    project: Project, events: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "LARGE_BYTES", 10)
    written = project.run(project.write(events), split_ratios=RATIOS)
    (path,) = project.root.rglob("metadata_configs/*.json")
    assert path.with_name(f"{path.name}.summary").exists()
    read: list[Path] = []
    monkeypatch.setattr(metadata, "read_json", lambda what, path, fix: read.append(path))
    assert metadata.read_metadata(path).n_classes == written.n_classes
    assert read == []
