"""Searches that train several runs at once, with engines that train nothing; kills and faults included."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sequifier import api
from sequifier.artifacts.ledger import Record, latest_by_run, read_ledger
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from tests.support.engines import Engine, Machine, Simulated, loss, write_project
from tests.support.replay import replayed
from tests.support.searches import search

ASHA = {"type": "asha", "min_epochs": 1, "reduction": 2}
MEDIAN = {"type": "median", "min_epochs": 1}


class KilledError(BaseException):
    """Ends a search in the middle of anything, as a signal would: nothing more is written."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def config_of(project: Path, **root: Any) -> SearchConfig:
    """24 configurations of 4 epochs."""
    model = {"dim_model": [8, 16, 32], "n_head": [2, 2, 2], "dim_feedforward": 16, "num_layers": 1}
    training = {"epochs": 4, "batch_size": 16, "learning_rate": [0.01, 0.02, 0.03, 0.04], "dropout": [0.0, 0.1]}
    training["independent"] = ["learning_rate"]
    return search(
        model=model,
        training={key: value for key, value in training.items() if key != "independent"},
        independent=["learning_rate"],
        project_root=str(project),
        seed=3,
        **root,
    )


def train(config: SearchConfig, machine: Machine, n_slots: int = 3, *, emit: Callable[..., None] | None = None) -> Any:
    engine = Engine(*(Simulated(machine) for _ in range(n_slots)))
    return api.search(config, engine=engine, emit=emit or (lambda event, **fields: None))


def records_of(config: SearchConfig) -> list[Record]:
    return read_ledger(config.root / "logs" / config.hp_search_name)


def losses(config: SearchConfig) -> dict[str, list[float]]:
    return {record.identity: record.curve for record in latest_by_run(records_of(config)).values()}


def delays(seed: int) -> Callable[[str, int], float]:
    return lambda name, epoch: random.Random(f"{seed} {name} {epoch}").choice([0.0, 0.001, 0.004])


def in_second_epoch_until_stopped(machine: Machine) -> Callable[[str, int], float]:
    """Let the first three runs wait in their second epoch until all executors were asked to stop."""

    def wait(name: str, epoch: int) -> float:
        if name in ("demo-run-0", "demo-run-1", "demo-run-2") and epoch == 2 and not machine.is_stopping.is_set():
            machine.is_stopping.wait(timeout=30)
            return 0.2
        return 0.0

    return wait


