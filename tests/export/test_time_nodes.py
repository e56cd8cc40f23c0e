"""Time features in the graph that takes raw values, against Python's own calendar and time zones."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import onnx
import polars as pl
import pytest

from sequifier.artifacts.instants import FIRST_INSTANT, INSTANTS_END, MICROSECONDS, offsets_from_utc
from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture, Target
from sequifier.config.time_features import CALENDAR, TimeFeature
from sequifier.errors import ModelError
from sequifier.export.end_to_end import build_end_to_end_graph, export_end_to_end
from sequifier.export.graph import GraphWriter
from sequifier.export.parity import TOLERANCE, check, open_session
from sequifier.export.raw_columns import NO_INTEGER, RawColumn
from sequifier.export.raw_times import computed_columns, date_inputs, random_dates
from sequifier.export.time_nodes import write_computed_columns, write_dates
from tests.support.graphs import Arrays, run_graph
from tests.support.shapes import lively, small

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = [None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]
T = 5


def rules(zone: str | None = None, **features: list[TimeFeature]) -> TimeRules:
    return TimeRules(time_features=features or {"itemPosition": ["gap", "since_first", *CALENDAR]}, time_zone=zone)


def graph_of(times: TimeRules, steps: int = T) -> onnx.ModelProto:
    """A graph of the computed columns alone."""
    writer = GraphWriter({}, [*date_inputs(times), *times.derived, "n_events"])
    dates, n_events = write_dates(writer, times, steps), writer.input("n_events", np.int64)
    for name, value in write_computed_columns(writer, times, dates, n_events, steps).items():
        writer.output(name, value, np.float64 if times.derived[name].is_span else np.int64, steps)
    return writer.finish("times")


def instant(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def windows(moments: Sequence[datetime]) -> Arrays:
    """Each moment as the last of a full window."""
    positions = np.zeros((len(moments), T), np.int64)
    positions[:, -1] = [instant(moment) for moment in moments]
    return {
        "position": positions,
        "previous_position": positions[:, 0],
        "first_position": positions[:, 0],
        "n_events": np.full(len(moments), T),
    }


def moments(zone: str | None) -> list[datetime]:
    """Moments of all years, and those around changes of clocks and of the calendar."""
    draw = np.random.default_rng(0)
    instants = draw.integers(FIRST_INSTANT, INSTANTS_END, 500).tolist()
    special = [datetime(year, month, day, tzinfo=UTC) for year in (1900, 1999, 2000, 2024, 2099) for month, day in DAYS]
    if zone is not None:
        special += [EPOCH + timedelta(microseconds=int(start)) for start in offsets_from_utc(zone)[0]]
    around = [EPOCH + timedelta(microseconds=each) for each in instants]
    around += [moment + timedelta(microseconds=shift) for moment in special for shift in (-1, 0, 1, 3_599_999_999)]
    return [moment for moment in around if 1900 <= moment.year < 2100]


DAYS = [(1, 1), (2, 28), (3, 1), (12, 31), (6, 30)]


@pytest.mark.parametrize("zone", ZONES)
def test_the_local_calendar_is_that_of_python(zone: str | None) -> None:
    given = moments(zone)
    found = run_graph(graph_of(rules(zone)), windows(given))
    # The system's own list of zones may be older or newer than that of polars: years after 2037 follow rules there.
    local = [moment.astimezone(ZoneInfo(zone or "UTC")) for moment in given]
    expected = {
        "time_hour": [moment.hour for moment in local],
        "time_weekday": [moment.weekday() for moment in local],
        "time_day": [moment.day for moment in local],
        "time_month": [moment.month for moment in local],
    }
    for name, values in expected.items():
        assert found[name][:, -1].tolist() == values, name


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("steps", [1, T])
def test_the_graph_computes_what_our_own_code_computes(zone: str | None, steps: int) -> None:
    times = rules(
        zone,
        itemPosition=["gap", "since_first", "hour", "weekday", "day", "month"],
        due=["until", "weekday", "gap", "since_first"],
    )
    model = graph_of(times, steps)
    n_events = np.repeat(np.arange(1, steps + 1), 40)
    given = random_dates(n_events, steps, times, np.random.default_rng(1))
    found = run_graph(model, given | {"n_events": n_events})
    is_event = np.arange(steps, 0, -1) <= n_events[:, None]
    for name, values in computed_columns(given, n_events, times).items():
        np.testing.assert_array_equal(found[name][is_event], values[is_event], name)


def test_spans_are_seconds_from_the_events_before() -> None:
    at = EPOCH + timedelta(days=20_000)
    seconds = [0, 10, 70.5, 70.5, 4000]
    positions = np.array([[instant(at + timedelta(seconds=each)) for each in seconds]])
    feed: Arrays = {
        "position": positions,
        "previous_position": positions[:, 0] - 3 * MICROSECONDS,
        "first_position": positions[:, 0] - 60 * MICROSECONDS,
    }
    model = graph_of(rules())
    full = run_graph(model, feed | {"n_events": np.array([5])})
    assert full["time_gap"].tolist() == [[3, 10, 60.5, 0, 3929.5]]
    assert full["time_since_first"].tolist() == [[60, 70, 130.5, 130.5, 4060]]
    whole = run_graph(model, feed | {"n_events": np.array([3])})  # the history begins within the window
    assert whole["time_gap"][0, 2:].tolist() == [0, 0, 3929.5]
    assert whole["time_since_first"][0, 2:].tolist() == [0, 0, 3929.5]


def test_numbers_are_multiples_of_their_unit_and_start_is_the_first_position() -> None:
    times = TimeRules.model_validate(
        {
            "time_features": {"itemPosition": ["gap", "since_start"]},
            "time_unit": "hours",
            "positions_are": "numbers",
            "observation": {"start": 0.5},
        }
    )
    given = {
        "position": np.array([[9, 0.5, 0.75, np.nan, 2], [1, 1.5, 1.5, 3, np.inf]]),
        "previous_position": np.array([-7.0, 0.75]),
        "first_position": np.array([-7.0, 0.5]),
        "n_events": np.array([4, T]),
    }
    expected = {
        "time_gap": [[0, 900, np.nan, np.nan], [900, 1800, 0, 5400, np.nan]],
        "time_since_start": [[0, 900, np.nan, 5400], [1800, 3600, 3600, 9000, np.nan]],
    }
    found, ours = run_graph(graph_of(times), given), computed_columns(given, given["n_events"], times)
    for name, rows in expected.items():
        for row, values in enumerate(rows):
            np.testing.assert_array_equal(found[name][row, -len(values) :], values)
            np.testing.assert_array_equal(ours[name][row, -len(values) :], values)


def test_other_years_and_missing_dates_are_unknown() -> None:
    model = graph_of(rules(None, itemPosition=["gap", "hour"], due=["until", "month"]))
    known, late = instant(datetime(2024, 5, 1, 7, tzinfo=UTC)), instant(datetime(2100, 1, 1, tzinfo=UTC))
    feed: Arrays = {
        "position": np.array([[known, late, known, known, known]]),
        "previous_position": np.array([instant(datetime(1899, 12, 31, tzinfo=UTC))]),
        "first_position": np.array([NO_INTEGER]),
        "due": np.array([[known, known, NO_INTEGER, late, known + MICROSECONDS]]),
        "n_events": np.array([5]),
    }
    found = run_graph(model, feed)
    assert found["time_hour"].tolist() == [[7, NO_INTEGER, 7, 7, 7]]
    np.testing.assert_array_equal(found["time_gap"], [[np.nan, np.nan, np.nan, 0, 0]])
    np.testing.assert_array_equal(found["due_until"], [[0, np.nan, np.nan, np.nan, 1]])
    assert found["due_month"].tolist() == [[5, 5, NO_INTEGER, NO_INTEGER, 5]]


def every_zone() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith(("posix", "right")))


@pytest.mark.slow
def test_no_zone_changes_its_offset_between_those_of_the_table() -> None:
    """Twice within six hours: each full hour of two hundred years in each zone, against polars."""
    hours = np.arange(FIRST_INSTANT, INSTANTS_END, 3600 * MICROSECONDS)
    utc = pl.Series(hours).cast(pl.Datetime("us"))
    for zone in every_zone():
        local = utc.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
        starts, offsets = offsets_from_utc(zone)
        ours = offsets[np.searchsorted(starts, hours, side="right") - 1]
        assert np.array_equal(ours, (local - utc).dt.total_microseconds().to_numpy()), zone


COLUMNS = {
    "kind": RawColumn(np.str_, ("a", "b", "c")),
    "time_gap": RawColumn(np.float32, (), Scale(8.0, 3.0, "log1p", 3600)),
    "time_since_first": RawColumn(np.float32, (), Scale(9.0, 4.0, "log1p", 3600)),
    "time_hour": RawColumn(np.int64, tuple(range(24))),
    "time_month": RawColumn(np.int64, tuple(range(1, 13))),
    "due_until": RawColumn(np.float32, (), Scale(1.0, 6.0, "asinh", 3600), fill="mean"),
    "due_weekday": RawColumn(np.int64, tuple(range(7)), fill="forward"),
}
TIMES = TimeRules(
    time_features={"itemPosition": ["gap", "since_first", "hour", "month"], "due": ["until", "weekday"]},
    time_zone="Europe/Berlin",
    time_unit="hours",
)
SHAPE = small(
    categorical=(("kind", 4), ("time_hour", 25), ("time_month", 13), ("due_weekday", 8)),
    real=("time_gap", "time_since_first", "due_until"),
    embedding_widths=(4, 4, 2, 2, 2, 1, 1),
    targets=(
        Target("kind", "categorical", 4),
        Target("time_gap", "real", 0),
        Target("time_hour", "categorical", 25),
        Target("due_until", "real", 0),
    ),
)


def model_of(shape: Architecture = SHAPE, times: TimeRules = TIMES) -> onnx.ModelProto:
    return build_end_to_end_graph(shape, lively(shape).state_dict(), COLUMNS, metadata_props={}, times=times)


def test_a_graph_takes_dates_in_place_of_the_columns_computed_from_them() -> None:
    session = open_session(model_of().SerializeToString())
    inputs = {value.name: (value.type, value.shape[1:]) for value in session.get_inputs()}
    whole, one = ("tensor(int64)", [SHAPE.seq_length]), ("tensor(int64)", [])
    assert inputs == {
        "kind": ("tensor(string)", [SHAPE.seq_length]),
        "position": whole,
        "previous_position": one,
        "first_position": one,
        "due": whole,
        "n_events": one,
    }


def test_the_exported_model_is_compared_with_torch(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.onnx"
    parity = export_end_to_end(path, SHAPE, lively(SHAPE), COLUMNS, properties={}, seed=0, times=TIMES)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert parity.largest_difference < TOLERANCE / 10


@pytest.mark.parametrize("wrong", ["zone", "unit"])
def test_a_wrong_time_is_found(wrong: str) -> None:
    """The comparison of an export sees a clock that is an hour off, and hours that are seconds."""
    times, columns = TIMES, dict(COLUMNS)
    if wrong == "zone":
        times = TIMES.model_copy(update={"time_zone": "Europe/London"})
    else:
        columns["time_gap"] = RawColumn(np.float32, (), Scale(8.0, 3.0, "log1p"))
    with pytest.raises(ModelError, match="differs from torch"):
        check(model_of(times=times), SHAPE, lively(SHAPE).state_dict(), seed=0, raw=columns, times=TIMES)


@pytest.mark.parametrize("name", ["position", "previous_position", "first_position"])
def test_a_raw_column_with_the_name_of_an_input_for_dates_is_refused(name: str) -> None:
    shape = small(
        categorical=((name, 4), ("time_hour", 25)), real=(), embedding_widths=(8, 8), targets=(SHAPE.targets[0],)
    )
    columns = COLUMNS | {name: COLUMNS["kind"]}
    with pytest.raises(ModelError, match=f"column `{name}` has the name of an input for dates"):
        build_end_to_end_graph(shape, lively(shape).state_dict(), columns, metadata_props={}, times=TIMES)
    without = TimeRules()
    build_end_to_end_graph(shape, lively(shape).state_dict(), columns, metadata_props={}, times=without)
