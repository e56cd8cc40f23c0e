"""Runs that were computed on other devices or by other versions are ranked together, and the table says so."""

import json
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import LEDGER_FILE, Record, latest_by_run, read_ledger
from sequifier.results import environment

HERE: dict[str, Any] = {
    "device": "Some CPU (AVX2)",
    "products": "float32",
    "torch": "2.13.0",
    "cpu_threads": 2,
    "sequifier": "0.1.0",
    "arithmetic": 2,
}


def record(run: int, state: str = "finished", **facts: Any) -> Record:
    return Record(run=run, name=f"s-run-{run}", identity=str(run), data="d", state=state, batch_size=1, seed=1, **facts)  # type: ignore[arg-type]


def difference_warning(records: list[Record]) -> str | None:
    return environment.difference_warning(map(environment.environment_of, latest_by_run(records).values()))


def test_equal_runs_and_runs_without_a_result_say_nothing() -> None:
    running = record(2, "running", cpu_threads=9)  # what it starts with, without the other facts
    assert difference_warning([record(0, **HERE), record(1, **HERE), running, record(3, "failed")]) is None
    assert difference_warning([]) is None


def test_each_fact_in_which_runs_differ_is_named_with_its_runs() -> None:
    for field, other in (
        ("device", "NVIDIA H200, driver 570.1"),
        ("products", "bfloat16, decoder float32"),
        ("torch", "2.14.0"),
        ("cpu_threads", 1),
        ("sequifier", "0.2.0"),
        ("arithmetic", 3),
    ):
        warning = difference_warning([record(0, **HERE), record(1, **HERE), record(2, **{**HERE, field: other})])
        assert warning is not None and "\n" not in warning
        assert f"({HERE[field]}: 2 runs; {other}: 1 run)" in warning


def test_runs_on_two_equal_gpus_are_the_same_environment() -> None:
    on_gpu = HERE | {"device": "NVIDIA H200, driver 570.1"}
    assert difference_warning([record(n, **on_gpu, device_index=str(n)) for n in range(2)]) is None


def test_the_last_record_of_a_run_counts() -> None:
    assert difference_warning([record(0, "running"), record(0, **HERE), record(1, **HERE)]) is None


def test_a_ledger_of_the_first_release_is_read_and_its_runs_are_not_recorded(tmp_path: Path) -> None:
    old = record(0).model_dump()
    for field in HERE:
        del old[field]
    (tmp_path / LEDGER_FILE).write_text(json.dumps(old) + "\n")
    (read,) = read_ledger(tmp_path)
    assert {getattr(read, field) for field in HERE} == {None}
    assert difference_warning([read]) is None
    warning = difference_warning([read, record(1, **HERE)])
    assert warning is not None and "arithmetic (not recorded: 1 run; 2: 1 run)" in warning
