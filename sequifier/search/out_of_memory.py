"""Runs that ran out of memory: how that is noticed, how a batch is cut, and with which batch later runs start.

The ledger shows which batch sizes did not fit: those that were halved. A run that needs at least as much memory per
window is not expected to fit where another one did not, so it starts with the size that fitted there. Three numbers
that memory grows with say which run needs more; all of them must be at least as large. Runs that differ both ways are
not compared, and a larger run that did fit overrules.
"""

import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sequifier.artifacts.ledger import DONE, Record
from sequifier.memory_messages import reports_no_handle, reports_out_of_memory
from sequifier.search.plan import PlannedRun

LAST_LINES = 5
"""Lines at the end of the standard error of a process that died among which its reason is looked for."""

_ENDED_BY_US = ("silent_seconds", "stalled_seconds")

_Needs = tuple[int, int, int]
"""Number of weights, window length, and width times depth: memory grows with each of them."""


@dataclass(frozen=True)
class Batch:
    """How an optimizer step is cut: fields of training_spec."""

    batch_size: int
    accumulation_steps: int
    effective_batch_size: int | None = None


def is_out_of_memory(event: Mapping[str, Any]) -> bool:
    """Whether an attempt ran out of memory, from its last event; see executor.py."""
    if event["event"] == "failed":
        return event["kind"] in ("oom", "full")
    if event["event"] == "timeout" or any(event.get(key) is not None for key in _ENDED_BY_US):
        return False  # the executor ended it
    if event["kernel_oom"] and event["signal"] == signal.SIGKILL:
        return True
    printed = "\n".join(event["stderr"].splitlines()[-LAST_LINES:])
    return reports_out_of_memory(printed) or reports_no_handle(printed)


def halved(batch: Batch, *, keep_effective: bool) -> Batch:
    """The next smaller batch.

    Args:
        batch: the one that ran out of memory, larger than 1.
        keep_effective: the optimizer still sees the same windows in each step: 25 becomes two parts of 13 and 12.
    """
    return cut(batch, _half(batch.batch_size, keep_effective), keep_effective=keep_effective)


def cut(batch: Batch, batch_size: int, *, keep_effective: bool) -> Batch:
    """The batch in pieces of `batch_size` or less; without `keep_effective` a batch of that size."""
    if not keep_effective:
        return Batch(batch_size, batch.accumulation_steps, None)
    windows = batch.effective_batch_size or batch.batch_size * batch.accumulation_steps
    parts = -(-windows // batch_size)
    return Batch(batch_size, parts, None if batch_size * parts == windows else windows)


def _half(batch_size: int, keep_effective: bool) -> int:
    # Pieces are rounded up, so that two of them are enough; a batch of its own is rounded down, as in v1.
    return (batch_size + keep_effective) // 2


class FittingBatches:
    """Which batches fitted into memory and which did not; records are added in the order of the ledger.

    Most runs fit, so runs that did not are the only ones that are looked at one by one, grouped by what they need.

    Args:
        runs: the runs of the search, by number; records of other runs are ignored. It may grow.
    """

    def __init__(self, runs: Mapping[int, PlannedRun]) -> None:
        self._runs = runs
        self._last: dict[int, int] = {}  # run -> the batch size that was tried last
        self._halved: dict[int, list[int]] = {}  # run -> the batch sizes that did not fit
        self._failed: dict[_Needs, Counter[tuple[int, int]]] = {}  # pairs of one that did not fit and the last one
        self._fitted: list[tuple[_Needs, int]] = []  # batch sizes with a result, none of which another one implies

    def add(self, record: Record) -> None:
        """Take up a record."""
        number, size = record.run, record.batch_size
        before = self._last.get(number, size)
        self._last[number] = size
        halved = self._halved.get(number, [])
        if size < before:
            self._halved[number] = [*halved, before]
        run = self._runs.get(number)
        if run is None:
            return
        needs = _needs(run)
        if size != before:
            pairs = self._failed.setdefault(needs, Counter())
            pairs.subtract((each, before) for each in halved)
            pairs.update((each, size) for each in self._halved.get(number, []))
            self._failed[needs] = +pairs
        if record.state in DONE and not any(size <= other and _covers(more, needs) for more, other in self._fitted):
            kept = [(less, other) for less, other in self._fitted if other > size or not _covers(needs, less)]
            self._fitted = [*kept, (needs, size)]

    def halvings(self, number: int) -> int:
        """How often the batch of a run was halved."""
        return len(self._halved.get(number, []))

    def first(self, run: PlannedRun, *, keep_effective: bool) -> Batch | None:
        """The batch for the first attempt of a run, given what did not fit in other runs.

        Args:
            run: the run to attempt, which has no record yet.
            keep_effective: the optimizer still sees the planned batch in each step, see `halved`.

        Returns:
            A batch smaller than planned; None when nothing speaks against the planned one.
        """
        planned, needs = run.config.training_spec, _needs(run)
        reached = [
            last
            for less, pairs in self._failed.items()
            if _covers(needs, less)
            for size, last in pairs
            if size <= planned.batch_size
        ]
        if not reached:
            return None
        # The largest batch with which a run that needs as much as this one had a result.
        fitted = max((size for more, size in self._fitted if _covers(more, needs)), default=0)
        start = max(min(reached), min(fitted, planned.batch_size))
        if start >= planned.batch_size:
            return None
        batch = Batch(planned.batch_size, planned.accumulation_steps, planned.effective_batch_size)
        return cut(batch, start, keep_effective=keep_effective)


def _covers(more: _Needs, less: _Needs) -> bool:
    """Whether a window needs at least as much memory in one run as in another, judged by three numbers."""
    return all(mine >= theirs for mine, theirs in zip(more, less, strict=True))


def _needs(run: PlannedRun) -> _Needs:
    model, seq_length = run.config.model_spec, run.config.seq_length
    assert seq_length is not None, "planned configs are resolved"
    return run.n_parameters, seq_length, model.dim_model * model.num_layers
