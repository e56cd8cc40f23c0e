"""A preprocessed shop in a folder of its own for each test that wants it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from tests.support.shop import TINY_RUN, TINY_SEARCH, WriteConfig, merged, preprocess_shop, shop_rows, write_shop

pytest_plugins = ["tests.support.time_limit"]

settings.register_profile("sequifier", deadline=None)  # a machine that is busy with other things is not a fault
settings.load_profile("sequifier")


@pytest.fixture(scope="session")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    write_shop(root / "data" / "shop.csv", shop_rows())
    preprocess_shop(root)
    return root


@pytest.fixture
def shop(_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a preprocessed shop; it is the working folder."""
    root = tmp_path / "project"
    shutil.copytree(_shop, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def train_config(shop: Path) -> WriteConfig:
    """Writes a train.yaml of a tiny model into the shop; keyword arguments are laid over it."""

    def write(name: str = "train.yaml", **values: Any) -> Path:
        path = shop / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(merged(TINY_RUN, values)))
        return path

    return write


@pytest.fixture
def search_config(shop: Path) -> WriteConfig:
    """Writes a search of two tiny models into the shop; keyword arguments are laid over it."""

    def write(name: str = "hyperparameter_search.yaml", **values: Any) -> Path:
        path = shop / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(merged(TINY_SEARCH, values)))
        return path

    return write
