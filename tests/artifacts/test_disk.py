"""A disk without room, as different writers report it."""

import errno
import resource
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sequifier.artifacts import torch_file
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


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("basic_ios::clear: iostream error"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
        OSError("Not enough free space to write 800000 bytes after offset 128"),
        OSError("10000 requested and 512 written"),
        pl.exceptions.ComputeError("failed to write: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_the_words_of_each_library_are_known(error: Exception) -> None:
    assert is_disk_full(error)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system limits no file sizes")
@pytest.mark.parametrize("room", [0, 100, 600, 5000, 30_000])
def test_torch_says_so_wherever_the_room_ends(room: int, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            torch_file.save({f"a{number}": torch.zeros(1000) for number in range(10)}, tmp_path / "file.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert is_disk_full(caught.value)


def test_a_folder_that_is_missing_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        torch_file.save({}, tmp_path / "no" / "file.pt")
    assert not is_disk_full(caught.value)


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


def test_free_space_is_measured_at_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "no" / "such" / "folder") > 0
