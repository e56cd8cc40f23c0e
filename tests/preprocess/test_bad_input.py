"""Everything a user can get wrong in the data: one error that says what, where and how to fix it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.errors import ConfigError, DataError, RunError
from tests.support.small_project import Project

HEADER = "sequenceId,itemPosition,kind,price\n"
GOOD = "".join(f"{sequence},{step},{'ab'[step % 2]},{step}.5\n" for sequence in (3, 4) for step in range(6))


def error(project: Project, text: str | Path, *, kind: type[Exception] = DataError, **fields: Any) -> str:
    """The message; nothing may have been written."""
    path = project.write_text(text) if isinstance(text, str) else text
    before = project.files()
    with pytest.raises(kind) as raised:
        project.run(path, **({"split_ratios": [1.0]} | fields))
    assert project.files() == before
    return str(raised.value)


def test_the_good_table_is_good(project: Project) -> None:
    metadata = project.run(project.write_text(HEADER + GOOD), split_ratios=[1.0])
    assert (metadata.sequifier.rows, metadata.sequifier.sequences) == ([12], [2])


@pytest.mark.parametrize(
    ("text", "fields", "parts"),
    [
        ("", {}, ["the file is empty", "events.csv"]),
        (HEADER, {}, ["there are no rows", "events.csv"]),
        (HEADER + GOOD, {"sequence_column": "sequenceID"}, ["`sequenceID` (sequence_column)", "`sequenceId`?"]),
        (HEADER + GOOD, {"position_column": "time"}, ["`time` (position_column)", "use one of: sequenceId"]),
        (HEADER + GOOD, {"selected_columns": ["prize"]}, ["`prize` (selected_columns)", "did you mean `price`?"]),
        (HEADER + GOOD, {"column_types": {"pric": "real"}}, ["column_types names `pric`", "`price`?"]),
        (HEADER + GOOD, {"column_types": {"kind": "real"}}, ["`kind` is declared as real", "text", "categorical"]),
        (HEADER + GOOD, {"column_types": {"price": "categorical"}}, ["12 of 12 values are fractional", "real"]),
        (HEADER + GOOD, {"fill_null": {"kid": "unknown"}}, ["fill_null names `kid`", "`kind`?"]),
        (HEADER + GOOD, {"fill_null": {"kind": "mean"}}, ["fill_null.kind: `mean`", "use forward or unknown"]),
        (HEADER + GOOD, {"fill_null": {"kind": 3}}, ["fill_null.kind: `3`", "String"]),
        (HEADER + GOOD, {"fill_null": {"price": "unknown"}}, ["fill_null.price: `unknown`", "a number or mean"]),
        (HEADER + GOOD, {"min_count": {"price": 2}}, ["min_count names `price`", "real"]),
        (HEADER + GOOD, {"max_categories": {"knd": 2}}, ["max_categories names `knd`", "`kind`?"]),
        (HEADER + GOOD, {"read_format": "parquet"}, ["is not a parquet file", "set read_format: csv"]),
        ("a:b\n1:2\n", {}, ["`sequenceId`", "use one of: a:b"]),
        ("user;itemPosition;a\n1;2;3,5\n", {}, ["one column", "separated by `;`, not by commas", "events.csv"]),
        ("user\titemPosition\ta\n1\t2\t3\n", {}, ["separated by a tab, not by commas"]),
        ("sequenceId,itemPosition,a,b,a,b\n1,2,3,4,5,6\n", {}, ["the header has `a` and `b` more than once"]),
        ("sequenceId,itemPosition,*\n1,2,3\n", {}, ["a column is called `*`", "events.csv", "rename it"]),
        ("sequenceId,itemPosition,^a|b$\n1,2,3\n", {}, ["a column is called `^a|b$`"]),
        ("sequenceId,itemPosition,a,,\n1,2,3,,\n", {}, ["the header has a column without a name more than once"]),
        ("sequenceId,itemPosition\n1,2\n", {}, ["no feature column", "sequenceId, itemPosition"]),
        (HEADER + GOOD + "4,6,,1\n", {}, ["`kind`: 1 of 13 values is missing", "sequenceId=4 itemPosition=6"]),
        (HEADER + GOOD + "4,6,,1\n", {}, ["events.csv", "fill in their values, or set fill_null.kind"]),
        (HEADER + "9,9,a,\n7,7,a,\n" + GOOD, {}, ["`price`: 2 of 14 values are", "sequenceId=7 itemPosition=7"]),
        (HEADER + GOOD + "4,6,b,nan\n", {}, ["`price`: 1 of 13 values is NaN", "sequenceId=4 itemPosition=6"]),
        (HEADER + GOOD + "4,6,b,-inf\n", {}, ["`price`: 1 of 13 values is infinite", "fill_null.price"]),
        (HEADER + GOOD + "4,6,,\n", {}, ["`kind`: 1 of 13 values is missing", "`price`: 1 of 13 values is missing"]),
        (HEADER + GOOD + "4,6,,1\n", {"fill_null": {"price": 0.0}}, ["`kind`: 1 of 13 values is missing"]),
        (HEADER + "1,1,,1\n" + GOOD, {"fill_null": {"kind": "forward"}}, ["without an earlier value", "sequenceId=1"]),
        (HEADER + GOOD + ",7,a,1\n", {}, ["`sequenceId`: 1 of 13", "csv, first in row 13 after the header (empty)"]),
        (HEADER + GOOD + "4,,a,1\n", {}, ["`itemPosition`: 1 of 13", "row 13 after the header (empty)"]),
        (HEADER + GOOD + "4,1,a,1\n4,1,b,2\n3,2,a,1\n", {}, ["3 of 15 rows repeat", "sequenceId=3 itemPosition=2"]),
        (HEADER + "1,2013-01-31,a,1\n1,31.1.2013,a,1\n", {}, ["1 of 2 values is not a date", "header (`31.1.2013`)"]),
        (HEADER + GOOD + "5,x1,a,1\n4,7,a,1\n", {}, ["`itemPosition`: 1 of 14 values is not a 64-bit integer",
                                                  "row 13 after the header (`x1`)"]),
        (HEADER + GOOD + f"5,{2**64},a,1\n", {}, ["is not a 64-bit integer", f"row 13 after the header (`{2**64}`)"]),
        (HEADER + "5,x1,a,1\n" + GOOD, {}, ["is not a 64-bit integer", "row 1 after the header (`x1`)"]),
        (HEADER + "5,x1,a,1\n", {}, ["has the value `x1`", "neither a number like 12.5 nor a date", "row 1"]),
        (HEADER + "1,03/04/2013,a,1\n", {}, ["`itemPosition` has the value `03/04/2013`", "2013-01-31"]),
        (HEADER + "1,1.5,a,1\n1,nan,a,1\n", {}, ["is not a finite number", "row 2 after the header (`nan`"]),
        (HEADER + "1,1.5,a,1\n1,x,a,1\n", {}, ["1 of 2 values is not a finite number", "row 2 after the header (`x`"]),
        (HEADER + "1,inf,a,1\n1,2,a,1\n", {}, ["1 of 2 values is not a finite number", "row 1 after the header"]),
        (HEADER + "1,true,a,1\n", {}, ["`itemPosition` has Boolean", "numbers, dates or datetimes"]),
        (HEADER + "1.5,1,a,1\n", {}, ["`sequenceId` has Float64", "integers or text"]),
        (HEADER + "1,1,a,1e308\n1,2,a,-1e308\n", {}, ["`price` has no standard deviation", "1e+308"]),
        ("sequenceId,itemPosition,isContext\n1,1,2\n", {}, ["`isContext`", "rename it"]),
        ("user,itemPosition,sequenceId\n1,1,2\n", {"sequence_column": "user"}, ["`sequenceId`", "sequence_column"]),
        (HEADER + "1,1,a\n1,2,a,3,4,5\n", {}, ["line 3 has 6 values, but the header has 4 names", "events.csv"]),
    ],
)  # fmt: skip
def test_the_error_says_what_where_and_how_to_fix_it(
    project: Project, text: str, fields: dict[str, Any], parts: list[str]
) -> None:
    message = error(project, text, **fields)
    for part in parts:
        assert part in message, message


def test_numbers_are_counted_over_all_parts_of_a_large_table(project: Project) -> None:
    rows = [f"{sequence},{step},{'' if step == 3 else 'a'},1.5" for sequence in range(50) for step in range(6)]
    message = error(project, HEADER + "\n".join(rows) + "\n", memory_bytes=2000)
    assert "`kind`: 50 of 300 values are missing, first at sequenceId=0 itemPosition=3" in message


def test_a_missing_path_names_both_places(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text(HEADER + GOOD)
    (project.root / "work").mkdir()
    monkeypatch.chdir(project.root / "work")
    with pytest.raises(ConfigError) as raised:
        project.run(Path("raw/event.csv"))
    assert "raw/event.csv and " in str(raised.value)
    assert str(project.root / "raw/event.csv") in str(raised.value)


def test_a_folder_without_files_of_the_format_says_what_it_holds(project: Project) -> None:
    folder = project.write_text("x", "folder/notes.txt").parent
    assert "the folder has .txt" in error(project, folder, read_format="csv")


def test_names_that_are_patterns_of_polars_are_refused_in_typed_files(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1], "itemPosition": [1], "a": ["x"], "*": ["y"]})
    assert "a column is called `*`" in error(project, project.write(frame), read_format="parquet")


def test_a_column_missing_in_one_file_names_that_file(project: Project) -> None:
    project.write_text(HEADER + GOOD, "folder/a.csv")
    project.write_text("sequenceId,itemPosition,kind\n9,1,a\n", "folder/b.csv")
    message = error(project, project.root / "raw" / "folder", read_format="csv")
    assert "`price` (the first file) is missing in b.csv" in message


def test_parquet_files_that_disagree_on_a_type_are_refused(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1], "itemPosition": [1], "a": [1]})
    project.write(frame, "folder/a.parquet")
    project.write(frame.with_columns(a=pl.lit(None, pl.String)).head(0), "folder/c.parquet")
    project.write(frame.with_columns(a=pl.lit("x")), "folder/b.parquet")
    message = error(project, project.root / "raw" / "folder", read_format="parquet")
    assert "`a` is integer in a.parquet and text in b.parquet" in message


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (pl.Series([[1], [2]]), ["`a` has the type List(Int64)", "selected_columns"]),
        (pl.Series([1, 2]).cast(pl.Date), ["`a` has the type Date", "numbers or text"]),
        (pl.Series([None, None]), ["`a`: 2 of 2 values are missing"]),
        (
            pl.Series([2**64 - 1, 1], dtype=pl.UInt64),
            ["`a` has integers that do not fit in 64 bits", "column_types.a: String", "real"],
        ),
    ],
)
def test_values_that_cannot_be_encoded_are_named(project: Project, values: pl.Series, parts: list[str]) -> None:
    path = project.write(pl.DataFrame({"sequenceId": [1, 1], "itemPosition": [1, 2], "a": values}))
    message = error(project, path)
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(project: Project, encoding: str) -> None:
    path = project.write_text("")
    path.write_bytes((HEADER + GOOD).encode(encoding))
    message = error(project, path)
    assert "the file is UTF-16, not UTF-8" in message
    assert "save it as UTF-8" in message


@pytest.mark.parametrize("text", [HEADER + "1,1,caf\xe9,1\n", HEADER.replace("kind", "caf\xe9") + "1,1,a,1\n"])
def test_another_encoding_is_named(project: Project, text: str) -> None:
    path = project.write_text("")
    path.write_bytes(text.encode("latin-1"))
    assert "is not UTF-8" in error(project, path)


@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
@pytest.mark.parametrize("large", [2**63, 2**64 - 1, 2**64, -(2**63) - 1])
def test_integers_beyond_64_bits_need_a_declared_type(project: Project, name: str, large: int) -> None:
    frame = pl.DataFrame(
        {"sequenceId": [1] * 3, "itemPosition": range(3), "a": pl.Series([1, large, 7], dtype=pl.Int128)}
    )
    if name.endswith("parquet") and 0 < large < 2**64:
        frame = frame.cast({"a": pl.UInt64})
    path = project.write(frame, name)
    message = error(project, path)
    assert "column `a` has integers that do not fit in 64 bits" in message
    assert "declare column_types.a: String to keep their digits, or real" in message

    as_text = project.run(path, split_ratios=[1.0], column_types={"a": "String"})
    assert set(as_text.id_maps["a"]) == {"1", str(large), "7"}
    as_number = project.run(path, split_ratios=[1.0], column_types={"a": "real"})
    assert as_number.selected_columns_statistics["a"]["mean"] == pytest.approx((large + 8) / 3)


def test_names_that_a_float_cannot_tell_apart_are_refused(project: Project) -> None:
    text = f"sequenceId,itemPosition,kind\n{2**53}.0,1,a\n{2**53 + 1}.0,2,b\n{2**53}.0,3,a\n"
    assert "above 2^53" in error(project, text)
    exact = project.run(project.write_text(text.replace(".0,", ",")), split_ratios=[1.0])
    assert exact.sequifier.sequences == [2]


@pytest.mark.parametrize("fill", [{}, {"fill_null": {"x": "unknown"}}])
def test_categories_that_a_float_cannot_tell_apart_are_refused(project: Project, fill: dict[str, Any]) -> None:
    """As pandas writes long ids of a column with missing values."""
    ids = [float(2**53 + 1), 1e30, 2.0, float("nan")][: 4 if fill else 3]
    frame = pl.DataFrame({"sequenceId": [1] * len(ids), "itemPosition": range(len(ids)), "x": ids})
    message = error(project, project.write(frame), column_types={"x": "categorical"}, **fill)
    assert f"`x`: 2 of {len(ids)} values are above 2^53 in a column of floats" in message


def test_columns_that_have_room_for_more_than_64_bits_are_plain_integers(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1] * 3, "itemPosition": range(3), "a": [1, 2**63 - 1, None]})
    path = project.write(frame.cast({"a": pl.UInt64, "sequenceId": pl.UInt64, "itemPosition": pl.Int128}))
    metadata = project.run(path, split_ratios=[1.0], fill_null={"a": 0})
    assert list(metadata.id_maps["a"]) == ["0", "1", str(2**63 - 1)]
    assert metadata.sequifier.sequence_type == metadata.sequifier.position_type == "Int64"


@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
def test_sequences_named_by_integers_beyond_64_bits_are_named_by_text(project: Project, name: str) -> None:
    ids = pl.Series([2**64 - 1, 2**64 - 1, 7], dtype=pl.UInt64)
    path = project.write(pl.DataFrame({"sequenceId": ids, "itemPosition": range(3), "a": [1, 2, 1]}), name)
    assert project.run(path, split_ratios=[1.0]).sequifier.sequence_type == "String"
    assert project.split(0)["sequenceId"].to_list() == [str(2**64 - 1)] * 2 + ["7"]


def test_a_bad_position_after_the_sample_is_named(project: Project) -> None:
    rows = "".join(f"3,{step},a,1\n" for step in range(6, 2000))
    message = error(project, HEADER + GOOD + rows + "3,2OOO,a,1\n")
    assert "is not a 64-bit integer" in message
    assert "row 2,007 after the header (`2OOO`)" in message


def test_a_file_that_is_not_parquet_is_refused(project: Project) -> None:
    path = project.write_text("no parquet", "events.parquet")
    assert "cannot read the events as parquet" in error(project, path)


def test_a_split_without_a_target_is_refused(project: Project) -> None:
    rows = "".join(f"{sequence},0,a,1\n" for sequence in range(10))
    message = error(project, HEADER + rows, split_ratios=[0.8, 0.2])
    assert "split 0 has no event to predict: 10 rows of 10 sequences" in message
    assert "fewer splits" in message

    message = error(project, HEADER + GOOD, split_ratios=[0.98, 0.02])
    assert "split 1 has no event to predict: 0 rows" in message


def test_one_own_event_is_a_target_only_with_an_event_before_it(project: Project) -> None:
    path = project.write_text(HEADER + GOOD)
    assert project.run(path, split_ratios=[0.8, 0.2]).sequifier.rows == [10, 2]
    assert "split 1 has no event" in error(project, path, split_ratios=[0.8, 0.2], context_events=0)


def test_exact_windows_that_leave_rows_over_name_the_sequence(project: Project) -> None:
    fields = {"subsequence_start_mode": "exact", "seq_length": 2, "split_ratios": [1.0]}
    message = error(project, HEADER + GOOD + "1,0,a,1\n", **fields)
    assert "sequenceId=3 has 6 rows in split 0" in message
    assert "leave 1 over (so do 2 of 3 sequences)" in message
    assert "a stride that divides 3" in message
    project.run(project.write_text(HEADER + GOOD), **(fields | {"stride_by_split": [3]}))
    project.run(project.write_text(HEADER + GOOD), **(fields | {"seq_length": 100}))


def test_a_folder_that_cannot_be_written_to_is_one_error(project: Project) -> None:
    path = project.write_text(HEADER + GOOD)
    (project.root / "data").write_text("a file where the folder should be")
    message = error(project, path, kind=RunError)
    assert "cannot write to the folder for the splits" in message
    assert str(project.root / "data") in message


def test_splits_are_not_replaced_when_the_metadata_cannot_be_written(project: Project) -> None:
    path = project.write_text(HEADER + GOOD)
    (project.root / "configs").write_text("a file where the folder should be")
    assert "cannot write events.json" in error(project, path, kind=RunError)


@pytest.mark.parametrize("write_format", ["parquet", "csv", "arrow", "pt"])
@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 18])
def test_a_full_disk_leaves_the_old_data_set_whole(project: Project, write_format: str, memory_bytes: int) -> None:
    """A file size limit stands for the full disk; it needs a process of its own."""
    n = 20_000
    frame = pl.DataFrame({"sequenceId": [i // 100 for i in range(n)], "itemPosition": [i % 100 for i in range(n)]})
    frame = frame.with_columns(a=pl.int_range(n).cast(pl.Float64).sin())
    path = project.write(frame)
    project.run(path, write_format=write_format, max_rows=1000, merge_output=write_format != "pt")
    before = {name: (project.root / name).read_bytes() for name in project.files()}

    script = f"""
import resource
from pathlib import Path
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import RunError
from sequifier.preprocess.pipeline import preprocess
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
config = PreprocessConfig(project_root={str(project.root)!r}, data_path={str(path)!r}, read_format="parquet",
                          write_format={write_format!r}, seq_length=4, merge_output={write_format != "pt"})
try:
    preprocess(config, log=lambda line: None, memory_bytes={memory_bytes})
except RunError as error:
    print(error)
"""
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert child.returncode == 0, child.stderr
    assert "cannot write" in child.stdout
    by_torch = write_format == "pt" and "the disk is full" in child.stdout
    assert by_torch or "File too large" in child.stdout
    assert {name: (project.root / name).read_bytes() for name in project.files()} == before
