"""Cases of a process with an outcome that their events decide, as a table, and configs of tiny models for them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sequifier import api
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.preprocess import PreprocessConfig
from tests.support.quiet import quiet
from tests.support.shop import WriteConfig, config_writer

ACTIVITIES = ("apply", "check", "pay", "wait")
TINY_LABEL: dict[str, Any] = {
    "metadata_config_path": "configs/metadata_configs/cases.json",
    "model_name": "tiny",
    "input_columns": ["activity", "amount"],
    "target_columns": ["outcome"],
    "model_spec": {"dim_model": 8, "n_head": 2, "num_layers": 1, "dim_feedforward": 16},
    "training_spec": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
}


def cases(n: int = 120, *, seed: int = 0) -> pl.DataFrame:
    """Return cases of 1 to 8 events, whose outcome depends on how often they wait, and their total amount."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, n)
    activity = generator.integers(0, len(ACTIVITIES), lengths.sum())
    amount = generator.normal(size=lengths.sum()).round(3)
    case = np.repeat(np.arange(n), lengths)
    waits = np.bincount(case, weights=activity == ACTIVITIES.index("wait"), minlength=n)
    is_lost = generator.random(n) < 1 / (1 + np.exp(3.0 - 2.0 * waits))
    return pl.DataFrame(
        {
            "case": case,
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "activity": [ACTIVITIES[number] for number in activity],
            "amount": amount,
            "outcome": [("won", "lost")[int(lost)] for lost in is_lost[case]],
            "total": np.bincount(case, weights=amount, minlength=n)[case].round(3),
        }
    )


def preprocess_cases(root: Path, frame: pl.DataFrame | None = None, **fields: Any) -> Metadata:
    """Write a table of cases and preprocess it."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    (cases() if frame is None else frame).write_csv(root / "data" / "cases.csv")
    values = {
        "project_root": str(root),
        "data_path": str(root / "data" / "cases.csv"),
        "sequence_column": "case",
        "position_column": "step",
        "sequence_columns": ["outcome", "total"],
        "split_method": "between_sequence",
        "split_ratios": [0.5, 0.25, 0.25],
        "seq_length": 6,
    }
    return read_metadata(api.preprocess(PreprocessConfig.model_validate(values | fields), log=quiet))


def label_config(root: Path) -> WriteConfig:
    """Return a function that writes the config of a tiny model of the outcome."""
    return config_writer(root, {"project_root": str(root), **TINY_LABEL}, "train.yaml")
