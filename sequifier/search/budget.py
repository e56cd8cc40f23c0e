"""The budgets of a search, `max_hours` and `max_epochs_total`, and how much of them its ledger has used up."""

from datetime import datetime

from sequifier.artifacts.ledger import Record
from sequifier.config.search import SearchConfig


class Budget:
    """The hours and epochs that a search has used; records are added in the order of the ledger.

    Hours are those in which at least one run trained, attempts that failed included: runs that train at the same time
    share them, and the time between two starts of the search does not count.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._config = config
        self._epochs_of: dict[int, int] = {}
        self._n_epochs = 0
        self._busy: list[tuple[float, float]] = []  # start and end of times that do not overlap, in seconds, in order
        self._seconds = 0.0
        self._last = self._set_back = 0.0  # time of the last record, and how far the clock has been set back so far

    def add(self, record: Record) -> None:
        """Count a record."""
        self._n_epochs += len(record.curve) - self._epochs_of.get(record.run, 0)
        self._epochs_of[record.run] = len(record.curve)
        time = datetime.fromisoformat(record.time).timestamp() + self._set_back
        self._set_back += max(self._last - time, 0.0)  # records are in order, whatever the clock said
        self._last = max(self._last, time)
        if seconds := record.seconds.get("total", 0.0):
            self._count(self._last, seconds)

    def used_up(self) -> str:
        """Which budget is used up, in words; empty where none is."""
        most, hours = self._config.max_hours, self._seconds / 3600
        if self._config.max_epochs_total is not None and self._n_epochs >= self._config.max_epochs_total:
            return f"max_epochs_total: {self._n_epochs} epochs of {self._config.max_epochs_total}"
        if most is not None and hours >= most:
            return f"max_hours: {hours:.2f} hours of {most:g}"
        return ""

    def _count(self, end: float, seconds: float) -> None:
        start = end - seconds
        self._seconds += seconds
        while self._busy and self._busy[-1][1] > start:  # records come in the order in which runs end
            before = self._busy.pop()
            self._seconds -= max(min(before[1], end) - max(before[0], start), 0.0)
            start, end = min(start, before[0]), max(end, before[1])
        self._busy.append((start, end))
