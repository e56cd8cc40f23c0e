"""What a failed attempt means, and what follows from it."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sequifier.artifacts.disk import WORDS

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

_SAYS_WHY = re.compile(r"^\w*(Error|Exception)\b|memory allocation|Thread creation failed|terminate called|bad_alloc")
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


def describe_death(event: Mapping[str, Any]) -> str:
    """How a worker died, in words."""
    silent_seconds = event.get("silent_seconds")
    if silent_seconds is not None:
        return f"the worker gave no sign of life for {silent_seconds:.0f} s, so it was ended"
    if event.get("stalled_seconds") is not None:
        seconds = f"{event['stalled_seconds']:.0f} s"
        return (
            f"the worker did nothing for {seconds} (no event, no processor time, nothing read), so it was ended: "
            f"{event['doing']} never ended"
        )
    number = event["signal"]
    said = last_words(event["stderr"])
    return f"the worker died ({ending(event['code'] if number is None else -number)})" + (f": {said}" if said else "")


def ending(code: int) -> str:
    """A process's exit code in words; below 0 it is the signal that ended it."""
    return f"exit code {code}" if code >= 0 else _signal_name(-code)


def last_words(printed: str) -> str:
    """The line in which a dying process said why: its last error, else its last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if _SAYS_WHY.search(line)), lines[-1] if lines else "")


def _signal_name(number: int) -> str:
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}")  # real-time signals have no names
