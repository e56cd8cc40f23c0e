"""`continue_preprocessing`: an interrupted run goes on, and what it writes is what an uninterrupted one writes."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import DataError, RunError
from sequifier.preprocess import partition, prepared
from tests.support.small_project import Project

SETTINGS: dict[str, Any] = {"read_format": "csv", "memory_bytes": 4000, "continue_preprocessing": True}
Writes = Callable[[int | None], list[str]]


@pytest.fixture
def folder(project: Project) -> Path:
    """Four files; each sequence is spread over all of them."""
    rows = [(s, step, "abc"[(s + step) % 3], step / 7) for step in range(24) for s in range(20)]
    frame = pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "kind", "price"], orient="row")
    for number in range(4):
        project.write(frame[number::4], f"many/{number}.csv")
    return project.root / "raw" / "many"


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    """`writes(k)` makes the k-th write of a working file Ctrl-C; returns the list that the names are added to."""

    def start(interrupt_at: int | None) -> list[str]:
        names: list[str] = []

        @contextmanager
        def counted(path: Path) -> Iterator[Path]:
            names.append(path.name)
            if len(names) == interrupt_at:
                raise KeyboardInterrupt
            with atomic_path(path) as temporary:
                yield temporary

        for module in (partition, prepared):
            monkeypatch.setattr(module, "atomic_path", counted)
        return names

    return start


def outputs(project: Project) -> dict[str, bytes]:
    return {name: (project.root / name).read_bytes() for name in project.files()}


def test_wherever_it_is_interrupted_the_same_comes_out_and_no_finished_step_is_repeated(
    project: Project, folder: Path, writes: Writes
) -> None:
    whole = writes(None)
    project.run(folder, **SETTINGS)
    expected = outputs(project)
    assert len(whole) > 30
    for interrupt_at in (1, 2, 7, len(whole) // 2, len(whole) - 4, len(whole)):
        for name in expected:
            (project.root / name).unlink()
        writes(interrupt_at)
        with pytest.raises(KeyboardInterrupt):
            project.run(folder, **SETTINGS)
        assert not (project.root / "data" / "many-split0.parquet").exists()
        left = writes(None)
        project.run(folder, **SETTINGS)
        assert outputs(project) == expected
        # At most the file or part at work is done again, which is a quarter of the pieces.
        assert len(left) <= len(whole) - interrupt_at + 1 + len(whole) // 4
        assert project.lines[0].startswith("resuming an interrupted run: ")


def test_a_killed_process_leaves_something_to_go_on_from(project: Project, folder: Path) -> None:
    script = f"""
import os, signal
from contextlib import contextmanager
from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess import partition, pipeline
whole, n = partition.atomic_path, 0
@contextmanager
def killed(path):
    global n
    n += 1
    with whole(path) as temporary:
        yield temporary
        if n == 80:
            temporary.write_bytes(temporary.read_bytes()[:9])
            os.kill(os.getpid(), signal.SIGKILL)
partition.atomic_path = killed
config = PreprocessConfig(project_root={str(project.root)!r}, data_path={str(folder)!r}, seq_length=4,
                          continue_preprocessing=True)
pipeline.preprocess(config, log=print, memory_bytes=4000)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    project.run(folder, **SETTINGS)
    assert project.lines[0] == "resuming an interrupted run: 1 of 4 files have been read"
    continued = outputs(project)
    project.run(folder, **SETTINGS | {"memory_bytes": 1 << 30, "continue_preprocessing": False})
    assert outputs(project) == continued


def test_many_small_files_are_distributed_in_groups(project: Project, writes: Writes) -> None:
    rows = [(s, step, "abc"[(s + step) % 3]) for step in range(20) for s in range(30)]
    frame = pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "kind"], orient="row")
    for number in range(100):
        project.write(frame[number * 6 : number * 6 + 6], f"small/{number:03}.csv")
    whole = project.run(project.write(frame, "whole.csv"))
    names = writes(None)
    assert project.run(project.root / "raw" / "small", **SETTINGS).fingerprint == whole.fingerprint
    assert len({name.split("-")[0] for name in names if name[0].isdigit()}) < 40
    assert len(names) > 20


@pytest.mark.parametrize("change", ["settings", "file", "sequence table"])
def test_after_a_change_everything_is_read_again(project: Project, folder: Path, writes: Writes, change: str) -> None:
    table = project.write(pl.DataFrame({"sequenceId": range(20), "size": range(20)}), "sizes.csv")
    fields = SETTINGS | {"sequence_table": {"path": str(table)}}
    writes(25)
    with pytest.raises(KeyboardInterrupt):
        project.run(folder, **fields)
    writes(None)
    if change == "sequence table":
        os.utime(table, ns=(1, 1))
    elif change == "settings":
        fields["selected_columns"] = ["kind"]
    else:
        os.utime(folder / "0.csv", ns=(1, 1))
    project.run(folder, **fields)
    assert project.lines[0].startswith("note: files or config differ from those of the interrupted run")
    assert project.metadata.columns == [*(["kind"] if change == "settings" else ["kind", "price"]), "size"]


def test_without_it_nothing_is_left_behind_and_nothing_is_gone_on_from(
    project: Project, folder: Path, writes: Writes
) -> None:
    fields = SETTINGS | {"continue_preprocessing": False}
    writes(25)
    with pytest.raises(KeyboardInterrupt):
        project.run(folder, **fields)
    assert project.files() == set()
    writes(25)
    with pytest.raises(KeyboardInterrupt):
        project.run(folder, **SETTINGS)
    assert project.files()
    names = writes(None)
    project.run(folder, **fields)
    assert "sizes.arrow" in names
    assert not any("resuming" in line for line in project.lines)
    assert not any("unfinished" in name for name in project.files())


def test_a_bad_value_seen_before_the_interruption_is_still_reported(
    project: Project, folder: Path, writes: Writes
) -> None:
    with (folder / "0.csv").open("a") as file:
        file.write("0,99,a,\n")
    names = writes(None)
    with pytest.raises(DataError, match=r"`price`: 1 of [0-9,]+ values is missing"):
        project.run(folder, **SETTINGS)
    assert project.files() == set(), "wrong data are nothing to go on from"
    writes(len(names))
    with pytest.raises(KeyboardInterrupt):
        project.run(folder, **SETTINGS)
    writes(None)
    with pytest.raises(DataError, match=r"`price`: 1 of [0-9,]+ values is missing"):
        project.run(folder, **SETTINGS)


def test_two_processes_do_not_work_in_one_folder(project: Project, folder: Path) -> None:
    other = project.root / "data" / ".many-unfinished"
    other.mkdir(parents=True)
    with (other / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another `sequifier preprocess` is running"):
            project.run(folder, **SETTINGS)
    project.run(folder, **SETTINGS)
