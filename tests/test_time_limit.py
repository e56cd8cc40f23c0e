"""A test that hangs ends the test run with the stacks of all threads, however it hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HANGING = """
import ctypes, threading, time
import pytest

def wait(library):
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

def test_before():
    pass

@pytest.mark.slow
def test_that_is_slow():
    time.sleep(2)

def test_that_hangs():
    threading.Thread(target=threading.Event().wait, name="another", daemon=True).start()
    {wait}
"""

WAYS = {
    "in Python": "time.sleep(1000)",
    "in native code": "wait(ctypes.CDLL(None))",
    "in native code that holds the lock": "wait(ctypes.PyDLL(None))",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hanging_test_is_ended_and_shown(way: str, tmp_path: Path) -> None:
    file = tmp_path / "test_hanging.py"
    file.write_text(HANGING.format(wait=WAYS[way]))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    command = [sys.executable, "-m", "pytest", "-p", "time_limit", "--fast-limit", "1", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Timeout (0:00:01)!" in done.stderr
    assert "in test_that_hangs" in done.stderr
    assert done.stderr.count("most recent call first") == 2, "of all threads"
    assert done.stdout.rstrip().endswith(".."), "those before it passed, the slow one has another limit"
