"""What a failed attempt of a run means, from its last event, and what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sequifier.artifacts.disk import WORDS
from sequifier.processes import describe_death
from sequifier.search.out_of_memory import LAST_LINES, is_out_of_memory

_WITHOUT_BATCHES = {
    "load": "while loading the data or the model",
    "baselines": "while computing the baselines",
    "export": "during export",
}
"""Stages of a run whose memory does not depend on the batch size."""


@dataclass(frozen=True)
class Decision:
    """What follows from a failure.

    Attributes:
        action: halve the batch and begin again, begin again with no other run beside it, resume from the last
            checkpoint, or give the run up.
        state: of the run, if it is given up.
        reason: of the failure, in words.
    """

    action: Literal["halve", "alone", "resume", "give_up"]
    state: Literal["failed", "oom"]
    reason: str


def is_disk_full(event: Mapping[str, Any]) -> bool:
    """Whether an attempt failed because the disk is full: then no other run could train either."""
    if event["event"] == "failed":
        return bool(event["kind"] == "disk")
    printed = event["stderr"].splitlines()[-LAST_LINES:] if event["event"] == "died" else []
    return any(words in line for line in printed for words in WORDS)


def is_shared(event: Mapping[str, Any], *, was_beside: bool = False) -> bool:
    """Whether every other run would fail like this attempt: the data changed, a split is missing, a device is lost.

    Args:
        event: the last one.
        was_beside: whether other runs of the search used the same memory, which may be all that filled it.
    """
    kind = event["kind"] if event["event"] == "failed" else ""
    return kind == "shared" or (kind == "full" and not was_beside)


def decide(
    event: Mapping[str, Any],
    *,
    stage: str,
    batch_size: int,
    halvings: int,
    max_retries: int,
    crashed_before: bool,
    was_beside: bool = False,
    losses: int = 0,
    max_losses: int = 0,
) -> Decision:
    """Judge the last event of an attempt that brought no result.

    | what happened                        | then                                                |
    |--------------------------------------|-----------------------------------------------------|
    | out of memory beside other runs      | begin again with the same batch, alone              |
    | out of memory in training/validation | halve the batch, up to max_retries times; then oom  |
    | out of memory in load or export      | oom: the batch size makes no difference there       |
    | an error                             | failed                                              |
    | a crash, a silent or stalled worker  | resume once from the last checkpoint; then failed   |
    | its node was lost                    | resume, up to max_node_losses times; then failed    |
    | over the time limit                  | failed                                              |

    Args:
        event: `failed`, `died`, `lost` or `timeout`, see executor.py.
        stage: load, baselines, training, validation, checkpoint or export.
        batch_size: of this attempt.
        halvings: how often the batch was halved before.
        max_retries: how often it may be halved.
        crashed_before: whether the run was already resumed after a crash.
        was_beside: whether other runs used the same memory meanwhile.
        losses: how often its node was lost before.
        max_losses: how often it may be lost.
    """
    if event["event"] == "lost":
        if losses < max_losses:
            return Decision("resume", "failed", event["reason"])
        return Decision("give_up", "failed", f"{event['reason']}, after {losses} losses before (max_node_losses)")
    if is_out_of_memory(event):
        if was_beside:
            return Decision("alone", "oom", f"out of memory with a batch of {batch_size}, beside other runs")
        if stage in _WITHOUT_BATCHES:
            reason = f"out of memory {_WITHOUT_BATCHES[stage]}: a smaller batch would not help"
        elif batch_size == 1:
            reason = "out of memory with a batch of 1: the model or seq_length is too large"
        elif halvings >= max_retries:
            reason = f"out of memory with a batch of {batch_size}, after {halvings} halvings"
        else:
            return Decision("halve", "oom", f"out of memory with a batch of {batch_size}")
        return Decision("give_up", "oom", reason)
    if event["event"] == "failed":
        return Decision("give_up", "failed", event["error"])
    if event["event"] == "timeout":
        minutes = f"{event['seconds'] / 60:.4g}"
        return Decision("give_up", "failed", f"ended in {stage} after run_timeout_minutes: {minutes}")
    return Decision("give_up" if crashed_before else "resume", "failed", describe_death(event))
