"""Commands that wait for something that never comes say so, and end."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sequifier import stall
from sequifier.activity import Activity, ActivityMeter, IdleTime
from sequifier.stall import stalls_ignored
from tests.support.shop import WriteConfig

HANGING = """
import ctypes, sys, time
from sequifier import stall
stall.REPORT_SECONDS, stall.STALL_SECONDS, stall.INTERVAL_SECONDS, stall._GRACE_SECONDS = 1.0, 2.0, 0.1, 1.0
from {module} import {function}
import {module} as module

def native(*arguments, **options):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)

def python(*arguments, **options):
    with stall.working_on("reading the events"):
        time.sleep(1000)

module.{function} = {how}
sys.argv[1:] = {arguments!r}
from sequifier.cli.main import main
main()
"""


def hang(module: str, function: str, how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = HANGING.format(module=module, function=function, how=how, arguments=list(arguments))
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def test_train_reports_what_it_waits_for_and_ends_though_the_call_never_returns(train_config: WriteConfig) -> None:
    done = hang("sequifier.prepare", "read_split", "native", "train", "--config-path", str(train_config()))
    assert done.returncode == 1, done.stderr
    assert re.search(r"s: waiting for \w+, sequifier/prepare.py:", done.stderr)
    assert "error: no progress for" in done.stderr
    assert "Traceback" not in done.stderr


def test_preprocess_leaves_a_wait_in_python_as_an_error_of_its_own(shop: Path) -> None:
    config = shop / "configs/preprocess.yaml"
    config.write_text("data_path: data/shop.csv\nsequence_column: customer\nposition_column: visit\nseq_length: 8\n")
    done = hang("sequifier.preprocess.pipeline", "preprocess", "python", "preprocess", "--config-path", str(config))
    assert done.returncode == 1, done.stderr
    assert "waiting for reading the events" in done.stderr
    assert done.stderr.count("error: no progress for") == 1
    assert "fix:   run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_infer_too(shop: Path) -> None:
    config = shop / "configs/infer.yaml"
    config.write_text("model_path: models/none.onnx\n")
    done = hang("sequifier.inference.check", "check_jobs", "native", "infer", "--config-path", str(config))
    assert done.returncode == 1, done.stderr
    assert "error: no progress for" in done.stderr


def test_time_without_any_look_counts_as_two_looks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    idle, nothing = IdleTime(1.0), Activity(5.0, 100)
    idle.add(nothing)
    found = []
    for passed in (1, 1, 3600, 1):  # an hour with Ctrl-Z, or asleep
        clock[0] += passed
        found.append(idle.add(nothing))
    assert found == [1, 2, 4, 5]
    clock[0] += 1
    assert idle.add(Activity(5.05, 100)) == 6, "0.05 s in 6 s is no work"
    clock[0] += 1
    assert idle.add(Activity(5.5, 100)) == 0
    clock[0] += 1
    assert idle.add(Activity(5.5, 100)) == 1
    clock[0] += 1
    assert idle.add(Activity(5.5, 101)) == 0, "a byte is read"


def test_what_measuring_itself_reads_is_left_out(tmp_path: Path) -> None:
    meter = ActivityMeter()
    assert len({meter.now().moved for _ in range(5)}) == 1
    before = meter.now().moved
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    (tmp_path / "file").read_bytes()
    if sys.platform == "linux":
        assert meter.now().moved - before >= 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what children do")
def test_a_compiler_that_works_for_this_process_is_work() -> None:
    meter = ActivityMeter()
    nothing = meter.now()
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(5)"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert meter.now().cpu_seconds - nothing.cpu_seconds >= 0.25  # in ticks of 0.01
        before = meter.now().moved
        assert meter.now().moved == before, "looking at it is left out"
        child.kill()


def test_hooks_do_not_count() -> None:
    assert stall.are_stalls_checked()
    with stalls_ignored():
        assert not stall.are_stalls_checked()
    assert stall.are_stalls_checked()


@pytest.mark.slow
def test_the_planning_of_a_search_too(search_config: WriteConfig) -> None:
    path = str(search_config())
    done = hang("sequifier.search.make_plan", "make_plan", "native", "hyperparameter-search", "--config-path", path)
    assert done.returncode == 1, done.stderr
    assert "error: no progress for" in done.stderr
