"""Searches that train several runs at once, with engines that train nothing; kills and faults included."""

import errno
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sequifier import api
from sequifier.artifacts.ledger import Ledger, Record, latest_by_run, read_ledger
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.search import attempts
from sequifier.search.executor import LostError
from sequifier.search.placement import Slot
from sequifier.search.plan import Plan
from sequifier.search.planner import Planner
from sequifier.search.slots import Slots
from tests.support.engines import Engine, Event, Machine, Simulated, loss, write_project
from tests.support.processes import wait_for
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


def test_the_longest_of_the_last_runs_start_first_so_that_all_slots_end_together(project: Path) -> None:
    config, machine = config_of(project), Machine(project)
    train(config, machine)
    order = [int(name.rpartition("-")[2]) for what, name in machine.log if what == "begins"]
    assert {*order[:13]} <= {*range(15)}, "the others start in order, three at a time"
    widths = [parse_file(project / f"configs/hp_search/demo-run-{n}.yaml").values for n in order]
    last = [values["model_spec"]["dim_model"] for values in widths[15:]]
    assert last[2:] == sorted(last[2:], reverse=True)
    one = config_of(project, hp_search_name="one")
    serial = Machine(project)
    train(one, serial, 1)
    assert [name for what, name in serial.log if what == "begins"] == [f"one-run-{number}" for number in range(24)]


def delays(seed: int) -> Callable[[str, int], float]:
    return lambda name, epoch: random.Random(f"{seed} {name} {epoch}").choice([0.0, 0.001, 0.004])


def in_second_epoch_until_stopped(machine: Machine, *runs: int) -> threading.Barrier:
    """Let runs wait in their second epoch until all executors were asked to stop.

    Returns:
        passed when all of them are in that epoch and somebody else waits for it too.
    """
    are_there = threading.Barrier(len(runs) + 1)

    def wait(name: str, epoch: int) -> float:
        if epoch == 2 and name in {f"demo-run-{number}" for number in runs} and not machine.is_stopping.is_set():
            are_there.wait(timeout=30)
            machine.is_stopping.wait(timeout=30)
            return 0.2
        return 0.0

    machine.seconds = wait
    return are_there


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


@pytest.mark.parametrize("threads", [3, None])
def test_a_search_that_is_killed_before_its_first_result_has_the_number_of_threads_of_its_runs(
    project: Path, threads: int | None
) -> None:
    def kill(event: str, **fields: Any) -> None:
        if event == "epoch":
            raise KilledError

    config = config_of(project)
    with pytest.raises(KilledError):
        engine = Engine(Simulated(Machine(project)), cpu_threads=threads)
        api.search(config, engine=engine, emit=kill)
    (record,) = records_of(config)
    assert record.state == "running"
    assert record.cpu_threads == (threads or os.cpu_count()), "null means one for each processor"


