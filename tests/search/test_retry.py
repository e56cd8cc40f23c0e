"""What a failure means: a table of how attempts end."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.search.retry import Batch, Decision, decide, halved, halvings_between


def died(*, signal: int | None = None, code: int = 1, kernel_oom: bool = False, stderr: str = "") -> dict[str, Any]:
    return {"event": "died", "signal": signal, "code": code, "kernel_oom": kernel_oom, "stderr": stderr}


def failed(kind: str) -> dict[str, Any]:
    return {"event": "failed", "kind": kind, "stage": "training", "error": "why"}


def judge(event: dict[str, Any], **known: Any) -> Decision:
    usual: dict[str, Any] = {
        "stage": "training",
        "batch_size": 64,
        "halvings": 0,
        "max_retries": 3,
        "crashed_before": False,
    }
    return decide(event, **(usual | known))


@pytest.mark.parametrize(
    ("event", "known", "action", "state"),
    [
        (failed("oom"), {}, "halve", "oom"),
        (failed("oom"), {"stage": "validation"}, "halve", "oom"),
        (failed("oom"), {"stage": "load"}, "give_up", "oom"),
        (failed("oom"), {"stage": "export"}, "give_up", "oom"),
        (failed("oom"), {"halvings": 3}, "give_up", "oom"),
        (failed("oom"), {"batch_size": 1}, "give_up", "oom"),
        (failed("error"), {}, "give_up", "failed"),
        (died(signal=9, kernel_oom=True), {}, "halve", "oom"),
        (died(signal=6, stderr="memory allocation of 4096 bytes failed\n"), {}, "halve", "oom"),
        (
            died(code=1, stderr="libgomp: Thread creation failed: Resource temporarily unavailable\n"),
            {},
            "halve",
            "oom",
        ),
        (died(signal=9), {}, "resume", "failed"),
        (died(signal=11), {}, "resume", "failed"),
        (died(signal=11), {"crashed_before": True}, "give_up", "failed"),
        (died(code=3), {"crashed_before": True}, "give_up", "failed"),
    ],
)
def test_only_out_of_memory_halves_the_batch(
    event: dict[str, Any], known: dict[str, Any], action: str, state: str
) -> None:
    decision = judge(event, **known)
    assert (decision.action, decision.state) == (action, state)
    assert decision.reason


def test_a_crash_is_described_by_its_signal_and_last_words() -> None:
    decision = judge(died(signal=11, stderr="boom\nsegmentation fault\n"), crashed_before=True)
    assert decision.reason == "the worker died (SIGSEGV): segmentation fault"


@given(batch=st.integers(2, 5000), accumulation=st.integers(1, 8))
def test_halving_keeps_the_windows_of_a_step(batch: int, accumulation: int) -> None:
    before = Batch(batch, accumulation)
    after = halved(before, keep_effective=True)
    step = after.effective_batch_size or after.batch_size * after.accumulation_steps
    assert step == batch * accumulation
    assert after.batch_size == (batch + 1) // 2
    assert -(-step // after.accumulation_steps) <= after.batch_size, "no part is larger than the new batch"


def test_a_batch_of_25_becomes_two_of_13_and_12() -> None:
    assert halved(Batch(25, 1), keep_effective=True) == Batch(13, 2, 25)


def test_halving_alone_is_what_v1_did() -> None:
    assert halved(Batch(25, 2), keep_effective=False) == Batch(12, 2, None)


@given(planned=st.integers(1, 5000), times=st.integers(0, 6))
def test_halvings_are_counted_back(planned: int, times: int) -> None:
    batch = Batch(planned, 1)
    done = 0
    for _ in range(times):
        if batch.batch_size > 1:
            batch = halved(batch, keep_effective=True)
            done += 1
    assert halvings_between(planned, batch.batch_size) == done
