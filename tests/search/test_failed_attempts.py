"""What a failure means: a table of how attempts end."""

from typing import Any

import pytest

from sequifier.search.failures import Decision, decide, is_shared


def died(
    *,
    signal: int | None = None,
    code: int = 1,
    kernel_oom: bool = False,
    stderr: str = "",
    silent_seconds: float | None = None,
) -> dict[str, Any]:
    values = {"signal": signal, "code": code, "kernel_oom": kernel_oom, "stderr": stderr}
    return {"event": "died", "silent_seconds": silent_seconds, **values}


TIMEOUT: dict[str, Any] = {"event": "timeout", "seconds": 90.0}
WORDS = [
    "memory allocation of 4096 bytes failed\n",
    "libgomp: Thread creation failed: Resource temporarily unavailable\n",
    "libgomp: Out of memory allocating 4096 bytes\n",
    "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory\n",
    "[E:onnxruntime] Failed to allocate memory for requested buffer of size 1024\n",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
    "OSError: [Errno 12] Cannot allocate memory\n",
    "MemoryError\n",
]


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
        (failed("oom"), {"max_retries": 0}, "give_up", "oom"),
        (failed("error"), {}, "give_up", "failed"),
        *((died(signal=6, stderr=words), {}, "halve", "oom") for words in WORDS),
        *((died(code=1, stderr=words), {"stage": "export"}, "give_up", "oom") for words in WORDS[:2]),
        (died(signal=6, stderr=WORDS[0] + "another line\n" * 9), {}, "resume", "failed"),
        (died(signal=9, kernel_oom=True), {}, "halve", "oom"),
        (died(signal=9, kernel_oom=True), {"stage": "load"}, "give_up", "oom"),
        (died(signal=11, kernel_oom=True), {}, "resume", "failed"),
        (died(signal=9), {}, "resume", "failed"),
        (died(signal=9), {"crashed_before": True}, "give_up", "failed"),
        (died(signal=11), {}, "resume", "failed"),
        (died(signal=11), {"crashed_before": True}, "give_up", "failed"),
        (died(signal=11), {"stage": "load"}, "resume", "failed"),
        (died(code=3), {}, "resume", "failed"),
        (died(code=3), {"crashed_before": True}, "give_up", "failed"),
        (died(signal=9, silent_seconds=60.2), {}, "resume", "failed"),
        (died(signal=9, silent_seconds=60.2, kernel_oom=True, stderr=WORDS[0]), {}, "resume", "failed"),
        (died(signal=9, silent_seconds=60.2), {"crashed_before": True}, "give_up", "failed"),
        (TIMEOUT, {}, "give_up", "failed"),
        (TIMEOUT, {"stage": "load", "batch_size": 1}, "give_up", "failed"),
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


def test_a_silent_worker_differs_from_one_that_takes_too_long() -> None:
    silent = judge(died(signal=9, silent_seconds=60.2), crashed_before=True)
    assert silent.reason == "the worker gave no sign of life for 60 s, so it was ended"
    assert judge(TIMEOUT).reason == "ended in training after run_timeout_minutes: 1.5"


def test_a_signal_without_a_name_is_described_all_the_same() -> None:
    assert judge(died(signal=40), crashed_before=True).reason == "the worker died (signal 40)"


def test_a_device_that_others_have_filled_ends_the_search_but_one_that_its_runs_share_does_not() -> None:
    full = failed("full") | {"stage": "load"}
    assert is_shared(full)
    assert not is_shared(full, was_beside=True)
    assert judge(full, stage="load", was_beside=True).action == "alone"
    assert is_shared(failed("shared")) and is_shared(failed("shared"), was_beside=True)
    assert not is_shared(failed("oom")) and not is_shared(died(signal=9))