def test_a_grid_trains_the_same_runs_with_the_same_results_as_one_after_another(project: Path, tmp_path: Path) -> None:
    serial, parallel = config_of(project, hp_search_name="one"), config_of(project, hp_search_name="three")
    all_three = threading.Barrier(3)

    def wait(name: str, epoch: int) -> float:
        if epoch == 1 and name in ("three-run-0", "three-run-1", "three-run-2"):
            all_three.wait(timeout=30)
        return delays(0)(name, epoch)

    one, three = Machine(project, seconds=delays(0)), Machine(project, seconds=wait)
    assert train(serial, one, 1).ended == train(parallel, three, 3).ended == "complete"
    assert (one.most_at_once, three.most_at_once) == (1, 3)
    assert losses(serial) == losses(parallel)
    assert len(losses(serial)) == 24
    for config in (serial, parallel):
        for record in records_of(config):
            assert record.state in ("running", "finished")
    known = [record.known for record in records_of(serial) if record.state == "running"]
    assert known == [2 * number for number in range(24)], "one after another, each start knows all records"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("root", "n_slots"),
    [
        ({}, 3),
        ({"search_strategy": "sample", "n_samples": 15}, 3),
        ({"pruner": ASHA}, 3),
        ({"pruner": ASHA}, 1),
        ({"pruner": MEDIAN}, 3),
        ({"search_strategy": "bayesian", "n_samples": 16}, 3),
        ({"search_strategy": "bayesian", "n_samples": 16, "pruner": ASHA}, 3),
        ({"search_strategy": "bayesian", "n_samples": 16}, 1),
    ],
)
def test_a_search_that_is_killed_again_and_again_loses_and_repeats_nothing(
    project: Path, tmp_path: Path, root: dict[str, Any], n_slots: int, seed: int
) -> None:
    config = config_of(project, **root)
    machine = Machine(project, seconds=delays(seed))
    draw = random.Random(seed)
    for _ in range(8):
        left = draw.randrange(1, 40)

        def emit(event: str, **fields: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KilledError

        try:
            train(config, machine, n_slots, emit=emit)
        except KilledError:
            continue
    assert train(config, machine, n_slots).ended == "complete"
    for record, task in replayed(config, tmp_path / "replays"):
        assert task is not None
        assert (task.run.number, task.run.identity) == (record.run, record.identity)
    epochs = Counter(name for what, name in machine.log if what == "epoch")
    for record in latest_by_run(records_of(config)).values():
        document = parse_file(project / f"configs/hp_search/{record.name}.yaml").values
        assert record.curve == [loss(document, epoch) for epoch in range(1, len(record.curve) + 1)]
        assert epochs[record.name] == len(record.curve), "no epoch is trained twice"
        assert record.state == "finished" or root.get("pruner")
        if record.state == "finished":
            assert len(record.curve) == 4
    if n_slots == 1 or (not root.get("pruner") and root.get("search_strategy") != "bayesian"):
        undisturbed = config_of(project, hp_search_name="undisturbed", **root)
        train(undisturbed, Machine(project), 1)
        assert losses(undisturbed) == losses(config)


OOM = {"event": "failed", "kind": "oom", "stage": "training", "error": "out of memory"}
CRASH = {"event": "died", "signal": 11, "code": -11, "kernel_oom": False, "stderr": ""}
HANG = {**CRASH, "stalled_seconds": 600.0, "doing": "hook.on_epoch"}
ERROR = {"event": "failed", "kind": "error", "stage": "training", "error": "ValueError: no"}
DISK = {"event": "failed", "kind": "disk", "stage": "training", "error": "no space left", "where": ""}
SHARED = {"event": "failed", "kind": "shared", "stage": "load", "error": "the data changed"}


def test_a_run_without_memory_beside_others_is_repeated_alone_and_only_then_cut(project: Path) -> None:
    config = config_of(project)
    faults = {"demo-run-1": [OOM], "demo-run-5": [OOM, OOM]}
    machine = Machine(project, seconds=lambda name, epoch: 0.002, faults=faults)
    assert train(config, machine).ended == "complete"
    sizes = {
        number: [
            record.batch_size for record in records_of(config) if record.run == number and record.state == "running"
        ]
        for number in (1, 5)
    }
    assert sizes == {1: [16, 16], 5: [16, 16, 8]}, "cut only after it failed alone"
    reason = next(record.error for record in records_of(config) if record.run == 1 and record.attempt == 2)
    assert reason == "attempt 1: out of memory with a batch of 16, beside other runs"
    active: set[str] = set()
    seen: Counter[str] = Counter()
    for what, name in machine.log:
        if what == "begins":
            seen[name] += 1
            if name in faults and seen[name] == 2:
                assert not active, f"{active} train beside {name}, which is to be alone"
            assert not any(other in faults and seen[other] == 2 for other in active), f"{name} starts beside it"
            active.add(name)
        elif what == "ends":
            active.discard(name)
    assert [record.state for record in latest_by_run(records_of(config)).values()] == ["finished"] * 24


def test_one_run_at_a_time_is_cut_at_once(project: Path) -> None:
    config = config_of(project)
    train(config, Machine(project, faults={"demo-run-1": [OOM]}), 1)
    assert [r.batch_size for r in records_of(config) if r.run == 1 and r.state == "running"] == [16, 8]


@pytest.mark.parametrize("fault", [CRASH, HANG, ERROR])
def test_a_fault_of_one_run_leaves_the_others_alone(project: Path, fault: dict[str, Any]) -> None:
    config = config_of(project)
    machine = Machine(project, seconds=delays(2), faults={"demo-run-4": [fault]})
    assert train(config, machine).ended == "complete"
    states = {number: record.state for number, record in latest_by_run(records_of(config)).items()}
    assert states == dict.fromkeys(range(24), "finished") | ({4: "failed"} if fault is ERROR else {})
    begins = Counter(name for what, name in machine.log if what == "begins")
    assert begins == Counter(f"demo-run-{number}" for number in range(24)) + Counter(
        [] if fault is ERROR else ["demo-run-4"]
    )


@pytest.mark.parametrize("fault", [DISK, SHARED])
def test_what_ends_the_search_lets_the_others_finish_their_epoch(project: Path, fault: dict[str, Any]) -> None:
    config = config_of(project)
    machine = Machine(project, faults={"demo-run-1": [fault]})
    machine.seconds = in_second_epoch_until_stopped(machine)
    with pytest.raises(RunError, match=r"no space left|the data changed"):
        train(config, machine)
    last = latest_by_run(records_of(config))
    assert {number: record.state for number, record in last.items()} == dict.fromkeys(range(3), "interrupted")
    assert (machine.trained["demo-run-0"], machine.trained["demo-run-2"]) == (2, 2)
    assert train(config, machine).ended == "complete"
    assert len(losses(config)) == 24
    epochs = Counter(name for what, name in machine.log if what == "epoch")
    assert set(epochs.values()) == {4}, "no epoch is trained twice"


def test_ctrl_c_lets_all_runs_finish_their_epoch_and_a_second_one_ends_them_at_once(project: Path) -> None:
    config = config_of(project)
    machine = Machine(project)
    machine.seconds = in_second_epoch_until_stopped(machine)
    executors = [Simulated(machine) for _ in range(3)]

    def stop(event: str, **fields: Any) -> None:
        if event == "epoch" and fields["run"].number == 2:
            for executor in executors:
                executor.stop()

    assert api.search(config, engine=Engine(*executors), emit=stop).ended == "stopped"
    assert {record.state for record in latest_by_run(records_of(config)).values()} == {"interrupted"}
    assert machine.trained == {"demo-run-0": 2, "demo-run-1": 2, "demo-run-2": 2}
    machine.is_stopping.clear()

    def interrupt(event: str, **fields: Any) -> None:
        if event == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, machine, emit=interrupt)
    last = latest_by_run(records_of(config))
    assert len(last) == 3
    assert {record.error for record in last.values()} == {"stopped at once; the next start resumes from the last epoch"}
    assert train(config, machine).ended == "complete"


