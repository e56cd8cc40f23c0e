"""Small tables and a project to preprocess them in."""

from pathlib import Path

import polars as pl
import pytest

from tests.support.small_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def events() -> pl.DataFrame:
    """Three sequences of 10, 7 and 5 events: text, integer, boolean and real columns."""
    lengths = {11: 10, 5: 7, 8: 5}
    n = sum(lengths.values())
    return pl.DataFrame(
        {
            "sequenceId": [sequence for sequence, length in lengths.items() for _ in range(length)],
            "itemPosition": [step for length in lengths.values() for step in range(length)],
            "kind": [("b", "a", "d", "c")[i * i % 4 if i % 3 else 3] for i in range(n)],
            "code": [(7 * i) % 5 - 2 for i in range(n)],
            "is_new": [i % 3 == 0 for i in range(n)],
            "price": [100.0 + (i * 37 % 11) / 4 for i in range(n)],
        }
    )
