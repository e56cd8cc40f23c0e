"""The number of threads that torch computes with."""

import os
import threading

import torch

from sequifier.errors import ConfigError, Problem

_started = 1
"""The largest number of threads that this process has had: OpenMP keeps its threads."""


def set_threads(cpu_threads: int | None) -> None:
    """Set the number of torch's threads. `train` and workers both call this, and nothing else sets it.

    Args:
        cpu_threads: number of threads; None is one for each processor.

    Raises:
        ConfigError: the system does not allow this process that number of threads; OpenMP would abort it.
    """
    global _started
    wanted = cpu_threads or os.cpu_count() or 1
    found = _started + _can_start(wanted - _started)
    if found < wanted:
        problem = Problem(
            "cpu_threads",
            f"{wanted} threads cannot be started here, only {found}",
            fix="set cpu_threads to a smaller number, or raise the limit (ulimit -u, ulimit -v, the container's)",
        )
        wrong = ConfigError([problem])
        wrong.is_shared = True
        raise wrong
    _started = max(_started, wanted)
    torch.set_num_threads(wanted)


def _can_start(count: int) -> int:
    """Return how many more threads can be started, at most `count`. All of them end before it returns."""
    end = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError):  # can't start new thread
        pass
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return len(threads)
