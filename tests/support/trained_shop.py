"""Short calls: train and predict in a shop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sequifier import api
from sequifier.artifacts.events import Events
from sequifier.config.inference import InferConfig
from sequifier.config.train import TrainConfig
from sequifier.inference.predict import Inference
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged


def train(root: Path, **values: Any) -> None:
    """Train a tiny model for one epoch; keyword arguments are laid over its config."""
    base = {"project_root": str(root), "training_spec": {"epochs": 1}}
    config = TrainConfig.model_validate(merged(merged(TINY_RUN, base), values))
    api.train(config, emit=quiet)


def new_rows(n_customers: int = 4, n_visits: int = 12) -> list[tuple[str, int, str, float]]:
    """Return rows of customers that the training data do not have."""
    return [
        (f"n{customer}", visit, f"item{(visit * 2 + customer) % 6}", 10.0 + visit % 7)
        for customer in range(n_customers)
        for visit in range(n_visits)
    ]


def model(name: str, which: str = "best") -> str:
    return f"models/sequifier-{name}-{which}-1.onnx"


def infer(path: str | list[str], lines: list[str] | None = None, **values: Any) -> list[Inference]:
    """Predict, and append the log to `lines`."""
    config = InferConfig.model_validate({"model_path": path, "device": "cpu"} | values)
    return api.infer(config, log=(lines if lines is not None else []).append)


def no_raw(path: Path, file: object, future: Path | None) -> Iterator[Events]:
    """An encoder of raw rows for an inference that must not need one."""
    raise AssertionError(f"{path} is not raw")
