"""Programs of the user that exceed their time, and how processes died, in words."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sequifier import processes
from sequifier.processes import ending, last_words


def test_a_child_with_a_session_of_its_own_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_REST_SECONDS", 0.5)
    script = tmp_path / "program.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    began = time.monotonic()
    ended = processes.run_program(
        f"{sys.executable} {script}", "told", cwd=tmp_path, environment=dict(os.environ), timeout_seconds=2
    )
    os.kill(int(ended.output), signal.SIGKILL)
    assert ended.code is None
    assert time.monotonic() - began < 50, "it did not wait for the child"


def test_a_program_that_the_system_does_not_start_has_failed(tmp_path: Path) -> None:
    ended = processes.run_program("true", "", cwd=tmp_path, environment={"TOO_LONG": "x" * 200_000}, timeout_seconds=60)
    assert ended == ("", "cannot run true: Argument list too long", 127)


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("Traceback (most recent call last):\n  File x\nImportError: no torch\n", "ImportError: no torch"),
        (
            "memory allocation of 64 bytes failed\nskipping backtrace printing to avoid potential recursion\n",
            "memory allocation of 64 bytes failed",
        ),
        ("libgomp: Thread creation failed: Resource temporarily unavailable\n\n", "libgomp: Thread creation failed"),
        ("a first line\nlast words\n", "last words"),
        ("", ""),
    ],
)
def test_the_line_that_says_why_is_found_among_the_last_ones(printed: str, why: str) -> None:
    assert last_words(printed).startswith(why)
    assert bool(last_words(printed)) == bool(why)


def test_an_exit_code_is_a_number_or_the_name_of_a_signal() -> None:
    assert (ending(3), ending(-11), ending(-9)) == ("exit code 3", "SIGSEGV", "SIGKILL")
