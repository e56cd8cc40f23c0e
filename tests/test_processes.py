"""A program of the user's is left when its time is up, whatever it started."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sequifier import processes


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
