"""`window_normalization`: which targets it is for, what it does to other fields, and what is refused."""

import re
from typing import Any

import pytest

from sequifier.config.architecture import Architecture, architecture, architecture_from_json
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.config.test_model_shape import FakeMetadata, shape_of


def normalized_shape(**fields: Any) -> Architecture:
    return shape_of(**({"window_normalization": "mean_std", "target_columns": ["size"]} | fields))


def test_real_targets_of_events_are_normalized_and_nothing_else() -> None:
    shape = normalized_shape(target_columns=["kind", "depth"])
    assert shape.real == ("size", "depth")
    assert shape.normalized == {"depth": 1}
    assert shape_of(target_columns=["depth"]).normalized == {}


def test_a_target_that_is_never_an_input_is_predicted_as_it_is() -> None:
    data = FakeMetadata(target_only=("depth",))
    assert normalized_shape(metadata=data, target_columns=["depth", "size"]).normalized == {"size": 0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"target_columns": ["kind", "place"]},
            "mean_std is for real targets of events, and there is none: `kind` (categorical), `place` (categorical)",
        ),
        (
            {"input_columns": ["kind", "depth"]},
            "target `size` is not an input column, so a window has no values of it to normalize by",
        ),
        (
            {"metadata": FakeMetadata(target_only=("size",)), "input_columns": ["depth"]},
            "mean_std is for real targets of events, and there is none: `size` (never an input)",
        ),
    ],
)
def test_what_has_no_values_to_normalize_by_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        normalized_shape(**fields)
    (problem,) = error.value.problems
    assert (problem.key, problem.message) == ("window_normalization", message)
    assert problem.fix


def test_a_label_of_the_whole_sequence_has_no_windows_to_normalize_by() -> None:
    config = TrainConfig.model_validate(
        {
            "metadata_config_path": "m.json",
            "model_name": "m",
            "target_columns": ["size"],
            "input_columns": ["depth"],
            "target_positions": {"size": "last"},
            "window_normalization": "last",
        }
    )
    with pytest.raises(ConfigError, match=re.escape("there is none: `size` (of the whole sequence)")):
        architecture(config, FakeMetadata())


def test_only_the_last_position_predicts() -> None:
    with pytest.raises(ValueError, match="prediction_length: 3 does not fit window_normalization: mean_std"):
        normalized_shape(model_spec={"prediction_length": 3})


def test_it_is_stored_with_the_model_where_it_is_used() -> None:
    shape = normalized_shape()
    assert architecture_from_json(shape.as_json()) == shape
    assert "window_normalization" not in shape_of().as_json()
