"""The executor against workers that misbehave in every way; they are small scripts, so nothing trains here."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sequifier.errors import RunError
from sequifier.execution.cluster.actor import Host
from sequifier.execution.local import LocalExecutor
from sequifier.execution.worker_events import AwakeTime
from sequifier.processes import describe_death
from sequifier.search.out_of_memory import is_out_of_memory
from tests.support.processes import wait_for

Event = dict[str, Any]

PRELUDE = f"""#!{sys.executable}
import json, os, signal, sys, threading, time
channel, parent, beat_seconds = int(sys.argv[-5]), int(sys.argv[-4]), float(sys.argv[-3])
def send(event, **fields):
    os.write(channel, json.dumps({{"event": event, **fields}}).encode() + b"\\n")
def beat():
    while True:
        time.sleep(beat_seconds)
        send("heartbeat")
def commands():
    for line in sys.stdin:
        yield json.loads(line)
threading.Thread(target=beat, daemon=True).start()
"""

Fake = Callable[..., LocalExecutor]


@pytest.fixture
def executor_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Makes an executor whose worker is the given script; one second of silence is its end."""
    made: list[LocalExecutor] = []
    monkeypatch.chdir(tmp_path)

    def make(script: str, **options: Any) -> LocalExecutor:
        path = tmp_path / "worker"
        path.write_text(PRELUDE + script)
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        made.append(LocalExecutor(tmp_path / "worker.log", silence_seconds=1.0, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def events(executor: LocalExecutor, **options: Any) -> list[Event]:
    return list(executor.run(Path("run-0.yaml"), data="0123", resume="never", **options))


def names(found: list[Event]) -> list[str]:
    return [event["event"] for event in found]


SERVE = """
send("ready", pid=os.getpid())
for command in commands():
    send("started", **command)
    send("finished", result={})
"""


def test_a_worker_is_kept_for_the_next_run_and_gets_each_command_whole(executor_of: Fake) -> None:
    executor = executor_of(SERVE)
    first = events(executor, until_epoch=3, thresholds={2: 0.5})
    assert names(first) == ["ready", "started", "finished"]
    assert first[1] == {
        "event": "started",
        "command": "run",
        "config": "run-0.yaml",
        "data": "0123",
        "resume": "never",
        "until_epoch": 3,
        "thresholds": {"2": 0.5},
        "fence": None,
    }
    assert names(events(executor)) == ["started", "finished"], "no second start"


def test_events_of_any_length_arrive_whole_and_heartbeats_are_not_passed_on(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
next(commands())
line = json.dumps({"event": "log", "line": "x" * 200_000}).encode() + b"\\n"
for start in range(0, len(line), 7_000):
    os.write(channel, line[start : start + 7_000])
time.sleep(0.3)
send("finished", result={})
""")
    found = events(executor)
    assert names(found) == ["ready", "log", "finished"]
    assert len(found[1]["line"]) == 200_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_is_killed_has_died_of_that_signal(executor_of: Fake, number: signal.Signals) -> None:
    executor = executor_of(f"""
send("ready")
next(commands())
print("last words", file=sys.stderr, flush=True)
os.write(channel, b'{{"event": "st')
os.kill(os.getpid(), {int(number)})
""")
    found = events(executor)
    assert names(found) == ["ready", "died"], "half an event is none"
    assert found[-1]["signal"] == number
    assert "silent_seconds" not in found[-1]
    assert found[-1]["stderr"].endswith("last words\n")


def test_only_what_was_printed_during_a_run_belongs_to_its_death(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
for number, command in enumerate(commands()):
    print("run", number, file=sys.stderr, flush=True)
    if number == 1:
        sys.exit(7)
    send("finished", result={})
""")
    events(executor)
    last = events(executor)[-1]
    assert (last["event"], last["signal"], last["code"], last["stderr"]) == ("died", None, 7, "run 1\n")


def test_a_log_that_somebody_removed_is_missed_by_no_run(executor_of: Fake, tmp_path: Path) -> None:
    executor = executor_of("""
send("ready")
next(commands())
send("finished", result={})
next(commands())
os.kill(os.getpid(), signal.SIGKILL)
""")
    events(executor)
    (tmp_path / "worker.log").unlink()
    assert names(events(executor)) == ["died"]


def test_a_worker_imports_what_the_search_does_and_on_a_cluster_nothing_of_the_project(
    executor_of: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = executor_of("""
send("ready")
next(commands())
send("finished", path=json.loads(sys.argv[-6]))
""")
    assert events(executor)[-1]["path"] == sys.path
    monkeypatch.setattr(LocalExecutor, "start", lambda executor: None)
    before = [*sys.path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *before, "."])  # as Ray does it
    Host(str(tmp_path), str(tmp_path / "worker.log"), {})
    assert sys.path == before


def test_after_a_death_the_next_run_has_a_new_worker(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
next(commands())
if not os.path.exists("again"):
    open("again", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
send("finished", result={})
""")
    assert names(events(executor)) == ["ready", "died"]
    assert names(events(executor)) == ["ready", "finished"]


IDLE = """
send("ready", pid=os.getpid())
next(commands())
send("step", step=1)
time.sleep(0.7)  # a heartbeat or two without figures is no proof of anything
for number in range(1000):
    figures = {"cpu_seconds": 1.0 + (0.09 if BUSY else 0.00001) * number, "moved": READ * number, "counts": COUNTS}
    send("heartbeat", **figures, doing="reading a.parquet")
    time.sleep(0.05)
    if number == 30:
        send("finished", result={})
"""


@pytest.mark.parametrize(
    ("busy", "read", "is_counted"), [(True, 0, True), (False, 100, True), (False, 0, False)], ids=["cpu", "io", "hook"]
)
def test_a_worker_that_computes_reads_or_is_in_a_hook_has_not_stalled(
    executor_of: Fake, busy: bool, read: int, is_counted: bool
) -> None:
    script = IDLE.replace("BUSY", str(busy)).replace("READ", str(read)).replace("COUNTS", str(is_counted))
    assert names(events(executor_of(script, stall_seconds=1.0)))[-1] == "finished"


def test_a_worker_that_does_nothing_in_spite_of_its_heartbeat_is_ended(executor_of: Fake) -> None:
    script = IDLE.replace("BUSY", "False").replace("READ", "0").replace("COUNTS", "True")
    found = events(executor_of(script, stall_seconds=1.0))
    assert names(found) == ["ready", "step", "died"]
    assert found[-1]["stalled_seconds"] >= 1.0
    assert describe_death(found[-1]).endswith("reading a.parquet never ended; its stacks are in worker.log")
    assert not is_out_of_memory(found[-1])
    with pytest.raises(ProcessLookupError):
        os.kill(found[0]["pid"], 0)


STOPPED = """
send("ready", pid=os.getpid())
next(commands())
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_worker_that_is_stopped_is_killed_for_its_silence(executor_of: Fake) -> None:
    found = events(executor_of(STOPPED))
    assert names(found) == ["ready", "died"]
    assert found[-1]["silent_seconds"] > 1.0
    with pytest.raises(ProcessLookupError):
        os.kill(found[0]["pid"], 0)


def test_a_worker_that_lives_is_not_silent_however_long_a_step_takes(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
next(commands())
time.sleep(2.5)
send("finished", result={})
""")
    assert names(events(executor)) == ["ready", "finished"]


HANGS = """
time.sleep(0.5)
send("ready", pid=os.getpid())
next(commands())
send("step", step=1)
time.sleep(1000)
"""


def test_a_run_that_hangs_in_a_living_worker_is_ended_by_its_time_limit(executor_of: Fake) -> None:
    found = events(executor_of(HANGS), timeout_seconds=0.2)
    assert names(found) == ["ready", "step", "timeout"]
    assert found[-1]["seconds"] == 0.2
    with pytest.raises(ProcessLookupError):
        os.kill(found[0]["pid"], 0)


def test_the_start_of_a_worker_does_not_count_as_the_time_of_a_run(executor_of: Fake) -> None:
    executor = executor_of("time.sleep(0.6)" + SERVE)
    assert names(events(executor, timeout_seconds=0.5))[-1] == "finished"


def test_time_in_which_the_search_itself_was_stopped_does_not_count(
    executor_of: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = AwakeTime()
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock + 3600)
    assert 1.0 < waited.seconds() < 3.0, "an hour with Ctrl-Z is no silence"


def test_a_child_that_a_worker_left_behind_does_not_hide_its_death(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
next(commands())
if os.fork() == 0:
    time.sleep(4)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
""")
    began = time.monotonic()
    assert names(events(executor)) == ["ready", "died"]
    assert time.monotonic() - began < 3.5


def test_a_worker_that_dies_while_it_starts_is_started_again_once_and_no_run_notices(executor_of: Fake) -> None:
    executor = executor_of("""
if not os.path.exists("again"):
    open("again", "w").close()
    sys.exit(1)
send("ready")
send("finished", first=next(commands())["command"])
""")
    found = events(executor)
    assert names(found) == ["ready", "finished"]
    assert found[-1]["first"] == "run"


def test_a_worker_that_cannot_start_is_an_error(executor_of: Fake) -> None:
    executor = executor_of('print("ImportError: no torch", file=sys.stderr); sys.exit(1)')
    with pytest.raises(RunError, match="the worker that trains cannot start: ImportError: no torch"):
        events(executor)


def test_a_worker_that_is_closed_while_it_starts_is_not_started_again(executor_of: Fake, tmp_path: Path) -> None:
    executor = executor_of('open("started", "a").write("."); time.sleep(60)')
    found: list[Event] = []
    running = threading.Thread(target=lambda: found.extend(events(executor)))
    running.start()
    wait_for((tmp_path / "started").exists)
    executor.close()
    running.join()
    assert names(found) == ["died"]
    assert (tmp_path / "started").read_text() == "."


def test_ctrl_c_does_not_end_a_worker_that_is_only_starting(executor_of: Fake) -> None:
    executor = executor_of("""
os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.SIG_IGN)
send("ready")
next(commands())
send("finished", result={})
""")
    assert names(events(executor)) == ["ready", "finished"]


def test_a_request_to_stop_may_come_while_the_worker_is_ended(executor_of: Fake) -> None:
    executor = executor_of(SERVE)
    events(executor)
    process = executor._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()  # as `close` does in another thread
    executor.stop()


def test_a_request_to_stop_reaches_the_worker_that_replaces_a_dead_one(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
send("finished", first=next(commands())["command"])
""")
    executor.stop()
    assert events(executor)[-1]["first"] == "stop"


def test_a_model_is_scored_by_the_worker(executor_of: Fake) -> None:
    executor = executor_of("""
send("ready")
for command in commands():
    if command["split"] == "missing":
        send("failed", kind="error", stage="load", error="no such file")
    else:
        send("scored", metrics={"val_loss": 0.5})
""")
    assert executor.score(Path("run-0.yaml"), Path("model.onnx"), "split2", data="0123") == {"val_loss": 0.5}
    with pytest.raises(RunError, match=r"model\.onnx could not be scored on missing: no such file"):
        executor.score(Path("run-0.yaml"), Path("model.onnx"), "missing", data="0123")


def test_closing_ends_the_worker_and_may_be_done_twice(executor_of: Fake) -> None:
    executor = executor_of(SERVE)
    pid = events(executor)[0]["pid"]
    executor.close()
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals are Linux'")
def test_a_real_worker_that_was_orphaned_before_it_could_ask_ends_itself() -> None:
    read_end, write_end = os.pipe()
    nobody = "999999999"
    command = [sys.executable, "-m", "sequifier.execution.worker", str(write_end), nobody, "1"]
    done = subprocess.run(command, stdin=subprocess.PIPE, pass_fds=[write_end], timeout=30, check=False)
    os.close(write_end)
    os.close(read_end)
    assert done.returncode == 0
