"""Searches on a Ray cluster of two nodes on this machine: real processes, real training, real losses of nodes.

Whatever happens, each run ends with the curve, to the last digit, that it has one after another on one machine.
"""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.ledger import Record, latest_by_run, read_ledger
from sequifier.errors import RunError
from tests.support.command_line import command, sequifier, start_process
from tests.support.processes import wait_for
from tests.support.ray_cluster import RayCluster, actors, all_die, cluster_of, kill, workers_in, workers_of
from tests.support.runs import latest
from tests.support.shop import TINY_SEARCH, WriteConfig, config_writer

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

N_RUNS = 6
ALONE: dict[str, Any] = {"execution": {"devices": 1}, "cpu_threads": 1}

SLOW_EPOCHS = """
import time
from pathlib import Path

def after_epoch(e, *, epoch, **context):
    Path(f"trains-{e.parameters['model_name']}").touch()
    time.sleep(0.5)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two nodes with one CPU each."""
    with cluster_of(2) as made:
        yield made


def values_of(**root: Any) -> dict[str, Any]:
    """Runs that differ in their dropout, so that a random state that got lost would show."""
    dropout = [round(0.05 * number, 2) for number in range(N_RUNS)]
    return {
        "model_hyperparameter_sampling": {"dim_model": 8, "n_head": 2},
        "training_hyperparameter_sampling": {"epochs": 4, "batch_size": 16, "dropout": dropout},
        **root,
    }


def on(cluster: RayCluster, **execution: Any) -> dict[str, Any]:
    return {"execution": {"engine": "ray", "address": cluster.address, "devices": "auto", **execution}}


def search(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return sequifier("hyperparameter-search", "--config-path", path, *words, OMP_NUM_THREADS="1")


def curves(records: Mapping[int, Record]) -> dict[int, list[float]]:
    return {number: record.curve for number, record in records.items()}


class Started:
    """A search on a cluster whose epochs take half a second and whose runs were all begun once two train."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root = root
        words = ("hyperparameter-search", "--config-path", path)
        self.process = start_process(*words, folder=root, OMP_NUM_THREADS="1")
        wait_for(lambda: len(list(root.glob("trains-*"))) >= 2 or self.process.poll() is not None, seconds=120)
        assert self.process.poll() is None, self.process.communicate()[1]

    def wait(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=240)
        return self.process.returncode, said


@pytest.fixture
def slow_epochs(shop: Path) -> dict[str, Any]:
    (shop / "slow.py").write_text(SLOW_EPOCHS)
    return {"hooks": {"after_epoch": "slow:after_epoch"}}


@pytest.fixture(scope="module")
def calm(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Record]:
    """The same runs, one after another on this machine."""
    root = tmp_path_factory.mktemp("calm") / "project"
    shutil.copytree(_shop, root)
    path = config_writer(root, TINY_SEARCH, "search.yaml")(**values_of(**ALONE))
    done = subprocess.run(command("hyperparameter-search", "--config-path", path), cwd=root, capture_output=True)
    assert done.returncode == 0, done.stderr
    return latest(root)


def starts(root: Path, name: str = "tune") -> list[Record]:
    return [record for record in read_ledger(root / "logs" / name) if record.state == "running"]


def test_two_nodes_train_the_same_runs_to_the_last_digit(
    cluster: RayCluster, shop: Path, search_config: WriteConfig, calm: dict[int, Record]
) -> None:
    path = search_config(**values_of(**on(cluster)))
    planned = search(path, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    done = search(path)
    assert done.returncode == 0, done.stderr
    assert "2 workers on 2 nodes of a Ray cluster (1 CPU for each)" in done.stderr
    assert "Traceback" not in done.stderr
    assert curves(latest(shop)) == curves(calm)
    assert [record.identity for record in latest(shop).values()] == [record.identity for record in calm.values()]
    assert {path.name for path in (shop / "logs/tune").glob("worker*.log")} == {"worker.log", "worker-1.log"}
    assert not list((shop / "logs/tune/attempts").iterdir())
    assert not list((shop / "logs/tune").glob("seen-by-nodes*"))
    assert all_die(actors()), "no process is left"
    again = search(path)
    assert "nothing is left to train" in again.stderr


def test_whatever_is_killed_the_runs_end_as_undisturbed_and_the_ledger_says_why(
    cluster: RayCluster,
    shop: Path,
    search_config: WriteConfig,
    calm: dict[int, Record],
    slow_epochs: dict[str, Any],
) -> None:
    started = Started(shop, search_config(**values_of(**on(cluster), **slow_epochs)))
    first, second = actors()[:2]
    workers = workers_of(first)
    assert workers, "the worker is a child of the actor"
    kill(first)
    assert all_die(workers), "a worker dies with its actor"
    kill(workers_of(second)[0])
    code, said = started.wait()
    assert code == 0, said
    assert curves(latest(shop)) == curves(calm)
    why = " ".join(str(record.error) for record in starts(shop) if record.attempt > 1)
    assert "the actor on node" in why
    assert "the worker died (SIGKILL)" in why
    assert all_die(actors())


def test_nothing_trains_on_when_the_search_is_killed_and_the_same_command_resumes(
    cluster: RayCluster,
    shop: Path,
    search_config: WriteConfig,
    calm: dict[int, Record],
    slow_epochs: dict[str, Any],
) -> None:
    path = search_config(**values_of(**on(cluster), **slow_epochs))
    started = Started(shop, path)
    held = [*actors(), *workers_in(shop)]
    assert len(held) >= 4
    started.process.send_signal(signal.SIGKILL)
    started.process.communicate()
    assert all_die(held)
    done = search(path)
    assert done.returncode == 0, done.stderr
    assert curves(latest(shop)) == curves(calm)
    epochs = sum(len(record.curve) for record in latest(shop).values())
    assert epochs == 4 * N_RUNS


def test_ctrl_c_ends_a_search_after_the_epoch_of_its_runs(
    cluster: RayCluster, shop: Path, search_config: WriteConfig, slow_epochs: dict[str, Any]
) -> None:
    started = Started(shop, search_config(**values_of(**on(cluster), **slow_epochs)))
    os.killpg(started.process.pid, signal.SIGINT)
    code, said = started.wait()
    assert code == 130, said
    assert {record.state for record in latest(shop).values()} <= {"interrupted", "finished"}
    assert all_die(actors())


def test_nodes_join_and_leave_while_a_search_runs(
    cluster: RayCluster,
    shop: Path,
    search_config: WriteConfig,
    calm: dict[int, Record],
    slow_epochs: dict[str, Any],
) -> None:
    (shop / "slow.py").write_text(SLOW_EPOCHS.replace("0.5", "1.5"))  # a node needs some seconds to join
    started = Started(shop, search_config(**values_of(**on(cluster), **slow_epochs)))
    cluster.remove()
    wait_for(lambda: any(record.attempt > 1 for record in starts(shop)), seconds=60)
    cluster.add()
    code, said = started.wait()
    assert code == 0, said
    assert "warning: worker" in said, "its slot is given up"
    assert "joins the search, which now has" in said
    assert {record.error for record in starts(shop) if record.attempt > 1}
    assert curves(latest(shop)) == curves(calm)
    assert all_die(actors())


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"address": "127.0.0.1:1"}, "`execution.address`: there is no Ray cluster at 127.0.0.1:1"),
        ({"address": "ray://127.0.0.1:1"}, "is an address of Ray's client, which a search cannot use"),
        ({"gpus_per_run": 1}, "`execution.gpus_per_run`: no node of the cluster has a GPU"),
        ({"cpus_per_run": 2}, "`execution.cpus_per_run`: no node has the 2 CPUs of a run, or the memory"),
        ({"devices": 2}, "`execution.devices`: 2 counts devices of one machine"),
    ],
)
def test_what_the_cluster_does_not_have_is_one_error_before_anything_trains(
    cluster: RayCluster, shop: Path, search_config: WriteConfig, execution: dict[str, Any], message: str
) -> None:
    values = values_of(**on(cluster, **execution))
    values["training_hyperparameter_sampling"]["device"] = "auto"
    done = search(search_config(**values))
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not latest_by_run(read_ledger(shop / "logs/tune"))


class Sized(type(Path())):  # type: ignore[misc]
    """A file that is larger here than on any node."""

    def stat(self, **options: Any) -> os.stat_result:
        found = list(super().stat(**options))
        found[stat.ST_SIZE] += 1
        return os.stat_result(found)


def test_a_node_that_does_not_see_the_files_or_has_other_software_is_named(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one machine all nodes see the same, so the search itself pretends to see something else."""
    import ray

    from sequifier.execution.cluster.nodes import Sight, alive, check, connect

    data = tmp_path / "data.parquet"
    data.write_text("events")
    (tmp_path / "ledger.lock").touch()
    sight = Sight(tmp_path, tmp_path, tmp_path, [data], tmp_path / "ledger.lock")
    assert connect(cluster.address)
    try:
        nodes = alive()
        assert len(nodes) == 2
        (warning,) = check(nodes, sight)  # nobody has locked it
        assert warning.startswith("warning: the lock of the ledger does not hold on ")
        with (tmp_path / "ledger.lock").open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert check(nodes, sight) == []
        missing = replace(sight, files=[Sized(data)])
        with pytest.raises(RunError, match=rf"node \S+ \(\w+\) does not see {data} as this machine does \(and 1 more"):
            check(nodes, missing)
        monkeypatch.setattr("platform.python_version", lambda: "3.0.0")
        with pytest.raises(RunError, match=r"node \S+ \(\w+\) has Python 3\.\d+\.\d+, this machine has 3\.0\.0"):
            check(nodes, sight)
        monkeypatch.undo()
        with pytest.raises(RunError, match=r"does not see /nowhere as this machine does"):
            check(nodes, replace(sight, folder=Path("/nowhere")))
    finally:
        ray.shutdown()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.parquet", "ledger.lock"]
