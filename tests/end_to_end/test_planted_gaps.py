"""Planted data: the gap before an event decides the next event, so that only time features can predict it."""

from datetime import datetime, timedelta
from math import log
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.config.train import TrainConfig
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop

RIGHT = 0.95
"""Probability of the item that the gap announces."""


def visits(n_customers: int, n_visits: int) -> pl.DataFrame:
    """Gaps of a minute and of hours, at random; after an event behind a long one, the next item is mostly `late`."""
    draw = np.random.default_rng(5)
    is_long = draw.random((n_customers, n_visits)) < 0.5
    seconds = np.where(is_long, draw.uniform(7200, 14400, is_long.shape), draw.uniform(60, 120, is_long.shape))
    is_late = np.roll(is_long, 1, axis=1) == (draw.random(is_long.shape) < RIGHT)
    starts = draw.uniform(0, 1e6, n_customers)
    rows = [
        (f"c{customer}", datetime(2024, 1, 1) + timedelta(seconds=at), "late" if late else "soon")
        for customer in range(n_customers)
        for at, late in zip(starts[customer] + np.cumsum(seconds[customer]), is_late[customer], strict=True)
    ]
    return pl.DataFrame(rows, schema=["customer", "visit", "item"], orient="row")


@pytest.mark.slow
def test_only_time_features_predict_what_gaps_decide(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    visits(300, 30).write_csv(tmp_path / "data" / "shop.csv")
    preprocess_shop(tmp_path, time_features=["gap", "hour"], split_method="between_sequence")
    losses = {}
    for name, inputs in (("blind", ["item"]), ("timed", ["item", "time_gap", "time_hour"])):
        values = {
            "project_root": str(tmp_path),
            "model_name": name,
            "input_columns": inputs,
            "target_columns": ["item"],
            "model_spec": {"dim_model": 16},
            "training_spec": {"epochs": 8, "dropout": 0.0},
        }
        result = api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)
        losses[name] = result.metrics["val_loss"]
    entropy = -RIGHT * log(RIGHT) - (1 - RIGHT) * log(1 - RIGHT)
    assert losses["blind"] > 0.95 * log(2)
    assert entropy - 0.05 < losses["timed"] < entropy + 0.05
    assert losses["timed"] < losses["blind"] / 2