def test_a_search_continues_with_the_workers_that_can_start(project: Path) -> None:
    config, machine, said = config_of(project), Machine(project), list[str]()

    def emit(event: str, **fields: Any) -> None:
        if event == "log":
            said.append(fields["line"])

    broken = Engine(Simulated(machine), Simulated(machine, cannot_start=True))
    assert api.search(config, engine=broken, emit=emit).ended == "complete"
    assert said == [
        "warning: worker 1 cannot train, so the search continues with one worker: the worker that trains cannot "
        "start: no memory"
    ]
    assert [record.state for record in latest_by_run(records_of(config)).values()] == ["finished"] * 24
    none = config_of(project, hp_search_name="none")
    with pytest.raises(RunError, match="the worker that trains cannot start"):
        api.search(none, engine=Engine(*(Simulated(machine, cannot_start=True) for _ in range(2))), emit=emit)


def test_a_budget_of_epochs_ends_the_search_when_the_runs_in_flight_have_ended(project: Path) -> None:
    config = config_of(project, max_epochs_total=20)
    assert train(config, Machine(project, seconds=delays(1))).ended == "budget"
    epochs = sum(len(record.curve) for record in latest_by_run(records_of(config)).values())
    assert 20 <= epochs <= 28, "runs in flight train to their end"
