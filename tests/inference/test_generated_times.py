"""Time features in raw events and in generated ones, whose hours and weekdays follow from predicted gaps."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.artifacts.metadata import read_metadata
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import DataError, ModelError
from sequifier.sampler_search import held_out
from sequifier.sampler_search.local import LocalModel
from sequifier.sampler_search.space import Configuration
from tests.support.shop import preprocess_shop
from tests.support.trained_shop import infer, model, train

L = 8  # seq_length of the shop
ZONE = "America/New_York"
FEATURES = ["gap", "since_first", "hour", "weekday", "remaining"]
METADATA = "configs/metadata_configs/shop.json"
RAW: dict[str, Any] = {"read_format": "raw", "data_path": "data/new.csv"}


def visits(n_customers: int, n_visits: int, *, name: str = "c") -> pl.DataFrame:
    """Customers whose gaps depend on the item before, over a change of clocks; times are local, with their offset."""
    rows = []
    for customer in range(n_customers):
        at = datetime(2024, 3, 7, 12, tzinfo=UTC) + timedelta(minutes=7 * customer)
        for visit in range(n_visits):
            item = (visit * 2 + customer) % 6
            rows.append((f"{name}{customer}", at.astimezone(ZoneInfo(ZONE)).isoformat(), f"item{item}", 10.0 + item))
            at += timedelta(hours=1 + 3 * item, seconds=customer)
    return pl.DataFrame(rows, schema=["customer", "visit", "item", "price"], orient="row")


@pytest.fixture(scope="module")
def _hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hours")
    (root / "data").mkdir()
    visits(12, 40).write_csv(root / "data" / "shop.csv")
    preprocess_shop(root, time_features=FEATURES, time_zone=ZONE, time_unit="hours")
    train(root, model_name="clock", target_columns=["item", "price", "time_gap"])
    every = ["item", "price", "time_gap", "time_hour", "time_remaining"]
    train(root, model_name="all", target_columns=every, model_spec={"positional_encoding": "rope"})
    train(root, model_name="blind", target_columns=["item", "price"])
    return root


@pytest.fixture
def hours(_hours: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a shop with time features, and models that read all of them but time_remaining."""
    monkeypatch.chdir(_hours)
    return _hours


def encoded(root: Path, table: pl.DataFrame) -> pl.DataFrame:
    """Return rows as `preprocess` encodes them by the metadata of the training data."""
    table.write_csv("data/new.csv")
    preprocess_shop(root, data_path="data/new.csv", metadata_config_path=METADATA, split_ratios=[1.0])
    return pl.read_parquet("data/new-split0.parquet")


def test_raw_events_are_encoded_as_by_preprocess(hours: Path) -> None:
    table = visits(4, 21, name="n")
    encoded(hours, table)
    (result,) = infer(model("clock"), data_path="data/new-split0.parquet", evaluation_context="full")
    split = pl.read_csv(result.predictions).group_by("sequenceId", maintain_order=True).last()
    table.group_by("customer", maintain_order=True).head(20).write_csv("data/new.csv")

    raw = pl.read_csv(infer(model("clock"), **RAW)[0].predictions)

    assert_frame_equal(raw.drop("itemPosition"), split.drop("itemPosition"), rel_tol=1e-5)
    assert raw["itemPosition"].is_null().all()


