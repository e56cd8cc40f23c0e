"""How long the rest of a search will take, from what its runs took so far."""

from collections.abc import Iterable

from sequifier.artifacts.ledger import Record
from sequifier.search.plan import PlannedRun

_FIXED_PARAMETERS = 20_000
"""Work of an epoch that does not grow with the model (gathering, losses, Python), in parameters of equal cost."""


def seconds_left(waiting: Iterable[PlannedRun], known: Iterable[PlannedRun], records: Iterable[Record]) -> float | None:
    """Seconds for the waiting runs; None before anything was measured.

    An epoch costs what its model's parameters cost on average so far.

    Args:
        waiting: runs to come; what they have trained already is left out.
        known: all runs.
        records: the ledger.
    """
    size = {run.number: run.parameters + _FIXED_PARAMETERS for run in known}
    seconds = work = 0.0
    for record in records:
        trained = len(record.curve)
        if trained and record.run in size and record.state in ("finished", "pruned"):
            seconds += record.seconds.get("training", 0.0) + record.seconds.get("validation", 0.0)
            work += trained * size[record.run]
    if not work:
        return None
    left = 0.0
    for run in waiting:
        done = 0 if run.record is None else len(run.record.curve)
        left += max(run.config.training_spec.epochs - done, 0) * (run.parameters + _FIXED_PARAMETERS)
    return seconds / work * left