def test_the_time_left_counts_runs_to_propose_and_is_shared_by_the_workers(project: Path) -> None:
    """Each run of 4 epochs takes 0.5 s; their sizes, and so the expected times, differ by less than a half."""
    left: dict[str, list[Any]] = {"planned": [], "run_started": []}

    def emit(event: str, **fields: Any) -> None:
        if event in left:
            left[event].append(fields["seconds_left"])

    train(config_of(project, search_strategy="bayesian", n_samples=8), Machine(project), 1, emit=emit)
    assert left["planned"] == left["run_started"][:1] == [None]
    expected = [0.5 * n_left for n_left in range(7, 0, -1)]
    assert left["run_started"][1:] == pytest.approx(expected, rel=0.5)
    train(config_of(project, search_strategy="bayesian", n_samples=20), Machine(project), 3, emit=emit)
    assert left["planned"][1:] == [pytest.approx(0.5 * 12 / 3, rel=0.5)]
    assert left["run_started"][8] == pytest.approx(left["planned"][1], rel=0.3), "one rule for both"


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
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: dict[str, Any], n_slots: int, seed: int
) -> None:
    config = config_of(project, **root)
    machine = Machine(project, seconds=delays(seed))
    draw, append = random.Random(seed), Ledger.append
    left = 0

    def emit(event: str, **fields: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KilledError

    def write(self: Ledger, *records: Record) -> None:
        """A kill here comes before the line is in the ledger: a training that has ended is not in it yet."""
        emit("append")
        append(self, *records)

    monkeypatch.setattr(Ledger, "append", write)
    for _ in range(8):
        left = draw.randrange(1, 50)
        with suppress(KilledError):
            train(config, machine, n_slots, emit=emit)
    left = 0
    assert train(config, machine, n_slots).ended == "complete"
    for record, task in replayed(config, tmp_path / "replays", n_slots=n_slots):
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
        numbers = [
            {record.run: record.identity for record in latest_by_run(records_of(each)).values()}
            for each in (undisturbed, config)
        ]
        assert numbers[0] == numbers[1]


OOM = {"event": "failed", "kind": "oom", "stage": "training", "error": "out of memory"}
CRASH = {"event": "died", "signal": 11, "code": -11, "kernel_oom": False, "stderr": ""}
HANG = {**CRASH, "stalled_seconds": 600.0, "doing": "hook.on_epoch", "log": "worker-1.log"}
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


def test_a_run_that_is_to_be_alone_leaves_other_memories_alone(project: Path) -> None:
    config = config_of(project)
    machine = Machine(project, seconds=lambda name, epoch: 0.01, faults={"demo-run-0": [OOM]})
    engine = Engine(*(Simulated(machine) for _ in range(4)), memories=[0, 0, 1, 1])
    assert api.search(config, engine=engine, emit=lambda event, **fields: None).ended == "complete"
    active: set[str] = set()
    begun = n_beside = 0
    for what, name in machine.log:
        active = active | {name} if what == "begins" else active - {name} if what == "ends" else active
        begun += (what, name) == ("begins", "demo-run-0")
        if begun == 2 and "demo-run-0" in active:
            assert len(active) <= 3, "two of the other memory beside it"
            n_beside = max(n_beside, len(active) - 1)
    assert n_beside == 2
    assert [r.batch_size for r in records_of(config) if r.run == 0 and r.state == "running"] == [16, 16]


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
    are_there = in_second_epoch_until_stopped(machine, 0, 2)
    others = machine.seconds

    def wait(name: str, epoch: int) -> float:
        if name == "demo-run-1" and not machine.is_stopping.is_set():
            are_there.wait(timeout=30)
        return others(name, epoch)

    machine.seconds = wait
    with pytest.raises(RunError, match=r"no space left|the data changed"):
        train(config, machine)
    last = latest_by_run(records_of(config))
    assert {number: record.state for number, record in last.items()} == dict.fromkeys(range(3), "interrupted")
    assert machine.trained["demo-run-0"] in (1, 2)
    assert machine.trained["demo-run-2"] in (1, 2)
    assert train(config, machine).ended == "complete"
    assert len(losses(config)) == 24
    epochs = Counter(name for what, name in machine.log if what == "epoch")
    assert set(epochs.values()) == {4}, "no epoch is trained twice"


def test_ctrl_c_lets_all_runs_finish_their_epoch_and_a_second_one_ends_them_at_once(project: Path) -> None:
    config = config_of(project)
    machine = Machine(project)
    are_there = in_second_epoch_until_stopped(machine, 0, 1, 2)
    executors = [Simulated(machine) for _ in range(3)]

    def stop(event: str, **fields: Any) -> None:
        if event == "epoch" and not machine.is_stopping.is_set():
            are_there.wait(timeout=30)
            stop_all(executors)

    assert api.search(config, engine=Engine(*executors), emit=stop).ended == "stopped"
    assert {record.state for record in latest_by_run(records_of(config)).values()} == {"interrupted"}
    assert machine.trained.keys() == {"demo-run-0", "demo-run-1", "demo-run-2"}
    assert {*machine.trained.values()} <= {1, 2}
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


LOST = {"event": "lost", "reason": "node a (12ab34) was lost"}


def test_a_run_whose_node_is_lost_resumes_without_an_epoch_twice_and_its_ledger_says_why(project: Path) -> None:
    crash = {"event": "died", "signal": 11, "code": -11, "kernel_oom": False, "stderr": ""}
    faults: dict[str, Any] = {
        "demo-run-0": [LOST, LOST, LOST],
        "demo-run-1": [LOST, crash, LOST],
        "demo-run-2": [LOST] * 4,
    }
    config, machine = config_of(project), Machine(project, faults=faults)
    assert train(config, machine).ended == "complete"
    last = latest_by_run(records_of(config))
    assert [(last[run].state, last[run].attempt) for run in range(4)] == [
        ("finished", 4),
        ("finished", 4),
        ("failed", 4),
        ("finished", 1),
    ]
    assert "node a (12ab34) was lost, after 3 losses before (max_node_losses)" in str(last[2].error)
    why = [record.error for record in records_of(config) if record.run == 0 and record.state == "running"]
    assert why == [None, *(f"attempt {number}: node a (12ab34) was lost" for number in (1, 2, 3))]
    calm = config_of(project, hp_search_name="calm")
    train(calm, Machine(project))
    expected = {record.configuration: record.curve for record in latest_by_run(records_of(calm)).values()}
    assert all(record.curve == expected[record.configuration] for record in last.values() if record.state == "finished")


def test_no_loss_is_allowed_where_the_config_says_so(project: Path) -> None:
    config = config_of(project, execution={"max_node_losses": 0})
    train(config, Machine(project, faults={"demo-run-5": [LOST]}))
    last = latest_by_run(records_of(config))
    assert [number for number, record in last.items() if record.state == "failed"] == [5]


class Fleeting(Simulated):
    """Trains a number of runs; then its node is gone."""

    def __init__(self, machine: Machine, n_runs: int) -> None:
        super().__init__(machine)
        self.n_runs = n_runs

    def run(self, config_path: Path, **rest: Any) -> Iterator[Event]:
        if not self.n_runs:
            raise LostError("node a was lost")
        self.n_runs -= 1
        yield from super().run(config_path, **rest)


def test_places_that_join_while_a_search_runs_train_too(project: Path) -> None:
    config, machine, said = config_of(project), Machine(project), list[str]()
    engine = Engine(Simulated(machine), memories=[0])
    joined = threading.Event()

    def wait(name: str, epoch: int) -> float:
        if joined.is_set() and machine.most_at_once < 2:
            time.sleep(0.01)
        return 0.001

    def emit(event: str, **fields: Any) -> None:
        if event == "run_ended" and not joined.is_set():
            joined.set()
            engine.join(Simulated(machine), Slot(1, node="b"))
        if event == "log":
            said.append(fields["line"])

    machine.seconds = wait
    assert api.search(config, engine=engine, emit=emit).ended == "complete"
    assert said == ["worker 1 joins the search, which now has 2 workers"]
    assert machine.most_at_once == 2
    assert len(losses(config)) == 24


def test_a_search_that_lost_all_its_places_waits_for_others(project: Path) -> None:
    config, machine, said = config_of(project), Machine(project), list[str]()
    engine = Engine(Fleeting(machine, 3), Fleeting(machine, 5), patience_seconds=600.0)

    def emit(event: str, **fields: Any) -> None:
        if event == "log":
            said.append(fields["line"])
            if "waits" in said[-1]:
                engine.join(Simulated(machine), Slot(node="b"))

    assert api.search(config, engine=engine, emit=emit).ended == "complete"
    assert len(losses(config)) == 24
    assert [line.partition(":")[0] for line in said][-1] == "worker 2 joins the search, which now has one worker"
    assert "so the search waits 10 minutes for another one: node a was lost" in said[1]


def test_a_search_without_a_place_ends_when_its_patience_does_or_somebody_asks(project: Path) -> None:
    config, machine = config_of(project), Machine(project)
    impatient = Engine(Fleeting(machine, 3), patience_seconds=1e-6)
    with pytest.raises(RunError, match="node a was lost"):
        api.search(config, engine=impatient, emit=lambda event, **fields: None)
    last = latest_by_run(records_of(config))
    assert Counter(record.state for record in last.values())["finished"] == 3
    assert {record.state for record in last.values()} == {"finished", "interrupted"}
    broken = config_of(project, hp_search_name="broken")
    engine = Engine(Simulated(machine, cannot_start=True), patience_seconds=600.0)
    with pytest.raises(RunError, match="the worker that trains cannot start"):  # nor could it elsewhere
        api.search(broken, engine=engine, emit=lambda event, **fields: None)
    lost = Fleeting(machine, 2)

    def interrupt(event: str, **fields: Any) -> None:
        if event == "log":  # it waits
            os.kill(os.getpid(), signal.SIGINT)

    assert api.search(config, engine=Engine(lost, patience_seconds=600.0), emit=interrupt).ended == "stopped"
    assert train(config, machine).ended == "complete"
    assert len(losses(config)) == 24


def test_a_model_is_scored_where_there_is_a_machine_left(project: Path) -> None:
    class Scoring(Simulated):
        def __init__(self, error: RunError | None) -> None:
            super().__init__(Machine(project))
            self.error, self.asked = error, 0

        def score(self, *arguments: Any, **options: Any) -> dict[str, float]:
            self.asked += 1
            if self.error is not None:
                raise self.error
            return {"val_loss": 1.0}

    paths = Path("run.yaml"), Path("model.onnx"), "split"
    assert Slots([Scoring(LostError("gone")), Scoring(None)]).score(*paths, data="") == {"val_loss": 1.0}
    broken, other = Scoring(RunError("no such file")), Scoring(None)
    with pytest.raises(RunError, match="no such file"):
        Slots([broken, other]).score(*paths, data="")
    assert other.asked == 0, "it would fail there too"


def test_a_budget_of_epochs_ends_the_search_when_the_runs_in_flight_have_ended(project: Path) -> None:
    config = config_of(project, max_epochs_total=20)
    assert train(config, Machine(project, seconds=delays(1))).ended == "budget"
    epochs = sum(len(record.curve) for record in latest_by_run(records_of(config)).values())
    assert 20 <= epochs <= 28, "runs in flight train to their end"


def test_a_run_that_waits_for_memory_does_not_begin_when_the_search_is_asked_to_end(project: Path) -> None:
    config = config_of(project)
    machine = Machine(project, faults={"demo-run-0": [OOM]})
    is_out = threading.Event()

    def wait(name: str, epoch: int) -> float:
        if (name, epoch) == ("demo-run-1", 1):
            is_out.wait(timeout=30)
        return 0.0

    machine.seconds = wait
    executors = [Simulated(machine) for _ in range(2)]

    def emit(event: str, **fields: Any) -> None:
        if event == "run_retried":
            stop_all(executors)
            is_out.set()

    assert api.search(config, engine=Engine(*executors), emit=emit).ended == "stopped"
    assert [name for what, name in machine.log if what == "begins"].count("demo-run-0") == 1
    last = latest_by_run(records_of(config))
    assert {number: record.state for number, record in last.items()} == {0: "interrupted", 1: "interrupted"}
    assert machine.trained == {"demo-run-1": 1}
    assert train(config, machine).ended == "complete"


def test_a_run_that_crashes_while_the_search_ends_is_not_begun_again(project: Path) -> None:
    config = config_of(project)
    machine = Machine(project, faults={"demo-run-0": [CRASH]})
    machine.seconds = lambda name, epoch: float(machine.is_stopping.wait(timeout=30)) * 0
    executors = [Simulated(machine) for _ in range(2)]

    def emit(event: str, **fields: Any) -> None:
        if event == "run_started" and fields["run"].number == 1:
            stop_all(executors)

    with pytest.MonkeyPatch.context() as patched:  # as Ctrl-C does
        patched.setattr("sequifier.execution.interrupt.Interrupt.is_set", lambda self: machine.is_stopping.is_set())
        assert api.search(config, engine=Engine(*executors), emit=emit).ended == "stopped"
    begun = [name for what, name in machine.log if what == "begins"]
    assert sorted(begun) == ["demo-run-0", "demo-run-1"], "each once, in either order: they begin in two threads"
    assert {record.state for record in latest_by_run(records_of(config)).values()} == {"interrupted"}
    assert train(config, machine).ended == "complete"


def stop_all(executors: list[Simulated]) -> None:
    for executor in executors:
        executor.stop()


def test_a_next_run_that_cannot_be_prepared_lets_the_others_finish_their_epoch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(project)
    machine = Machine(project)
    are_there = in_second_epoch_until_stopped(machine, 0, 1)
    read = attempts.read_document

    def unreadable(path: Path) -> Any:
        if path.stem == "demo-run-2":
            are_there.wait(timeout=30)
            raise RunError("the run file cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        return read(path)

    monkeypatch.setattr(attempts, "read_document", unreadable)
    with pytest.raises(
        RunError, match=r"the disk is full, so the search ends in demo-run-2: the run file cannot be wr"
    ):
        train(config, machine)
    last = latest_by_run(records_of(config))
    assert {number: record.state for number, record in last.items()} == {0: "interrupted", 1: "interrupted"}
    assert machine.trained == {"demo-run-0": 2, "demo-run-1": 2}


def test_a_proposal_that_fails_lets_the_others_finish_their_epoch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(project, search_strategy="bayesian", n_samples=16)
    machine = Machine(project)
    are_there = in_second_epoch_until_stopped(machine, 0, 1)
    propose = Planner.propose

    def no_third(self: Planner, plan: Plan, records: list[Record]) -> Any:
        if len(latest_by_run(records)) == 2:
            are_there.wait(timeout=30)
            raise RunError("the run file cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        return propose(self, plan, records)

    monkeypatch.setattr(Planner, "propose", no_third)
    with pytest.raises(RunError, match="the disk is full, so the search ends: the run file cannot be written"):
        train(config, machine)
    assert machine.trained == {"demo-run-0": 2, "demo-run-1": 2}
    assert {record.state for record in latest_by_run(records_of(config)).values()} == {"interrupted"}


def test_a_full_disk_is_reported_although_the_ledger_cannot_be_written_either(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(project)
    machine = Machine(project, faults={"demo-run-0": [OOM], "demo-run-1": [DISK]})

    def no_room(self: Ledger, *records: Record) -> None:
        raise RunError("cannot write to the ledger")

    def wait(name: str, epoch: int) -> float:
        if name == "demo-run-1":
            wait_for(lambda: any(record.attempt == 2 for record in records_of(config)))
            monkeypatch.setattr(Ledger, "append", no_room)
        return 0.0

    machine.seconds = wait
    with pytest.raises(RunError, match="the disk is full, so the search ends in demo-run-1: no space left"):
        train(config, machine, 2)


def test_an_event_that_ctrl_c_swallowed_is_not_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Slots.next

    def interrupted(self: Slots, log: Any) -> Any:
        sent = take(self, log)
        if sent is not None and sent[1] is None:
            raise KeyboardInterrupt  # when the event is out of the queue, and not taken up yet
        return sent

    monkeypatch.setattr(Slots, "next", interrupted)
    config = config_of(project)
    with pytest.raises(KeyboardInterrupt):
        train(config, Machine(project))
    monkeypatch.undo()
    assert {record.state for record in latest_by_run(records_of(config)).values()} == {"interrupted"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slot")]


def test_a_search_continues_with_the_threads_that_can_start(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, said = threading.Thread.start, list[str]()

    def limited(self: threading.Thread) -> None:
        if self.name == "slot 1":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    config = config_of(project)

    def emit(event: str, **fields: Any) -> None:
        if event == "log":
            said.append(fields["line"])

    assert train(config, Machine(project), 2, emit=emit).ended == "complete"
    assert len(said) == 1
    assert said[0].startswith("warning: worker 1 cannot train, so the search continues with one worker: no thread can")


@pytest.mark.parametrize("error", [OSError("the display is gone"), KeyboardInterrupt(), MemoryError()])
def test_an_error_of_whoever_receives_events_ends_all_runs_and_loses_nothing(
    project: Path, error: BaseException
) -> None:
    config, machine = config_of(project), Machine(project, seconds=delays(3))
    n_left = 20

    def emit(event: str, **fields: Any) -> None:
        nonlocal n_left
        n_left -= 1
        if not n_left:
            raise error

    with pytest.raises(type(error)):
        train(config, machine, emit=emit)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slot")]
    assert train(config, machine).ended == "complete"
    epochs = Counter(name for what, name in machine.log if what == "epoch")
    assert set(epochs.values()) == {4}, "no epoch is trained twice"
