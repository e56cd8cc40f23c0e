"""Attempts that were given up write nothing more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sequifier.artifacts.atomic import atomic_path, write_text
from sequifier.artifacts.fence import entered, is_void
from sequifier.errors import RunError


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.write_text("second")


@pytest.mark.parametrize("give_up", [remove, replace])
def test_a_file_is_written_only_while_the_attempt_is_the_one_that_counts(
    tmp_path: Path, give_up: Callable[[Path], None]
) -> None:
    token, file = tmp_path / "run-0", tmp_path / "model"
    token.write_text("first")
    with entered(token, "first"):
        write_text(file, "one")
        with pytest.raises(RunError, match="this attempt was given up"), atomic_path(file) as temporary:
            temporary.write_text("two")
            give_up(token)
        assert is_void()
    assert file.read_text() == "one", "given up between the first byte and the last"
    assert {path.name for path in tmp_path.iterdir()} <= {"run-0", "model"}, "no temporary file"
    write_text(file, "three")  # by this process, outside the attempt
    assert not is_void()


def test_a_token_that_cannot_be_read_for_a_moment_gives_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "run-0").mkdir()  # reading it is an error of the system
    with entered(tmp_path / "run-0", "first"):
        assert not is_void()
