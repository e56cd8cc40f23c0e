"""Splits: what is written comes back, in every format, and other content is noticed."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sequifier.artifacts.column_hashes import ColumnHashes
from sequifier.artifacts.events import Events, Format
from sequifier.artifacts.split_file import read_events, write_events
from sequifier.errors import DataError, RunError
from tests.support.events import hashes, make_events, take_sequences

FORMATS: tuple[Format, ...] = ("parquet", "csv", "arrow")


def small(*, ids: Any = (3, 8), positions: Any = (0, 1, 2, 5, 9)) -> Events:
    """Two sequences of three and two events; the first event is context."""
    columns = {
        "kind": np.array([1, 2, 0, 1, 1], dtype=np.int32),
        "a.b c": np.array([0.5, -1e-7, 3, 1e20, 0], dtype=np.float32),
    }
    return make_events(
        [3, 2],
        columns,
        n_context=[1, 0],
        sequence_ids=np.array(ids, dtype=object if isinstance(ids[0], str) else np.int64),
        positions=np.array(positions),
    )


def assert_equal(found: Events, expected: Events) -> None:
    for name in ("sequence_ids", "offsets", "n_context", "positions"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype, name
        assert a.tolist() == b.tolist(), name
    assert list(found.columns) == list(expected.columns)
    for column, values in expected.columns.items():
        assert found.columns[column].dtype == values.dtype
        np.testing.assert_array_equal(found.columns[column], values)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("ids", [(3, 8), ("007", "7"), ('a,"b"\n', "é"), ("2013-01-01", "2013-01-02")])
@pytest.mark.parametrize(
    "positions",
    [
        (0, 1, 2, 5, 9),
        np.array(["2013-01-01", "2013-01-02", "2013-01-03", "2012-12-31", "2014-02-28"], dtype="datetime64[D]"),
        np.array([datetime(2013, 1, 1, 0, 0, 0, i) for i in range(5)], dtype="datetime64[us]"),
        np.array([10**18 + i for i in range(5)], dtype="datetime64[ns]"),
    ],
)
def test_events_come_back_as_they_were(tmp_path: Path, format: Format, ids: Any, positions: Any) -> None:
    events = small(ids=ids, positions=positions)
    path = tmp_path / f"x.{format}"
    write_events(path, [events], format)
    assert_equal(read_events(path, ["kind", "a.b c"], expected_hashes=hashes(events)), events)


@given(npst.arrays(np.float32, 50, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
@settings(deadline=None, max_examples=30)
def test_csv_keeps_every_bit_of_a_real(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    events = make_events([50], {"a": values})
    write_events(path, [events], "csv")
    found = read_events(path, ["a"], expected_hashes=hashes(events)).columns["a"]
    assert found.tobytes() == values.tobytes()


def test_stored_columns_and_types(tmp_path: Path) -> None:
    write_events(tmp_path / "x.parquet", [small(ids=("u", "v"))], "parquet")
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert dict(frame.schema) == {
        "sequenceId": pl.String,
        "itemPosition": pl.Int64,
        "isContext": pl.Boolean,
        "kind": pl.Int32,
        "a.b c": pl.Float32,
    }
    assert frame["isContext"].to_list() == [True, False, False, False, False]
    assert frame["sequenceId"].to_list() == ["u", "u", "u", "v", "v"]


@pytest.mark.parametrize("format", FORMATS)
def test_parts_make_the_same_file_and_the_same_hashes(tmp_path: Path, format: Format) -> None:
    whole = small()
    first, second = take_sequences(whole, 0, 1), take_sequences(whole, 1, 2)

    write_events(tmp_path / "whole", [whole], format)
    write_events(tmp_path / "parts", iter([first, second]), format)

    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    in_parts = ColumnHashes()
    in_parts.update(first)
    in_parts.update(second)
    assert in_parts.digests() == hashes(whole)


def test_hashes_tell_every_column_apart() -> None:
    expected = hashes(small())
    assert set(expected) == {"sequenceId", "itemPosition", "isContext", "kind", "a.b c"}
    changed = small()
    changed.columns["kind"][4] = 2
    assert [column for column, value in hashes(changed).items() if value != expected[column]] == ["kind"]
    changed = small(ids=("3", "8"))
    assert [column for column, value in hashes(changed).items() if value != expected[column]] == ["sequenceId"]
    assert hashes(small(ids=("ab", "c"))) != hashes(small(ids=("a", "bc")))


def test_only_the_requested_columns_are_read_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_events(path, [small()], "parquet")
    expected = hashes(small()) | {"kind": "something else"}
    assert list(read_events(path, ["a.b c"], expected_hashes=expected).columns) == ["a.b c"]


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_of_another_data_set_is_an_error(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"x.{format}"
    write_events(path, [small()], format)
    other = small()
    other.columns["kind"][0] = 2
    with pytest.raises(DataError) as raised:
        read_events(path, ["kind"], expected_hashes=hashes(other))
    message = str(raised.value)
    assert "column `kind` differs from the metadata" in message
    assert hashes(small())["kind"] in message and hashes(other)["kind"] in message
    assert str(path) in message and "preprocess` again" in message


def test_a_missing_column_offers_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_events(path, [small()], "parquet")
    with pytest.raises(DataError, match=r"column `kin` is missing in x\.parquet") as raised:
        read_events(path, ["kin"], expected_hashes=None)
    assert "did you mean `kind`?" in str(raised.value)


def test_files_that_are_no_splits_are_refused(tmp_path: Path) -> None:
    def message(path: Path, **options: Any) -> str:
        with pytest.raises(DataError) as raised:
            read_events(path, ["kind"], expected_hashes=None, **options)
        return str(raised.value)

    assert "x.parquet does not exist" in message(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_text("not parquet")
    assert "cannot read x.parquet as parquet" in message(tmp_path / "x.parquet")
    assert "unknown format of x.txt" in message(tmp_path / "x.txt")

    keys = {"sequenceId": [1], "itemPosition": [1], "isContext": [False]}
    pl.DataFrame(keys | {"kind": ["raw"]}).write_parquet(tmp_path / "raw.parquet")
    assert "column `kind` has the type String, which is not encoded" in message(tmp_path / "raw.parquet")
    pl.DataFrame(keys | {"kind": [1]}).clear().cast({"kind": pl.Int32}).write_parquet(tmp_path / "none.parquet")
    assert "none.parquet has no rows" in message(tmp_path / "none.parquet")
    pl.DataFrame(keys).clear().write_csv(tmp_path / "header.csv")
    assert "column `kind` is missing in header.csv" in message(tmp_path / "header.csv")
    windows = {"sequenceId": [1], "subsequenceId": [0], "inputCol": ["kind"], "1": [2], "0": [3]}
    pl.DataFrame(windows).write_csv(tmp_path / "v1.csv")
    assert "v1.csv has windows of Sequifier v1" in message(tmp_path / "v1.csv")


@pytest.mark.parametrize("name", ["raw.csv", "raw.parquet"])
@pytest.mark.parametrize("columns", [("user", "day", "kind"), ("sequenceId", "itemPosition", "kind")])
def test_raw_events_are_said_to_be_not_encoded(tmp_path: Path, name: str, columns: tuple[str, ...]) -> None:
    frame = pl.DataFrame({column: ["a", "b"] for column in columns})
    frame.write_csv(tmp_path / name) if name.endswith("csv") else frame.write_parquet(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} is not encoded: it has no column") as raised:
        read_events(tmp_path / name, ["kind"], expected_hashes=None)
    assert "`sequifier preprocess`" in raised.value.fix
    assert "`metadata_config_path`" in raised.value.fix and "-D read_format=raw" in raised.value.fix


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_error(tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing, like a disk without room."""
    from sequifier.artifacts import split_file as module

    sink = module.sink_events
    monkeypatch.setattr(module, "sink_events", lambda path, parts, format: sink(Path("/dev/full"), parts, format))
    with pytest.raises(RunError, match=r"cannot write x\.out: No space left on device"):
        write_events(tmp_path / "x.out", [small()], format)
    assert list(tmp_path.iterdir()) == []
