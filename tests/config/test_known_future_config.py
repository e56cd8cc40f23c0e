"""`known_future`: what it does to a model's shape, how it is searched, and which columns are refused."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.architecture import Architecture, architecture_from_json
from sequifier.config.identity import differing
from sequifier.config.known_future import known_future_problems, with_calendar
from sequifier.config.search import SearchConfig
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.model.build import build_model
from tests.config.test_model_shape import FakeMetadata, shape_of
from tests.support.shapes import KNOWN_FUTURE, describe


@dataclass(frozen=True)
class Data:
    columns: list[str] = field(default_factory=lambda: ["sales", "price", "holiday", "region"])
    sequence_columns: list[str] = field(default_factory=lambda: ["region"])
    calendar_columns: list[str] = field(default_factory=lambda: ["time_hour", "time_weekday"])


def config(**fields: Any) -> TrainConfig:
    required = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["sales"]}
    return TrainConfig.model_validate(required | {"prediction_horizon": 4} | fields)


def known_shape(**fields: Any) -> Architecture:
    return shape_of(**({"target_columns": ["size"], "prediction_horizon": 3} | fields))


def test_known_columns_are_in_order_of_the_inputs_and_stored_where_there_are_some() -> None:
    shape = known_shape(known_future=["depth", "place", "kind"], input_columns=["place", "size", "depth", "kind"])
    assert shape.known_categorical == (("place", 4), ("kind", 9))
    assert shape.known_real == ("depth",)
    assert architecture_from_json(shape.as_json()) == shape
    assert "known_future" not in known_shape().as_json()


@pytest.mark.parametrize("shape", KNOWN_FUTURE, ids=describe)
def test_the_number_of_weights_is_that_of_torch(shape: Architecture) -> None:
    assert parameter_count(shape) == sum(weight.numel() for weight in build_model(shape).parameters())


def test_the_order_of_the_columns_has_no_effect_and_none_is_the_default() -> None:
    one, other = (differing(config(known_future=names)) for names in (["price", "holiday"], ["holiday", "price"]))
    assert one == other != differing(config())
    assert differing(config(known_future=[])) == differing(config())
    assert "known_future" not in differing(config())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"known_future": ["prise"]}, "column `prise` is not in the preprocessed data"),
        ({"known_future": ["sales"]}, "`sales` is a target: its values to come are what the model predicts"),
        ({"known_future": ["region"]}, "`region` has one value in a whole sequence, which the window shows already"),
        (
            {"known_future": ["price"], "input_columns": ["sales"]},
            "`price` is not an input column: the model must see its past to know what its future means",
        ),
    ],
)
def test_columns_that_cannot_be_known_are_refused(fields: dict[str, Any], message: str) -> None:
    run = config(**fields)
    (problem,) = known_future_problems(run, run.input_columns or ["sales", "price", "holiday"], Data())
    assert (problem.key, problem.message) == ("known_future", message)
    assert problem.fix


@pytest.mark.parametrize(
    ("known", "inputs", "expected"),
    [
        (["calendar"], ["sales", "time_hour", "time_weekday"], ["time_hour", "time_weekday"]),
        (["price", "calendar"], ["sales", "price", "time_weekday"], ["price", "time_weekday"]),
        (["zone", "calendar", "time_hour"], ["zone", "time_hour"], ["time_hour", "zone"]),
        (["price"], ["sales", "price", "time_hour"], ["price"]),
        (["calendar"], ["sales"], ["calendar"]),  # a problem, see below
    ],
)
def test_the_word_calendar_stands_for_the_parts_of_the_date_among_the_inputs(
    known: list[str], inputs: list[str], expected: list[str]
) -> None:
    assert with_calendar(config(known_future=known), inputs, Data()) == expected


def test_a_part_of_the_date_that_is_predicted_is_not_known() -> None:
    run = config(known_future=["calendar"], target_columns=["time_hour", "sales"])
    assert with_calendar(run, ["time_hour", "time_weekday", "sales"], Data()) == ["time_weekday"]


def test_a_column_called_calendar_is_that_column() -> None:
    data = Data(columns=["sales", "calendar"])
    run = config(known_future=["calendar"])
    assert with_calendar(run, ["sales", "calendar", "time_hour"], data) == ["calendar"]
    assert not [*known_future_problems(run, ["sales", "calendar"], data)]


@pytest.mark.parametrize(
    ("data", "fix"),
    [
        (Data(), "add time_hour, time_weekday to input_columns"),
        (Data(calendar_columns=[]), "preprocess with time_features: [hour, weekday]"),
    ],
)
def test_a_calendar_that_is_not_read_is_refused(data: Data, fix: str) -> None:
    (problem,) = known_future_problems(config(known_future=["calendar"]), ["sales"], data)
    assert problem.message == "no input column is a part of the calendar, for which `calendar` stands"
    assert problem.fix == fix


def test_known_columns_need_a_horizon_and_each_is_named_once() -> None:
    with pytest.raises(ValidationError, match="known_future: price: only a horizon has steps to come"):
        config(known_future=["price"], prediction_horizon=1)
    with pytest.raises(ValidationError, match="price"):
        config(known_future=["price", "price"])


def test_two_inputs_of_one_name_are_refused() -> None:
    data = FakeMetadata(columns=("kind", "size", "place", "depth", "future_depth"))
    with pytest.raises(ConfigError, match="as `future_depth`, which another column or output is called"):
        known_shape(metadata=data, known_future=["depth"], input_columns=["size", "depth", "future_depth"])


def test_a_search_varies_sets_of_columns_and_a_flat_list_is_one_set() -> None:
    def search(known_future: Any) -> SearchConfig:
        return SearchConfig.model_validate(
            {
                "metadata_config_path": "m.json",
                "hp_search_name": "s",
                "search_strategy": "grid",
                "target_columns": ["sales"],
                "prediction_horizon": 4,
                "known_future": known_future,
                "training_hyperparameter_sampling": {"epochs": 1},
            }
        )

    assert search(["price", "holiday"]).known_future == [["holiday", "price"]]
    assert search([[], ["price"]]).known_future == [[], ["price"]]
