"""Positions of forecasts beyond the end of a series, by its own frequency."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.time_rules import TimeRules
from sequifier.inference.forecast_dates import continued, positions_of
from sequifier.inference.steps_to_come import planned_elsewhere
from tests.support.events import make_events


def dates(*texts: str, unit: str = "D") -> Any:
    return np.array(texts, f"datetime64[{unit}]")


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (np.array([3, 5, 7]), [9, 11]),
        (np.array([0.1, 0.2, 0.3]), pytest.approx([0.4, 0.5])),
        (dates("2024-02-26", "2024-02-27", "2024-02-28"), dates("2024-02-29", "2024-03-01")),
        (dates("2024-01-01", "2024-01-08", "2024-01-15"), dates("2024-01-22", "2024-01-29")),
        (dates("2023-12-01", "2024-01-01", "2024-02-01"), dates("2024-03-01", "2024-04-01")),
        (dates("2023-11-30", "2023-12-31", "2024-01-31"), dates("2024-02-29", "2024-03-31")),
        (dates("2022-03-15", "2023-03-15", "2024-03-15"), dates("2025-03-15", "2026-03-15")),
        (dates("2023-09-30", "2023-12-31", "2024-03-31"), dates("2024-06-30", "2024-09-30")),
        (
            dates("2024-01-01T06:00", "2024-02-01T06:00", "2024-03-01T06:00", unit="us"),
            dates("2024-04-01T06:00", "2024-05-01T06:00", unit="us"),
        ),
    ],
)
def test_a_series_continues_by_its_own_frequency(positions: Any, expected: Any) -> None:
    found = continued(positions, 2)
    assert found is not None
    assert found.dtype == positions.dtype
    assert found.tolist() == (expected.tolist() if isinstance(expected, np.ndarray) else expected)


@pytest.mark.parametrize(
    "positions",
    [
        np.array([3, 5]),
        np.array([3, 5, 8]),
        np.array([5, 5, 5]),
        np.array([0.1, 0.2, 0.31]),
        dates("2024-01-01", "2024-01-02", "2024-01-05"),
        dates("2024-01-30", "2024-02-29", "2024-03-29"),  # neither the 30th of each month nor its end
        dates("2024-01-01", "2024-02-02", "2024-03-03"),
    ],
)
def test_a_series_without_a_frequency_is_not_continued(positions: Any) -> None:
    assert continued(positions, 2) is None


@given(
    year=st.integers(1971, 2037),
    day=st.integers(0, 364),
    hour=st.integers(0, 23),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_days_in_local_time_stay_days_where_clocks_change(year: int, day: int, hour: int, zone: str) -> None:
    """Against the standard library, for a time of day that is the same on all days."""
    first = datetime(year, 1, 1, hour) + timedelta(days=day)
    local = [(first + timedelta(days=number)).replace(tzinfo=ZoneInfo(zone)) for number in range(10)]
    utc = [each.astimezone(ZoneInfo("UTC")).replace(tzinfo=None) for each in local]
    is_skipped = [each.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)).hour != hour for each in utc]
    if any(is_skipped):
        return  # no such time on that day: the data would have another one
    found = continued(np.array(utc[:7], "datetime64[us]"), 3, zone)
    assert found is not None
    assert found.tolist() == utc[7:]


def test_known_events_have_their_own_positions_and_others_those_of_their_series() -> None:
    positions = np.array([0, 10, 20, 30, 1, 2, 4])
    events = make_events([4, 3], {}, positions=positions)
    sequence, row = np.array([0, 0, 1, 1, 0]), np.array([3, 5, 6, 7, 4])
    found, n_irregular = positions_of(events, sequence, row, None)
    assert found.to_list() == [30, 50, 4, None, 40]
    assert n_irregular == 1


def test_dates_without_a_time_of_day_have_no_time_zone() -> None:
    assert continued(dates("2024-01-01", "2024-01-02", "2024-01-05"), 2, "Europe/Berlin") is None


def test_known_positions_need_no_frequency() -> None:
    events = make_events([2], {}, positions=dates("2024-01-01", "2024-01-07"))
    found, n_irregular = positions_of(events, np.array([0]), np.array([1]), None)
    assert (found.to_list(), n_irregular) == ([datetime(2024, 1, 7).date()], 0)


def test_a_plan_that_skips_the_second_of_two_equal_local_times_is_told_from_a_missing_row() -> None:
    hours = dates(*(f"2024-10-26T{hour}:00" for hour in (22, 23)), "2024-10-27T00:00", unit="us")
    model: Any = SimpleNamespace(
        architecture=SimpleNamespace(horizon=1), time=TimeRules(time_zone="Europe/Berlin", time_unit="hours")
    )
    for day, hint in ((0, "clocks in Europe/Berlin show 02:00 of 2024-10-27 twice"), (1, "")):
        positions = np.append(hours, hours[-1:] + np.timedelta64(2, "h")) - np.timedelta64(day, "D")
        ((_, twice),) = planned_elsewhere(make_events([4], {}, positions=positions), model)
        assert twice.startswith(hint) and bool(twice) == bool(hint)
