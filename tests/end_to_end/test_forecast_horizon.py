"""Forecasts of several steps, from a table to metrics and graphs."""

import io
import shutil
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import torch
import yaml

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.resolve import resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, ModelError
from sequifier.export.parity import open_session
from sequifier.prepare import Prepared, prepare
from sequifier.run_record import RunResult
from sequifier.search.optimizer_steps import StepCounter
from sequifier.search.planner import Planner
from sequifier.training.evaluate import evaluate
from sequifier.training.shared import Shared
from tests.support.command_line import sequifier
from tests.support.node import install_onnxruntime_node, run_outside
from tests.support.quiet import quiet
from tests.support.runs import latest
from tests.support.shop import TINY_RUN, merged, preprocess_shop, working_copy, write_shop
from tests.support.trained_shop import infer

MODEL = "models/sequifier-wave-best-3.onnx"
RAW_MODEL = "models/sequifier-wave-best-end-to-end-3.onnx"
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
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
    base |= {"export_pt": True, "metric": "val_price_mse_standardised_step_2", "window_stride": 2}
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


def test_infer_forecasts_from_every_origin_as_training_did(trained: RunResult) -> None:
    for ending in ("onnx", "pt"):
        model, lines = f"models/sequifier-wave-best-3.{ending}", list[str]()
        (found,) = infer(model, lines, data_path="data/shop-split1.parquet")
        table = pl.read_csv(found.predictions)
        assert table.columns == ["sequenceId", "originPosition", "forecastStep", "itemPosition", "item", "price"]
        assert len(table) == 3 * (16 - H + 1) * H == found.n_predictions
        assert f"  {H} steps ahead from {3 * (16 - H + 1)} origins" in lines
        assert (table["itemPosition"] - table["originPosition"]).to_list() == table["forecastStep"].to_list()
        rows = pl.read_csv("data/shop.csv").rename(
            {"customer": "sequenceId", "visit": "itemPosition", "price": "truth"}
        )
        joined = table.join(rows.drop("item"), on=["sequenceId", "itemPosition"])
        error = joined["price"] - joined["truth"]
        assert found.evaluation["price"]["mae"] == pytest.approx(error.abs().mean(), rel=1e-4)
        for step, here in joined.with_columns(error=error).group_by("forecastStep"):
            mean = found.evaluation["price"][f"mae_step_{step[0]}"]
            assert mean == pytest.approx(here["error"].abs().mean(), rel=1e-4)
        # Training shows half a window at least, and infer the whole history.
        full = evaluated(prepare(config(training_spec={"evaluation_stride": 1}), Shared()))
        for name, value in found.evaluation["price"].items():
            assert name == "n" or value == pytest.approx(full[f"val_price_{name}"], rel=1e-4)
        assert found.evaluation["item"]["accuracy_step_2"] == pytest.approx(full["val_item_accuracy_step_2"], abs=1e-9)
        assert not [line for line in lines if "_step_" in line], "the log has the means over steps alone"


def test_a_stride_spaces_the_origins(trained: RunResult) -> None:
    (found,) = infer(MODEL, data_path="data/shop-split1.parquet", forecast_stride=H, output_probabilities=True)
    table = pl.read_csv(found.predictions)
    origins = table.filter(pl.col("sequenceId") == "c1")["originPosition"].unique(maintain_order=True)
    assert origins.to_list() == [47, 52, 57]
    assert table["itemPosition"].n_unique() == 15, "each event is forecast once"
    shares = pl.read_csv(found.probabilities[0])
    assert shares.columns[:4] == table.columns[:4]
    assert shares.select(pl.sum_horizontal("item0", "item1", "item2"))["item0"].to_numpy() == pytest.approx(1)


