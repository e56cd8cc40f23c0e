"""A small shop whose next item can be guessed, preprocessed once and copied for each test that wants it."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess.pipeline import preprocess

N_ITEMS = 6


def shop_rows(*, n_customers: int = 40, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """(customer, visit, item, price): the next item is mostly the one after, prices follow items."""
    draw = random.Random(seed)
    rows = []
    for customer in range(n_customers):
        item = draw.randrange(N_ITEMS)
        for visit in range(draw.randint(12, 60)):
            item = (item + draw.choice([1, 1, 1, 2])) % N_ITEMS
            rows.append((f"c{customer:02d}", visit, f"item{item}", 10 + item + draw.gauss(0, 1)))
    return rows


def write_shop(path: Path, rows: list[tuple[str, int, str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{customer},{visit},{item},{price:.4f}" for customer, visit, item, price in rows]
    path.write_text("\n".join(["customer,visit,item,price", *lines]) + "\n")


def preprocess_shop(root: Path, **values: Any) -> Path:
    config = {
        "project_root": str(root),
        "data_path": str(root / "data" / "shop.csv"),
        "sequence_column": "customer",
        "position_column": "visit",
        "seq_length": 8,
    }
    return preprocess(PreprocessConfig.model_validate(config | values), report=lambda line: None)


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


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


WriteConfig = Callable[..., Path]


@pytest.fixture
def train_config(shop: Path) -> WriteConfig:
    """Writes a train.yaml of a tiny model into the shop; keyword arguments are laid over it."""

    def write(name: str = "train.yaml", **values: Any) -> Path:
        tiny = {
            "metadata_config_path": "configs/metadata_configs/shop.json",
            "model_name": "tiny",
            "target_columns": ["item", "price"],
            "model_spec": {"dim_model": 8, "n_head": 2, "num_layers": 1, "dim_feedforward": 16},
            "training_spec": {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "device": "cpu", "dropout": 0.1},
        }
        path = shop / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(merged(tiny, values)))
        return path

    return write


@pytest.fixture
def search_config(shop: Path) -> WriteConfig:
    """Writes a search of two tiny models into the shop; keyword arguments are laid over it."""

    def write(name: str = "hyperparameter_search.yaml", **values: Any) -> Path:
        tiny = {
            "metadata_config_path": "configs/metadata_configs/shop.json",
            "hp_search_name": "tune",
            "search_strategy": "grid",
            "target_columns": ["item"],
            "model_hyperparameter_sampling": {
                "dim_model": [8, 16],
                "n_head": [2, 4],
                "num_layers": 1,
                "dim_feedforward": 16,
            },
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": 2,
                "learning_rate": 0.01,
                "batch_size": 16,
            },
        }
        path = shop / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(merged(tiny, values)))
        return path

    return write
