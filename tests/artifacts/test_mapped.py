"""Splits that stay on disk show what reading them shows, and are found again as long as nothing changed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts import mapped as mapped_module
from sequifier.artifacts import split_file
from sequifier.artifacts.arrow_file import NotMappableError, locate_columns
from sequifier.artifacts.events import Events, Format
from sequifier.artifacts.mapped import MappedEvents, map_events
from sequifier.artifacts.split_file import read_events, write_events
from sequifier.errors import DataError, RunError
from tests.support.events import hashes, kinds_and_sizes, make_events

FORMATS: tuple[Format, ...] = ("parquet", "csv", "arrow")
COLUMNS = ["kind", "size"]


def events_of(sizes: list[int], *, text_ids: bool = False, dates: bool = False, seed: int = 0) -> Events:
    ids = [f"a rather long customer name, number {number:04}" for number in range(len(sizes))]
    positions = np.arange(sum(sizes))
    return make_events(
        sizes,
        kinds_and_sizes(sum(sizes), seed=seed),
        n_context=2,
        sequence_ids=np.array(ids, dtype=object) if text_ids else np.arange(len(sizes)) * 3,
        positions=positions.astype("datetime64[D]") if dates else positions,
    )


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mapped-*.arrow"))


def assert_same(mapped: MappedEvents, expected: Events) -> None:
    np.testing.assert_array_equal(mapped.offsets, expected.offsets)
    np.testing.assert_array_equal(mapped.n_context, expected.n_context)
    n_rows = len(expected.positions)
    for name, values in expected.columns.items():
        column = mapped.columns[name]
        assert (len(column), column.dtype) == (n_rows, values.dtype)
        np.testing.assert_array_equal(column[0:n_rows], values)
        np.testing.assert_array_equal(column[2:5], values[2:5])
        np.testing.assert_array_equal(column[n_rows - 1 : n_rows + 9], values[n_rows - 1 :])
        assert len(column[3:3]) == 0
        rows = np.random.default_rng(1).integers(0, n_rows, (4, 3))
        np.testing.assert_array_equal(column[rows], values[rows])
        for length in (1, min(3, n_rows)):
            starts = np.arange(n_rows - length + 1)
            expected_runs = np.lib.stride_tricks.sliding_window_view(values, length)
            np.testing.assert_array_equal(column.runs(length)(starts), expected_runs)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    rows_per_batch=st.integers(1, 40),
    rows_at_a_time=st.integers(1, 40),
    text_ids=st.booleans(),
    dates=st.booleans(),
    format=st.sampled_from(FORMATS),
)
@settings(deadline=None, max_examples=60)
def test_a_mapped_split_is_the_one_that_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    rows_per_batch: int,
    rows_at_a_time: int,
    text_ids: bool,
    dates: bool,
    format: Format,
) -> None:
    events = events_of(sizes, text_ids=text_ids, dates=dates)
    path = tmp_path_factory.mktemp("mapped") / f"x.{format}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_file, "ROWS_PER_GROUP", rows_per_batch)
        patch.setattr(mapped_module, "_ROWS", rows_at_a_time)
        write_events(path, [events], format)
        assert_same(map_events(path, COLUMNS, expected_hashes=hashes(events)), events)
        assert_same(map_events(path, COLUMNS, expected_hashes=None), events)
    assert bool(copies(path.parent)) == (format != "arrow")


def test_a_compressed_arrow_file_is_converted(tmp_path: Path) -> None:
    events = events_of([9, 5])
    write_events(tmp_path / "plain.arrow", [events], "arrow")
    pl.read_ipc(tmp_path / "plain.arrow").write_ipc(tmp_path / "x.arrow", compression="zstd")
    assert_same(map_events(tmp_path / "x.arrow", COLUMNS, expected_hashes=hashes(events)), events)
    assert [path.name[:14] for path in copies(tmp_path)] == ["x.arrow.mapped"]


def test_a_copy_is_made_once_and_again_when_its_source_changes(tmp_path: Path) -> None:
    path, first = tmp_path / "x.parquet", events_of([9, 5])
    write_events(path, [first], "parquet")
    before = map_events(path, COLUMNS, expected_hashes=hashes(first))
    (copy,) = copies(tmp_path)
    written = copy.stat().st_mtime_ns
    map_events(path, ["size"], expected_hashes=hashes(first))
    assert copies(tmp_path) == [copy] and copy.stat().st_mtime_ns == written, "another feature set needs no new copy"

    second = events_of([9, 5], seed=1)
    write_events(path, [second], "parquet")
    assert_same(map_events(path, COLUMNS, expected_hashes=None), second)
    assert len(copies(tmp_path)) == 1 and copies(tmp_path) != [copy], "the old copy is gone"
    assert_same(before, first)  # what is mapped stays mapped


@pytest.mark.parametrize("keep", [0, 5, 700, 1500])
def test_a_damaged_copy_is_made_again(tmp_path: Path, keep: int) -> None:
    path, events = tmp_path / "x.parquet", events_of([9, 5])
    write_events(path, [events], "parquet")
    map_events(path, COLUMNS, expected_hashes=hashes(events))
    (copy,) = copies(tmp_path)
    copy.write_bytes(copy.read_bytes()[:keep])
    assert_same(map_events(path, COLUMNS, expected_hashes=hashes(events)), events)


@pytest.fixture(scope="module")
def arrow_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("arrow") / "x.arrow"
    write_events(path, [events_of([9, 5])], "arrow")
    return path.read_bytes()


@given(place=st.integers(0), byte=st.integers(0, 255))
@settings(max_examples=300)
def test_offsets_found_in_a_damaged_file_are_inside_it(arrow_bytes: bytes, place: int, byte: int) -> None:
    content = np.frombuffer(arrow_bytes, np.uint8).copy()
    content[place % len(content)] = byte
    try:
        found = locate_columns(content, COLUMNS)
    except NotMappableError:
        return
    for blocks in found.values():
        assert (blocks.starts >= 0).all() and (blocks.lengths >= 0).all()
        assert (4 * (blocks.starts + blocks.lengths) <= len(content)).all()


@pytest.mark.parametrize("format", FORMATS)
def test_errors_equal_the_errors_of_reading(tmp_path: Path, format: Format) -> None:
    path, events = tmp_path / f"x.{format}", events_of([9, 5])

    def messages(columns: list[str], expected: dict[str, str] | None) -> list[str]:
        found = []
        for load in (read_events, map_events):
            with pytest.raises(DataError) as raised:
                load(path, columns, expected_hashes=expected)
            found.append(str(raised.value))
        return found

    reading, mapping = messages(COLUMNS, None)
    assert reading == mapping and f"x.{format} does not exist" in reading
    path.write_text("nothing of that kind")
    reading, mapping = messages(COLUMNS, None)
    assert reading == mapping
    write_events(path, [events], format)
    reading, mapping = messages(["kin"], None)
    assert reading == mapping and "column `kin` is missing" in reading
    reading, mapping = messages(COLUMNS, hashes(events_of([9, 5], seed=1)) | {"kind": hashes(events)["kind"]})
    assert reading == mapping and "column `size` differs from the metadata" in reading
    reading, mapping = messages(["kind"], hashes(events_of([8, 6])) | {"kind": hashes(events)["kind"]})
    assert reading == mapping and "column `sequenceId` differs" in reading


def test_nulls_cannot_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_events(path, [events_of([9, 5])], "parquet")
    pl.read_parquet(path).with_columns(size=pl.when(pl.col("size") > 0).then("size")).write_parquet(path)
    with pytest.raises(DataError, match=r"cannot map x\.parquet: size is not 14 numbers"):
        map_events(path, COLUMNS, expected_hashes=None)


def test_a_copy_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    write_events(path, [events_of([9, 5])], "parquet")
    sink = mapped_module.sink_rows
    monkeypatch.setattr(mapped_module, "sink_rows", lambda path, rows, format: sink(Path("/dev/full"), rows, format))
    with pytest.raises(RunError, match="No space left on device"):
        map_events(path, COLUMNS, expected_hashes=None)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


MEASURE = """
import sys, numpy as np
from sequifier.artifacts.mapped import map_events
from sequifier.artifacts import mapped
from pathlib import Path

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith("Rss")}

