"""Tables in other forms than plain CSV, and tables without a sequence or a position column: preprocessed alike."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess import pipeline
from tests.support.quiet import quiet

ITEMS = ["nut", "bolt; long", 'the "big" one', "a, b", "x|y", "tab\tbed"]
ROWS = [(f"u{n % 4}", 10 * (n // 4), ITEMS[n * n % 6], f"{n / 8}") for n in range(48)]
HEADER = ("user", "time", "item", "size")


def encoded(root: Path, data: Path, memory_bytes: int = pipeline.MEMORY_BYTES, **fields: Any) -> tuple[Metadata, Any]:
    """The metadata, and the splits as one table."""
    of_table = {"sequence_column": "user", "position_column": "time", "seq_length": 3, "split_ratios": [0.5, 0.5]}
    config = PreprocessConfig.model_validate({"project_root": str(root), "data_path": str(data), **of_table, **fields})
    metadata = read_metadata(pipeline.preprocess(config, log=quiet, memory_bytes=memory_bytes))
    return metadata, pl.concat(pl.read_parquet(root / path) for path in metadata.split_paths)


def quoted(value: object, separator: str) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if separator in text or '"' in text or "\n" in text else text


@settings(max_examples=12, deadline=None)
@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    has_spaces=st.booleans(),
    has_header=st.booleans(),
    is_packed=st.booleans(),
    has_mark=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    n_empty=st.integers(0, 2),
)
def test_each_form_of_a_table_gives_the_same_splits(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    separator: str,
    has_spaces: bool,
    has_header: bool,
    is_packed: bool,
    has_mark: bool,
    line_end: str,
    n_empty: int,
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    pad = " " if has_spaces and has_header else ""  # only a header shows that spaces are no part of values
    rows = [HEADER, *ROWS] if has_header else list(ROWS)
    rows += [("", "", "", "")] * n_empty
    lines = (separator.join(f"{pad}{quoted(value, separator)}{pad}" for value in row) for row in rows)
    if pad:  # a quote after a space is no quote
        rows = [row for row in rows if not any(quoted(value, separator) != value for value in map(str, row))]
        lines = (separator.join(f"{pad}{value}{pad}" for value in row) for row in rows)
    content = (("\ufeff" if has_mark else "") + line_end.join(lines) + line_end).encode()
    name = "table.csv.gz" if is_packed else "table.csv"
    (folder / name).write_bytes(gzip.compress(content) if is_packed else content)
    kept = [row for row in rows if row not in (HEADER, ("", "", "", ""))]
    pl.DataFrame(kept, schema=HEADER, orient="row").write_csv(folder / "plain.csv")

    names = {} if has_header else {"column_names": list(HEADER)}
    metadata, events = encoded(folder, folder / name, **names)
    expected, plain = encoded(folder, folder / "plain.csv")

    assert_frame_equal(events, plain)
    assert metadata.sequifier.fingerprint == expected.sequifier.fingerprint
    assert "table" not in expected.sequifier.model_dump()["reading"]
    assert metadata.sequifier.reading.table.separator == separator


def test_a_header_that_a_config_can_name_is_read_as_it_is(tmp_path: Path) -> None:
    """Configs of earlier releases may name columns with spaces, or with semicolons."""
    (tmp_path / "spaces.csv").write_text("user, time, item\na, 1, x\na, 2, y\na,3,y\na,4,x\n")
    metadata, _ = encoded(tmp_path, tmp_path / "spaces.csv", position_column=" time")
    assert metadata.columns == [" item"]
    (tmp_path / "marks.csv").write_text("user;x;y;z,time,item\na,1,x\na,2,y\na,3,y\na,4,x\n")
    metadata, _ = encoded(tmp_path, tmp_path / "marks.csv", sequence_column="user;x;y;z")
    assert metadata.columns == ["item"]


@pytest.mark.parametrize("memory_bytes", [pipeline.MEMORY_BYTES, 200])
def test_repeated_positions_keep_the_order_of_the_table(tmp_path: Path, memory_bytes: int) -> None:
    # Ten events at each time, in two files, the later times first.
    rows = [(f"u{user}", time, f"i{n}") for time in (2, 1) for n in range(10) for user in (3, 1, 2)]
    (tmp_path / "parts").mkdir()
    for number, some in enumerate((rows[:25], rows[25:])):
        pl.DataFrame(some, schema=("user", "time", "item"), orient="row").write_csv(
            tmp_path / "parts" / f"{number}.csv"
        )
    fields = {"split_ratios": [1.0]}
    with pytest.raises(DataError, match="54 of 60 rows repeat the user and time of another"):
        encoded(tmp_path, tmp_path / "parts", memory_bytes, **fields)

    metadata, events = encoded(tmp_path, tmp_path / "parts", memory_bytes, repeated_positions="keep", **fields)

    labels = [metadata.categories("item")[id - 1] for id in events.filter(sequenceId="u2")["item"]]
    assert labels == [f"i{n}" for n in range(10)] * 2
    assert events.filter(sequenceId="u2")["itemPosition"].to_list() == [1] * 10 + [2] * 10


@pytest.mark.parametrize("memory_bytes", [pipeline.MEMORY_BYTES, 200])
def test_events_in_order_are_numbered_in_each_sequence(tmp_path: Path, memory_bytes: int) -> None:
    rows = [("ab"[n % 2], n) for n in (5, 3, 8, 1, 4, 2)]
    pl.DataFrame(rows, schema=("user", "item"), orient="row").write_csv(tmp_path / "table.csv")
    fields = {"position_column": None, "split_ratios": [1.0]}
    metadata, events = encoded(tmp_path, tmp_path / "table.csv", memory_bytes, **fields)
    items = [metadata.categories("item")[id - 1] for id in events["item"]]
    assert events["itemPosition"].to_list() == [0, 1, 2] * 2
    assert items == [8, 4, 2, 5, 3, 1]
    assert metadata.sequifier.model_dump()["reading"]["table"] == {"has_positions": False}


def test_a_table_without_keys_is_one_series_in_order(tmp_path: Path) -> None:
    (tmp_path / "series.csv").write_text("load\n" + "".join(f"{n / 4}\n" for n in (8, 3, 5, 1)))
    metadata, events = encoded(
        tmp_path, tmp_path / "series.csv", sequence_column=None, position_column=None, split_ratios=[1.0]
    )
    assert events["sequenceId"].to_list() == [1] * 4
    assert events["itemPosition"].to_list() == [0, 1, 2, 3]
    scale = metadata.scale("load")
    assert (events["load"] * scale.std + scale.mean).to_list() == pytest.approx([2, 0.75, 1.25, 0.25])


def test_lists_of_items(tmp_path: Path) -> None:
    (tmp_path / "lists.txt").write_text("7 10 11 12\n\n8 11\n  9\t12 10\n10\n")
    metadata, events = encoded(
        tmp_path,
        tmp_path / "lists.txt",
        read_format="item_lists",
        position_column=None,
        split_ratios=[1.0],
    )
    items = [metadata.categories("item")[id - 1] for id in events["item"]]
    assert list(zip(events["sequenceId"], events["itemPosition"], items, strict=True)) == [
        *((7, 0, 10), (7, 1, 11), (7, 2, 12)),
        *((8, 0, 11), (9, 0, 12), (9, 1, 10)),
    ]
    assert json.loads(metadata.model_dump_json())["sequifier"]["reading"]["table"] == {
        "lists_items": True,
        "has_positions": False,
    }


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"a,1,x,2\n", {"column_names": ["user", "time"]}, "2 names are given .*, but the first line has 4"),
        (gzip.compress(b"user,time,item\n" + b"a,1,x\n" * 99, mtime=0)[:-20], {}, "cannot be unpacked"),
        (b"user;time;user\na;1;x\n", {}, "the header has `user` more than once"),
        (b"name;time;item\na;1;x\n", {}, "separated by `;`, not by commas"),
    ],
)
def test_a_form_that_cannot_be_read(content: bytes, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / ("t.csv.gz" if content.startswith(b"\x1f") else "t.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        encoded(tmp_path, path, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"position_column": None, "repeated_positions": "keep"}, "events are numbered and no position repeats"),
        ({"sequence_column": None, "sequence_table": {"path": "t.csv"}}, "no sequence column to join the table by"),
        ({"read_format": "parquet", "column_names": ["a", "b"]}, "CSV files without a header"),
    ],
)
def test_keys_that_a_config_leaves_out(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreprocessConfig.model_validate({"data_path": "x.csv", "seq_length": 3, **fields})
