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

@pytest.mark.slow
def test_that_is_slow():
    time.sleep(3.5)

def test_that_hangs():
    threading.Thread(target=threading.Event().wait, name="another", daemon=True).start()
    {wait}
"""

WAYS = [
    pytest.param("time.sleep(1000)", id="in Python", marks=pytest.mark.slow),
    pytest.param("wait(ctypes.CDLL(None))", id="in native code", marks=pytest.mark.slow),
    pytest.param("wait(ctypes.PyDLL(None))", id="in native code that holds the lock"),
]


@pytest.mark.parametrize("wait", WAYS)
def test_a_hanging_test_is_ended_and_shown(wait: str, tmp_path: Path) -> None:
    file = tmp_path / "test_hanging.py"
    file.write_text(HANGING.format(wait=wait))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.time_limit", "--fast-limit", "3", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Timeout (0:00:03)!" in done.stderr
    assert "in test_that_hangs" in done.stderr
    assert done.stderr.count("most recent call first") == 2, "of all threads"
    assert done.stdout.rstrip().endswith("."), "the slow one before it has another limit"
