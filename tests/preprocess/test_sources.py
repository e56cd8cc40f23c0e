"""What is taken for raw data, what the outputs are named after, and what killed processes leave."""

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.errors import DataError, SequifierError
from sequifier.preprocess import pipeline
from sequifier.project.make import OwnTable, make
from tests.support.small_project import Project

EVENTS = pl.DataFrame({"sequenceId": [1] * 9, "itemPosition": range(9), "kind": list("abcabcabc")})


def test_a_folder_given_as_a_dot_has_its_own_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.write(EVENTS, "shop/1.parquet").parent
    monkeypatch.chdir(folder)
    for _ in range(2):
        metadata = project.run(Path(), read_format="parquet", split_ratios=[1.0])
        assert metadata.split_paths == ["data/shop-split0.parquet"]
        assert project.metadata_path.name == "shop.json"


@pytest.mark.parametrize("reader", ["preprocess", "make"])
def test_a_pipe_or_a_device_is_named(project: Project, reader: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(SequifierError, match=f"{path}`? is {kind}, not a file or folder"):
            if reader == "preprocess":
                project.run(path, read_format="csv")
            else:
                make("new", None, tmp_path, OwnTable(path))


@pytest.mark.parametrize("write_format", ["parquet", "csv"])
def test_an_encoded_split_is_no_raw_table(project: Project, write_format: str) -> None:
    metadata = project.run(project.write(EVENTS), split_ratios=[1.0], write_format=write_format)
    split = project.root / metadata.split_paths[0]
    with pytest.raises(DataError, match=r"is an encoded split[\s\S]*give the raw table"):
        project.run(split, read_format=write_format)
    with pytest.raises(DataError, match="is an encoded split"):
        make("new", None, project.root, OwnTable(split, targets=["kind"]))


def test_windows_of_v1_are_no_raw_table(project: Project) -> None:
    windows = pl.DataFrame({"sequenceId": [1], "subsequenceId": [0], "startItemPosition": [0], "inputCol": ["kind"]})
    path = project.write(windows.with_columns(pl.lit(1).alias(str(i)) for i in range(3)), "windows.parquet")
    with pytest.raises(DataError, match="encoded windows that Sequifier v1 wrote"):
        project.run(path)


def test_what_a_killed_process_left_is_removed(project: Project) -> None:
    data, configs = project.root / "data", project.root / "configs" / "metadata_configs"
    for folder in (data, configs):
        folder.mkdir(parents=True)
    ours = [data / ".events-split0.99999.tmp", data / ".events-split1.99999.abc123.tmp.parquet"]
    ours.append(configs / ".events.99999.abc123.tmp.json")
    others = [data / ".other-split0.99999.tmp", data / ".events-split0.tmp", data / ".eventsx-split0.9.tmp"]
    for path in (*ours, *others):
        path.mkdir()
        (path / "shard.pt").touch()
    project.run(project.write(EVENTS), split_ratios=[1.0], write_format="pt", merge_output=False)
    assert [path.exists() for path in ours] == [False] * 3
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("change", ["append", "remove"])
@pytest.mark.parametrize("memory_bytes", [1 << 30, 64])
def test_a_file_that_changes_while_it_is_read_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, change: str, memory_bytes: int
) -> None:
    """The last row of a file that is still written to may be incomplete, and look complete."""
    path = project.write_text("sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n")

    def write_slowly(*given: Any) -> Any:
        path.unlink() if change == "remove" else path.write_text(path.read_text() + "1,3,abc\n")
        return write_splits(*given)

    write_splits = pipeline.write_splits
    monkeypatch.setattr(pipeline, "write_splits", write_slowly)
    with pytest.raises(DataError, match=r"`events.csv` changed while it was read[\s\S]*give a copy"):
        project.run(path, split_ratios=[1.0], memory_bytes=memory_bytes)
    assert project.files() == set()
