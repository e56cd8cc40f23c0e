"""Run the command line in this process, or as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sequifier.cli.main import main


@dataclass
class Done:
    """The exit code and both streams of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> Done:
    """Run `sequifier WORDS...` in this process; stdin is not a terminal."""
    monkeypatch.setattr(sys, "argv", ["sequifier", *words])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capfd.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return Done(code, captured.out, captured.err)


def command(*words: object) -> list[str]:
    """Return the command line of `sequifier WORDS...` for a process of its own."""
    return [sys.executable, "-m", "sequifier", *map(str, words)]


def sequifier(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `sequifier WORDS...` in a process of its own, in the working folder."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )


def start_process(*words: object, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `sequifier WORDS...` in a folder, in a process group of its own that a test may kill."""
    return subprocess.Popen(
        command(*words),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )
