"""Files that are no table of text, whatever their names are: `preprocess` and `make` say what they are."""

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sequifier.errors import DataError
from sequifier.project.make import OwnTable, make
from sequifier.project.raw_table import open_raw
from tests.support.small_project import Project

TABLE = b"sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n"


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", TABLE)


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table events (user text)")


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


FRAME = pl.read_csv(io.BytesIO(TABLE))


@pytest.mark.parametrize(
    ("name", "write", "what", "fix"),
    [
        ("table.xlsx", _zip, "is a spreadsheet or a zip archive", "save the sheet as CSV"),
        (
            "table.xls",
            _bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)),
            "an old Excel",
            "save the sheet as CSV",
        ),
        ("table.csv", _bytes(gzip.compress(TABLE)), "compressed by gzip", ".csv.gz"),
        ("table.csv.gz", _bytes(gzip.compress(gzip.compress(TABLE))), "compressed by gzip", "unpack it"),
        ("table.csv.bz2", _bytes(bz2.compress(TABLE)), "compressed by bzip2", "gzip"),
        ("table.csv.xz", _bytes(lzma.compress(TABLE)), "compressed by xz", "gzip"),
        ("table.csv.zst", _bytes(b"\x28\xb5\x2f\xfd" + bytes(40)), "compressed by zstd", "gzip"),
        ("table.feather", FRAME.write_ipc, "an Arrow (Feather) file", "Parquet"),
        ("table.db", _sqlite, "a SQLite database", "CSV"),
        ("table.jsonl", _bytes(b'{"user": 1}\n{"user": 2}\n'), "looks like JSON", "CSV"),
        ("table.json", _bytes(b'[{"user": 1}]'), "looks like JSON", "CSV"),
        ("table.csv", _bytes(b"<!DOCTYPE html>\n<html></html>"), "looks like XML or HTML", ".xes"),
        (
            "table.csv",
            _bytes(b"version https://git-lfs.github.com/spec/v1\nsize 9\n"),
            "pointer of Git LFS",
            "lfs pull",
        ),
        ("table.csv", _bytes(TABLE.decode().encode("utf-32")), "the file is UTF-32", "UTF-8"),
    ],
)
def test_the_error_says_what_the_file_is(
    project: Project, name: str, write: Callable[[Path], object], what: str, fix: str
) -> None:
    path = project.write_text("", name)
    path.unlink()
    write(path)
    with pytest.raises(DataError) as of_preprocess:
        project.run(path, split_ratios=[1.0])
    with pytest.raises(DataError) as of_make:
        make("own", None, project.root, OwnTable(path, sequence="sequenceId", order="itemPosition", targets=["kind"]))
    for error in (of_preprocess.value, of_make.value):
        assert what in error.what
        assert fix in error.fix
        assert error.where == str(path)
    assert project.files() == set()


def test_a_parquet_file_that_was_not_fetched_says_so(project: Project) -> None:
    path = project.write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n", "table.parquet")
    with pytest.raises(DataError, match="pointer of Git LFS"):
        project.run(path)


@pytest.mark.parametrize("name", ["PAR1", "ARROW1", "BZh1", "SQLite format 3", "%PDF"])
def test_a_name_like_the_mark_of_a_format_is_a_header(project: Project, name: str) -> None:
    path = project.write_text(f"{name},itemPosition,kind\n1,1,a\n1,2,b\n")
    metadata = project.run(path, sequence_column=name, split_ratios=[1.0])
    assert [*metadata.columns] == ["kind"]
    assert open_raw(path, project.root).rows.collect_schema().names() == [name, "itemPosition", "kind"]


def test_names_in_angle_brackets_are_a_header(project: Project) -> None:
    """As MetaTrader exports prices."""
    path = project.write_text("<TICKER>,<DATE>,<CLOSE>\nA,20240102,1.5\nA,20240103,1.25\n")
    metadata = project.run(path, sequence_column="<TICKER>", position_column="<DATE>", split_ratios=[1.0])
    assert [*metadata.columns] == ["<CLOSE>"]


def test_other_files_of_a_folder_are_named(project: Project) -> None:
    path = project.write_text(TABLE.decode(), "days/1.csv").parent
    FRAME.write_parquet(path / "2.parquet")
    project.run(path, read_format="csv", split_ratios=[1.0])
    note = "1 file of the folder left out: their names do not end in .csv, .csv.gz, .tsv, .tsv.gz (.parquet)"
    assert f"note: {note}" in project.lines
