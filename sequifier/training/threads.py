"""How many threads torch computes with."""

import os
import threading

import torch

from sequifier.errors import ConfigError, Problem

_started = 1
"""As many as this process has had at once: OpenMP keeps its own."""


def set_threads(cpu_threads: int | None) -> None:
    """Set the threads of torch: the one place, for `train` and for workers alike.

    Args:
        cpu_threads: how many; None is one for each processor.

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
            fix="set cpu_threads to a smaller number, or raise the limit (ulimit -u, ulimit -v, that of the container)",
        )
        wrong = ConfigError([problem])
        wrong.is_shared = True
        raise wrong
    _started = max(_started, wanted)
    torch.set_num_threads(wanted)


def _can_start(count: int) -> int:
    """How many further threads can be started, up to `count`; none is left behind."""
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