def test_raw_rows_are_forecast_beyond_their_end_with_dates(trained: RunResult) -> None:
    hours = [f"2024-03-01 {hour:02d}:00:00" for hour in range(24)]
    lines = [f"a,{when},item{number % 3},{50 + number}" for number, when in enumerate(hours)]
    lines += [f"b,{when},item1,50" for when in (hours[0], hours[2], hours[3])]
    Path("new.csv").write_text("\n".join(["customer,visit,item,price", *lines]) + "\n")
    said = list[str]()
    (found,) = infer(MODEL, said, data_path="new.csv", read_format="raw")
    table = pl.read_csv(found.predictions, try_parse_dates=True).partition_by("sequenceId", as_dict=True)
    regular, irregular = table["a",], table["b",]
    assert regular["itemPosition"].dt.to_string("%m-%dT%H").to_list() == [f"03-02T{hour:02d}" for hour in range(H)]
    assert regular["originPosition"].dt.hour().to_list() == [23] * H
    assert irregular["itemPosition"].to_list() == [None] * H
    assert irregular["forecastStep"].to_list() == [*range(1, H + 1)]
    assert [line for line in said if line.startswith("note: 1 of 2 sequences have no regular frequency")]
    session = open_session(Path("models/sequifier-wave-best-end-to-end-3.onnx").read_bytes())
    feed: dict[str, Any] = {
        "n_events": np.array([T]),
        "price": np.array([[50.0 + n for n in range(16, 24)]], np.float32),
    }
    feed["item"] = np.array([[f"item{n % 3}" for n in range(16, 24)]], object)
    (value,) = session.run(["price_value"], feed)
    np.testing.assert_allclose(regular["price"], value[0, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"autoregression": True}, "autoregression: the model forecasts 5 steps at once"),
        ({"exclude_seen": True, "top_k": 2}, "the model forecasts 5 steps at once, of which only the first follows"),
        (
            {"forecast_stride": 2, "read_format": "raw", "data_path": "data/shop.csv"},
            "raw events are forecast once, from the last event of each sequence",
        ),
    ],
)
def test_what_does_not_fit_a_forecast_is_refused(trained: RunResult, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        infer(MODEL, **{"data_path": "data/shop-split1.parquet"} | fields)


def test_the_most_probable_classes_are_those_of_each_step(trained: RunResult) -> None:
    (found,) = infer(MODEL, data_path="data/shop-split1.parquet", top_k=1, forecast_stride=4)
    table, top = pl.read_csv(found.predictions), pl.read_csv(found.top[0])
    assert top.columns == [*table.columns[:4], "rank", "label", "probability"]
    assert top["label"].to_list() == table["item"].to_list()


def test_the_card_has_a_table_of_the_steps_and_a_call_that_works(trained: RunResult) -> None:
    for path in Path("models").glob("*end-to-end*"):
        path.unlink()
    card = api.export("wave", project_root=".", card=True, log=quiet)[-1].read_text()
    assert f"`item`, `price` of the next {H} events" in card
    assert "`val_price_mae_step_1`" not in card.split("## Config")[0]
    rows = card.split("`price` by the number of steps ahead:")[1].split("\n\n")[1].splitlines()
    assert rows[0].startswith("| step | loss | mae | rmse | mae_standardised | mse_standardised |")
    assert len(rows) == 2 + H
    best = read_model_file(Path(MODEL)).metrics
    assert rows[3].split("|")[3].strip() == f"{best['val_price_mae_step_2']:.5g}"
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(card.split("```python")[1].split("```")[0], {})
    assert printed.getvalue().count("item") == 1 + H


def test_runs_of_several_horizons_are_evaluated_on_the_same_origins(trained: RunResult) -> None:
    """As a search prepares them."""
    ready = []
    for steps in (1, 2, H):
        spec = {"evaluation_horizon": H}
        ready.append(
            prepare(config(prediction_horizon=steps, metric="val_price_mae_step_1", training_spec=spec), Shared())
        )
    for each in ready:
        assert each.inputs == ready[0].inputs
        assert each.inputs["origins"] == "5 later events"
        assert each.valid.n_known_at_first_step("price") == 3 * (16 - H + 1)
        found = evaluate(each.state.model, each.valid, each.objective, batch_size=16)
        steps = each.config.prediction_horizon
        assert f"val_price_mae_step_{steps}" in found.metrics
        assert f"val_price_mae_step_{steps + 1}" not in found.metrics
        units = found.units["val_price_mae_step_1"]
        assert units.count.tolist() == [12] * 3
        assert units.value == pytest.approx(found.metrics["val_price_mae_step_1"])


SEARCH: dict[str, Any] = {
    "metadata_config_path": str(METADATA),
    "hp_search_name": "tune",
    "search_strategy": "grid",
    "target_columns": ["price"],
    "prediction_horizon": [1, 4],
    "metric": "val_price_mae_step_1",
    "model_hyperparameter_sampling": TINY_RUN["model_spec"],
    "training_hyperparameter_sampling": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
}


@pytest.mark.parametrize(
    ("horizon", "training", "message"),
    [
        (17, {}, "17 leaves the validation split without a target: at most 16 events follow an event there"),
        (16, {"evaluation_context": "split"}, "16 leaves the validation split without a target: at most 15 events"),
    ],
)
def test_a_plan_refuses_a_horizon_that_a_split_cannot_hold(
    trained: RunResult, horizon: int, training: dict[str, Any], message: str
) -> None:
    values = merged(SEARCH, {"project_root": ".", "training_hyperparameter_sampling": training})
    for longest, raises in ((horizon, pytest.raises(ConfigError, match=message)), (horizon - 1, nullcontext())):
        with raises:
            Planner(SearchConfig.model_validate(values | {"prediction_horizon": [1, longest]})).plan(())


@pytest.mark.slow
def test_a_search_over_horizons_ranks_by_one_step(trained: RunResult) -> None:
    Path("configs/search.yaml").write_text(yaml.safe_dump(SEARCH))
    done = sequifier("hyperparameter-search", "--config-path", "configs/search.yaml")
    assert done.returncode == 0, done.stderr
    records = latest(Path())
    assert {record.state for record in records.values()} == {"finished"}
    assert [{**record.n_targets} for record in records.values() if record.n_targets] == [
        {"price": 3 * (16 - 4 + 1)}
    ] * 2
    assert "val_price_mae_step_1" in done.stdout
    longer = SEARCH | {"prediction_horizon": [1, 4, 6]}
    Path("configs/search.yaml").write_text(yaml.safe_dump(longer))
    refused = sequifier("hyperparameter-search", "--config-path", "configs/search.yaml")
    assert "was evaluated on events with 4 later events, these runs would be on events with 6" in refused.stderr


def _new_rows() -> None:
    """Two customers, one with a history shorter than the window."""
    lines = [f"{name},{n},item{n % 3},{50 + 3 * n}" for name, count in (("a", 20), ("b", 4)) for n in range(count)]
    Path("new.csv").write_text("\n".join(["customer,visit,item,price", *lines]) + "\n")


def _forecast(column: str) -> list[list[Any]]:
    """What `infer` forecasts of each customer, at each step."""
    (found,) = infer(MODEL, data_path="new.csv", read_format="raw")
    table = pl.read_csv(found.predictions).group_by("sequenceId", maintain_order=True).agg(column)
    assert table["sequenceId"].to_list() == ["a", "b"]
    return table[column].to_list()


def test_the_script_for_polars_has_every_step(trained: RunResult) -> None:
    _new_rows()
    done = run_outside(sys.executable, DEPLOY / "score_csv.py", RAW_MODEL, "new.csv", "scores.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    scores = pl.read_parquet("scores.parquet").sort("customer")
    assert scores["item_label"].to_list() == _forecast("item")
    np.testing.assert_allclose(scores["price_value"].to_list(), _forecast("price"), rtol=1e-4)
    assert [len(of_customer) for of_customer in scores["item_probability"]] == [H, H]


@pytest.mark.slow
def test_the_javascript_has_every_step(trained: RunResult, tmp_path: Path) -> None:
    install_onnxruntime_node(tmp_path)
    _new_rows()
    program = shutil.copy(DEPLOY / "predict_csv.mjs", tmp_path)
    files = [Path(name).resolve() for name in (RAW_MODEL, "new.csv", "forecast.csv")]
    done = run_outside("node", program, *files, "customer", "visit", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    table = pl.read_csv("forecast.csv").sort("customer")
    steps = range(1, H + 1)
    assert table.columns == ["customer", *(f"{name}_{n}" for name in ("item_label", "price_value") for n in steps)]
    assert [list(row) for row in table.select(f"item_label_{n}" for n in steps).rows()] == _forecast("item")
    np.testing.assert_allclose(table.select(f"price_value_{n}" for n in steps).rows(), _forecast("price"), rtol=1e-4)