mapped.RESIDENT_BYTES = 16 << 20
path = Path(sys.argv[1])
map_events(path, ["a"], expected_hashes=None)
before = resident()
events = map_events(path, list("abcdefgh"), expected_hashes=None)
runs = [column.runs(49) for column in events.columns.values()]
draw = np.random.default_rng(0)
total = 0
for _ in range(256):
    starts = draw.integers(0, len(events.columns["a"]) - 49, 64)
    total += sum(int(run(starts).sum()) for run in runs)
    events.file.used()
after = resident()
print(total, after["RssAnon"] - before["RssAnon"], after["RssFile"] - before["RssFile"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_mapped_columns_stay_on_disk(tmp_path: Path) -> None:
    """128 MB of columns, read in 16,000 places each, of which a few MB may stay in memory."""
    n_rows = 1 << 22

    def parts() -> Any:
        for start in range(0, n_rows, 1 << 20):
            rows, one = np.arange(start, start + (1 << 20)), np.zeros(1, dtype=np.int64)
            columns = {name: rows.astype(np.int32) for name in "abcdefgh"}
            yield Events(one + start, np.array([0, 1 << 20]), one, rows, columns)

    write_events(tmp_path / "x.arrow", parts(), "arrow")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "x.arrow")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    _, anonymous, of_files = (int(number) for number in output.split())
    assert anonymous < 24, "megabytes of the process's own memory; the columns alone would be 128"
    assert of_files < 80, "megabytes of pages: 16 MB may stay, and what 64 batches touch comes on top"
