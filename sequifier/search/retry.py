"""What a failed attempt means, and what follows from it."""

import signal
from dataclasses import dataclass
from typing import Any, Literal

_OOM_WORDS = (
    "memory allocation of",
    "Thread creation failed",
    "std::bad_alloc",
    "DefaultCPUAllocator",
    "out of memory",
)
"""What a dying process prints when memory ran out where no exception could be raised."""


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


def is_out_of_memory(event: dict[str, Any]) -> bool:
    """Whether a `failed` or `died` event says that memory ran out."""
    if event["event"] == "failed":
        return bool(event["kind"] == "oom")
    printed = event["stderr"].splitlines()[-5:]
    return bool(event["kernel_oom"]) or any(word in line for line in printed for word in _OOM_WORDS)


def decide(
    event: dict[str, Any], *, stage: str, batch_size: int, halvings: int, max_retries: int, crashed_before: bool
) -> Decision:
    """Judge the last event of an attempt that brought no result.

    Args:
        event: `failed` or `died`.
        stage: load, training, validation or export.
        batch_size: of this attempt.
        halvings: how often the batch was halved before.
        max_retries: how often it may be halved.
        crashed_before: whether the run was already started again after a crash.
    """
    if is_out_of_memory(event):
        where = {"load": "while loading the data or the model", "export": "during export"}.get(stage)
        if where is not None:
            return Decision("give_up", "oom", f"out of memory {where}: a smaller batch would not help")
        if batch_size == 1:
            return Decision("give_up", "oom", "out of memory with a batch of 1: the model or seq_length is too large")
        if halvings >= max_retries:
            return Decision("give_up", "oom", f"out of memory with a batch of {batch_size}, after {halvings} halvings")
        return Decision("halve", "oom", f"out of memory with a batch of {batch_size}")
    if event["event"] == "failed":
        return Decision("give_up", "failed", event["error"])
    return Decision("give_up" if crashed_before else "resume", "failed", describe_death(event))


def halved(batch: Batch, *, keep_effective: bool) -> Batch:
    """The next smaller batch.

    Args:
        batch: that ran out of memory, larger than 1.
        keep_effective: the optimizer still sees the same windows in each step: 25 becomes two parts of 13 and 12.
    """
    smaller = (batch.batch_size + 1) // 2
    if not keep_effective:
        return Batch(batch.batch_size // 2, batch.accumulation_steps, None)
    windows = batch.effective_batch_size or batch.batch_size * batch.accumulation_steps
    parts = -(-windows // smaller)
    return Batch(smaller, parts, None if smaller * parts == windows else windows)


def halvings_between(planned: int, now: int) -> int:
    """How often a batch of `planned` was halved to become `now`."""
    count = 0
    while planned > max(now, 1):
        planned = (planned + 1) // 2
        count += 1
    return count


def describe_death(event: dict[str, Any]) -> str:
    """How a worker died, in words."""
    number = event["signal"]
    how = f"exit code {event['code']}" if number is None else signal.Signals(number).name
    printed = event["stderr"].strip().splitlines()
    return f"the worker died ({how})" + (f": {printed[-1]}" if printed else "")
