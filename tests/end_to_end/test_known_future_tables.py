"""Tables of many forms: raw events with a plan of the steps to come are forecast as the split that has their truth."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.preprocess.pipeline import preprocess
from tests.support.quiet import quiet
from tests.support.trained_shop import infer

H, N = 3, 80


def table() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {"day": [date(2024, 1, 1) + timedelta(days=day) for day in range(N)]}
    columns |= {"price": draw.integers(1, 4, N).astype(float), "promo": draw.random(N) < 0.3}
    return pl.DataFrame(columns | {"sales": 5 + draw.normal(size=N)})


IN_NEW_YORK = pl.Series("day", [datetime(2024, 3, 1, 12) + timedelta(days=day) for day in range(N)])
HOLES = pl.when(pl.int_range(pl.len()) % 5 == 3).then(None).otherwise("price").alias("price")

CASES: dict[str, dict[str, Any]] = {
    "one series by date": {"features": ["weekday", "gap"], "known": ["price", "promo", "time_weekday", "time_gap"]},
    "semicolons and decimal commas": {"known": ["price"], "csv": {"separator": ";", "decimal_comma": True}},
    "a time zone": {"columns": IN_NEW_YORK, "features": ["hour"], "zone": "America/New_York", "known": ["time_hour"]},
    "numbers as positions": {"columns": pl.int_range(N).alias("day"), "known": ["price", "promo"]},
    "no positions": {"without": "day", "known": ["price"], "of_past": True},
    "values carried forward": {"columns": HOLES, "fill_null": {"price": "forward"}, "known": ["price"]},
    "another date": {
        "columns": (pl.col("day") + timedelta(days=4)).alias("due"),
        "features": {"due": ["until", "weekday"], "day": ["weekday"]},
        "known": ["due_until", "due_weekday"],
    },
    "another date that is not known": {
        "columns": (pl.col("day") + timedelta(days=4)).alias("due"),
        "features": {"due": ["until"]},
        "known": ["price"],
        "plan": ["day", "price"],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_read_as_the_events_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    rows = table().with_columns(case["columns"]) if "columns" in case else table()
    rows, written = rows.drop(case.get("without", [])), case.get("csv", {})
    rows.write_csv("all.csv", **written)
    values = {"data_path": "all.csv", "sequence_column": None, "position_column": None if "without" in case else "day"}
    values |= {"seq_length": 8, "split_ratios": [0.7, 0.3], "time_features": case.get("features", [])}
    values |= {"fill_null": case.get("fill_null", {}), "time_zone": case.get("zone")}
    preprocess(PreprocessConfig.model_validate(values), log=quiet)
    config = {"metadata_config_path": "configs/metadata_configs/all.json", "model_name": "m", "export_end_to_end": True}
    config |= {"target_columns": ["sales"], "prediction_horizon": H, "known_future": case["known"]}
    config |= {"model_spec": {"dim_model": 16, "n_head": 2, "num_layers": 1}}
    config |= {"training_spec": {"max_steps": 1, "batch_size": 8, "device": "cpu"}}
    api.train(TrainConfig.model_validate(config), emit=quiet)
    rows.head(N - H).write_csv("past.csv", **written)
    # A plan may have the past too, where positions tell it from the steps to come.
    plan = rows.tail(H) if "of_past" in case else rows
    plan.select(case.get("plan", pl.exclude("sales"))).write_csv("plan.csv", **written)
    model = "models/sequifier-m-best-1.onnx"
    (split,) = infer(model, data_path="data/all-split1.parquet")
    expected = pl.read_csv(split.predictions)["sales"].tail(H)
    (raw,) = infer(model, data_path="past.csv", read_format="raw", future_data_path="plan.csv")
    np.testing.assert_allclose(pl.read_csv(raw.predictions)["sales"], expected, rtol=1e-4)
    is_event = pl.int_range(pl.len()) < N - H
    rows.with_columns(sales=pl.when(is_event).then("sales")).write_csv("one.csv", **written)
    (raw,) = infer(model, data_path="one.csv", read_format="raw", future_data_path="one.csv")
    np.testing.assert_allclose(pl.read_csv(raw.predictions)["sales"], expected, rtol=1e-4)
