"""Engines that train nothing: whole searches without a worker process and without torch."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sequifier.artifacts.events import Events
from sequifier.artifacts.ledger import Record
from sequifier.artifacts.metadata import data_fingerprint, write_metadata
from sequifier.artifacts.split_file import write_events
from sequifier.callbacks import Log
from sequifier.config.loading.yaml12 import parse_file
from sequifier.errors import RunError
from sequifier.search.executor import Executor
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan
from tests.support.searches import metadata

METADATA = "configs/metadata_configs/x.json"
SPLITS = [f"data/x-split{number}.parquet" for number in range(3)]

Event = dict[str, Any]


def write_project(root: Path) -> Path:
    """Write what a search needs of a project whose runs are not really trained; returns `root`."""
    path = root / METADATA
    path.parent.mkdir(parents=True)
    two = metadata()
    by_split: dict[str, Any] = {"stride_by_split": [8] * 3, "split_ratios": [0.6, 0.2, 0.2], "rows": [60, 20, 20]}
    hashes: list[dict[str, str]] = [{}, {}, {}]
    fingerprint = data_fingerprint(two.columns, two.id_maps, two.selected_columns_statistics, hashes)
    by_split |= {"sequences": [4] * 3, "column_hashes": hashes, "fingerprint": fingerprint}
    three = two.sequifier.model_copy(update=by_split)
    write_metadata(two.model_copy(update={"split_paths": SPLITS, "sequifier": three}), path)
    (root / "data").mkdir()
    columns = {"kind": np.array([1, 2], dtype=np.int32), "length": np.zeros(2, dtype=np.float32)}
    one = Events(np.array([0]), np.array([0, 2]), np.array([0]), np.array([0, 1]), columns)
    for split in SPLITS:
        write_events(root / split, [one], "parquet")
    return root


class Engine:
    """Hands out executors of the test's own.

    Args:
        executors: one for each slot.
        cpu_threads: of all runs.
        memories: number of the device of each executor; None: all train in the same memory.
        patience_seconds: how long a search waits for a slot when it has lost all.
    """

    def __init__(
        self,
        *executors: Executor,
        cpu_threads: int | None = None,
        memories: Sequence[int] | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        self.patience_seconds = patience_seconds
        self._executors, self._cpu_threads = executors, cpu_threads
        self._memories: Sequence[int | None] = memories or [None] * len(executors)

    def place(self, plan: Plan, memory: MemoryUse | None, records: Sequence[Record]) -> Placement:
        """One slot for each executor."""
        return Placement(tuple(map(Slot, self._memories)), self._cpu_threads)

    def executors(self, placement: Placement) -> Sequence[Executor]:
        """The executors."""
        return self._executors

    def watch(self, join: Callable[[Executor, Slot], None], log: Log) -> None:
        """Keeps `join` for the test."""
        self.join = join


class Machine:
    """What executors that run at the same time have in common: checkpoints, faults, and a list of what happened.

    Args:
        root: of the project.
        seconds: (name of a run, epoch) -> how long that epoch takes; it may also wait itself.
        faults: name of a run -> events that end its next attempts instead of a result, None for an attempt without one.
    """

    def __init__(
        self,
        root: Path,
        *,
        seconds: Callable[[str, int], float] = lambda name, epoch: 0.0,
        faults: Mapping[str, Sequence[Event | None]] | None = None,
    ) -> None:
        self.root, self.seconds = root, seconds
        self.faults = {name: list(events) for name, events in (faults or {}).items()}
        self.trained: dict[str, int] = {}  # epochs in the last checkpoint of each run, which stays when it has ended
        self.log: list[tuple[str, str]] = []  # what happened (begins, epoch, ends) and to which run
        self.is_stopping = threading.Event()
        self._lock = threading.Lock()

    @property
    def most_at_once(self) -> int:
        """The largest number of runs that trained at the same time."""
        now = most = 0
        for what, _ in self.log:
            now += {"begins": 1, "ends": -1}.get(what, 0)
            most = max(most, now)
        return most

    def note(self, what: str, name: str) -> None:
        """Add to the log."""
        with self._lock:
            self.log.append((what, name))


class Simulated:
    """Trains on a `Machine`: the loss follows from the config of a run and falls with every epoch."""

    def __init__(self, machine: Machine, *, cannot_start: bool = False) -> None:
        self._machine, self._cannot_start = machine, cannot_start
        self._is_stopping = self._is_closed = False

    def start(self) -> None:
        """Nothing is loaded."""

    def check(self, device: str) -> None:
        """Every device is there."""

    def run(
        self,
        config_path: Path,
        *,
        data: str,
        resume: str,
        until_epoch: int | None = None,
        thresholds: Mapping[int, float] | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[Event]:
        """Play the epochs of a run, from its checkpoint."""
        if self._cannot_start:
            raise RunError("the worker that trains cannot start: no memory")
        machine, self._is_closed = self._machine, False
        config = parse_file(config_path).values
        name, epochs = config["model_name"], config["training_spec"]["epochs"]
        machine.note("begins", name)
        try:
            yield {"event": "stage", "stage": "training"}
            first = machine.trained.get(name, 0) if resume == "matching" else 0
            fault = machine.faults[name].pop(0) if machine.faults.get(name) else None
            epoch, ended = first, "finished"
            while epoch < epochs and (ended := self._end(config, epoch, until_epoch, thresholds)) == "finished":
                time.sleep(machine.seconds(name, epoch + 1))
                if self._is_closed:
                    yield {"event": "died", "signal": 9, "code": -9, "kernel_oom": False, "stderr": ""}
                    return
                if fault is not None:
                    yield fault
                    return
                epoch += 1
                machine.trained[name] = epoch
                machine.note("epoch", name)
                yield {"event": "epoch", "epoch": epoch, "epochs": epochs, "val_loss": loss(config, epoch)}
            yield {
                "event": "finished",
                "result": result_of([loss(config, each) for each in range(1, epoch + 1)], ended),
            }
        finally:
            machine.note("ends", name)

    def _end(
        self, config: Mapping[str, Any], epoch: int, until_epoch: int | None, thresholds: Mapping[int, float] | None
    ) -> str:
        """Why a run ends after an epoch that is not its last one; `finished` where it continues."""
        if epoch and epoch == until_epoch:
            return "paused"
        if epoch and loss(config, epoch) > (thresholds or {}).get(epoch, float("inf")):
            return "pruned"
        return "interrupted" if epoch and self._is_stopping else "finished"

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """Runs leave no models."""
        raise AssertionError("nothing to score")

    def stop(self) -> None:
        """End runs after their epoch from now on."""
        self._is_stopping = True
        self._machine.is_stopping.set()

    def close(self) -> None:
        """End the run."""
        self._is_closed = True


def result_of(curve: Sequence[float], ended: str, **fields: Any) -> dict[str, Any]:
    """The result of a run that ended after these losses; `fields` replace others."""
    result = {
        "ended": ended,
        "best_val_loss": curve[-1],
        "best_epoch": len(curve),
        "last_epoch": len(curve),
        "n_targets": {"kind": 20},
        "inputs": {},
        "metrics": {"val_loss": curve[-1]},
        "curve": curve,
        "seconds": {"total": 0.5, "training": 0.5},
        "peak_memory_bytes": 1,
        "files": {},
        "baselines": {},
        "error": None,
    }
    return result | fields


def loss(config: Mapping[str, Any], epoch: int) -> float:
    """The validation loss of a simulated run after an epoch."""
    spec = config["training_spec"]
    rate = abs(spec["learning_rate"] - 0.01) * 10
    return float(1.0 + 8 / config["model_spec"]["dim_model"] + rate + spec["dropout"] + (1 + rate) / epoch)
