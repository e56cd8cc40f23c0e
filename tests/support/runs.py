"""Short calls: train from a config file, read a ledger."""

from pathlib import Path
from typing import Any

from sequifier import api
from sequifier.artifacts.ledger import Record, latest_by_run, read_ledger
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.run import run
from sequifier.run_record import RunResult
from tests.support.quiet import quiet


def train(path: Path, **options: Any) -> RunResult:
    """Train from a config file, without output unless `emit` is given."""
    return api.train(load(TrainConfig, path).config, **({"emit": quiet} | options))


def trained_alone(root: Path, number: int, name: str = "tune") -> RunResult:
    """Train a run of a search from its file, in this process and under another name."""
    config = load(TrainConfig, root / f"configs/hp_search/{name}-run-{number}.yaml").config
    return run(config.model_copy(update={"model_name": f"alone-{number}"}), emit=quiet, resume="never")


def latest(root: Path, name: str = "tune") -> dict[int, Record]:
    """Return the last record of each run of a search in the project `root`."""
    return latest_by_run(read_ledger(root / "logs" / name))
