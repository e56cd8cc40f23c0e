"""What a failed attempt means, and what follows from it."""

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from sequifier.artifacts.disk import WORDS
from sequifier.artifacts.ledger import DONE, Record
from sequifier.processes import describe_death
from sequifier.search.plan import PlannedRun

_OOM_WORDS = (
    "memory allocation of",  # Rust: polars
    "thread creation failed",  # libgomp
    "std::bad_alloc",
    "defaultcpuallocator",
    "failed to allocate memory",  # onnxruntime
    "out of memory",
    "cannot allocate memory",
    "memoryerror",
)
"""What a dying process prints, in small letters, when memory ran out where no exception could be caught."""

_LAST_LINES = 5
_ENDED_BY_US = ("silent_seconds", "stalled_seconds")


@dataclass(frozen=True)
class Batch:
    """How an optimizer step is cut: fields of training_spec."""

    batch_size: int
    accumulation_steps: int
    effective_batch_size: int | None = None


@dataclass(frozen=True)
class Decision:
    """What follows from a failure."""

    action: Literal["halve", "resume", "give_up"]
    state: Literal["failed", "oom"]  # of the run, if it is given up
    reason: str


def is_out_of_memory(event: Mapping[str, Any]) -> bool:
    """Whether the last event of an attempt says that memory ran out."""
    if event["event"] == "failed":
        return bool(event["kind"] == "oom")
    if event["event"] == "timeout" or any(event.get(key) is not None for key in _ENDED_BY_US):
        return False  # we ended it, not the lack of memory
    if event["kernel_oom"] and event["signal"] == signal.SIGKILL:
        return True
    printed = event["stderr"].lower().splitlines()[-_LAST_LINES:]
    return any(word in line for line in printed for word in _OOM_WORDS)


def no_room(event: Mapping[str, Any]) -> bool:
    """Whether the last event of an attempt says that a file found no room: then no run could go on."""
    if event["event"] == "failed":
        return bool(event["kind"] == "disk")
    printed = event["stderr"].splitlines()[-_LAST_LINES:] if event["event"] == "died" else []
    return any(words in line for line in printed for words in WORDS)


def is_shared(event: Mapping[str, Any]) -> bool:
    """Whether an attempt failed for something that every other run would meet too: other data, a missing split."""
    return bool(event["event"] == "failed" and event["kind"] == "shared")


def decide(
    event: Mapping[str, Any], *, stage: str, batch_size: int, halvings: int, max_retries: int, crashed_before: bool
) -> Decision:
    """Judge the last event of an attempt that brought no result.

    | what happened                        | then                                               |
    |--------------------------------------|----------------------------------------------------|
    | out of memory in training/validation | halve the batch, up to max_retries times; then oom |
    | out of memory in load or export      | oom: there the batch cannot matter                 |
    | an error                             | failed                                             |
    | a crash, a silent or stalled worker  | once again from the last checkpoint; then failed   |
    | over the time limit                  | failed                                             |

    Args:
        event: `failed`, `died` or `timeout`, as `execution.local` gives it.
        stage: load, baselines, training, validation or export.
        batch_size: of this attempt.
        halvings: how often the batch was halved before.
        max_retries: how often it may be halved.
        crashed_before: whether the run was already started again after a crash.
    """
    if is_out_of_memory(event):
        where = {
            "load": "while loading the data or the model",
            "baselines": "while computing the baselines",
            "export": "during export",
        }.get(stage)
        if where is not None:
            return Decision("give_up", "oom", f"out of memory {where}: a smaller batch would not help")
        if batch_size == 1:
            return Decision("give_up", "oom", "out of memory with a batch of 1: the model or seq_length is too large")
        if halvings >= max_retries:
            return Decision("give_up", "oom", f"out of memory with a batch of {batch_size}, after {halvings} halvings")
        return Decision("halve", "oom", f"out of memory with a batch of {batch_size}")
    if event["event"] == "failed":
        return Decision("give_up", "failed", event["error"])
    if event["event"] == "timeout":
        minutes = f"{event['seconds'] / 60:.4g}"
        return Decision("give_up", "failed", f"ended in {stage} after run_timeout_minutes: {minutes}")
    return Decision("give_up" if crashed_before else "resume", "failed", describe_death(event))


def halved(batch: Batch, *, keep_effective: bool) -> Batch:
    """The next smaller batch.

    Args:
        batch: that ran out of memory, larger than 1.
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


def first_batch(
    run: PlannedRun, records: Sequence[Record], runs: Mapping[int, PlannedRun], *, keep_effective: bool
) -> Batch | None:
    """How the first attempt of a run should cut its batch.

    Args:
        run: about to be attempted for the first time.
        records: of the search so far, oldest first.
        runs: the runs that the records belong to, by number; others are passed over.
        keep_effective: the optimizer still sees the planned batch in each step, see `retry.halved`.

    Returns:
        The batch to start with, smaller than planned; None when nothing is known against the planned one.
    """
    planned = run.config.training_spec
    failed: list[tuple[int, int]] = []  # a batch size that did not fit, and the one that was tried last
    fitted = 0  # the largest batch size with which a run that needs as much as this one had a result
    for number, attempts in _by_run(records).items():
        other = runs.get(number)
        if other is None or number == run.number:
            continue
        sizes = [record.batch_size for record in attempts]
        if _needs_as_much(run, other):
            halved = [size for size, after in pairwise(sizes) if after < size]
            failed += [(size, sizes[-1]) for size in halved]
        if _needs_as_much(other, run):
            fitted = max([fitted, *(record.batch_size for record in attempts if record.state in DONE)])
    reached = [last for size, last in failed if size <= planned.batch_size]
    start = max(min(reached, default=planned.batch_size), min(fitted, planned.batch_size))
    if start >= planned.batch_size:
        return None
    batch = Batch(planned.batch_size, planned.accumulation_steps, planned.effective_batch_size)
    return cut(batch, start, keep_effective=keep_effective)


def _needs_as_much(run: PlannedRun, other: PlannedRun) -> bool:
    """Whether a window needs at least as much memory in `run` as in `other`, as far as three numbers tell."""
    return all(mine >= theirs for mine, theirs in zip(_needs(run), _needs(other), strict=True))


def _needs(run: PlannedRun) -> tuple[int, int, int]:
    model, seq_length = run.config.model_spec, run.config.seq_length
    assert seq_length is not None, "planned configs are resolved"
    return run.parameters, seq_length, model.dim_model * model.num_layers


def _by_run(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.run, []).append(record)
    return found
