"""Forecasts of several steps, from a table to metrics and graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import torch

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.export.parity import open_session
from sequifier.prepare import Prepared, Shared, prepare
from sequifier.run_record import RunResult
from sequifier.search.optimizer_steps import StepCounter
from sequifier.training.evaluate import evaluate
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop, working_copy, write_shop

METADATA = Path("configs/metadata_configs/shop.json")
H, T = 5, 8


def series(n_customers: int = 3, n_visits: int = 80, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """Rows of customers whose price is a wave with noise; a customer has as many rows as the others."""
    draw = np.random.default_rng(seed)
    return [
        (f"c{customer}", visit, f"item{visit % 3}", 50 + 10 * np.sin(visit / 2 + customer) + draw.normal())
        for customer in range(n_customers)
        for visit in range(n_visits)
    ]


def config(**values: Any) -> TrainConfig:
    base: dict[str, Any] = {"model_name": "wave", "prediction_horizon": H, "export_end_to_end": True}
    base |= {"metric": "val_price_mse_standardised_step_2", "window_stride": 2}
    base["training_spec"] = {"dropout": 0.0}
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), {"project_root": "."} | values))


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    root = tmp_path_factory.mktemp("waves")
    write_shop(root / "data" / "shop.csv", series())
    preprocess_shop(root, split_method="within_sequence", split_ratios=[0.6, 0.2, 0.2])
    return root, api.train(config(project_root=str(root)), emit=quiet)


@pytest.fixture
def trained(_trained: tuple[Path, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """The result of the training; its project is the working folder."""
    working_copy(_trained[0], tmp_path, monkeypatch)
    return _trained[1]


def test_every_origin_of_the_validation_split_is_evaluated(trained: RunResult) -> None:
    assert trained.n_targets == {"item": 3 * (16 - H + 1), "price": 3 * (16 - H + 1)}
    steps = [trained.metrics[f"val_price_mse_standardised_step_{step}"] for step in range(1, H + 1)]
    assert trained.metrics["val_price_mse_standardised"] == pytest.approx(np.mean(steps), rel=1e-12)
    std = read_metadata(METADATA).scale("price").std
    assert trained.metrics["val_price_mae"] == pytest.approx(trained.metrics["val_price_mae_standardised"] * std)
    assert trained.curve[-1] == min(trained.curve), "the price is predictable"


def test_the_exported_graphs_forecast_every_step_in_their_own_units(trained: RunResult) -> None:
    """The graph on encoded windows, and the one on raw values, against the metrics of the training."""
    scale = read_metadata(METADATA).scale("price")
    rows = pl.read_csv("data/shop.csv").partition_by("customer", maintain_order=True)
    raw = open_session(Path("models/sequifier-wave-best-end-to-end-3.onnx").read_bytes())
    encoded = open_session(Path("models/sequifier-wave-best-3.onnx").read_bytes())
    assert {value.name: value.shape for value in encoded.get_outputs()} == {
        "price_value": ["batch", 1, H],
        "item_probabilities": ["batch", 1, H, 4],
        "item_id": ["batch", 1, H],
    }
    squares = []
    for of_customer in rows:
        price, item = of_customer["price"].to_numpy(), of_customer["item"].to_list()
        for origin in range(47, 64 - H):  # the validation split is rows 48 to 63
            window = slice(origin + 1 - T, origin + 1)
            feed: dict[str, Any] = {"n_events": np.array([T]), "item": np.array([item[window]], object)}
            feed["price"] = price[window].astype(np.float32)[None]
            value, labels = raw.run(["price_value", "item_label"], feed)
            assert labels.shape == (1, 1, H)
            truth = price[origin + 1 : origin + 1 + H]
            squares.append(((value[0, 0] - truth) / scale.std) ** 2)
            ids = np.array([[int(name[-1]) + 1 for name in item[window]]])
            feed |= {"item": ids, "price": scale.standardised(price[window]).astype(np.float32)[None]}
            (of_encoded,) = encoded.run(["price_value"], feed)
            np.testing.assert_allclose(scale.original(of_encoded[0, 0]), value[0, 0], rtol=1e-4)
    by_step = np.mean(squares, axis=0)
    # Evaluation windows of training show from half a window on; here each window is full.
    full = prepare(config(training_spec={"evaluation_stride": 1}), Shared())
    metrics = evaluated(full)
    for step in range(H):
        assert metrics[f"val_price_mse_standardised_step_{step + 1}"] == pytest.approx(by_step[step], rel=1e-4)


def evaluated(ready: Prepared) -> dict[str, float]:
    """The metrics of the exported weights on the validation split of a prepared run."""
    graph = onnx.load("models/sequifier-wave-best-3.onnx").graph
    ready.state.model.load_state_dict(
        {weight.name: torch.tensor(onnx.numpy_helper.to_array(weight)) for weight in graph.initializer}
    )
    return evaluate(ready.state.model, ready.valid, ready.objective, batch_size=16).metrics


def test_the_model_file_has_the_metrics_of_each_step(trained: RunResult) -> None:
    file = read_model_file(Path("models/sequifier-wave-best-3.onnx"))
    assert file.architecture.horizon == H
    assert file.metrics["val_price_mse_standardised_step_2"] == min(trained.curve)


def test_a_search_counts_the_steps_of_runs_with_a_horizon(trained: RunResult) -> None:
    metadata = read_metadata(METADATA)
    for normalization in ("none", "last"):
        run = config(window_normalization=normalization, training_spec={"scheduler_step_on": "batch"})
        ready = prepare(run, Shared())
        assert StepCounter(metadata)(resolve(run, metadata)) == ready.config.training_spec.optimizer_steps(
            len(ready.train)
        )
        assert ready.valid.windows.n_targets == 3 * (16 - H + 1)


def test_a_horizon_longer_than_every_sequence_is_refused(trained: RunResult) -> None:
    with pytest.raises(ConfigError, match="17 leaves the validation split without a target: at most 16 events follow"):
        prepare(config(prediction_horizon=17, metric="val_loss"), Shared())
    with pytest.raises(ConfigError, match="48 leaves the training split without a target: at most 47 events follow"):
        same = {"validation_data_path": "data/shop-split0.parquet"}
        prepare(config(prediction_horizon=48, metric="val_loss", **same), Shared())
    with pytest.raises(ConfigError, match="143 steps are more than any sequence of the training split has"):
        prepare(config(prediction_horizon=143, metric="val_loss"), Shared())
