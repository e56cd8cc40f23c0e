"""`evaluate_by`: metrics by the values of columns and by step, against sums over the written predictions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.architecture import Target
from sequifier.config.catalogue.metric_names import metric_names
from sequifier.errors import ConfigError
from sequifier.inference.compute import Chunk
from sequifier.inference.evaluate import class_predictions
from sequifier.inference.evaluation_table import EvaluationTable
from sequifier.inference.predict import Inference
from sequifier.metrics.predictions import at_positions
from tests.support.events import make_events
from tests.support.shop import preprocess_shop, shop_rows, working_copy, write_shop
from tests.support.trained_shop import infer, model, train

H = 3
SPLIT = "data/shop-split1.parquet"
DISTRIBUTION = {"distribution": {"price": "quantiles"}}


@pytest.fixture(scope="module")
def _project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("groups")
    write_shop(root / "data" / "shop.csv", shop_rows(n_customers=10))
    preprocess_shop(root, split_method="within_sequence", split_ratios=[0.5, 0.3, 0.2], max_categories={"item": 4})
    train(root, model_name="next", scoring={"min_events": 2}, ranking={"item": {"k": [2]}})
    train(root, model_name="ahead", prediction_horizon=H, model_spec=DISTRIBUTION)
    return root


@pytest.fixture(autouse=True)
def project(_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working_copy(_project, tmp_path, monkeypatch)


def evaluated(name: str, **values: Any) -> tuple[Inference, pl.DataFrame]:
    (found,) = infer(model(name), data_path=SPLIT, evaluate_by=["customer", "item"], **values)
    assert found.evaluation_table is not None
    return found, pl.read_csv(found.evaluation_table)


def compared(found: Inference) -> pl.DataFrame:
    """The written predictions beside the true values, and the item of the last event that was read."""
    rows = pl.read_csv("data/shop.csv").select(
        pl.col("customer").alias("sequenceId"), pl.col("visit").alias("itemPosition"), true_item="item", true="price"
    )
    written = pl.read_csv(found.predictions)
    origin = pl.col("originPosition") if "originPosition" in written.columns else pl.col("itemPosition") - 1
    before = rows.select("sequenceId", origin="itemPosition", last_item="true_item")
    table = written.with_columns(origin=origin).join(rows, on=["sequenceId", "itemPosition"])
    table = table.join(before, on=["sequenceId", "origin"])
    return table.with_columns(error=(pl.col("price") - pl.col("true")).abs())


def test_the_first_rows_are_the_whole_evaluation() -> None:
    for name in ("next", "ahead"):
        found, table = evaluated(name, evaluation_context="full")
        for target, metrics in found.evaluation.items():
            whole = table.filter(pl.col("target") == target).row(0, named=True)
            assert whole["column"] is None
            assert whole.get("step") is None
            for metric in whole.keys() & metrics.keys():
                assert whole[metric] == pytest.approx(metrics[metric], rel=1e-12), metric
            for step in range(1, H + 1) if name == "ahead" else ():
                of_step = table.filter(pl.col("target") == target, pl.col("step") == step).row(0, named=True)
                for metric in {"mae", "crps", "coverage_80", "accuracy"} & metrics.keys():
                    assert of_step[metric] == pytest.approx(metrics[f"{metric}_step_{step}"], rel=1e-12)


def test_every_metric_of_a_forecast_with_quantiles_may_rank_runs() -> None:
    logged = read_model_file(Path(model("ahead"))).metrics.keys()
    names = metric_names({"item": "categorical", "price": "quantiles"}, n_steps=H)
    assert "val_price_mae_standardised_step_2" in logged
    assert {name for name in logged if name.startswith("val_") and "n_unknown" not in name} <= {*names}


def test_values_of_steps_are_those_of_the_written_predictions() -> None:
    found, table = evaluated("ahead")
    by_hand = compared(found)
    prices = table.filter(pl.col("target") == "price", pl.col("column").is_not_null())
    assert set(prices["value"]) == {*by_hand["sequenceId"]} | {*by_hand["last_item"].replace(rare(), "unknown")}
    for row in prices.iter_rows(named=True):
        key = "sequenceId" if row["column"] == "customer" else "last_item"
        here = by_hand.with_columns(pl.col("last_item").replace(rare(), "unknown")).filter(pl.col(key) == row["value"])
        if row["step"] is not None:
            here = here.filter(pl.col("forecastStep") == row["step"])
        assert row["n"] == len(here)
        assert row["mae"] == pytest.approx(here["error"].mean(), rel=1e-4)
        covered = here["true"].is_between(here["price_q10"], here["price_q90"])
        assert row["coverage_80"] == pytest.approx(covered.mean(), abs=1e-9)


def test_the_value_of_a_categorical_target_is_its_true_class() -> None:
    found, table = evaluated("next", evaluation_context="full")
    by_hand = compared(found)
    items = table.filter(pl.col("target") == "item", pl.col("column") == "item")
    for row in items.iter_rows(named=True):
        here = by_hand.filter(pl.col("true_item").replace(rare(), "unknown") == row["value"])
        assert row["n"] + row["n_unknown"] == len(here)
        assert row["accuracy"] == pytest.approx((here["item"] == here["true_item"]).mean())
    assert items.filter(pl.col("value") == "unknown")["accuracy"].to_list() == [0]
    assert items["n"].sum() + items["n_unknown"].sum() == found.n_predictions


def test_the_ranks_of_a_target_are_in_the_table_too() -> None:
    found, table = evaluated("next", evaluation_context="full")
    whole = table.filter(pl.col("target") == "item", pl.col("column").is_null()).row(0, named=True)
    for metric in ("ndcg_2", "hit_rate_2", "mrr_2"):
        assert whole[metric] == pytest.approx(found.evaluation["item"][metric], rel=1e-12)
    customers = table.filter(pl.col("column") == "customer", pl.col("target") == "item")
    n = customers["n"] + customers["n_unknown"]
    assert (customers["hit_rate_2"] * n).sum() / n.sum() == pytest.approx(whole["hit_rate_2"])


def test_a_category_called_unknown_is_not_one_that_the_model_does_not_know() -> None:
    target, none = Target("kind", "categorical", 3), np.empty(0, np.int64)
    job: Any = SimpleNamespace(
        file=SimpleNamespace(vocabularies={"kind": ["a", "unknown"]}),
        source=SimpleNamespace(evaluated=[target]),
        request=SimpleNamespace(horizon=1, of_sequences=False),
    )
    events = make_events([4], {"kind": np.array([1, 0, 2, 2], np.int32)})
    chunk, known = Chunk(np.zeros(3, np.int64), np.arange(1, 4), none), np.array([1, 2])
    right = class_predictions(np.array([2, 1]), np.full((2, 3), 1 / 3, np.float32), np.array([2, 2]))
    table = EvaluationTable(["kind"], job)
    table.add("kind", events, chunk, known, np.array([0]), at_positions(right))
    rows = table.frame().filter(pl.col("column") == "kind").select("value", "n", "n_unknown", "accuracy").rows()
    assert rows == [("unknown", 0, 1, 0.0), ("unknown (id 2)", 2, 0, 0.5)]


def rare() -> list[str]:
    """The items that are unknown, since the metadata have 4 of 6."""
    known = read_metadata(Path("configs/metadata_configs/shop.json")).categories("item")
    return [f"item{number}" for number in range(6) if f"item{number}" not in known]


def test_an_evaluation_without_groups_removes_an_earlier_table() -> None:
    (found,) = infer(model("next"), data_path=SPLIT, evaluate_by="item", write_format="parquet")
    assert found.evaluation_table is not None
    assert found.evaluation_table.name == "sequifier-next-best-1-shop-split1-evaluation.parquet"
    assert pl.read_parquet(found.evaluation_table)["column"].unique().to_list() in ([None, "item"], ["item", None])
    (again,) = infer(model("next"), data_path=SPLIT)
    assert again.evaluation_table is None
    assert not found.evaluation_table.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"evaluate_by": "itme"}, "`itme` is not a categorical column of the model.*did you mean `item`"),
        ({"evaluate_by": "price"}, "`price` is not a categorical column.*use one of: customer, item"),
        ({"evaluate_by": "item", "evaluate": False}, "nothing is evaluated"),
        ({"evaluate_by": "item", "data_path": "data/shop.csv", "read_format": "raw"}, "not known yet"),
    ],
)
def test_an_impossible_table_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        infer(model("next"), **{"data_path": SPLIT} | values)
