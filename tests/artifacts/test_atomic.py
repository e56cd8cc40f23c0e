"""A file appears whole or not at all, and an error is the one that happened first."""

from pathlib import Path

import pytest

from sequifier.artifacts.atomic import atomic_path, write_text
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
