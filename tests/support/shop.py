"""A small shop whose next item is predictable, configs of tiny models for it, and copies of projects."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess.pipeline import preprocess
from tests.support.quiet import quiet

N_ITEMS = 6


def shop_rows(*, n_customers: int = 40, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """Return (customer, visit, item, price): the next item is mostly the next number, the price depends on the item."""
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
    return preprocess(PreprocessConfig.model_validate(config | values), log=quiet)


def new_shop(root: Path) -> Path:
    """Write the shop into the folder `root` and preprocess it."""
    write_shop(root / "data" / "shop.csv", shop_rows())
    preprocess_shop(root)
    return root


def working_copy(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a project that several tests share; the copy is the working folder until the test ends."""
    root = tmp_path / "project"
    shutil.copytree(project, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


WriteConfig = Callable[..., Path]
"""Writes a config file; keyword arguments are laid over its defaults."""

TINY_RUN: dict[str, Any] = {
    "metadata_config_path": "configs/metadata_configs/shop.json",
    "model_name": "tiny",
    "target_columns": ["item", "price"],
    "model_spec": {"dim_model": 8, "n_head": 2, "num_layers": 1, "dim_feedforward": 16},
    "training_spec": {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "device": "cpu", "dropout": 0.1},
}
TINY_SEARCH: dict[str, Any] = {
    "metadata_config_path": "configs/metadata_configs/shop.json",
    "hp_search_name": "tune",
    "search_strategy": "grid",
    "target_columns": ["item"],
    "execution": {"devices": 1},
    "model_hyperparameter_sampling": {"dim_model": [8, 16], "n_head": [2, 4], "num_layers": 1, "dim_feedforward": 16},
    "training_hyperparameter_sampling": {"device": "cpu", "epochs": 2, "learning_rate": 0.01, "batch_size": 16},
}


def config_writer(root: Path, base: dict[str, Any], default_name: str) -> WriteConfig:
    """Return a function that writes `base`, with keyword arguments laid over it, into the configs of a project."""

    def write(name: str = default_name, **values: Any) -> Path:
        path = root / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(merged(base, values)))
        return path

    return write
