"""This machine as the engine of a search: where its runs train, and a warm worker for each slot."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sequifier.artifacts.ledger import Record
from sequifier.callbacks import Log
from sequifier.execution.local import LocalExecutor
from sequifier.execution.machine import this_machine
from sequifier.execution.placement import place
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan


def log_name(worker: int) -> str:
    """Name of the file for the standard output and error of a worker."""
    return "worker.log" if worker == 0 else f"worker-{worker}.log"


class LocalEngine:
    """Trains on the devices of this machine; see search/executor.py for the calls.

    Args:
        folder: for the logs of the workers.
        stall_seconds: see `LocalExecutor`.
    """

    patience_seconds = 0.0

    def __init__(self, folder: Path, *, stall_seconds: float) -> None:
        self._folder, self._stall_seconds = folder, stall_seconds

    def place(self, plan: Plan, memory: MemoryUse | None, records: Sequence[Record]) -> Placement:
        """What `execution.devices` says, or as many workers as fit; see execution/placement.py."""
        return place(plan, memory, records, this_machine())

    def executors(self, placement: Placement) -> list[LocalExecutor]:
        """A worker for each slot; none is started yet."""
        return [
            LocalExecutor(
                self._folder / log_name(number),
                stall_seconds=self._stall_seconds,
                cpu_threads=placement.cpu_threads,
                # A GPU that was not counted, but that torch finds, must not get a run of each worker.
                auto_device="cpu" if slot.device is None else "auto",
                environment=slot.environment,
            )
            for number, slot in enumerate(placement.slots)
        ]

    def watch(self, join: Callable[[LocalExecutor, Slot], None], log: Log) -> None:
        """Nothing: a machine gets no more devices."""
