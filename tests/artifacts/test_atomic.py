"""A file appears whole or not at all, and an error is the one that happened first."""

import subprocess
import sys
from pathlib import Path

import pytest

from sequifier.artifacts import atomic
from sequifier.artifacts.atomic import atomic_path, check_writable, remove_leftovers, write_text
from sequifier.errors import RunError


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert [item.name for item in tmp_path.iterdir()] == ["x.txt"]
    assert path.read_text() == "old"


def test_a_name_that_is_too_long_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="File name too long") as caught:
        write_text(tmp_path / ("n" * 300), "")
    assert caught.value.fix == "choose a shorter name"
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / ("n" * 300)):
        raise ZeroDivisionError  # not hidden by removing what cannot have been made


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.txt") as first, atomic_path(tmp_path / "x.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert [item.name for item in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "first", "the last one to end"


def test_what_killed_processes_left_of_some_files_is_removed(tmp_path: Path) -> None:
    writes = "from sequifier.artifacts.atomic import *; import os, sys; from pathlib import Path\n"
    writes += "for name in sys.argv[1:]:\n    atomic_path(Path(name)).__enter__().touch()\nos._exit(9)"
    subprocess.run(
        [sys.executable, "-c", writes, "tune-run-1-resume.pt", "tune-run-1", "other.pt"], cwd=tmp_path, check=False
    )
    (tmp_path / "tune-run-1-resume.pt").touch()
    with atomic_path(tmp_path / "tune-run-2.pt") as mine:
        mine.touch()
        assert len([*tmp_path.iterdir()]) == 5
        remove_leftovers(tmp_path, r"tune-run-\d+(-.*)?")
        left = sorted(path.name for path in tmp_path.iterdir())
        assert len(left) == 3
        assert left[0].startswith(".other.")
        assert left[1:] == [mine.name, "tune-run-1-resume.pt"]
    remove_leftovers(tmp_path / "missing", ".*")


def test_two_processes_may_check_one_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_lose(path: Path, text: str) -> None:
        write_text(path, text)
        path.unlink()  # as the other one does

    monkeypatch.setattr(atomic, "write_text", write_and_lose)
    check_writable(tmp_path)
    assert [*tmp_path.iterdir()] == []
