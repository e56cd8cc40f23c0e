"""CSV files that cannot be read: the error names the line, in every form of a table, for each command."""

import csv
import gzip
import io
from pathlib import Path
from tempfile import NamedTemporaryFile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess import damaged_csv
from sequifier.preprocess.damaged_csv import check_quotes
from sequifier.preprocess.pipeline import preprocess
from sequifier.project import from_table
from sequifier.project.make import OwnTable, make
from sequifier.project.pilot import Pilot
from tests.support.quiet import quiet

HEADER, ROW = "user;time;item", "anna;{};nut"


def refused(folder: Path, content: bytes, name: str = "table.csv") -> set[tuple[str, str]]:
    """What `make` and `preprocess` say, without the folder."""
    (folder / name).write_bytes(content)
    config = PreprocessConfig.model_validate(
        {
            "data_path": str(folder / name),
            "project_root": str(folder),
            "sequence_column": "user",
            "position_column": "time",
            "seq_length": 3,
        }
    )
    found: set[tuple[str, str]] = set()
    with pytest.raises(DataError) as of_preprocess:
        preprocess(config, log=quiet)
    with pytest.raises(DataError) as of_make:
        make("project", None, folder, OwnTable(folder / name, sequence="user", order="time", targets=["item"]))
    for error in (of_preprocess.value, of_make.value):
        assert error.where == str(folder / name)
        found.add((error.what, error.fix))
    assert not (folder / "project").exists()
    return found


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_row_with_too_many_values_is_named(tmp_path: Path, separator: str, name: str) -> None:
    lines = [HEADER, *(ROW.format(n) for n in range(200))]
    lines[150] = 'anna;149;"nut; with\na thread";3 kg'
    content = ("\n".join(lines) + "\n").replace(";", separator).encode()
    ((what, fix),) = refused(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    assert what.startswith("line 152 has 4 values, but the header has 3 names: `anna")
    assert fix == "correct that line; a value with a separator in it needs quotes"


@pytest.mark.parametrize("n_after", [2, 60_000])
def test_the_line_of_a_quote_that_is_not_closed_is_named(tmp_path: Path, n_after: int) -> None:
    """The rest of the file is one value, which may be longer than Python's csv module reads by default."""
    lines = [HEADER, *(ROW.format(n) for n in range(40)), 'anna;40;"nut', *(ROW.format(41 + n) for n in range(n_after))]
    ((what, fix),) = refused(tmp_path, ("\n".join(lines) + "\n").encode())
    assert what == "line 42 has a value that begins with a quote and has none at its end"
    assert fix == "correct that line; a value with a quote in it has quotes around it, and that quote twice"


def test_a_row_with_too_many_values_is_named_behind_a_long_value(tmp_path: Path) -> None:
    content = f'{HEADER}\nanna;1;"{"x" * 200_000}"\nanna;2;nut;3 kg\n'.encode()
    ((what, _),) = refused(tmp_path, content.replace(b";", b","))
    assert what == "line 3 has 4 values, but the header has 3 names: `anna,2,nut,3 kg`"


def test_a_damaged_parquet_file_is_not_called_a_table_of_text(tmp_path: Path) -> None:
    rows = {"user": ["a"] * 400, "time": [*range(400)], "item": [f"i,{n}\n" for n in range(400)]}
    pl.DataFrame(rows).write_parquet(tmp_path / "table.parquet", compression="uncompressed")
    content = (tmp_path / "table.parquet").read_bytes()
    (tmp_path / "table.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot read the table: parquet") as error:
        make("project", None, tmp_path, OwnTable(tmp_path / "table.parquet", sequence="user", order="time", targets=[]))
    assert error.value.fix == "write the file again, or copy it again: it is damaged"


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_file_that_is_not_utf8_says_so(tmp_path: Path, separator: str) -> None:
    lines = [HEADER, *(ROW.format(n) for n in range(20)), "jürgen;1;nut"]
    ((what, fix),) = refused(tmp_path, ("\n".join(lines) + "\n").replace(";", separator).encode("cp1252"))
    assert what == "line 22 is not UTF-8"
    assert "iconv -f WINDOWS-1252" in fix


def test_the_first_line_of_a_spreadsheet_program_is_to_be_removed(tmp_path: Path) -> None:
    lines = ["sep=;", HEADER, *(ROW.format(n) for n in range(20))]
    ((what, fix),) = refused(tmp_path, ("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    assert what == "the first line is `sep=;`, which only spreadsheet programs understand"
    assert "tail -n +2" in fix


def test_a_line_break_in_a_quoted_value_is_read_with_each_separator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_table, "measure", lambda *of_model: Pilot(0.004, 0.0001, "cpu"))
    lines = [HEADER, *(ROW.format(n) for n in range(200))]
    lines[150] = 'anna;149;"nut; with\na thread"'
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    said = make(
        "project", None, tmp_path, OwnTable(tmp_path / "table.csv", sequence="user", order="time", targets=["item"])
    )
    assert said[0] == "table.csv: 200 rows, 1 sequence of `user`, ordered by `time`"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (r'"a 12\" nut"', "line 22 has a quote within a quoted value that is not written twice"),  # MySQL, Spark
        (r'"nut 12\""', "line 23 has a quote within a quoted value that is not written twice"),
        ('"a "hex" nut"', "line 22 has a quote within a quoted value that is not written twice"),
        ('a 12" nut', "line 22 has a quote in a value that is not quoted"),
    ],
)
@pytest.mark.parametrize("separator", [",", ";"])
def test_quotes_that_are_not_written_twice_are_named(tmp_path: Path, separator: str, value: str, what: str) -> None:
    """Polars drops such quotes, or joins the lines up to the next one."""
    lines = [HEADER, *(ROW.format(n) for n in range(20)), f"anna;20;{value}", f"anna;21;{value}", "anna;22;nut"]
    ((found, fix),) = refused(tmp_path, ("\n".join(lines) + "\n").replace(";", separator).encode())
    assert found == what
    assert "that quote twice" in fix


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text('a"\\,\n ', max_size=4), min_size=2, max_size=2), min_size=1, max_size=5), st.data())
def test_what_the_csv_module_writes_has_its_quotes_in_their_places(rows: list[list[str]], data: st.DataObject) -> None:
    """The blocks of the file end anywhere."""
    text = io.StringIO()
    mark = data.draw(st.sampled_from(["", "\ufeff"]))
    csv.writer(text, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"]))).writerows(rows)
    with NamedTemporaryFile(suffix=".csv") as file:
        file.write((mark + text.getvalue()).encode())
        file.flush()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(damaged_csv, "_BLOCK_BYTES", data.draw(st.integers(1, 5)))
            assert not damaged_csv._may_have_bad_quotes(Path(file.name), ",")
        check_quotes(Path(file.name), ",", shown=Path(file.name))
