"""The ledger survives what happens to searches: crashes, kills, a second process, a full disk."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sequifier.artifacts import ledger as ledger_module
from sequifier.artifacts.ledger import LEDGER_FILE, Ledger, Record, State, latest_by_run, read_ledger
from sequifier.artifacts.ledger_lock import LOCK_FILE, is_locked
from sequifier.artifacts.sampler_results import SamplerLedger
from sequifier.errors import RunError


def record(run: int = 0, state: State = "finished", **values: object) -> Record:
    known = {"run": run, "name": f"s-run-{run}", "identity": f"id{run}", "data": "d", "state": state}
    return Record.model_validate(known | {"batch_size": 8, "seed": 1010, "time": "2026-01-01T00:00:00+00:00"} | values)


def test_records_come_back_as_written(tmp_path: Path) -> None:
    written = [
        record(0, "running"),
        record(
            0, best_val_loss=0.1 + 0.2, metrics={"val_loss": 1e-05}, files={"best_onnx": "models/é.onnx"}, best_epoch=3
        ),
    ]
    with Ledger.open(tmp_path) as ledger:
        for each in written:
            ledger.append(each)
        assert ledger.records == written
    assert read_ledger(tmp_path) == written
    with Ledger.open(tmp_path) as again:
        assert again.records == written
        assert again.torn == ""


def test_a_line_has_the_documented_keys_and_floats_by_repr(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(best_val_loss=1e-05))
    line = (tmp_path / LEDGER_FILE).read_text(encoding="utf-8")
    assert '"best_val_loss": 1e-05,' in line
    documented = [
        *("run", "name", "identity", "data", "state", "attempt", "batch_size", "accumulation_steps", "seed"),
        *("best_val_loss", "best_epoch", "n_targets", "metrics", "seconds", "peak_memory_bytes", "error", "files"),
        "time",
    ]
    assert [key for key in json.loads(line) if key in documented] == documented


def test_the_last_record_of_a_run_is_its_state() -> None:
    records = [
        record(1, "running"),
        record(0, "running"),
        record(1, "oom"),
        record(0, "finished"),
        record(1, "running"),
    ]
    assert [(run, last.state) for run, last in latest_by_run(records).items()] == [(0, "finished"), (1, "running")]


def test_a_reader_gets_every_record_once_in_order_whenever_it_comes(tmp_path: Path) -> None:
    first, second, third = record(0, "running"), record(1), record(0)
    early: list[Record] = []
    late: list[Record] = []
    with Ledger.open(tmp_path) as ledger:
        ledger.append(first)
        ledger.follow(early.append)
        ledger.append(second, third)
        ledger.follow(late.append)
        ledger.append(first)
    assert early == late == [first, second, third, first] == read_ledger(tmp_path)


@pytest.mark.parametrize("torn", [b'{"run": 1, "name', b'{"run": 1}', b"\x00\x00\x00", b"{\n"])
def test_a_torn_last_line_is_dropped_and_cut_off_before_the_next_append(tmp_path: Path, torn: bytes) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
    path = tmp_path / LEDGER_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    assert read_ledger(tmp_path) == [record(0)]
    assert path.read_bytes() == whole + torn  # readers change nothing
    with Ledger.open(tmp_path) as ledger:
        assert ledger.torn == torn.decode()
        ledger.append(record(1))
    assert read_ledger(tmp_path) == [record(0), record(1)]


def test_a_crash_at_any_byte_of_a_record_loses_that_record_at_most(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        size = (tmp_path / LEDGER_FILE).stat().st_size
        ledger.append(record(1))
    content = (tmp_path / LEDGER_FILE).read_bytes()
    for length in range(size, len(content) + 1):
        (tmp_path / LEDGER_FILE).write_bytes(content[:length])
        expected = [record(0), record(1)] if length == len(content) else [record(0)]
        assert read_ledger(tmp_path) == expected


def test_a_whole_last_line_that_does_not_fit_is_an_error_and_stays(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
    path = tmp_path / LEDGER_FILE
    for line in (json.dumps(record(1).model_dump() | {"state": "of a later version"}), "3"):
        path.write_text(json.dumps(record(0).model_dump()) + "\n" + line + "\n", encoding="utf-8")
        before = path.read_bytes()
        for use in (read_ledger, Ledger.open):
            with pytest.raises(RunError, match="line 2 of the ledger is damaged"):
                use(tmp_path)
        assert path.read_bytes() == before


def test_the_ledger_of_another_kind_of_search_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_FILE
    for ledger, values, owner in (
        (SamplerLedger, record(0).model_dump(), "training"),
        (Ledger, record(0).model_dump() | {"sampler_type": "top_k"}, "sampler"),
    ):
        path.write_text(json.dumps(values) + "\n", encoding="utf-8")
        before = path.read_bytes()
        with pytest.raises(RunError, match=f"this folder belongs to a {owner} search") as caught:
            ledger.open(tmp_path)
        assert caught.value.fix == "choose another name"
        assert path.read_bytes() == before


def test_a_damaged_line_in_the_middle_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_text('{"run": 0}\n' + record(1).model_dump_json() + "\n", encoding="utf-8")
    with pytest.raises(RunError, match="line 1 of the ledger is damaged") as caught:
        read_ledger(tmp_path)
    assert caught.value.where == f"{tmp_path / LEDGER_FILE}:1"


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    values = record(0).model_dump() | {"carbon_grams": 3}
    (tmp_path / LEDGER_FILE).write_text(json.dumps(values) + "\n", encoding="utf-8")
    assert read_ledger(tmp_path) == [record(0)]


def test_a_folder_in_place_of_the_file_is_one_error(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).mkdir()
    for use in (read_ledger, Ledger.open):
        with pytest.raises(RunError, match="cannot read the ledger: Is a directory") as caught:
            use(tmp_path)
        assert caught.value.where == str(tmp_path / LEDGER_FILE)


def test_an_invalid_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        record(best_val_loss=float("nan"))


def test_no_ledger_is_an_empty_one(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "nowhere") == []


def test_a_second_process_is_refused_until_the_first_one_ends(tmp_path: Path) -> None:
    with Ledger.open(tmp_path):
        with pytest.raises(RunError, match=rf"another process \(process {os.getpid()} on \S+\) is running this"):
            Ledger.open(tmp_path)
        assert read_ledger(tmp_path) == []  # readers need no lock
    Ledger.open(tmp_path).close()


def test_whether_a_search_is_running_is_seen_from_other_machines_too(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        assert is_locked(tmp_path)
        (tmp_path / LOCK_FILE).write_text("process 1 on another-machine\n")
        assert is_locked(tmp_path), "the lock says it, not the text"
    assert not is_locked(tmp_path), "this process lives on, but let go of it"


def test_who_looks_at_the_lock_keeps_no_search_from_starting(tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        release = threading.Timer(0.05, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        Ledger.open(tmp_path).close()
        release.join()


@pytest.mark.parametrize("puts_another", [False, True])
def test_a_ledger_that_was_moved_away_ends_the_search_instead_of_its_records(
    tmp_path: Path, puts_another: bool
) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        path = ledger.path.rename(tmp_path / "away.jsonl")
        if puts_another:
            ledger.path.write_bytes(path.read_bytes())
        with pytest.raises(RunError, match="the ledger was moved or removed while the search ran"):
            ledger.append(record(1))
        path.rename(ledger.path)
        ledger.append(record(1))
    with Ledger.open(tmp_path) as ledger:
        ledger.path.unlink()
        with pytest.raises(RunError, match="the ledger was moved or removed while the search ran"):
            ledger.append(record(2))


def test_a_disk_without_locks_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match="cannot be locked, as this file system has no locks: No locks available"):
        Ledger.open(tmp_path)


def test_kill_9_frees_the_lock_although_a_child_lives_on(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from sequifier.artifacts.ledger import Ledger\n"
        f"ledger = Ledger.open(Path({str(tmp_path)!r}))\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(RunError, match="another process"):
                Ledger.open(tmp_path)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(child, 0)  # still alive
            Ledger.open(tmp_path).close()
        finally:
            holder.kill()
            os.kill(child, signal.SIGKILL)


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(0))
        with monkeypatch.context() as patch:
            patch.setattr(ledger_module, "_write_all", full)
            with pytest.raises(RunError, match="No space left on device"):
                ledger.append(record(1))
        assert read_ledger(tmp_path) == [record(0)]
        assert (tmp_path / LEDGER_FILE).read_bytes().endswith(b"\n")
        ledger.append(record(1))  # after space was made
    assert read_ledger(tmp_path) == [record(0), record(1)]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot write the ledger"):
        Ledger.open(tmp_path / "file" / "search")


def test_a_search_that_never_began_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="wrong metric"), Ledger.open(tmp_path / "s"):
        raise RunError("wrong metric")
    assert not (tmp_path / "s").exists()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "notes.txt").touch()
    Ledger.open(tmp_path / "t").close()
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00"])
def test_a_record_of_no_moment_is_damage(tmp_path: Path, time: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record(1))
    path = tmp_path / LEDGER_FILE
    line = json.dumps({**json.loads(path.read_text()), "time": time}) + "\n"
    path.write_text(line)
    with pytest.raises(RunError, match="line 1 of the ledger is damaged"):
        read_ledger(tmp_path)


def test_a_lock_file_that_was_removed_meanwhile_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, []

    def removed_at_first(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        taken.append(descriptor)
        if len(taken) == 1:  # the process that held it ends without a record
            (tmp_path / LOCK_FILE).unlink()

    monkeypatch.setattr(fcntl, "flock", removed_at_first)
    with Ledger.open(tmp_path) as ledger:
        ledger.append(record())
        with pytest.raises(RunError, match="another process"):
            Ledger.open(tmp_path)
    assert len(taken) == 2
