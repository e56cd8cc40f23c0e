"""A time limit for every test: past it the stacks of all threads are printed and the test run fails.

A thread of faulthandler does it, in C: it needs no lock of the interpreter, so a call into a library that never
returns is found whether it holds that lock or not. Nothing can make such a call return, so the process of the test ends
there; the stacks name the test. That process is the whole test run, or one worker of pytest-xdist: xdist reports the
test as failed and starts another worker for the rest.
"""

import faulthandler
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

FAST_SECONDS, SLOW_SECONDS = 900.0, 7200.0
"""Far above the slowest test of each kind, also on a machine that is busy with other things."""

_stderr = pytest.StashKey[int]()
_worker_died = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast-limit", type=float, default=FAST_SECONDS, help="seconds of a test")
    parser.addoption("--slow-limit", type=float, default=SLOW_SECONDS, help="seconds of a test that is marked slow")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_stderr] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)  # nothing is captured yet


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_stderr])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fixtures and their end count too."""
    is_slow = item.get_closest_marker("slow") is not None
    seconds = item.config.getoption("--slow-limit" if is_slow else "--fast-limit")
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Remember that a worker died: between two tests, xdist alone would replace it and report no failure."""
    if error:
        node.config.stash[_worker_died] = True


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(_worker_died, False) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
