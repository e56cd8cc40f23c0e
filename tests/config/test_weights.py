"""Weights of losses and classes with which nothing could be learnt are refused before anything trains."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier import api
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.shop import WriteConfig


def problem_of(path: Path, config: type = TrainConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config, path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("loss_weights", {"item": 0.0}, ["training_spec.loss_weights", "is 0 for every target"]),
        ("loss_weights", {"item": -1}, ["-1.0 is negative"]),
        ("loss_weights", {"item": float("nan")}, ["training_spec.loss_weights.item", "finite"]),
        ("loss_weights", {"item": float("inf")}, ["training_spec.loss_weights.item", "finite"]),
        ("loss_weights", {"itme": 1.0}, ["names `itme`"]),
        (
            "class_weights",
            {"item": [1.0] + [0.0] * 6},
            ["training_spec.class_weights", "no class has a weight above 0"],
        ),
        ("class_weights", {"item": [1, 1, -0.5, 1, 1, 1, 1]}, ["-0.5 (of id 2) is negative"]),
        ("class_weights", {"item": [1, float("nan"), 1, 1, 1, 1, 1]}, ["training_spec.class_weights.item", "finite"]),
        ("class_weights", {"item": [1, float("inf"), 1, 1, 1, 1, 1]}, ["training_spec.class_weights.item", "finite"]),
        ("class_weights", {"itme": [1.0] * 7}, ["names `itme`"]),
    ],
)
def test_weights_that_leave_nothing_or_mean_nothing_are_refused(
    train_config: WriteConfig, field: str, value: Any, parts: list[str]
) -> None:
    path = train_config(target_columns=["item"], training_spec={field: value})
    message = problem_of(path)
    assert all(part in message for part in [f"{path.name}:", *parts]), message


def test_a_search_refuses_them_in_its_plan(search_config: WriteConfig) -> None:
    path = search_config(target_columns=["item"], training_hyperparameter_sampling={"loss_weights": {"item": 0.0}})
    with pytest.raises(ConfigError, match="is 0 for every target"):
        api.check_config(load(SearchConfig, path).config)


def test_one_target_may_have_the_weight_0(train_config: WriteConfig) -> None:
    two = {"target_columns": ["item", "price"], "training_spec": {"loss_weights": {"price": 0.0}}}
    assert load(TrainConfig, train_config(**two)).config.training_spec.loss_weights == {"price": 0.0}


def test_a_split_of_classes_that_do_not_count_is_refused(shop: Path, train_config: WriteConfig) -> None:
    frame = pl.read_parquet(shop / "data" / "shop-split1.parquet")
    ones = frame.with_columns(pl.lit(1, dtype=frame.schema["item"]).alias("item"))
    ones.write_parquet(shop / "data" / "ones.parquet")
    weights = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    config = train_config(training_spec={"class_weights": {"item": weights}}, validation_data_path="data/ones.parquet")
    with pytest.raises(ConfigError, match="`item` that the validation split has to predict has the weight 0"):
        api.train(load(TrainConfig, config).config, emit=lambda *_, **__: None)
    assert not list((shop / "models").glob("*")), "nothing was trained"
