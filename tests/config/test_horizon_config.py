"""`prediction_horizon`: what it means for a model's shape, and which data and settings it is refused for."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.architecture import architecture_from_json
from sequifier.config.base import ColumnType
from sequifier.config.horizon import horizon_problems
from sequifier.config.observation import Observation
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from tests.config.test_model_shape import shape_of


@dataclass(frozen=True)
class Stored:
    rows: list[int] = field(default_factory=lambda: [60, 20])
    sequences: list[int] = field(default_factory=lambda: [3, 2])
    end_event: list[str] = field(default_factory=list)
    observation: Observation | None = None


@dataclass(frozen=True)
class Data:
    columns: tuple[str, ...] = ("price", "item", "outcome")
    split_paths: tuple[str, ...] = ("data/s-split0.parquet", "data/s-split1.parquet")
    sequence_columns: tuple[str, ...] = ("outcome",)
    n_classes: dict[str, int] = field(default_factory=lambda: {"item": 1001, "outcome": 3})
    sequifier: Stored = Stored()

    def kind(self, column: str) -> ColumnType:
        return "categorical" if column in self.n_classes else "real"


def config(**fields: Any) -> TrainConfig:
    required = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["price"]}
    return TrainConfig.model_validate(required | {"prediction_horizon": 4} | fields)


def test_a_horizon_has_outputs_for_each_step_and_is_stored_where_it_is_used() -> None:
    one, four = (shape_of(target_columns=["size", "kind"], prediction_horizon=steps) for steps in (1, 4))
    assert four.horizon == 4
    assert parameter_count(four) - parameter_count(one) == 3 * (1 + 8) * (128 + 1)
    assert architecture_from_json(four.as_json()) == four
    assert "horizon" not in one.as_json()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_spec": {"prediction_length": 2}}, "prediction_horizon: 4 forecasts from the last event alone"),
        ({"training_spec": {"evaluation_horizon": 3}}, "evaluation_horizon: 3 is less than prediction_horizon: 4"),
        ({"training_spec": {"sampling_interval_steps": 5}}, "does not generate events one by one"),
    ],
)
def test_settings_that_a_horizon_excludes_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**fields)


@pytest.mark.parametrize(
    ("fields", "data", "key", "message"),
    [
        (
            {"prediction_horizon": 58},
            Data(sequifier=Stored(rows=[60, 60])),
            "prediction_horizon",
            "58 steps are more than any sequence of the training split has (60 events in 3 sequences)",
        ),
        (
            {"prediction_horizon": 20},
            Data(),
            "prediction_horizon",
            "20 steps are more than any sequence of the validation split has (20 events in 2 sequences)",
        ),
        (
            {"training_spec": {"evaluation_horizon": 30}},
            Data(),
            "training_spec.evaluation_horizon",
            "30 steps are more than any sequence of the validation split has (20 events in 2 sequences)",
        ),
        (
            {},
            Data(sequifier=Stored(end_event=["item"])),
            "prediction_horizon",
            "the data have an END of each sequence (end_event: item), after which nothing can be predicted",
        ),
        (
            {},
            Data(sequifier=Stored(observation=Observation(start=0))),
            "prediction_horizon",
            "the data say from when and until when events are observed (observation), which is about the next event",
        ),
        (
            {"target_columns": ["outcome"]},
            Data(),
            "prediction_horizon",
            "`outcome` belongs to the whole sequence: it has no value for each of the next 4 events",
        ),
        (
            {"target_columns": ["outcome"], "prediction_horizon": 1, "training_spec": {"evaluation_horizon": 4}},
            Data(),
            "training_spec.evaluation_horizon",
            "`outcome` belongs to the whole sequence: it has no value for each of the next 4 events",
        ),
        (
            {"target_columns": ["item"], "prediction_horizon": 9},
            Data(),
            "prediction_horizon",
            "9 steps of the 1,000 classes of `item` are 9,000 outputs; at most 8,192 are supported",
        ),
        (
            {"target_columns": ["item"], "model_spec": {"tie_weights": ["item"]}},
            Data(),
            "model_spec.tie_weights",
            "`item` is predicted 4 steps ahead (prediction_horizon); an embedding decodes one step, not several",
        ),
        (
            {"target_columns": ["item"], "ranking": {"item": {}}},
            Data(),
            "ranking.item",
            "`item` is predicted 4 steps ahead (prediction_horizon); only the next event is ranked",
        ),
        (
            {"target_columns": ["item"], "training_spec": {"softmax": {"item": {"sampled": 9}}}},
            Data(),
            "training_spec.softmax.item",
            "`item` is predicted 4 steps ahead (prediction_horizon); sampled classes are for the next event only",
        ),
    ],
)
def test_data_and_settings_that_do_not_fit_are_refused(
    fields: dict[str, Any], data: Data, key: str, message: str
) -> None:
    (problem,) = horizon_problems(config(**fields), data)
    assert (problem.key, problem.message) == (key, message)
    assert problem.fix
    # The same without a horizon is no problem.
    assert not [*horizon_problems(config(**fields | {"prediction_horizon": 1, "training_spec": {}}), data)]


def test_the_longest_horizons_that_fit_are_accepted() -> None:
    """One sequence may have nearly all events; in validation it may begin in the training split."""
    assert not [*horizon_problems(config(prediction_horizon=19), Data())]
    assert not [*horizon_problems(config(prediction_horizon=57), Data(sequifier=Stored(rows=[60, 60])))]
    elsewhere = config(prediction_horizon=50, validation_data_path="data/other.parquet")
    assert not [*horizon_problems(elsewhere, Data())]
