"""Targets of whole sequences in a config: their positions are filled in, and each mistake is found before training."""

from dataclasses import asdict
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.artifacts.metadata import Metadata
from sequifier.config.architecture import architecture, architecture_from_json
from sequifier.config.identity import identity
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.searches import metadata

RUN = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["kind"]}


def labelled(split_method: str = "between_sequence") -> Metadata:
    """Metadata in which `kind` belongs to whole sequences, and `length` does not."""
    plain = metadata()
    ours = plain.sequifier.model_copy(update={"sequence_columns": ["kind"], "split_method": split_method})
    return plain.model_copy(update={"sequifier": ours})


def run(data: Metadata | None = None, **values: Any) -> TrainConfig:
    return resolve(TrainConfig.model_validate(RUN | values), data or labelled())


def test_the_resolved_config_names_the_position_of_each_label_and_reads_none() -> None:
    found = run(target_columns=["length", "kind"])
    assert (found.target_positions, found.input_columns) == ({"kind": "last"}, ["length"])
    assert (found.targets_at(None), found.targets_at("last"), found.targets_at("every")) == (["length"], ["kind"], [])
    assert run(target_positions={"kind": "every"}).targets_at("every") == ["kind"]
    assert resolve(found, labelled()) == found
    shape = architecture(found, labelled())
    assert [target.of_sequence for target in shape.targets] == [False, True]
    assert architecture_from_json(shape.as_json()) == shape
    assert "of_sequence" not in shape.as_json()["targets"][0], "earlier releases read models without labels"
    assert asdict(shape)["targets"][1] == {**shape.as_json()["targets"][1], "distribution": None}


def test_a_default_position_that_is_written_out_is_the_same_run_and_another_one_is_not() -> None:
    plain, written = run(), run(target_positions={"kind": "last"})
    assert identity(plain, "d") == identity(written, "d") != identity(run(target_positions={"kind": "every"}), "d")
    assert identity(run(positive_class={"kind": "a"}), "d") == identity(plain, "d"), "it decides a metric alone"


@pytest.mark.parametrize(
    ("values", "key", "what", "fix"),
    [
        (
            {"input_columns": ["length", "kind"]},
            "input_columns",
            "`kind` is a target of the whole sequence, and all its events have the value to predict",
            "leave it out of input_columns or of target_columns",
        ),
        (
            {"target_columns": ["kind", "length"], "target_positions": {"length": "every"}},
            "target_positions.length",
            "`length` has a value for each event; this field is about targets of whole sequences",
            "leave it out, or name the column in sequence_columns of the preprocess config",
        ),
        (
            {"positive_class": {"kind": "d"}},
            "positive_class.kind",
            "`kind` has no class `d`",
            "a, b, c",
        ),
        (
            {"ranking": {"kind": {"k": [1]}}},
            "ranking.kind",
            "`kind` belongs to the whole sequence; only events are ranked",
            "leave it out",
        ),
        (
            {"metric": "val_kind_top5", "direction": "maximize"},
            "metric",
            "there is no metric `val_kind_top5`",
            "val_kind",
        ),
        (
            {"metric": "val_kind_auc"},
            "direction",
            "val_kind_auc is better when it is higher",
            "write direction: maximize",
        ),
    ],
)
def test_each_mistake_has_its_error(values: dict[str, Any], key: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as error:
        run(**values)
    (problem,) = error.value.problems
    assert (problem.key, problem.message) == (key, what)
    assert fix in problem.fix


@pytest.mark.parametrize("method", ["within_sequence", "last_events", "cutoff"])
def test_a_split_that_cuts_sequences_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="the training split has the values to predict in validation") as error:
        run(labelled(method))
    assert error.value.problems[0].fix == "preprocess with split_method: between_sequence or given"
    run(labelled("given"))


def test_only_targets_have_a_position_or_a_positive_class() -> None:
    for field, value in (("target_positions", "last"), ("positive_class", "a")):
        with pytest.raises(ValidationError, match="names `other`, which is not a target"):
            TrainConfig.model_validate(RUN | {field: {"other": value}})


def test_classes_are_named_as_the_metadata_name_them() -> None:
    found = TrainConfig.model_validate(RUN | {"positive_class": {"kind": True}})
    assert found.positive_class == {"kind": "true"}
    assert TrainConfig.model_validate(RUN | {"positive_class": {"kind": 3}}).positive_class == {"kind": "3"}


def test_areas_of_very_many_classes_are_refused() -> None:
    names = {str(number): number for number in range(1, 102)}
    data = labelled().model_copy(update={"n_classes": {"kind": 102}, "id_maps": {"kind": names}})
    with pytest.raises(ConfigError, match="val_kind_auc is computed for 100 classes at most, and `kind` has 101"):
        run(data, metric="val_kind_auc", direction="maximize")


def test_data_without_a_column_to_read_are_refused() -> None:
    labels = labelled()
    data = labels.model_copy(update={"sequifier": labels.sequifier.model_copy(update={"columns": ["kind"]})})
    with pytest.raises(ConfigError, match="the data have no column to read: kind may only be predicted"):
        run(data)
