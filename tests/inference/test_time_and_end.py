"""Time features beside the end of sequences, and where positions are dates without a time of day."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sequifier.artifacts.metadata import read_metadata
from tests.support.shop import preprocess_shop
from tests.support.trained_shop import infer, model, train

METADATA = "configs/metadata_configs/shop.json"


def days(n_customers: int, n_visits: int) -> pl.DataFrame:
    """Customers who come every one to three days, `n_visits` times or one more often."""
    rows = []
    for customer in range(n_customers):
        day = date(2024, 1, 1) + timedelta(days=customer)
        for visit in range(n_visits + customer % 2):
            rows.append((f"c{customer}", day, f"item{(visit + customer) % 4}"))
            day += timedelta(days=1 + (visit + customer) % 3)
    return pl.DataFrame(rows, schema=["customer", "visit", "item"], orient="row")


@pytest.fixture(scope="module")
def _days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("days")
    (root / "data").mkdir()
    days(40, 6).write_csv(root / "data" / "shop.csv")
    options = {"time_features": ["gap", "weekday"], "time_unit": "days", "split_method": "between_sequence"}
    preprocess_shop(root, end_event=["item"], **options)
    options = {"training_spec": {"epochs": 12}, "model_spec": {"positional_encoding": "rope"}}
    train(root, model_name="ends", target_columns=["item", "time_gap"], **options)
    return root


@pytest.fixture
def ends(_days: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: visits on days, with a model that predicts items, the last of which is END, and gaps."""
    monkeypatch.chdir(_days)
    return _days


def test_an_end_has_no_time_and_generated_dates_follow_from_gaps(ends: Path) -> None:
    days(6, 3).write_csv("data/new.csv")
    options = {"autoregression": True, "autoregression_extra_steps": 30, "write_format": "parquet"}
    path = model("ends").replace("-1.onnx", "-12.onnx")
    (result,) = infer(path, read_format="raw", data_path="data/new.csv", **options)
    found = pl.read_parquet(result.predictions)
    assert found["itemPosition"].dtype == pl.Date
    is_end = found["item"] == "END"
    assert is_end.any()
    assert found.filter(is_end).select("itemPosition", "time_gap").null_count().row(0) == (is_end.sum(), is_end.sum())
    last = days(6, 3).group_by("customer").agg(pl.col("visit").max())
    for (customer,), own in found.filter(is_end.not_()).group_by("sequenceId", maintain_order=True):
        at = datetime.combine(last.filter(customer=customer)["visit"].item(), datetime.min.time())
        for position, gap in own.select("itemPosition", "time_gap").rows():
            at += timedelta(days=gap)
            assert abs(at - datetime.combine(position, datetime.min.time())) < timedelta(days=1, seconds=1)


def test_gaps_are_not_scored_at_an_end(ends: Path) -> None:
    metadata = read_metadata(ends / METADATA)
    split = pl.read_parquet(metadata.split_paths[1])
    path = model("ends").replace("-1.onnx", "-12.onnx")
    (result,) = infer(path, data_path=metadata.split_paths[1], evaluation_context="full")
    sequences = split["sequenceId"].n_unique()
    assert result.evaluation["item"]["n"] == result.evaluation["time_gap"]["n"] + sequences
    assert result.evaluation["time_gap"]["mae"] < 3
