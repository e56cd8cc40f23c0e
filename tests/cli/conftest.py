"""The command line in this process."""

from functools import partial

import pytest

from tests.support.command_line import Run, run_here


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `sequifier WORDS...`."""
    return partial(run_here, monkeypatch, capfd)
