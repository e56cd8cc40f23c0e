"""`observation`: START, gaps and the open time after the last event, against sums written out here."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from sequifier.artifacts.time_rules import TimeRules
from sequifier.errors import DataError
from sequifier.preprocess.check import prepare
from sequifier.preprocess.observation import END_AT, START_AT
from sequifier.preprocess.value_problems import ValueProblems
from tests.support.small_project import Project

WHOLE: dict[str, Any] = {"split_method": "between_sequence", "split_order": "file", "split_ratios": [0.5, 0.5]}
TIMES = {"a": [0.5, 2.25, 2.25, 7.0], "b": [1.0], "c": [0.125, 3.5], "d": [4.0, 4.5]}
END = {"a": 9.0, "b": 4.0, "c": 3.5, "d": 10.0}


def table(position: Any = lambda value: value) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"sequenceId": name, "at": position(at), "until": position(END[name]), "kind": "xy"[number % 2]}
            for name, times in TIMES.items()
            for number, at in enumerate(times)
        ]
    )


def decoded(project: Project, column: str, split: int, of: str | None = None) -> list[float | None]:
    """Return a stored column in original units; None where it has no value."""
    values = project.split(split)[of or column].to_numpy().astype(np.float64)
    found = project.metadata.scale(column).original(values)
    return [None if np.isnan(value) else round(float(value), 5) for value in found]


@pytest.mark.parametrize("unit", ["none", "hours"])
def test_start_is_a_row_and_the_time_after_the_last_event_another(project: Project, unit: str) -> None:
    path = project.write(table())
    project.run(
        path,
        position_column="at",
        time_features=["gap", "since_start"],
        time_unit=unit,
        observation={"start": 0, "end": "until"},
        **WHOLE,
    )
    rows = project.split(0)
    assert rows["sequenceId"].to_list() == ["a"] * 6 + ["b"] * 3
    assert rows["itemPosition"].to_list() == [0.0, 0.5, 2.25, 2.25, 7.0, 7.0, 0.0, 1.0, 1.0]
    assert rows["kind"].to_list() == [0, 1, 2, 1, 2, -1, 0, 1, -1]  # START is unknown, the end has no value
    assert decoded(project, "time_gap", 0) == [0, 0.5, 1.75, 0, 4.75, None, 0, 1.0, None]
    assert decoded(project, "time_since_start", 0) == [0, 0.5, 2.25, 2.25, 7.0, None, 0, 1.0, None]
    open_times = [None, None, None, None, None, 2.0, None, None, 3.0]
    assert decoded(project, "time_gap", 0, "time_gap_open") == open_times
    found = project.metadata.sequifier
    assert (found.rows, found.time_resolution, found.positions_are) == ([9, 8], 0.5, "numbers")
    # START is in no statistic: it is no event.
    seconds = np.array([0.5, 1.75, 0, 4.75, 1.0]) * (3600 if unit == "hours" else 1)
    assert_allclose(project.metadata.scale("time_gap").mean, np.log1p(seconds).mean())


def test_dates_have_the_same_rows_as_numbers(project: Project) -> None:
    begin = datetime(2026, 3, 1)
    path = project.write(
        table(lambda value: begin + timedelta(hours=value)).with_columns(start=pl.lit(begin)), name="dated.parquet"
    )
    project.run(
        path,
        position_column="at",
        time_features=["gap", "since_start", "hour"],
        time_unit="hours",
        observation={"start": "start", "end": "until"},
        **WHOLE,
    )
    assert decoded(project, "time_gap", 0) == [0, 0.5, 1.75, 0, 4.75, None, 0, 1.0, None]
    assert decoded(project, "time_gap", 0, "time_gap_open")[5] == 2.0
    assert project.split(0)["time_hour"].to_list() == [1, 1, 3, 3, 8, -1, 1, 2, -1]  # START has an hour too


def test_an_end_with_a_time_zone_is_an_instant_as_positions_with_one_are(project: Project) -> None:
    begin = datetime(2026, 3, 1)
    dates = table(lambda value: begin + timedelta(hours=value)).with_columns(
        pl.col("at", "until").dt.replace_time_zone("UTC")
    )
    project.run(
        project.write(dates, name="dated.parquet"),
        position_column="at",
        time_features=["gap"],
        time_unit="hours",
        time_zone="America/New_York",  # five hours behind
        observation={"end": "until"},
        **WHOLE,
    )
    assert decoded(project, "time_gap", 0, "time_gap_open")[4] == 2.0


def test_an_end_alone_and_a_start_alone(project: Project) -> None:
    path = project.write(table())
    fields = {"position_column": "at", "time_features": ["gap"], "time_unit": "none", **WHOLE}
    project.run(path, observation={"end": 10}, **fields)
    assert project.split(0)["itemPosition"].to_list() == [0.5, 2.25, 2.25, 7.0, 7.0, 1.0, 1.0]
    assert decoded(project, "time_gap", 0) == [0, 1.75, 0, 4.75, None, 0, None]
    assert decoded(project, "time_gap", 0, "time_gap_open")[4:] == [3.0, None, 9.0]
    project.run(path, observation={"start": 0}, **fields)
    assert decoded(project, "time_gap", 0) == [0, 0.5, 1.75, 0, 4.75, 0, 1.0]
    assert "time_gap_open" not in project.split(0).columns


def test_start_has_the_columns_of_its_sequence(project: Project) -> None:
    rows = table().with_columns(region=pl.col("sequenceId") + "!", part=pl.lit("train"))
    project.run(
        project.write(
            rows.with_columns(
                part=pl.when(pl.col("sequenceId") < "c").then(pl.lit("train")).otherwise(pl.lit("validation"))
            )
        ),
        position_column="at",
        time_features=["gap"],
        time_unit="none",
        observation={"start": 0, "end": "until"},
        sequence_columns=["region"],
        split_method="given",
        split_column="part",
    )
    assert project.split(0)["region"].to_list() == [1] * 5 + [-1] + [2, 2, -1]


def test_parts_give_the_same_rows_as_one(project: Project) -> None:
    path = project.write(table())
    fields = {"position_column": "at", "time_features": ["gap"], "time_unit": "none", **WHOLE}
    fields["observation"] = {"start": 0, "end": "until"}
    whole = project.run(path, **fields)
    assert project.run(path, memory_bytes=100, **fields) == whole


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(0, 4)), min_size=1, max_size=4)
)
def test_the_gaps_and_the_open_time_sum_to_the_observed_time(sequences: list[tuple[list[int], int]]) -> None:
    rows = [
        {"sequenceId": number, "itemPosition": at / 4, "order": place, END_AT: max(times) / 4 + after}
        for number, (times, after) in enumerate(sequences)
        for place, at in enumerate(times)
    ]
    frame = pl.DataFrame(rows).with_columns(pl.lit(-1.0).alias(START_AT))
    rules = TimeRules.model_validate(
        {
            "time_features": {"itemPosition": ["gap", "since_start"]},
            "positions_are": "numbers",
            "observation": {"start": -1, "end": "t"},
        }
    )
    types: Any = {"order": "Int64", "time_gap": "Float64", "time_since_start": "Float64"}
    part = prepare(frame, types, {}, {}, ValueProblems(), rules)
    found = part.rows.collect()
    for number, (times, after) in enumerate(sequences):
        here = found.slice(int(part.offsets[number]), len(times) + 1)
        assert here["itemPosition"].to_list() == [-1.0, *(at / 4 for at in sorted(times))]
        assert here["order"].to_list() == [None, *sorted(range(len(times)), key=times.__getitem__)]  # ties stay
        assert here["time_gap"].sum() + here["time_gap_open"][-1] == max(times) / 4 + after + 1
        assert here["time_since_start"].to_list() == [0.0, *(at / 4 + 1 for at in sorted(times))]
        assert here["time_gap_open"].null_count() == len(times)


OBSERVED: dict[str, Any] = {"position_column": "at", "time_features": ["gap"], "time_unit": "none", **WHOLE}


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"observation": {"end": 6}}, ["an event is after the end of its observation, 6.0", "sequenceId=a at=7.0"]),
        ({"observation": {"start": 0.25}}, ["an event is before the start", "0.25", "sequenceId=c at=0.125"]),
        ({"observation": {"end": "gone"}}, ["column `gone` (observation) is missing"]),
        ({"observation": {"end": "label"}}, ["observation.end is the column `label`", "positions are numbers"]),
        ({"observation": {"end": "drifts"}}, ["`drifts` changes within a sequence", "sequenceId=a at=2.25"]),
        ({"observation": {"start": "empty"}}, ["`empty` has no value"]),
        ({"time_features": ["gap", "hour"]}, ["the calendar (hour)", "are numbers"]),
        (
            {"time_features": ["gap"], "time_unit": "seconds", "position_column": "whole"},
            ["integers", "time_unit: none"],
        ),
    ],
)
def test_what_is_not_observed_is_an_error_with_its_place(
    project: Project, fields: dict[str, Any], parts: list[str]
) -> None:
    rows = table().with_columns(
        label=pl.lit("x"),
        drifts=pl.int_range(pl.len()) + 10,
        empty=pl.lit(None, dtype=pl.Float64),
        whole=pl.int_range(pl.len()),
    )
    with pytest.raises(DataError) as raised:
        project.run(project.write(rows), **OBSERVED | {"selected_columns": ["kind"]} | fields)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observation": {}}, "neither start nor end"),
        ({"observation": {"end": 9}, "time_features": []}, "add gap to time_features"),
        ({"observation": {"end": 9}, "end_event": ["kind"]}, "leave one of them out"),
        ({"observation": {"end": 9}, "split_method": "within_sequence"}, "cuts sequences"),
        ({"observation": {"end": 9}, "split_overlap": "cut"}, "keep or drop"),
        ({"observation": {"end": "at"}}, "position_column too"),
        ({"observation": {"start": 0}, "time_features": ["gap", "since_first"]}, "since_start instead"),
        ({"time_features": ["gap", "since_start"]}, "set start"),
        ({"time_features": {"due": ["since_start"]}}, "write since_first"),
        ({"time_resolution": 1, "time_features": []}, "add gap"),
    ],
)
def test_settings_that_contradict_observation_are_refused(
    project: Project, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        project.run(project.write(table()), **OBSERVED | fields)


def test_a_column_may_have_the_name_of_a_letter_of_another(project: Project) -> None:
    path = project.write(table().rename({"until": "a"}))
    project.run(path, position_column="at", time_features=["gap"], observation={"end": "a"}, **WHOLE)
    assert "time_gap" in project.split(0).columns


def test_dates_have_a_unit(project: Project) -> None:
    path = project.write(table(lambda value: datetime(2026, 3, 1) + timedelta(hours=value)))
    with pytest.raises(DataError, match="time_unit is none"):
        project.run(path, **OBSERVED | {"selected_columns": ["kind"]})
    with pytest.raises(DataError, match=r"observation.end is the number 9, but positions are dates"):
        project.run(path, **OBSERVED | {"time_unit": "hours", "observation": {"end": 9}, "selected_columns": ["kind"]})


def test_new_events_are_encoded_by_the_rules_of_the_metadata(project: Project) -> None:
    fields = {**OBSERVED, "observation": {"start": 0, "end": "until"}}
    first = project.run(project.write(table(), name="first.parquet"), **fields)
    known = project.metadata_path
    again = {name: fields[name] for name in ("position_column", *WHOLE)}
    second = project.run(project.write(table(), name="second.parquet"), metadata_config_path=str(known), **again)
    assert second.sequifier.column_hashes == first.sequifier.column_hashes
    assert second.sequifier.time_resolution == first.sequifier.time_resolution
    with pytest.raises(DataError, match="other time_features, time_zone, time_unit, observation"):
        project.run(
            project.write(table(), name="third.parquet"),
            metadata_config_path=str(known),
            **fields | {"observation": {"start": -1}},
        )
