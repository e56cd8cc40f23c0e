"""preprocess.yaml: defaults, bounds, and what is not there yet."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig


def config(**fields: Any) -> PreprocessConfig:
    return PreprocessConfig.model_validate({"data_path": "data/x.csv", "seq_length": 8} | fields)


def test_two_fields_are_enough() -> None:
    result = config()
    assert (result.read_format, result.write_format) == ("csv", "parquet")
    assert result.split_ratios == [0.8, 0.1, 0.1]
    assert result.strides(3) == [8, 8, 8]
    assert result.stored_context_events == 512
    assert config(seq_length=600).stored_context_events == 600
    assert config(context_events=0).stored_context_events == 0
    assert config(split_method="last_events").stored_context_events is None
    assert config(selected_columns="a").selected_columns == ["a"]


def test_dates_in_a_file_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.yaml"
    path.write_text(
        "data_path: x.csv\nseq_length: 4\nsplit_method: cutoff\nsplit_at: [2013-09-01, 2013-09-01T12:00, 20131101]\n"
    )
    assert load(PreprocessConfig, path).config.split_at == ["2013-09-01", "2013-09-01T12:00", 20131101]


@pytest.mark.parametrize("missing", ["data_path", "seq_length"])
def test_what_cannot_be_guessed_is_mandatory(missing: str) -> None:
    values = {"data_path": "x", "seq_length": 8}
    del values[missing]
    with pytest.raises(ValidationError, match=missing):
        PreprocessConfig.model_validate(values)


@pytest.mark.parametrize("ratios", [[0.7, 0.2, 0.1], [1], [0.1] * 10, [1 / 3, 1 / 3, 1 / 3]])
def test_ratios_that_sum_to_1_in_floating_point_are_taken(ratios: list[float]) -> None:
    assert config(split_ratios=ratios).split_ratios == ratios


@pytest.mark.parametrize(
    ("fields", "key", "message"),
    [
        ({"split_ratios": [0.8, 0.1]}, "split_ratios", "[0.8, 0.1] sums to 0.9; the ratios must sum to 1"),
        ({"split_ratios": [1.2, -0.2]}, "split_ratios", "greater than 0"),
        ({"split_ratios": []}, "split_ratios", "at least 1"),
        ({"stride_by_split": [1, 2]}, "stride_by_split", "[1, 2] has 2 entries, split_ratios [0.8, 0.1, 0.1] has 3"),
        ({"stride_by_split": [1, 0, 1]}, "stride_by_split", "greater than 0"),
        (
            {"split_method": "last_events", "stride_by_split": [1, 2]},
            "stride_by_split",
            "[1, 2] has 2 entries, split_events [1, 1] makes 3 splits; give one per split",
        ),
        ({"split_order": "file"}, "split_order", "is for split_method: between_sequence, not for within_sequence"),
        ({"read_format": "text", "split_order": "file"}, "split_order", "applies to tables only"),
        ({"split_method": "cutoff"}, "split_at", "split_method: cutoff needs split_at"),
        ({"split_method": "cutoff", "split_at": []}, "split_at", "at least 1"),
        ({"split_method": "cutoff", "split_at": [1, 2, 3, 4]}, "split_at", "at most 3"),
        ({"split_method": "cutoff", "split_at": [True]}, "split_at", "valid integer"),
        ({"split_at": [1]}, "split_at", "[1] is for split_method: cutoff, not for within_sequence; leave it out"),
        (
            {"split_method": "cutoff", "split_at": [1, 2, 3], "stride_by_split": [1, 2, 3, 4]},
            "stride_by_split",
            "split_at [1, 2, 3] makes 3 splits",
        ),
        ({"split_method": "given"}, "split_column", "split_method: given needs split_column"),
        (
            {"sequence_column": "case", "sequence_columns": ["case"]},
            "sequence_columns",
            "'case' is the sequence_column, which is stored in any case; leave it out",
        ),
        ({"sequence_columns": ["a", "b", "a"]}, "sequence_columns", "a given more than once"),
        ({"sequence_columns": []}, "sequence_columns", "at least 1"),
        ({"sequence_columns": ["a"], "end_event": ["a"]}, "end_event", "'a' is a column of whole sequences"),
        (
            {
                "sequence_table": {"path": "x.csv", "as_of": "day"},
                "end_event": "kind",
                "split_method": "between_sequence",
            },
            "end_event",
            "end_event is about the end of sequences, but sequence_table.as_of cuts them at its moments",
        ),
        (
            {
                "sequence_table": {"path": "x.csv", "as_of": "day"},
                "time_features": ["gap", "remaining"],
                "split_method": "between_sequence",
            },
            "time_features",
            "remaining is about the end of sequences",
        ),
        (
            {"selected_columns": ["a"], "sequence_table": {"path": "x.csv", "columns": ["b", "a"]}},
            "sequence_table",
            "columns names 'a', which is in selected_columns; a column comes from one table",
        ),
        (
            {"sequence_table": {"path": "x.csv", "columns": ["itemPosition"]}},
            "sequence_table",
            "columns names 'itemPosition', which is in position_column",
        ),
        ({"sequence_table": {"path": "x.csv", "columns": ["a", "a"]}}, "sequence_table.columns", "a given more than"),
        (
            {"sequence_table": {"path": "x.csv", "columns": ["a"], "as_of": "a"}},
            "sequence_table.as_of",
            "'a' is in columns, but the moments are no feature",
        ),
        (
            {"sequence_table": {"path": "x.csv", "as_of": "day"}, "split_method": "cutoff", "split_at": [3]},
            "split_method",
            "cutoff cuts sequences, but sequence_table.as_of has made them end at the moments to predict from",
        ),
        (
            {
                "split_method": "given",
                "split_column": "a",
                "sequence_table": {"path": "x.csv", "columns": ["a"]},
            },
            "split_column",
            "'a' is in sequence_table.columns, but the column of the splits is no feature",
        ),
        ({"read_format": "text", "sequence_columns": ["a"]}, "sequence_columns", "applies to tables only"),
        (
            {"split_method": "given", "split_column": "a", "sequence_columns": ["a"]},
            "split_column",
            "'a' is in sequence_columns",
        ),
        (
            {"split_method": "given", "split_column": "a", "selected_columns": ["a", "b"]},
            "split_column",
            "'a' is in selected_columns",
        ),
        ({"split_method": "given", "split_column": "sequenceId"}, "split_column", "is in sequence_column"),
        (
            {"split_method": "given", "split_column": "a", "validation_fraction": 1},
            "validation_fraction",
            "less than 1",
        ),
        ({"validation_fraction": 0.2}, "validation_fraction", "is for split_method: given"),
        ({"split_events": [1, 2]}, "split_events", "is for split_method: last_events, not for within_sequence"),
        ({"split_method": "last_events", "split_events": [1, 0]}, "split_events", "greater than 0"),
        ({"split_method": "last_events", "read_format": "text"}, "split_method", "last_events applies to tables only"),
        ({"selected_columns": ["a", "b", "a"]}, "selected_columns", "a given more than once"),
        ({"position_column": "sequenceId"}, "position_column", "is the sequence_column;"),
        ({"seq_length": 0}, "seq_length", "greater than 0"),
        ({"column_types": {"a": "float"}}, "column_types", "'real'"),
        ({"fill_null": {"a": "median"}}, "fill_null", "'forward'"),
        ({"min_count": 0}, "min_count", "greater than 0"),
        ({"context_events": -1}, "context_events", "greater than or equal to 0"),
        (
            {"read_format": "text", "selected_columns": ["a"]},
            "selected_columns",
            "['a'] applies to tables only",
        ),
        ({"read_format": "text", "sequence_column": "id"}, "sequence_column", "leave it out"),
        ({"read_format": "text", "position_column": "at"}, "position_column", "has the one column 'char'"),
        ({"read_format": "text", "column_types": {"char": "String"}}, "column_types", "applies to tables only"),
        ({"read_format": "text", "fill_null": {"char": "unknown"}}, "fill_null", "no missing values"),
        ({"read_format": "text", "seq_length": 4096}, "seq_length", "4096 is not below text_sequence_length 4096"),
        ({"text_sequence_length": 1}, "text_sequence_length", "greater than 1"),
        ({"write_format": "pt"}, "merge_output", "writes a folder of shards for each split; set merge_output: false"),
        ({"merge_output": False, "batches_per_file": 0}, "batches_per_file", "greater than 0"),
        ({"splits": [1]}, "splits", "Extra inputs"),
    ],
)
def test_a_wrong_value_is_refused_at_its_key(fields: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**fields)
    assert all(".".join(map(str, problem["loc"])).startswith(key) for problem in raised.value.errors())
    assert any(message in problem["msg"] for problem in raised.value.errors())


def test_a_text_takes_the_defaults_of_what_is_for_tables() -> None:
    written_out = {"sequence_column": "sequenceId", "position_column": "itemPosition", "selected_columns": None}
    result = config(read_format="text", text_sequence_length=9, fill_null={}, column_types={}, **written_out)
    assert result.text_sequence_length == 9


def test_v1_fields_without_a_function_are_accepted() -> None:
    assert config(n_cores=4, batches_per_file=10, process_by_file=False, max_rows=None).split_ratios == [0.8, 0.1, 0.1]


def test_the_column_of_the_splits_may_have_the_name_of_a_letter_of_a_key() -> None:
    assert config(sequence_column="part_id", split_method="given", split_column="a").split_column == "a"
