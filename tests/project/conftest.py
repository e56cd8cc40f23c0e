"""Pilots of these tests measure nothing: their time depends on the machine."""

import pytest

from sequifier.project import from_table
from sequifier.project.pilot import Pilot


@pytest.fixture(autouse=True)
def _no_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_table, "measure", lambda *of_model: Pilot(0.004, 0.0001, "cpu"))
