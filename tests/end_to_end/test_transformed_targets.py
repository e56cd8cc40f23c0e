"""A target with a transform, from raw rows to metrics, predictions and graphs: everything is in its own units."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import architecture
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError
from sequifier.export.parity import open_session
from sequifier.generation.generate import Generated, Histories, generate
from sequifier.model.build import build_model
from sequifier.prepare import prepare
from sequifier.run_record import RunResult
from sequifier.training.evaluate import evaluate
from sequifier.training.samples import check_sampling, sample_text
from sequifier.training.shared import Shared
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop, shop_rows, working_copy, write_shop
from tests.support.trained_shop import infer

MODEL, RAW_MODEL = "models/sequifier-log-best-3.onnx", "models/sequifier-log-best-end-to-end-3.onnx"
METADATA = "configs/metadata_configs/shop.json"


def amounts(n_customers: int = 30, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """The shop's rows with prices of very different sizes, some of them 0."""
    rows = shop_rows(n_customers=n_customers, seed=seed)
    return [(who, visit, item, 0.0 if price < 11 else math.exp(price - 8)) for who, visit, item, price in rows]


def config(root: Path, **values: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "project_root": str(root),
        "model_name": "log",
        "export_end_to_end": True,
        "metric": "val_price_mae",
    }
    base["training_spec"] = {"evaluation_stride": 1}
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), values))


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    root = tmp_path_factory.mktemp("amounts") / "shop"
    write_shop(root / "data" / "shop.csv", amounts())
    preprocess_shop(root, transforms={"price": "log1p"})
    return root, api.train(config(root), emit=quiet)


