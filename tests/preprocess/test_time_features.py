"""Time features against datetime and zoneinfo of the standard library: spans, calendar, zones and bad dates."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts.instants import instants
from sequifier.artifacts.time_rules import TimeRules
from sequifier.errors import DataError
from sequifier.preprocess.time_features import with_time_features
from tests.support.small_project import Project

EVERYTHING = ["gap", "since_first", "remaining", "hour", "weekday", "day", "month"]
ZONES = ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"]
moments = st.datetimes(datetime(1900, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC))


def ids_and_values(project: Project, column: str, number: int = 0) -> list[Any]:
    """Return a column of a split as it was before the encoding."""
    encoded, metadata = project.split(number)[column], project.metadata
    if metadata.kind(column) == "categorical":
        categories: list[Any] = [None, *metadata.categories(column)]
        return [categories[id] for id in encoded.to_list()]
    values: list[Any] = metadata.scale(column).original(encoded.to_numpy().astype(np.float64)).tolist()
    return values


@settings(max_examples=60, deadline=None)
@given(
    sequences=st.lists(st.lists(moments, min_size=1, max_size=5, unique=True).map(sorted), min_size=1, max_size=3),
    zone=st.sampled_from([None, *ZONES]),
)
def test_every_feature_is_what_the_standard_library_says(sequences: list[list[datetime]], zone: str | None) -> None:
    rows = pl.DataFrame(
        {
            "sequenceId": [number for number, events in enumerate(sequences) for _ in events],
            "itemPosition": pl.Series([each.replace(tzinfo=None) for some in sequences for each in some]).cast(
                pl.Datetime("us")
            ),
        }
    )
    starts = np.cumsum([0, *(len(some) for some in sequences[:-1])])
    rules = TimeRules.model_validate({"time_features": {"itemPosition": EVERYTHING}, "time_zone": zone})
    found = with_time_features(rows, starts, rules, ("id", "at"))
    place = ZoneInfo(zone or "UTC")
    expected = []
    for events in sequences:
        for before, each in zip([events[0], *events], events, strict=False):
            spans = (each - before, each - events[0], events[-1] - each)
            local = each.astimezone(place)
            expected.append(
                (*(span / timedelta(seconds=1) for span in spans), local.hour, local.weekday(), local.day, local.month)
            )
    assert found.drop("sequenceId", "itemPosition").rows() == expected


@settings(max_examples=60, deadline=None)
@given(day=st.dates(date(1900, 1, 2), date(2099, 12, 30)), zone=st.sampled_from(ZONES))
def test_a_date_is_the_first_instant_of_its_day_in_the_zone(day: date, zone: str) -> None:
    found = instants(pl.Series([day]), zone).item()
    local = datetime.fromtimestamp(found // 1_000_000, UTC).astimezone(ZoneInfo(zone))
    before = datetime.fromtimestamp(found // 1_000_000 - 1, UTC).astimezone(ZoneInfo(zone))
    if (day, zone) != (date(2011, 12, 30), "Pacific/Apia"):  # a day that its calendar skips
        assert local.date() == day
    assert before.date() < day


def test_columns_follow_the_selected_ones_with_fixed_vocabularies(project: Project) -> None:
    path = project.write_text(
        "sequenceId,at,kind,price\n1,2024-03-01 10:00:00,a,1.5\n1,2024-03-01 10:01:40,b,2.5\n"
        "1,2024-03-03 09:00:00,a,0.5\n2,2024-02-29 23:59:59.5,a,1.0\n2,2024-03-01 00:00:00,b,2.0\n"
    )
    metadata = project.run(
        path, position_column="at", split_ratios=[1.0], time_features=EVERYTHING, selected_columns=["price", "kind"]
    )
    names = [f"time_{feature}" for feature in EVERYTHING]
    assert metadata.columns == ["price", "kind", *names]
    assert project.split(0).columns == ["sequenceId", "itemPosition", "isContext", *metadata.columns]
    assert {name: metadata.n_classes[name] for name in names[3:]} == {
        "time_hour": 25,
        "time_weekday": 8,
        "time_day": 32,
        "time_month": 13,
    }
    assert metadata.categories("time_weekday") == [0, 1, 2, 3, 4, 5, 6]
    assert metadata.categories("time_month") == list(range(1, 13))
    assert ids_and_values(project, "time_hour") == [10, 10, 9, 23, 0]
    assert ids_and_values(project, "time_weekday") == [4, 4, 6, 3, 4]
    assert ids_and_values(project, "time_day") == [1, 1, 3, 29, 1]
    assert ids_and_values(project, "time_month") == [3, 3, 3, 2, 3]
    assert metadata.input_columns == [column for column in metadata.columns if column != "time_remaining"]
    assert json.loads(project.metadata_path.read_text())["sequifier"]["time_features"] == {"itemPosition": EVERYTHING}


def test_metadata_without_time_features_do_not_mention_time(project: Project, events: pl.DataFrame) -> None:
    project.run(project.write(events))
    assert not [key for key in json.loads(project.metadata_path.read_text())["sequifier"] if "time" in key]


def test_other_dates_have_their_own_features_and_are_no_features_themselves(project: Project) -> None:
    path = project.write_text(
        "sequenceId,at,due,kind\n1,2024-03-01 00:00:00,05/03/2024,a\n1,2024-03-02 12:00:00,28/02/2024,b\n"
        "1,2024-03-04 00:00:00,,a\n"
    )
    metadata = project.run(
        path,
        position_column="at",
        split_ratios=[1.0],
        time_features={"at": ["gap"], "due": ["until", "weekday"]},
        fill_null={"due_until": "mean", "due_weekday": "unknown"},
    )
    assert metadata.columns == ["kind", "time_gap", "due_until", "due_weekday"]
    assert ids_and_values(project, "due_weekday") == [1, 2, None]
    assert metadata.sequifier.date_formats == {"due": "DD/MM/YYYY"}
    assert any("`due`: its dates are read as DD/MM/YYYY" in line for line in project.lines)


def test_dates_beside_integer_positions_have_gaps(project: Project) -> None:
    frame = pl.DataFrame(
        {
            "sequenceId": [1, 1, 1],
            "itemPosition": [0, 1, 2],
            "time:timestamp": [datetime(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 2)],
        }
    )
    metadata = project.run(
        project.write(frame), split_ratios=[1.0], time_features={"time:timestamp": ["gap", "since_first"]}
    )
    assert metadata.columns == ["time:timestamp_gap", "time:timestamp_since_first"]
    assert project.split(0)["itemPosition"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    ("written", "zone", "stored"),
    [
        ("2024-07-01 12:00:00", None, datetime(2024, 7, 1, 12)),
        ("2024-07-01 12:00:00", "Europe/Berlin", datetime(2024, 7, 1, 10)),
        ("2024-07-01T12:00:00-05:00", "Europe/Berlin", datetime(2024, 7, 1, 17)),
        ("2024-07-01T12:00:00Z", "Europe/Berlin", datetime(2024, 7, 1, 12)),
        ("01.07.2024 12:00", "Europe/Berlin", datetime(2024, 7, 1, 10)),
        ("2024-10-27 02:30:00", "Europe/Berlin", datetime(2024, 10, 27, 0, 30)),  # twice: the earlier instant
    ],
)
@pytest.mark.parametrize("file", ["events.csv", "events.parquet"])
def test_positions_are_stored_in_utc(
    project: Project, written: str, zone: str | None, stored: datetime, file: str
) -> None:
    other = "2024-07-02" + written[10:] if written[4] == "-" else "02.07.2024 12:00"
    frame = pl.DataFrame({"sequenceId": [1, 1], "itemPosition": [written, other], "kind": ["a", "b"]})
    project.run(project.write(frame, file), split_ratios=[1.0], time_zone=zone)
    assert stored in project.split(0)["itemPosition"].to_list()


@pytest.mark.parametrize("aware", [True, False])
def test_a_typed_column_has_instants_only_with_a_time_zone(project: Project, aware: bool) -> None:
    at = pl.Series([datetime(2024, 7, 1, 12), datetime(2024, 7, 1, 13)])
    at = at.dt.replace_time_zone("America/New_York") if aware else at
    frame = pl.DataFrame({"sequenceId": [1, 1], "itemPosition": at, "kind": ["a", "b"]})
    project.run(project.write(frame), split_ratios=[1.0], time_zone="Europe/Berlin", time_features=["hour"])
    hour = 16 if aware else 10
    assert project.split(0)["itemPosition"].to_list() == [datetime(2024, 7, 1, hour), datetime(2024, 7, 1, hour + 1)]
    assert ids_and_values(project, "time_hour") == [hour + 2, hour + 3]


def test_a_gap_is_a_difference_of_instants_across_a_change_of_clocks(project: Project) -> None:
    path = project.write_text(
        "sequenceId,itemPosition,kind\n1,2024-03-31 01:30:00,a\n1,2024-03-31 03:30:00,b\n1,2024-03-31 04:30:00,b\n"
    )
    project.run(path, split_ratios=[1.0], time_zone="Europe/Berlin", time_features=["gap", "hour"])
    assert ids_and_values(project, "time_gap") == pytest.approx([0, 3600, 3600], abs=0.01)
    assert ids_and_values(project, "time_hour") == [1, 3, 4]


def test_the_second_of_two_equal_local_times_is_named_and_may_be_written_with_its_offset(project: Project) -> None:
    text = "sequenceId,itemPosition,kind\n1,2024-10-27 02:00,a\n1,2024-10-27 02:00,b\n1,2024-10-27 03:00,b\n"
    fields: dict[str, Any] = {"split_ratios": [1.0], "time_features": ["gap"]}
    with pytest.raises(DataError) as raised:
        project.run(project.write_text(text), time_zone="Europe/Berlin", **fields)
    twice, later = "clocks in Europe/Berlin show 02:00 of 2024-10-27 twice", "2024-10-27T02:00:00+01:00"
    assert twice in raised.value.fix and later in raised.value.fix
    project.run(project.write_text(text.replace("02:00,b", "02:00+01:00,b")), time_zone="Europe/Berlin", **fields)
    assert ids_and_values(project, "time_gap") == pytest.approx([0, 3600, 3600], abs=0.01)
    assert any(line.endswith("events.csv: 3 rows of 1 sequence, 2 columns") for line in project.lines)
    assert project.lines[-1].endswith("(training): 3 rows of 1 sequence")
    for same, zone in ((text, None), (text.replace("27 02", "26 02"), "Europe/Berlin")):
        with pytest.raises(DataError) as raised:
            project.run(project.write_text(same), time_zone=zone, **fields)
        assert "remove the duplicates, or set" in raised.value.fix


def test_an_error_says_that_its_position_is_in_utc_where_the_file_has_local_times(project: Project) -> None:
    text = "sequenceId,itemPosition,price\n1,2024-07-01 12:00:00,1.5\n1,2024-07-01 13:00:00,-2.5\n"
    for zone, place in (("Europe/Berlin", "2024-07-01 11:00:00 UTC$"), (None, "2024-07-01 13:00:00$")):
        with pytest.raises(DataError, match=rf"(?m)first at sequenceId=1 itemPosition={place}"):
            project.run(project.write_text(text), split_ratios=[1.0], time_zone=zone, transforms={"price": "log1p"})
    early = text.replace("2024-07-01 12", "1850-07-01 12")
    with pytest.raises(DataError, match=r"has the value 1850-07-01 \S+ UTC, which is not in the years") as raised:
        project.run(project.write_text(early), split_ratios=[1.0], time_zone="Europe/Berlin", time_features=["gap"])
    assert str(raised.value.where).endswith("UTC")


def test_dates_with_and_without_an_offset_are_read_with_a_time_zone(project: Project) -> None:
    text = "sequenceId,itemPosition,kind\n1,2024-07-01T12:00:00,a\n1,2024-07-01T12:00:00-05:00,b\n"
    with pytest.raises(DataError, match="time_zone"):
        project.run(project.write_text(text), split_ratios=[1.0])
    project.run(project.write_text(text), split_ratios=[1.0], time_zone="Europe/Berlin")
    assert project.split(0)["itemPosition"].to_list() == [datetime(2024, 7, 1, 10), datetime(2024, 7, 1, 17)]


def test_cutoffs_are_local_times_too(project: Project) -> None:
    rows = "".join(f"1,2024-07-0{day} 00:30:00,{'ab'[day % 2]}\n" for day in range(1, 7))
    path = project.write_text("sequenceId,itemPosition,kind\n" + rows)
    metadata = project.run(path, split_method="cutoff", split_at=["2024-07-04"], time_zone="Europe/Berlin")
    assert metadata.sequifier.rows == [3, 3]


def test_new_data_gets_the_features_of_the_metadata(project: Project) -> None:
    head = "sequenceId,itemPosition,kind\n"
    path = project.write_text(head + "1,2024-07-01 12:00:00,a\n1,2024-07-01 13:00:00,b\n1,2024-07-02 13:00:00,b\n")
    first = project.run(path, split_ratios=[1.0], time_features=["gap", "hour"], time_zone="Asia/Tokyo")
    stored = {"metadata_config_path": str(project.metadata_path), "split_ratios": [1.0]}
    new = project.write_text(head + "7,2024-08-01 22:00:00,a\n7,2024-08-01 22:30:00,b\n", "new.csv")
    again = project.run(new, **stored)
    assert again.columns == first.columns
    assert again.selected_columns_statistics == first.selected_columns_statistics
    assert again.sequifier.time_zone == "Asia/Tokyo"
    assert ids_and_values(project, "time_hour") == [22, 22]
    assert ids_and_values(project, "time_gap") == pytest.approx([0, 1800], rel=1e-4, abs=0.1)
    with pytest.raises(DataError, match="other time_features"):
        project.run(new, time_features=["gap"], **stored)


def test_parts_do_not_change_time_features(project: Project) -> None:
    frame = pl.DataFrame(
        {
            "sequenceId": [number // 5 for number in range(400)],
            "itemPosition": [datetime(2024, 1, 1) + timedelta(seconds=number * number) for number in range(400)],
            "kind": [str(number % 7) for number in range(400)],
        }
    )
    path = project.write(frame.sample(fraction=1.0, shuffle=True, seed=1))
    whole = project.run(path, time_features=EVERYTHING, split_method="between_sequence")
    parts = project.run(path, time_features=EVERYTHING, memory_bytes=2000, split_method="between_sequence")
    assert whole.fingerprint == parts.fingerprint


@pytest.mark.parametrize(("method", "reveals"), [("within_sequence", True), ("between_sequence", False)])
def test_a_split_that_reveals_when_sequences_end_is_reported(project: Project, method: str, reveals: bool) -> None:
    rows = "".join(f"{number // 3},2024-07-0{1 + number % 3},{'ab'[number % 2]}\n" for number in range(12))
    path = project.write_text("sequenceId,itemPosition,kind\n" + rows)
    project.run(path, split_ratios=[0.5, 0.5], split_method=method, time_features=["remaining"])
    assert reveals is any("time_remaining: training events know" in line for line in project.lines)


def test_the_unit_of_time_is_part_of_the_fingerprint(project: Project) -> None:
    path = project.write_text("sequenceId,itemPosition,kind\n1,2024-07-01,a\n1,2024-07-02,b\n")
    prints = [
        project.run(path, split_ratios=[1.0], time_features=["gap"], time_unit=unit).fingerprint
        for unit in ("seconds", "days")
    ]
    assert prints[0] != prints[1]


def test_spans_of_time_have_a_transform_unless_the_config_names_another(project: Project) -> None:
    path = project.write_text(
        "sequenceId,itemPosition,due,kind\n1,2024-07-01,2024-07-03,a\n1,2024-07-02,2024-07-01,b\n"
    )
    features = {"itemPosition": ["gap", "since_first"], "due": ["until", "weekday"]}
    found = project.run(path, split_ratios=[1.0], time_features=features, transforms={"time_since_first": "none"})
    assert found.sequifier.reading.transforms == {"time_gap": "log1p", "due_until": "asinh"}
    assert ids_and_values(project, "due_until") == pytest.approx([2 * 86400, -86400], rel=1e-5)
    assert found.selected_columns_statistics["time_since_first"]["mean"] == 43200
    again = project.run(
        project.write_text(
            "sequenceId,itemPosition,due,kind\n1,2024-08-01,2024-07-03,a\n1,2024-08-02,2024-07-01,b\n", "x.csv"
        ),
        split_ratios=[1.0],
        metadata_config_path=str(project.metadata_path),
    )
    assert again.sequifier.reading.transforms == found.sequifier.reading.transforms


HEADER = "sequenceId,itemPosition,due,kind\n"
GOOD = "1,2024-03-30 10:00:00,2024-04-01,a\n1,2024-03-31 10:00:00,2024-04-01,b\n"


@pytest.mark.parametrize(
    ("text", "fields", "parts"),
    [
        ("sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n", {"time_features": ["gap"]},
         ["computed from dates", "(`itemPosition`) are integers", "position_column"]),
        (HEADER + "1,1,2024-04-01,a\n1,2,2024-04-01,b\n", {"time_features": {"due": ["until"]}},
         ["until is the time from the event", "are integers"]),
        ("sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n", {"time_zone": "Europe/Berlin"}, ["time_zone", "are integers"]),
        ("sequenceId,itemPosition,kind\n1,2024-03-01,a\n1,2024-03-02,b\n", {"time_zone": "Europe/Berlin"},
         ["time_zone is Europe/Berlin", "dates without a time of day"]),
        (HEADER + GOOD + "1,2024-03-31 02:30:00,2024-04-01,b\n", {"time_zone": "Europe/Berlin"},
         ["`2024-03-31 02:30:00` does not exist in Europe/Berlin", "row 3 after the header"]),
        (HEADER + GOOD, {"time_features": {"deu": ["until"]}}, ["`deu` (time_features) is missing", "`due`?"]),
        (HEADER + GOOD, {"time_features": {"kind": ["hour"]}, "selected_columns": ["due"]},
         ["`kind` of time_features has the value `a`", "row 1"]),
        (HEADER + GOOD + "2,2024-03-31 10:00:00,4/1/2024,b\n", {"time_features": {"due": ["until"]}},
         ["`due` of time_features has the value `4/1/2024`", "row 3 after the header", "one format"]),
        (HEADER + GOOD + "2,2024-03-31 10:00:00,,b\n", {"time_features": {"due": ["until"]}},
         ["`due_until`: 1 of 3 values is missing", "fill_null.due_until"]),
        (HEADER + GOOD + "2,2024-03-31 10:00:00,2024-02-30,b\n",
         {"time_features": {"due": ["until"]}, "fill_null": {"due_until": "mean"}},
         ["has the value `2024-02-30`, which is not a date: there is no such day", "row 3 after the header"]),
        (HEADER + GOOD + "2,2024-03-31 10:00:00,0000-00-00,b\n",
         {"time_features": {"due": ["weekday"]}, "fill_null": {"due_weekday": "unknown"}},
         ["has the value `0000-00-00`", "the year is below 1000"]),
        (HEADER + GOOD + "2,2024-03-31 10:00:00,9999-12-31,b\n", {"time_features": {"due": ["until"]}},
         ["`due` has the value 9999-12-31", "1900 to 2099", "sequenceId=2"]),
        (HEADER + GOOD + "1,2024-04-01 10:00:00,2024-03-01,b\n", {"time_features": {"due": ["gap"]}},
         ["the date 2024-03-01 in column `due` is before", "itemPosition=2024-04-01 10:00:00", "position_column: due"]),
        ("sequenceId,itemPosition,time_gap\n1,2024-03-01,3\n1,2024-03-02,4\n", {"time_features": ["gap"]},
         ["has a column `time_gap`", "rename"]),
        (HEADER + "1,2024-03-30T10:00:00+01:00,2024-04-01,a\n1,2024-03-31T10:00:00+02:00,2024-04-01,b\n",
         {"time_features": {"itemPosition": ["gap", "hour"]}},
         ["several offsets from UTC (+01:00, +02:00)", "row 2 after the header", "set time_zone"]),
        (HEADER + GOOD, {"time_features": {"itemPosition": ["hour"]}, "min_count": {"time_hour": 2}},
         ["min_count names `time_hour`", "same categories"]),
    ],
)  # fmt: skip
def test_bad_dates_are_one_clear_error(project: Project, text: str, fields: dict[str, Any], parts: list[str]) -> None:
    if "due" not in str(fields.get("time_features")) and "due" in text:
        fields = {"selected_columns": ["kind"], **fields}
    path, before = project.write_text(text), project.files()
    with pytest.raises(DataError) as raised:
        project.run(path, split_ratios=[1.0], **fields)
    assert project.files() == before
    assert [part for part in parts if part not in str(raised.value)] == []


def test_gaps_alone_need_no_time_zone_where_offsets_differ(project: Project) -> None:
    path = project.write_text(
        "sequenceId,itemPosition,kind\n1,2024-03-30T10:00:00+01:00,a\n1,2024-03-30T11:00:30+02:00,b\n"
    )
    project.run(path, split_ratios=[1.0], time_features=["gap"])
    assert ids_and_values(project, "time_gap") == pytest.approx([0, 30], abs=1e-3)


def test_a_table_of_times_alone_has_its_gaps_as_features() -> None:
    with TemporaryDirectory() as folder:
        project = Project(Path(folder))
        path = project.write_text("sequenceId,itemPosition\n1,2024-03-01\n1,2024-03-02\n1,2024-03-05\n")
        assert project.run(path, split_ratios=[1.0], time_features=["gap"]).columns == ["time_gap"]
