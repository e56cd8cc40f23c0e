"""This machine as the engine of a search: where its runs train, and a warm worker for each slot."""

from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.ledger import Record
from sequifier.execution.local import LocalExecutor
from sequifier.search.placement import ONE_AFTER_ANOTHER, Placement
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

    def place(self, plan: Plan, memory: int, records: Sequence[Record]) -> Placement:
        """One run after another."""
        return ONE_AFTER_ANOTHER

    def executors(self, placement: Placement) -> list[LocalExecutor]:
        """A worker for each slot; none is started yet."""
        return [
            LocalExecutor(
                self._folder / (LOG_FILE if number == 0 else f"worker-{number}.log"),
                stall_seconds=self._stall_seconds,
                cpu_threads=placement.cpu_threads,
                environment=slot.environment,
            )
            for number, slot in enumerate(placement.slots)
        ]
