"""A disk without room, as different writers report it."""

import errno
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.disk import free_bytes, is_disk_full, place_of
from sequifier.errors import RunError

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no device that is always full")


def write_array() -> None:
    with FULL.open("wb", buffering=0) as file:
        np.save(file, np.zeros(9999))


@needs_full
@pytest.mark.parametrize(
    "write",
    [
        lambda: FULL.write_bytes(b"x"),
        lambda: write_array(),
        lambda: pl.DataFrame({"a": [1]}).write_csv(FULL),
        lambda: torch.save({"a": torch.zeros(9999)}, FULL),
    ],
    ids=["python", "numpy", "polars", "torch"],
)
def test_every_writer_is_understood(write: object) -> None:
    with pytest.raises(Exception) as caught:
        write()  # type: ignore[operator]
    assert is_disk_full(caught.value), caught.value


def test_an_error_that_follows_from_a_full_disk_is_one_and_says_where(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file"))
    assert place_of(full) == str(tmp_path / "file")
    try:
        raise RunError("cannot write file", where=str(tmp_path)) from full
    except RunError as error:
        assert is_disk_full(error)
        assert place_of(error) == str(tmp_path)


def test_other_errors_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as caught:
        write_text(tmp_path / "file" / "below", "text")
    assert not is_disk_full(caught.value)
    assert place_of(ValueError("no")) == ""


def test_free_room_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "no" / "such" / "folder") > 0
