"""A preprocessed shop, as the working folder of each test that uses it, and configs for it."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from sequifier.execution.threads import SPINS_BESIDE_OTHERS, spinning
from tests.support.shop import TINY_RUN, TINY_SEARCH, WriteConfig, config_writer, new_shop, working_copy

pytest_plugins = ["tests.support.time_limit"]

# Without bytecode on disk, each of the hundreds of processes that tests start would compile the package again, and each
# process of pytest would rewrite all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Before torch is loaded: several processes of pytest share the processors, and threads that spin while they wait for
# each other make a training many times slower there.
os.environ.update(spinning(SPINS_BESIDE_OTHERS))

# No deadline: a machine that is busy with other things is not a fault.
settings.register_profile("sequifier", deadline=None, derandomize=True)  # a commit passes everywhere or nowhere
settings.register_profile("explore", deadline=None)  # `pytest --hypothesis-profile=explore` tries other examples
settings.load_profile("sequifier")


@pytest.fixture(scope="session")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a preprocessed shop; it is the working folder."""
    return working_copy(_shop, tmp_path, monkeypatch)


@pytest.fixture
def train_config(shop: Path) -> WriteConfig:
    """Writes a train.yaml of a tiny model into the shop; keyword arguments are laid over it."""
    return config_writer(shop, TINY_RUN, "train.yaml")


@pytest.fixture
def search_config(shop: Path) -> WriteConfig:
    """Writes a search of two tiny models, one after the other, into the shop; keyword arguments are laid over it."""
    return config_writer(shop, TINY_SEARCH, "hyperparameter_search.yaml")
