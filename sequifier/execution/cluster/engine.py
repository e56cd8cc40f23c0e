"""A Ray cluster as the engine of a search: where its runs train, also on nodes that join while it runs."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import ray
from ray.exceptions import RayError

from sequifier.artifacts.ledger import Record
from sequifier.artifacts.ledger_lock import LOCK_FILE
from sequifier.artifacts.metadata import find_metadata, find_split, read_metadata
from sequifier.callbacks import Log
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.execution.cluster.executor import ClusterExecutor, Deployment
from sequifier.execution.cluster.nodes import Sight, alive, check, connect, look
from sequifier.execution.cluster.places import Needs, Place, check_fields, free_places, no_room, with_gpus
from sequifier.execution.engine import log_name
from sequifier.execution.placement import sharing_cores, stored_threads
from sequifier.percent import counted
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan
from sequifier.search.repeats import n_to_come

WATCH_SECONDS = 2.0
"""How often the cluster is asked for its nodes."""


class RayEngine:
    """Trains on the nodes of a Ray cluster; see search/executor.py for the calls, and `close` it at the end.

    Args:
        config: the search.
        connects: False for a plan alone, which needs no cluster.
        log: receives lines about the cluster.
    """

    patience_seconds = 600.0

    def __init__(self, config: SearchConfig, *, connects: bool, log: Log) -> None:
        self._config, self._connects, self._log = config, connects, log
        self._device = str(dict(config.training_hyperparameter_sampling)["device"])
        self._folder = config.root / "logs" / config.hp_search_name
        self._has_connected = False
        self._needs = Needs(1)
        self._most = 1
        self._executors: list[ClusterExecutor] = []
        self._ending = threading.Event()
        self._watching: threading.Thread | None = None

    def place(self, plan: Plan, memory: MemoryUse | None, records: Sequence[Record]) -> Placement:
        """A slot for each run that fits on the cluster, `execution.max_parallel` of them at most.

        Raises:
            ConfigError: there is no cluster, or no run fits on it.
            RunError: a node does not see the files, or has other software.
        """
        execution = self._config.execution
        check_fields(self._config, self._device)
        threads = self._config.cpu_threads or stored_threads(records) or execution.cpus_per_run or 1
        self._needs = Needs(execution.cpus_per_run or threads, memory=None if memory is None else memory.process)
        n_runs = max(len(plan.without_result) + n_to_come(plan), 1)
        self._most = min(execution.max_parallel or n_runs, n_runs)
        if memory is None:  # nothing is left to train: the cluster is needed only if a model is to be scored
            return Placement((Slot(),), threads)
        if not self._connects:
            return Placement((Slot(),), threads, (f"the runs that fit on the Ray cluster at {execution.address}",))
        self._open(threads)
        places = [executor.place for executor in self._executors]
        nodes = {place.node.key: place.node for place in places}
        sizes = [node.memory for node in nodes.values() if node.memory is not None and not self._needs.gpus]
        sentence = f"{counted(len(places), 'worker')} on {counted(len(nodes), 'node')} of a Ray cluster"
        slots = tuple(map(self._slot, places))
        return Placement(slots, threads, (f"{sentence} ({self._each()})",), min(sizes, default=None))

    def executors(self, placement: Placement) -> Sequence[ClusterExecutor]:
        """An actor for each slot; none is started yet."""
        if not self._executors:
            self._open(placement.cpu_threads or 1)
            del self._executors[len(placement.slots) :]  # the other places join in a moment
        return list(self._executors)

    def watch(self, join: Callable[[ClusterExecutor, Slot], None], log: Log) -> None:
        """Look for places on nodes that join, from a thread, until the engine is closed."""
        self._watching = threading.Thread(target=self._watch, args=(join, log), daemon=True, name="cluster")
        self._watching.start()

    def close(self) -> None:
        """End all actors, and the connection if it was made here."""
        self._ending.set()
        if self._watching is not None:
            self._watching.join()
        for executor in self._executors:
            executor.close()
        if self._has_connected:
            ray.shutdown()

    def _open(self, threads: int) -> None:
        """Connect to the cluster and choose the places where runs train."""
        self._has_connected = connect(self._config.execution.address)
        nodes = alive()
        self._needs = with_gpus(self._needs, self._config.execution, self._device, nodes)
        places = free_places(nodes, self._needs, (), self._most)
        if not places:
            raise no_room(self._needs, nodes)
        used = [node for node in nodes if any(place.node == node for place in places)]
        for line in check(used, self._sight()):
            self._log(line)
        options = {
            "stall_seconds": 60 * self._config.stall_minutes,
            "cpu_threads": threads,
            "auto_device": "auto" if self._needs.gpus else "cpu",
            "environment": sharing_cores(2, threads),
        }
        self._deployment = Deployment(Path.cwd(), self._folder / "attempts", self._needs, options)
        self._executors = [self._executor(number, place) for number, place in enumerate(places)]

    def _watch(self, join: Callable[[ClusterExecutor, Slot], None], log: Log) -> None:
        refused: set[str] = set()
        while not self._ending.wait(WATCH_SECONDS):
            with suppress(RayError, RunError, OSError):  # it is asked again in a moment
                self._look_for_places(join, log, refused)

    def _look_for_places(self, join: Callable[[ClusterExecutor, Slot], None], log: Log, refused: set[str]) -> None:
        """Hand out the places that there are and that the search does not use."""
        nodes = [node for node in alive() if node.key not in refused]
        keys = {node.key for node in nodes}
        taken = [executor.place for executor in self._executors if executor.place.node.key in keys]
        places = free_places(nodes, self._needs, taken, self._most)
        known = {executor.place.node.key for executor in self._executors}
        new = {place.node.key: place.node for place in places if place.node.key not in known}
        problems, warning = look(list(new.values()), self._sight()) if new else ({}, "")
        if warning:
            log(warning)
        for key, problem in problems.items():
            log(f"warning: {problem}, so it is not used")
            refused.add(key)
        for place in places:
            if place.node.key not in refused:
                executor = self._executor(len(self._executors), place)
                self._executors.append(executor)
                join(executor, self._slot(place))

    def _executor(self, number: int, place: Place) -> ClusterExecutor:
        return ClusterExecutor(place, self._folder / log_name(number), self._deployment)

    def _slot(self, place: Place) -> Slot:
        # Ray fills a GPU before it takes another one.
        device = place.number // self._config.execution.runs_per_device if self._needs.gpus else None
        return Slot(device, node=place.node.key)

    def _each(self) -> str:
        """What a run reserves, in words."""
        cpus, runs = counted(self._needs.cpus, "CPU"), self._config.execution.runs_per_device
        if not self._needs.gpus:
            return f"{cpus} for each"
        return f"{cpus} and a GPU for each" if runs == 1 else f"{cpus} for each, {runs} on each GPU"

    def _sight(self) -> Sight:
        config = self._config
        path = find_metadata(config.metadata_config_path, config.project_root)
        metadata = read_metadata(path)
        named = [config.training_data_path, config.validation_data_path]
        splits = {*filter(None, named), *metadata.split_paths} if all(named) else metadata.split_paths
        files = [find_split(metadata, split, config.project_root, "training_data_path") for split in splits]
        return Sight(Path.cwd(), config.root, self._folder, [path, *files], self._folder / LOCK_FILE)
