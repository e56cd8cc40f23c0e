"""Searches to analyse: a wide synthetic one, and a small real one."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.browser import chromium
from tests.support.command_line import command
from tests.support.shop import TINY_SEARCH, merged
from tests.support.synthetic_search import write_search

STATES = {5: "pruned", 11: "failed", 17: "oom", 23: "diverged", 29: "pruned"}


@pytest.fixture(scope="session")
def wide_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 runs over six settings, some of which did not finish."""
    root = tmp_path_factory.mktemp("wide")
    write_search(root, n_runs=60, epochs=12, states=STATES)
    return root


@pytest.fixture(scope="session")
def wide(wide_project: Path) -> Table:
    return read_search(str(wide_project / "logs" / "wide"))


@pytest.fixture(scope="session")
def real_project(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search: two feature sets, two learning rates, two seeds of each."""
    root = tmp_path_factory.mktemp("real") / "shop"
    shutil.copytree(_shop, root)
    config = merged(
        TINY_SEARCH,
        {
            "input_columns": [["item"], ["item", "price"]],
            "repeats": 2,
            "model_hyperparameter_sampling": {"dim_model": 8, "n_head": 2},
            "training_hyperparameter_sampling": {"epochs": 3, "learning_rate": [0.01, 0.001]},
        },
    )
    path = root / "configs" / "hyperparameter_search.yaml"
    path.write_text(yaml.safe_dump(config))
    subprocess.run(command("hyperparameter-search", "--yes", "--quiet"), cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver
