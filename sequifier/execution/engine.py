"""This machine as the engine of a search: where its runs train, and a warm worker for each slot."""

from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.ledger import Record
from sequifier.execution.local import LocalExecutor
from sequifier.execution.machine import this_machine
from sequifier.execution.placement import place
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement
from sequifier.search.plan import Plan

LOG_FILE = "worker.log"
"""Standard output and error of the first worker; others have their number before the suffix."""


class LocalEngine:
    """Trains on the devices of this machine; see search/executor.py for the calls.

    Args:
        folder: for the logs of the workers.
        stall_seconds: see `LocalExecutor`.
    """

    def __init__(self, folder: Path, *, stall_seconds: float) -> None:
        self._folder, self._stall_seconds = folder, stall_seconds

    def place(self, plan: Plan, memory: MemoryUse | None, records: Sequence[Record]) -> Placement:
        """What `execution.devices` says, or as many workers as fit; see execution/placement.py."""
        return place(plan, memory, records, this_machine())

    def executors(self, placement: Placement) -> list[LocalExecutor]:
        """A worker for each slot; none is started yet."""
        return [
            LocalExecutor(
                self._folder / (LOG_FILE if number == 0 else f"worker-{number}.log"),
                stall_seconds=self._stall_seconds,
                cpu_threads=placement.cpu_threads,
                # A GPU that was not counted, but that torch finds, must not get a run of each worker.
                auto_device="cpu" if slot.device is None else "auto",
                environment=slot.environment,
            )
            for number, slot in enumerate(placement.slots)
        ]
