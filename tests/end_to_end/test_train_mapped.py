"""Where the events are kept changes no result: in memory or on disk, whatever the format."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.run import run
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import WriteConfig, preprocess_shop


def log_of(root: Path) -> str:
    return (root / "logs" / "tiny" / "latest" / "experiment_log.txt").read_text()


def test_every_way_to_hold_the_events_gives_the_same_run(shop: Path, train_config: WriteConfig) -> None:
    """Training, validation and the baselines, to the last bit."""
    curves: dict[str, list[Any]] = {}
    for format in ("parquet", "csv", "arrow", "pt"):
        shutil.rmtree(shop / "data" / "splits", ignore_errors=True)
        preprocess_shop(shop, write_format=format, merge_output=format != "pt", batches_per_file=9)
        for mapped in (False, True):
            spec = {"epochs": 2, "load_full_data_to_ram": not mapped, "num_workers": 2 * mapped, "batch_size": 7}
            result = train(train_config(training_spec=spec))
            curves[f"{format} {'mapped' if mapped else 'in memory'}"] = [
                *(result.curve, result.metrics, result.baselines, result.n_targets)
            ]
    assert len(curves) == 8
    for name, curve in curves.items():
        assert curve == curves["parquet in memory"], name
    copies = sorted(path.name.split(".mapped")[0] for path in (shop / "data").rglob("*.mapped-*.arrow"))
    assert copies == [f"shop-split{n}{ending}" for n in (0, 1) for ending in ("", ".csv", ".parquet")]


@pytest.mark.parametrize("context", ["full", "split"])
def test_more_than_max_ram_gb_is_mapped_and_reported(shop: Path, train_config: WriteConfig, context: str) -> None:
    spec = {"epochs": 1, "evaluation_context": context}
    small = train(train_config(training_spec=spec | {"max_ram_gb": 1.0}))
    assert "mapped" not in log_of(shop)
    assert not list((shop / "data").rglob("*.mapped-*.arrow"))
    large = train(train_config(training_spec=spec | {"max_ram_gb": 1e-5}))
    (line,) = [line for line in log_of(shop).splitlines() if "max_ram_gb is" in line]
    assert "warning: reading the splits would take about 0.000113 GB" in line
    assert "max_ram_gb is 1e-05: they are mapped from disk instead, which changes no result" in line
    assert len(list((shop / "data").rglob("*.mapped-*.arrow"))) == 2
    assert large.curve == small.curve


def test_a_mapped_run_is_interrupted_and_resumed(shop: Path, train_config: WriteConfig) -> None:
    spec = {"epochs": 3, "load_full_data_to_ram": False}
    whole = train(train_config(training_spec=spec))
    config = load(TrainConfig, train_config(training_spec=spec, model_name="again")).config
    asked = iter([False, True])
    first = run(config, emit=quiet, should_stop=lambda: next(asked))
    assert first.ended == "interrupted"
    # Where the events are kept is no part of what a checkpoint must agree with.
    in_memory = {"epochs": 3, "load_full_data_to_ram": True}
    second = train(train_config(training_spec=in_memory, model_name="again"))
    assert second.curve == whole.curve
