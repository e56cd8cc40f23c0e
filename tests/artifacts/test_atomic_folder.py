"""A folder appears whole or not at all."""

import os
from pathlib import Path

import pytest

from sequifier.artifacts.atomic import atomic_folder
from sequifier.errors import RunError


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "x") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["new"]


def test_a_block_that_raises_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "x") as folder:
        (folder / "new").touch()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "old"]


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(RunError, match="cannot write x"), atomic_folder(tmp_path / "x") as folder:
        (folder / "new").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "mine"


def test_what_a_killed_process_of_the_same_id_left_is_in_nobodys_way(tmp_path: Path) -> None:
    left = tmp_path / f".x.{os.getpid()}.tmp"
    left.mkdir()
    (left / "half").touch()
    with atomic_folder(tmp_path / "x") as folder:
        (folder / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "new"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_moved_aside_by_a_killed_process_comes_back_if_it_is_missing(tmp_path: Path, is_there: bool) -> None:
    for name in [".x.7.old", "x"] if is_there else [".x.7.old"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / name.strip(".")).touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "x"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "x" if is_there else "x.7.old"]
