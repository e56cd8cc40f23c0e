"""Normalized windows, from a table through training and search to metrics, predictions and graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.resolve import resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.export.parity import open_session
from sequifier.prepare import prepare
from sequifier.search.optimizer_steps import StepCounter
from sequifier.search.planner import Planner
from sequifier.training.shared import Shared
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, TINY_SEARCH, merged, preprocess_shop, working_copy, write_shop
from tests.support.trained_shop import infer

METADATA = Path("configs/metadata_configs/shop.json")
KINDS = ("none", "last", "mean_std")


def walks(n_customers: int = 8, n_visits: int = 24, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """Random walks, each around a level of its own; later customers have levels that no earlier one had."""
    draw = np.random.default_rng(seed)
    rows = []
    for customer in range(n_customers):
        prices = 20.0 * customer + np.cumsum(draw.normal(size=n_visits))
        rows += [(f"c{customer:02d}", visit, f"item{visit % 3}", price) for visit, price in enumerate(prices.tolist())]
    return rows


def config(kind: str, **values: Any) -> TrainConfig:
    base: dict[str, Any] = {"model_name": kind, "window_normalization": kind, "target_columns": ["price", "item"]}
    base |= {"export_end_to_end": True, "export_pt": True}
    base["training_spec"] = {"epochs": 1, "dropout": 0.0}
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), {"project_root": ".", **values}))


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walks")
    write_shop(root / "data" / "shop.csv", walks())
    preprocess_shop(root, split_method="between_sequence", split_order="file", split_ratios=[0.75, 0.25])
    for kind in KINDS:
        api.train(config(kind, project_root=str(root)), emit=quiet)
    return root


@pytest.fixture
def trained(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the project with its models the working folder."""
    working_copy(_trained, tmp_path, monkeypatch)


def model(kind: str, ending: str = "onnx", which: str = "best") -> str:
    return f"models/sequifier-{kind}-{which}-1.{ending}"


def raw_prediction(kind: str, prices: Any) -> float:
    """The next price after a window of prices, by the graph that takes raw values."""
    session = open_session(Path(model(kind, which="best-end-to-end")).read_bytes())
    items = np.array([[f"item{step % 3}" for step in range(8)]], object)
    feed = {"item": items, "price": np.array([prices], np.float32), "n_events": np.array([8])}
    (value,) = session.run(["price_value"], feed)
    return float(value[0, 0])


PRICES = 100 + np.random.default_rng(1).normal(size=8)


@pytest.mark.parametrize("kind", ["last", "mean_std"])
def test_a_shifted_window_has_the_shifted_forecast(trained: None, kind: str) -> None:
    found = raw_prediction(kind, PRICES)
    assert raw_prediction(kind, PRICES + 37) == pytest.approx(found + 37, abs=1e-3)
    assert raw_prediction("none", PRICES + 37) != pytest.approx(raw_prediction("none", PRICES) + 37, abs=1)


def test_a_scaled_window_has_the_scaled_forecast_with_mean_std(trained: None) -> None:
    expected = 100 + 5 * (raw_prediction("mean_std", PRICES) - 100)
    assert raw_prediction("mean_std", 100 + 5 * (PRICES - 100)) == pytest.approx(expected, abs=1e-2)
    last = 100 + 5 * (raw_prediction("last", PRICES) - 100)
    assert raw_prediction("last", 100 + 5 * (PRICES - 100)) != pytest.approx(last, abs=1e-2)


def test_levels_that_no_training_sequence_had_are_forecast(trained: None) -> None:
    rmse = {kind: read_model_file(Path(model(kind))).metrics["val_price_rmse"] for kind in KINDS}
    assert max(rmse["last"], rmse["mean_std"]) < 10 < 30 < rmse["none"], rmse


@pytest.mark.parametrize("kind", ["last", "mean_std"])
def test_both_files_predict_what_training_evaluated(trained: None, kind: str) -> None:
    arguments = {"data_path": "data/shop-split1.parquet", "evaluation_context": "full", "evaluate": True}
    predicted = []
    for ending in ("onnx", "pt"):
        (found,) = infer(model(kind, ending), **arguments)
        predicted.append(pl.read_csv(found.predictions).sort("sequenceId", "itemPosition"))
        stored = read_model_file(Path(model(kind))).metrics
        assert found.evaluation["price"]["rmse"] == pytest.approx(stored["val_price_rmse"], rel=1e-4)
        assert found.evaluation["item"]["accuracy"] == pytest.approx(stored["val_item_accuracy"], abs=1e-6)
    np.testing.assert_allclose(predicted[0]["price"], predicted[1]["price"], rtol=1e-4)
    assert len(predicted[0]) == 2 * 23, "every event with a predecessor"


@pytest.mark.parametrize("kind", ["last", "mean_std"])
def test_each_generated_event_follows_from_the_window_before_it(trained: None, kind: str) -> None:
    """A caller who feeds the predictions of the raw graph back to it gets the same."""
    prices, items = PRICES.tolist(), [f"item{step % 3}" for step in range(8)]
    write_shop(Path("data/new.csv"), [("n", step, items[step], prices[step]) for step in range(8)])
    new = {"read_format": "raw", "data_path": "data/new.csv"}
    (found,) = infer(model(kind), **new, autoregression=True, autoregression_extra_steps=3)
    session = open_session(Path(model(kind, which="best-end-to-end")).read_bytes())
    for row in pl.read_csv(found.predictions).iter_rows(named=True):
        feed = {"item": np.array([items[-8:]], object), "price": np.array([prices[-8:]], np.float32)}
        label, value = session.run(["item_label", "price_value"], feed | {"n_events": np.array([8])})
        assert value[0, 0] == pytest.approx(row["price"], abs=1e-2)
        items.append(label[0, 0])
        prices.append(value[0, 0])
    assert len(items) == 11


def test_all_kinds_have_the_same_targets_and_a_search_counts_their_steps(trained: None) -> None:
    metadata = read_metadata(METADATA)
    for kind in KINDS:
        run = config(kind, training_spec={"scheduler_step_on": "batch"})
        ready = prepare(run, Shared())
        assert StepCounter(metadata)(resolve(run, metadata)) == ready.config.training_spec.optimizer_steps(
            len(ready.train)
        )
        assert ready.config.window_stride == (8 if kind == "none" else 1)
        assert len(ready.train) == (6 * 3 if kind == "none" else 6 * 23)
        assert ready.valid.windows.n_targets == 2 * 23


def search(**values: Any) -> SearchConfig:
    given = merged(TINY_SEARCH, {"project_root": ".", "target_columns": ["price"], **values})
    return SearchConfig.model_validate(given)


def test_a_search_tries_each_kind_with_its_own_stride(trained: None) -> None:
    model = {"dim_model": 8, "n_head": 2}
    runs = Planner(search(window_normalization=[*KINDS], model_hyperparameter_sampling=model)).plan(()).runs
    assert {(run.config.window_normalization, run.config.window_stride) for run in runs} == {
        *(("none", 8), ("last", 1), ("mean_std", 1)),
    }
    assert len({run.identity for run in runs}) == 3


def test_a_search_that_mixes_it_with_several_predictions_is_refused_at_their_places(trained: None) -> None:
    sampling = {"dim_model": 8, "n_head": 2, "prediction_length": 3}
    with pytest.raises(ConfigError) as error:
        Planner(search(window_normalization=["none", "last"], model_hyperparameter_sampling=sampling)).plan(())
    (problem,) = error.value.problems
    assert problem.key == "model_hyperparameter_sampling.prediction_length"
    assert "3 does not fit window_normalization: last" in problem.message
