"""The file of what was generated: what damage and a full disk do to it."""

import json
from pathlib import Path

import pytest

from sequifier.errors import RunError
from sequifier.sampler_search.generations import GenerationLog


def test_a_damaged_line_is_requested_again_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run-0.jsonl"
    with GenerationLog(path, "a") as log:
        log.add_texts([((0, 0), "one"), ((1, 0), "two"), ((2, 0), "three")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:9] + b"\xff\n" + b"[1]\n" + b'{"identity": "a"}\n' + lines[2])
    with GenerationLog(path, "a") as log:
        assert log.texts == {(0, 0): "one", (2, 0): "three"}
        log.add_texts([((1, 0), "two")])
    assert json.loads(path.read_text(errors="replace").splitlines()[-1])["text"] == "two"


def test_a_full_disk_is_one_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run-0.jsonl"
    with pytest.raises(RunError, match="No space left") as raised, GenerationLog(path, "a") as log:
        log._file.close()
        log._file = Path("/dev/full").open("wb")  # noqa: SIM115
        log.add_texts([((0, 0), "one")])
    assert "free some space" in str(raised.value)