@pytest.fixture
def trained(_trained: tuple[Path, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """The result of the training; its project is the working folder."""
    working_copy(_trained[0], tmp_path, monkeypatch)
    return _trained[1]


def validation() -> tuple[pl.DataFrame, Any]:
    """The validation events with the prediction of each, and what `infer` says about them."""
    (found,) = infer(MODEL, data_path="data/shop-split1.parquet", evaluation_context="full", evaluate=True)
    rows = pl.read_csv("data/shop.csv").with_columns(previous=pl.col("price").shift(1).over("customer"))
    predicted = pl.read_csv(found.predictions).rename({"price": "predicted"}).drop("item")
    return rows.join(predicted, left_on=["customer", "visit"], right_on=["sequenceId", "itemPosition"]), found


def mean_error(rows: pl.DataFrame, column: str, power: int = 1) -> float:
    return float(np.mean(np.abs(rows[column].to_numpy() - rows["price"].to_numpy()) ** power))


def test_metrics_of_training_and_infer_are_those_of_the_written_predictions(trained: RunResult) -> None:
    rows, found = validation()
    mae, rmse = mean_error(rows, "predicted"), mean_error(rows, "predicted", power=2) ** 0.5
    assert found.evaluation["price"]["mae"] == pytest.approx(mae, rel=1e-6)
    assert found.evaluation["price"]["rmse"] == pytest.approx(rmse, rel=1e-6)
    stored = read_model_file(Path(MODEL)).metrics
    assert stored["val_price_mae"] == pytest.approx(mae, rel=1e-5)
    assert stored["val_price_rmse"] == pytest.approx(rmse, rel=1e-5)
    assert stored["val_price_loss"] < 2, "the loss is that of standardised logarithms"


def test_the_error_of_a_baseline_has_original_units(trained: RunResult) -> None:
    (scores,) = (scores for name, scores in trained.baselines.items() if "last value" in name)
    rows, _ = validation()
    assert scores["val_price_mae"] == pytest.approx(mean_error(rows, "previous"), rel=1e-5)


def test_units_of_the_metric_that_ranks_runs_are_original(trained: RunResult) -> None:
    """The sums by sequence, of which standard errors are made, add up to the metric."""
    ready = prepare(config(Path.cwd()), Shared())
    found = evaluate(ready.state.model, ready.valid, ready.objective, batch_size=16)
    units = found.units["val_price_mae"]
    assert units.total.sum() / units.count.sum() == pytest.approx(found.metrics["val_price_mae"])


def test_generated_amounts_are_never_negative_and_continue_as_the_raw_graph_does(trained: RunResult) -> None:
    """What is written is what the next event is predicted from: a caller who feeds it back gets the same."""
    write_shop(
        Path("data/new.csv"), [(f"n{n}", visit, f"item{visit % 6}", 0.0) for n in range(3) for visit in range(9)]
    )
    raw = {"read_format": "raw", "data_path": "data/new.csv"}
    (found,) = infer(MODEL, **raw, autoregression=True, autoregression_extra_steps=5)
    events = pl.read_csv(found.predictions)
    assert events["price"].min() >= 0  # type: ignore[operator]
    session = open_session(Path(RAW_MODEL).read_bytes())
    items, prices = [f"item{visit % 6}" for visit in range(9)], [0.0] * 9
    for row in events.filter(pl.col("sequenceId") == "n0").iter_rows(named=True):
        feed = {
            "item": np.array([items[-8:]], object),
            "price": np.array([prices[-8:]], np.float32),
            "n_events": np.array([8]),
        }
        label, value = session.run(["item_label", "price_value"], feed)
        assert label[0, 0] == row["item"]
        assert value[0, 0] == pytest.approx(row["price"], rel=1e-4, abs=1e-4)
        items.append(row["item"])
        prices.append(row["price"])


def test_generated_events_stay_above_the_lowest_value_in_the_window_too() -> None:
    seen = []

    def predict(columns: Mapping[str, Any], n_events: Any, outputs: Sequence[str]) -> dict[str, Any]:
        seen.append(float(columns["price"][0, -1]))
        return {"price_value": np.array([[-3.0]], np.float32)}

    target = Generated("price", "price_value", None, lowest=Scale(1.0, 2.0, "log1p").lowest)
    histories = Histories({"price": np.zeros((1, 4), np.float32)}, np.array([4]), np.array([0]))
    values, _, _ = generate(predict, [target], histories, np.array([3]), seed=0, batch_size=1)
    assert values["price"].tolist() == [-0.5] * 3
    assert seen == [0.0, -0.5, -0.5]


def test_each_sequence_may_have_a_lowest_value_of_its_own() -> None:
    def predict(columns: Mapping[str, Any], n_events: Any, outputs: Sequence[str]) -> dict[str, Any]:
        return {"price_value": np.full((len(n_events), 1), -3.0, np.float32)}

    lowest = Scale(transform="log1p", by_sequence=True).at(np.array([1.0, 4.0, 1.0]), np.array([2.0, 2.0, 4.0])).lowest
    target = Generated("price", "price_value", None, lowest=lowest)
    histories = Histories({"price": np.zeros((3, 4), np.float32)}, np.array([4, 4, 4]), np.arange(3))
    for batch_size in (1, 3):
        values, _, _ = generate(predict, [target], histories, np.array([1, 3, 2]), seed=0, batch_size=batch_size)
        assert values["price"].tolist() == [-0.5, -2.0, -2.0, -2.0, -0.25, -0.25]


def test_new_rows_with_a_negative_amount_are_refused(trained: RunResult) -> None:
    write_shop(Path("data/new.csv"), [("n", visit, "item1", 5.0 - 2 * visit) for visit in range(4)])
    with pytest.raises(
        DataError, match=r"below 0, but transforms\.price is log1p, first at customer=n visit=3"
    ) as error:
        infer(MODEL, read_format="raw", data_path="data/new.csv")
    assert error.value.fix.startswith("correct those values")


def test_the_raw_graph_takes_a_negative_amount_as_missing(trained: RunResult) -> None:
    session, feed = open_session(Path(RAW_MODEL).read_bytes()), {"item": np.array([["item1"] * 8], object)}
    found = []
    for amount in (-0.5, -3.0, math.nan):
        prices = np.array([[3.0] * 7 + [amount]], np.float32)
        found.append(session.run(None, feed | {"price": prices, "n_events": np.array([8])}))
    for other in found[:2]:
        for ours, theirs in zip(other, found[2], strict=True):
            assert np.array_equal(ours, theirs)


def test_data_with_another_transform_is_not_taken_for_the_same(trained: RunResult) -> None:
    preprocess_shop(Path.cwd(), transforms={"price": "asinh"})
    with pytest.raises(DataError, match="encode column `price` differently: its transform differs"):
        infer(MODEL, data_path="data/shop-split1.parquet")


def test_samples_during_training_show_and_read_original_units(trained: RunResult) -> None:
    metadata, run = read_metadata(Path(METADATA)), config(Path.cwd())
    model = build_model(architecture(resolve(run, metadata), metadata))
    prompt = [{"item": "item1", "price": 1000.0}]
    text = sample_text(model, metadata, resolve(run, metadata), prompt=prompt, temperature=0, max_length=6, seed=0)
    amounts = [float(event.split(",")[1]) for event in text.split()]
    assert amounts[0] == 1000
    assert min(amounts) >= 0
    with pytest.raises(ConfigError, match="-1 is below 0"):
        check_sampling(metadata, resolve(run, metadata), [{"item": "item1", "price": -1}])


def test_the_card_shows_the_transform_and_a_call_that_undoes_it(trained: RunResult) -> None:
    for path in Path("models").glob("*end-to-end*"):
        path.unlink()
    card = api.export("log", project_root=str(Path.cwd()), card=True, log=quiet)[-1].read_text()
    assert "(of log1p)" in card
    split = pl.read_parquet("data/shop-split0.parquet", columns=["sequenceId", "itemPosition"])
    training = pl.read_csv("data/shop.csv").join(
        split, left_on=["customer", "visit"], right_on=["sequenceId", "itemPosition"]
    )
    ((lowest, highest),) = re.findall(r"\| (\S+) to (\S+); mean", card)
    assert [float(lowest), float(highest)] == pytest.approx([0, training["price"].max()], rel=1e-5, abs=1e-5)
    call = card.split("```python")[1].split("```")[0]
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(call, {})
    assert "price [" in printed.getvalue()
    assert "np.maximum(np.expm1(" in call
