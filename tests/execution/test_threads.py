"""How long waiting threads spin."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sequifier.execution import threads


@pytest.mark.parametrize(("others_work", "spins"), [(False, "30000"), (True, "3000")])
def test_threads_spin_shortly_beside_others(monkeypatch: pytest.MonkeyPatch, others_work: bool, spins: str) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(threads, "_others_work", lambda: others_work)
    threads.share_processors()
    assert environment == {"GOMP_SPINCOUNT": spins}


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}])
def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    threads.share_processors()
    assert os.environ == given


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="the number of running tasks is read from Linux")
def test_work_of_others_is_seen() -> None:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.2)
        assert threads._others_work()
    finally:
        for process in spinning:
            process.kill()
            process.wait()