def test_targets_and_their_errors_are_in_the_unit_of_time(hours: Path) -> None:
    (result,) = infer(model("all"), data_path="data/shop-split2.parquet", evaluation_context="full")
    found = pl.read_csv(result.predictions, try_parse_dates=True)
    truth = visits(12, 40).with_columns(at=pl.col("visit").str.to_datetime(time_zone="UTC").dt.replace_time_zone(None))
    truth = truth.with_columns(
        gap=pl.col("at").diff().over("customer").dt.total_seconds() / 3600,
        left=(pl.col("at").max().over("customer") - pl.col("at")).dt.total_seconds() / 3600,
    )
    together = found.join(truth, left_on=["sequenceId", "itemPosition"], right_on=["customer", "at"])
    assert together.height == found.height == result.evaluation["time_gap"]["n"]
    for target, true in (("time_gap", "gap"), ("time_remaining", "left")):
        error = (together[target] - together[true]).to_numpy()
        assert result.evaluation[target]["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
        assert result.evaluation[target]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert found["time_gap"].min() >= 0  # type: ignore[operator]


def test_a_run_reports_errors_in_the_unit_of_time(hours: Path) -> None:
    (result,) = infer(model("clock"), data_path="data/shop-split1.parquet", evaluation_context="full")
    metrics = json.loads(onnxruntime.InferenceSession(model("clock")).get_modelmeta().custom_metadata_map["metrics"])
    # In training, windows advance by more than one event, so that some predictions have a shorter history.
    assert metrics["val_time_gap_mae"] == pytest.approx(result.evaluation["time_gap"]["mae"], rel=0.1)


@pytest.mark.parametrize("name", ["clock", "all"])
def test_generated_events_are_those_of_a_loop_over_raw_events(hours: Path, name: str) -> None:
    """Each generated event, appended to the raw table with its time, gives the next one."""
    n_steps, table = 6, visits(3, 11, name="n")
    table.write_csv("data/new.csv")
    options = {"autoregression": True, "autoregression_extra_steps": n_steps, "write_format": "parquet"}
    (result,) = infer(model(name), **RAW, **options)
    found = pl.read_parquet(result.predictions).sort("sequenceId", maintain_order=True)

    history = table.with_columns(visit=pl.col("visit").str.to_datetime(time_zone="UTC").dt.replace_time_zone(None))
    for step in range(n_steps):
        history.with_columns(visit=pl.col("visit").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_csv("data/new.csv")
        (one,) = infer(model(name), **RAW)
        expected = pl.read_csv(one.predictions).sort("sequenceId")
        generated = found.group_by("sequenceId", maintain_order=True).agg(pl.all().get(step)).sort("sequenceId")
        last = history.group_by("customer").agg(pl.col("visit").max()).sort("customer")["visit"]
        gap = (generated["itemPosition"] - last).dt.total_microseconds() / 3.6e9
        np.testing.assert_allclose(gap, generated["time_gap"], rtol=1e-6)
        assert_frame_equal(generated.select("item", "price", "time_gap"), expected[["item", "price", "time_gap"]],
                           rel_tol=1e-3)  # fmt: skip
        if name == "all":
            local = generated["itemPosition"].dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE)
            assert generated["time_hour"].to_list() == local.dt.hour().to_list()
        new = generated.select(customer="sequenceId", visit="itemPosition", item="item", price="price")
        history = pl.concat([history, new])


@pytest.mark.parametrize("name", ["clock", "all"])
def test_a_sampler_search_generates_what_inference_does(
    hours: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "_ROWS_PER_PART", 1)  # each sequence is a part of its own
    table = visits(3, L + 4, name="n")
    encoded(hours, table)
    data = {"data_path": "data/new-split0.parquet"}
    (result,) = infer(model(name), **data, autoregression=True, write_format="parquet")
    order = ["n2", "n0", "n1"]
    by_id = pl.read_parquet(result.predictions).partition_by("sequenceId", as_dict=True, include_key=False)
    expected = pl.concat([by_id[id,] for id in order]).drop("itemPosition")
    prompts = {"test_prompts": order, "prompt_length": L, "max_tokens": 4, "device": "cpu"}
    config = SamplerSearchConfig.model_validate({"model_path": model(name), **data, **prompts})
    lines: list[str] = []

    source = LocalModel(config, seed=1, log=lines.append)

    greedy = Configuration("temperature", {"temperature": 0.0})
    found = list(source.generate(greedy, [(prompt, 0) for prompt in range(3)]))
    assert lines == [], "the hours of generated events are known: there is no note on a true history"
    generated = pl.concat([pl.DataFrame(dict(each.labels)) for each in found])
    assert_frame_equal(generated, expected, check_dtypes=False, check_column_order=False, rel_tol=1e-5)


def test_without_dates_a_sampler_search_reads_the_true_history(hours: Path) -> None:
    frame = encoded(hours, visits(3, 11, name="n")).with_columns(itemPosition=pl.int_range(33))
    frame.write_parquet("data/odd.parquet")
    values = {"model_path": model("clock"), "data_path": "data/odd.parquet", "device": "cpu"}
    lines: list[str] = []

    source = LocalModel(SamplerSearchConfig.model_validate(values), seed=1, log=lines.append)

    assert source.is_true_history
    assert any("reads time_hour, time_weekday, time_since_first, which it does not predict" in line for line in lines)


@pytest.mark.parametrize(("name", "fields"), [
    ("first", {"time_features": ["gap", "since_first"]}),
    ("start", {"time_features": ["gap", "since_start"], "observation": {"start": -0.5}}),
])  # fmt: skip
def test_generated_positions_that_are_numbers_are_those_of_a_loop_over_raw_events(
    hours: Path, name: str, fields: dict[str, Any]
) -> None:
    rows = [(f"c{c}", 0.25 * c + 0.5 * i + 0.1 * (i % 3), f"item{i % 3}") for c in range(10) for i in range(12)]
    table = pl.DataFrame(rows, schema=["customer", "visit", "item"], orient="row")
    table.write_csv(f"data/{name}.csv")
    whole = {"split_method": "between_sequence", "time_unit": "hours"}
    preprocess_shop(hours, data_path=f"data/{name}.csv", **whole, **fields)
    train(hours, model_name=name, metadata_config_path=f"configs/metadata_configs/{name}.json",
          target_columns=["item", "time_gap"], model_spec={"positional_encoding": "rope"})  # fmt: skip
    table = history = table.filter(pl.col("visit") < 1.4)
    table.write_csv("data/new.csv")
    options = {"autoregression": True, "autoregression_extra_steps": 3, "write_format": "parquet"}
    found = pl.read_parquet(infer(model(name), **RAW, **options)[0].predictions)
    for step in range(3):
        history.write_csv("data/new.csv")
        next_event = pl.read_csv(infer(model(name), **RAW)[0].predictions)
        assert next_event["itemPosition"].null_count() == next_event.height
        last = history.group_by("customer", maintain_order=True).agg(pl.col("visit").last())
        generated = found.group_by("sequenceId", maintain_order=True).agg(pl.all().get(step))
        assert generated["sequenceId"].to_list() == last["customer"].to_list() == next_event["sequenceId"].to_list()
        assert_frame_equal(generated.select("item", "time_gap"), next_event.select("item", "time_gap"), rel_tol=1e-3)
        np.testing.assert_allclose(generated["itemPosition"], last["visit"] + generated["time_gap"], rtol=1e-12)
        new = generated.select(customer="sequenceId", visit="itemPosition", item="item")
        history = pl.concat([history, new]).sort("customer", "visit")


def test_without_predicted_gaps_generated_events_have_no_time(hours: Path) -> None:
    visits(3, 11, name="n").write_csv("data/new.csv")
    with pytest.raises(ModelError) as raised:
        infer(model("blind"), **RAW, autoregression=True, autoregression_extra_steps=2)
    assert "reads time_hour, time_weekday, time_gap, time_since_first, which it does not predict" in raised.value.what
    assert "follow where it predicts time_gap" in raised.value.fix


def test_integer_positions_give_no_times(hours: Path) -> None:
    frame = encoded(hours, visits(3, 11, name="n")).with_columns(itemPosition=pl.int_range(33))
    frame.write_parquet("data/odd.parquet")
    with pytest.raises(DataError, match=r"the positions are integers.* had the type Datetime\(us\) in training"):
        infer(model("clock"), data_path="data/odd.parquet", autoregression=True)


def test_raw_events_with_other_positions_than_in_training_are_refused_in_words_of_the_table(hours: Path) -> None:
    visits(2, 4).with_columns(visit=pl.int_range(8)).write_csv("data/new.csv")
    with pytest.raises(DataError, match=r"the calendar \(hour, weekday\) is computed from dates") as raised:
        infer(model("clock"), **RAW)
    assert raised.value.where.endswith("data/new.csv")
    assert raised.value.fix == "write `visit` as in the training data"


def test_a_model_reads_no_column_that_is_known_too_late(hours: Path) -> None:
    assert "time_remaining" in read_metadata(hours / METADATA).columns
    inputs = onnxruntime.InferenceSession(model("all")).get_inputs()
    assert {each.name for each in inputs} == {
        *("item", "price", "time_gap", "time_since_first", "time_hour", "time_weekday", "n_events")
    }
