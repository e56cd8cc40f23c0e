"""A test that hangs ends the test run with the stacks of all threads, however it hangs; a dead worker fails the run."""

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

WAYS = {
    "in Python": "time.sleep(1000)",
    "in native code": "wait(ctypes.CDLL(None))",
    "in native code that holds the lock": "wait(ctypes.PyDLL(None))",
}


def run_pytest(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of `source` with the time limit of this project."""
    file = folder / "test_hanging.py"
    file.write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.time_limit", *options, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=folder, env=environment, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_hanging_test_is_ended_with_its_stacks(way: str, tmp_path: Path) -> None:
    done = run_pytest(tmp_path, HANGING.format(wait=WAYS[way]), "--fast-limit", "3")
    assert done.returncode == 1, done.stderr
    assert "Timeout (0:00:03)!" in done.stderr
    assert "in test_that_hangs" in done.stderr
    assert done.stderr.count("most recent call first") == 2, "of all threads"
    assert done.stdout.rstrip().endswith("."), "the slow one before it has another limit"


def test_a_test_that_hangs_in_a_worker_is_shown_and_fails_the_run(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path, HANGING.format(wait=WAYS["in native code that holds the lock"]), "--fast-limit", "3", "-n", "2"
    )
    assert done.returncode == 1, done.stderr
    assert "Timeout (0:00:03)!" in done.stderr
    assert "in test_that_hangs" in done.stderr
    assert "crashed while running 'test_hanging.py::test_that_hangs'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


DIES_AFTER_ITS_TESTS = """
import os

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        os._exit(0)
"""


def test_a_worker_that_dies_after_its_tests_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(DIES_AFTER_ITS_TESTS)
    done = run_pytest(tmp_path, "def test_nothing(): ...\n", "-n", "1", "--max-worker-restart", "1")
    assert "1 passed" in done.stdout
    assert done.returncode == 1, done.stdout
