"""From config and metadata to the shape of a model, and what is refused on the way."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from sequifier.config.architecture import (
    Architecture,
    Target,
    architecture,
    architecture_from_json,
    automatic_widths,
)
from sequifier.config.base import ColumnType
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError


@dataclass(frozen=True)
class Stored:
    """The part of the metadata that has a length."""

    seq_length: int = 24


@dataclass(frozen=True)
class FakeMetadata:
    """A data set with two columns of each kind."""

    columns: tuple[str, ...] = ("kind", "size", "place", "depth")
    n_classes: dict[str, int] = field(default_factory=lambda: {"kind": 9, "place": 4})
    sequifier: Stored = Stored()
    target_only: tuple[str, ...] = ()

    @property
    def input_columns(self) -> list[str]:
        return [column for column in self.columns if column not in self.target_only]

    def kind(self, column: str) -> ColumnType:
        return "categorical" if column in self.n_classes else "real"


def shape_of(metadata: FakeMetadata | None = None, **fields: Any) -> Architecture:
    required = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["kind"]}
    return architecture(TrainConfig.model_validate(required | fields), metadata or FakeMetadata())


def test_left_out_fields_come_from_the_data() -> None:
    shape = shape_of(target_columns=["size", "kind"], model_spec={"dim_model": 32})
    assert shape.categorical == (("kind", 9), ("place", 4))
    assert shape.real == ("size", "depth")
    assert shape.input_columns == ("kind", "place", "size", "depth")
    assert shape.targets == (Target("size", "real", 0), Target("kind", "categorical", 9))
    assert (shape.seq_length, shape.embedding_widths, shape.n_kv_heads) == (24, (8, 8, 8, 8), 4)


def test_input_columns_choose_and_order() -> None:
    shape = shape_of(input_columns=["depth", "place", "kind"], seq_length=7)
    assert (shape.categorical, shape.real, shape.seq_length) == ((("place", 4), ("kind", 9)), ("depth",), 7)


@pytest.mark.parametrize(
    ("spec", "n_kv_heads"),
    [
        ({"attention_type": "mha"}, 4),
        ({"attention_type": "mqa"}, 1),
        ({"attention_type": "gqa"}, 4),
        ({"attention_type": "gqa", "n_kv_heads": 2}, 2),
    ],
)
def test_heads_of_keys_and_values_are_resolved(spec: dict[str, Any], n_kv_heads: int) -> None:
    assert shape_of(model_spec=spec).n_kv_heads == n_kv_heads


@pytest.mark.parametrize(
    ("n_columns", "total", "widths"), [(3, 8, (3, 3, 2)), (4, 8, (2, 2, 2, 2)), (3, 3, (1, 1, 1)), (1, 5, (5,))]
)
def test_the_remainder_of_an_even_share_goes_to_the_first_columns(
    n_columns: int, total: int, widths: tuple[int, ...]
) -> None:
    assert automatic_widths(n_columns, total) == widths


def test_given_widths_are_put_in_column_order() -> None:
    widths = {"size": 1, "depth": 2, "place": 13, "kind": 16}
    shape = shape_of(model_spec={"dim_model": 32, "feature_embedding_dims": widths})
    assert shape.embedding_widths == (16, 13, 1, 2)


def test_a_joint_embedding_allows_another_width() -> None:
    shape = shape_of(model_spec={"dim_model": 32, "initial_embedding_dim": 10, "joint_embedding_dim": 32})
    assert (shape.joint_embedding, shape.embedding_widths) == (True, (3, 3, 2, 2))


def test_it_survives_json() -> None:
    shape = shape_of(target_columns=["size", "kind"])
    assert architecture_from_json(json.loads(json.dumps(shape.as_json()))) == shape


def test_equal_architectures_are_equal_and_hashable() -> None:
    assert len({shape_of(), shape_of(), shape_of(seq_length=9)}) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_columns": ["knd", "size"]}, "column `knd` is not in the preprocessed data(.|\n)*did you mean `kind`"),
        ({"target_columns": ["sise"]}, "column `sise` is not in the preprocessed data(.|\n)*did you mean `size`"),
        (
            {"target_column_types": {"kind": "real"}},
            "`kind` is declared real but was preprocessed as categorical",
        ),
        (
            {"model_spec": {"dim_model": 2, "n_head": 1}},
            "`model_spec.initial_embedding_dim`: 2 is too small for 4 input columns",
        ),
        (
            {"model_spec": {"dim_model": 4, "feature_embedding_dims": {"kind": 2, "place": 1, "size": 1}}},
            "input column `depth` has no width",
        ),
        (
            {
                "input_columns": ["kind"],
                "model_spec": {"dim_model": 4, "feature_embedding_dims": {"kind": 3, "knd": 1}},
            },
            "`knd` is not an input column(.|\n)*did you mean `kind`",
        ),
        ({"model_spec": {"prediction_length": 25}}, "25 exceeds seq_length: 24"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shape_of(**fields)


@pytest.mark.parametrize(
    ("columns", "fields", "refused"),
    [
        (("kind", "n_events"), {}, "n_events"),
        (("kind", "kind_id"), {}, "kind_id"),
        (("kind", "kind_probabilities"), {}, "kind_probabilities"),
        (("kind", "size", "size_value"), {"target_columns": ["size"]}, "size_value"),
        (("kind", "embedding"), {"export_embedding_model": True}, "embedding"),
    ],
)
def test_a_name_that_exported_models_use_is_refused_before_training(
    columns: tuple[str, ...], fields: dict[str, Any], refused: str
) -> None:
    with pytest.raises(ConfigError, match=f"input column `{refused}` has the name of an"):
        shape_of(FakeMetadata(columns=columns), **fields)


def test_a_column_that_is_known_too_late_is_no_input() -> None:
    metadata = FakeMetadata(target_only=("size",))
    assert shape_of(metadata).input_columns == ("kind", "place", "depth")
    assert shape_of(metadata, target_columns=["size"]).targets[0].name == "size"
    with pytest.raises(ConfigError, match="`size` is not known before its sequence has ended"):
        shape_of(metadata, input_columns=["kind", "size"])


@pytest.mark.parametrize("columns", [("kind", "size_value"), ("kind", "embedding")])
def test_a_name_that_only_other_models_use_is_free(columns: tuple[str, ...]) -> None:
    assert shape_of(FakeMetadata(columns=columns)).input_columns == columns


def test_a_target_without_a_category_is_refused() -> None:
    with pytest.raises(ConfigError, match="`kind` has no known category"):
        shape_of(FakeMetadata(n_classes={"kind": 1}))


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match="3 problems"):
        shape_of(FakeMetadata(columns=("kind", "n_events", "kind_id")), model_spec={"prediction_length": 30})
