"""Rows of steps to come behind the events of their sequences."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.errors import DataError
from sequifier.preprocess.future_rows import FutureRows

EVENTS = pl.DataFrame({SEQUENCE: [1, 1, 2], POSITION: [3, 1, 4], "price": [2.0, 1.0, 5.0], "sales": [7.0, 6.0, 8.0]})


def future(rows: dict[str, Any], **fields: Any) -> FutureRows:
    values: dict[str, Any] = {"horizon": 2, "required": ["price"], "path": Path("plan.csv"), "has_positions": True}
    values |= {"columns": ["price"], "marks": (), "keys": ("shop", "hour"), "zone": None}
    return FutureRows(rows=pl.DataFrame(rows), **values | fields)


def test_the_next_steps_of_each_sequence_are_appended_and_everything_else_in_the_table_is_ignored() -> None:
    rows = {
        SEQUENCE: [2, 1, 1, 1, 3, 1, 2, 2],
        POSITION: [9, 5, 4, 3, 1, 6, 5, 4],
        "price": [0.2, 0.5, 0.4, 0.3, 0.1, 0.6, 0.5, 0.4],
    }
    found = future(rows).behind(EVENTS)
    assert found.select(SEQUENCE, POSITION, "price").rows() == [
        *((1, 1, 1.0), (1, 3, 2.0), (1, 4, 0.4), (1, 5, 0.5)),
        *((2, 4, 5.0), (2, 5, 0.5), (2, 9, 0.2)),
    ]
    assert found["sales"].to_list() == [6.0, 7.0, 7.0, 7.0, 8.0, 8.0, 8.0]
    assert {*found.columns} == {*EVENTS.columns}


@pytest.mark.parametrize("name", ["step", "last", "is future", "len"])
def test_a_known_column_may_have_any_name(name: str) -> None:
    rows = {SEQUENCE: [1, 1, 2, 2], POSITION: [4, 5, 5, 6], name: [0.4, 0.5, 0.25, 0.75]}
    found = future(rows, columns=[name], required=[name]).behind(EVENTS.rename({"price": name}))
    assert found[name].to_list() == [1.0, 2.0, 0.4, 0.5, 5.0, 0.25, 0.75]


def test_too_few_steps_name_the_first_sequence_and_the_steps_that_are_missing() -> None:
    with pytest.raises(DataError) as error:
        future({SEQUENCE: [1, 2], POSITION: [4, 1], "price": [1.0, 1.0]}).behind(EVENTS)
    assert error.value.what == (
        "after the last event of sequence `1` the table has 1 of the 2 steps, and too few for 1 more sequence"
    )
    assert error.value.where == "plan.csv, after shop=1 hour=3"
    assert error.value.fix == "add a row for step 2 to future_data_path"


def test_a_step_at_the_time_of_the_last_event_may_be_the_second_of_two_equal_local_times() -> None:
    hours = [datetime(2024, 10, 27, hour) for hour in range(3)]  # in UTC; 0 o'clock is 02:00 in Berlin, as 1 o'clock is
    events = pl.DataFrame({SEQUENCE: [1], POSITION: hours[:1], "price": [1.0]})
    rows = {SEQUENCE: [1, 1], POSITION: [hours[0], hours[2]], "price": [1.0, 2.0]}
    with pytest.raises(DataError, match=r"the table has 1 of the 2 steps") as error:
        future(rows, zone="Europe/Berlin").behind(events)
    assert "step 2 to future_data_path (clocks in Europe/Berlin show 02:00" in error.value.fix
    assert "write the later one with its offset, 2024-10-27T02:00:00+01:00" in error.value.fix


def test_a_missing_value_is_an_error_unless_it_is_filled() -> None:
    rows = {SEQUENCE: [1, 1, 2, 2], POSITION: [4, 5, 5, 6], "price": [1.0, 1.0, 1.0, None]}
    with pytest.raises(DataError, match="column `price` has no value at step 2 of sequence `2`") as error:
        future(rows).behind(EVENTS)
    assert error.value.where == "plan.csv, shop=2 hour=6"
    assert future(rows, required=[]).behind(EVENTS)["price"].null_count() == 1


def test_steps_without_positions_are_those_after_all_events() -> None:
    events = EVENTS.with_columns(pl.lit(0).alias(POSITION))
    rows = {SEQUENCE: [1, 1, 2, 2], POSITION: [0, 0, 0, 0], "price": [0.1, 0.2, 0.3, 0.4]}
    found = future(rows, has_positions=False).behind(events)
    assert found["price"].to_list() == [2.0, 1.0, 0.1, 0.2, 5.0, 0.3, 0.4]


@pytest.mark.parametrize(
    ("of_events", "of_steps"),
    [
        ([1.5, 1.0, 1.0], [2, 3, 2, 3]),
        (
            [datetime(2024, 1, 2), datetime(2024, 1, 1), datetime(2024, 1, 2)],
            [date(2024, 1, 3 + i % 2) for i in range(4)],
        ),
    ],
)
def test_positions_take_the_type_of_the_events(of_events: list[Any], of_steps: list[Any]) -> None:
    events = EVENTS.with_columns(pl.Series(POSITION, of_events))
    rows = {SEQUENCE: [1, 1, 2, 2], POSITION: of_steps, "price": [0.0] * 4}
    assert future(rows).behind(events).schema[POSITION] == events.schema[POSITION]


def test_keys_of_another_kind_are_refused() -> None:
    rows = {SEQUENCE: [1, 1], POSITION: [date(2024, 1, 3), date(2024, 1, 4)], "price": [0.0] * 2}
    with pytest.raises(DataError, match="column `hour` has Date in future_data_path, and Int64 in the events"):
        future(rows).behind(EVENTS)
