"""Values as other programs write them: read as they are meant, or refused with the text, its row and what to do."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sequifier.errors import DataError
from sequifier.preprocess.column_counts import count_columns, inspect_numbers
from sequifier.preprocess.dates import date as parsed_date
from sequifier.preprocess.dates import date_counts, decide_dates
from sequifier.preprocess.numbers import integer, number
from tests.support.small_project import Project


def columns(rows: list[str], header: str = "sequenceId,itemPosition,kind,x") -> str:
    """Events of one sequence whose last column is given."""
    return "\n".join([header, *(f"1,{i},{'ab'[i % 2]},{value}" for i, value in enumerate(rows))]) + "\n"


def numbers(texts: list[str | None]) -> tuple[str, list[float | None]]:
    """The kind of a column, and its values."""
    rows = pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)}).lazy()
    look = inspect_numbers(rows, ["x"])["x"]
    value = integer(pl.col("x")) if look.kind == "integer" else number(pl.col("x"), look.style)
    return look.kind, rows.select(value).collect().to_series().to_list()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1,234.50", "7", "0.5"], [1234.5, 7, 0.5]),
        (["1.234,50", "7", "0,5"], [1234.5, 7, 0.5]),
        (["1'234.50", "7"], [1234.5, 7]),
        (["1’234.50", "7"], [1234.5, 7]),
        (["1 234,50", "7"], [1234.5, 7]),
        (["1\u202f234,50", "1\u00a0000,25"], [1234.5, 1000.25]),
        (["12,34,567.00", "7"], [1234567, 7]),
        (["1,5", "0,25"], [1.5, 0.25]),
        (["5 %", "7.5%"], [5, 7.5]),
        (["$5", "$1,234.50", "-$3", "($2)"], [5, 1234.5, -3, -2]),
        (["5,00 €", "-7,50 €"], [5, -7.5]),
        (["CHF 1'000.50", "CHF 2"], [1000.5, 2]),
        (["(5.00)", "5.00"], [-5, 5]),
        (["5.00-", "6.50"], [-5, 6.5]),
        (["\u22125.5", "5.5"], [-5.5, 5.5]),
        (["1e5", "-2.5E-1"], [100000, -0.25]),
        ([" 1.5", "2.5 "], [1.5, 2.5]),
        ([".5", "5."], [0.5, 5]),
    ],
)
def test_numbers_are_read_as_they_are_written(texts: list[str], expected: list[float]) -> None:
    assert numbers([*texts]) == ("number", expected)


@pytest.mark.parametrize(
    "mark",
    ["NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "-", "\\N", "", "  ", "<NA>", "NaT", ".", "?", "1.#IND", "—"],
)
def test_marks_of_missing_values_are_no_numbers_and_hide_none(mark: str) -> None:
    assert numbers(["3", mark, None, "-4"]) == ("integer", [3, None, None, -4])
    assert numbers(["3.5", mark]) == ("number", [3.5, None])


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["00123", "42"], "code"),
        (["+4912345", "+4412345"], "code"),
        (["555 123 456", "555 123 457"], "code"),
        (["0x1A", "1"], "text"),
        (["192.168.1.1", "10.0.0.1"], "text"),
        (["1.2.3", "1.2.4"], "text"),
        (["A1", "B2"], "text"),
        (["12-13", "14-15"], "text"),
        (["5 %", "5"], "text"),  # five or a twentieth
        (["$5", "€5"], "text"),
        (["1.5", "1,5"], "text"),
        (["1,234", "5,678"], "ambiguous"),
        (["TRUE", "false"], "boolean"),
        (["yes", "no"], "text"),
        (["99999999999999999999", "1"], "large integer"),
        (["+5", "-3", "2"], "integer"),
    ],
)
def test_what_only_looks_like_a_number_is_not_one(texts: list[str], kind: str) -> None:
    assert numbers([*texts])[0] == kind


def test_many_groups_of_three_beside_smaller_numbers_are_thousands() -> None:
    assert numbers([f"{i},{i:03}" for i in range(1, 200)] + ["999"])[1][:2] == [1001, 2002]
    assert numbers([f"${i},{i:03}" for i in (1, 2)])[1] == [1001, 2002]


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
amounts = st.lists(st.decimals(-(10**9), 10**9, places=2, allow_nan=False), min_size=2, max_size=8)


@SETTINGS
@given(amounts, st.sampled_from([",.", ".,", "'.", " ,", "\u202f,"]), st.sampled_from(["", "$", "€", "%"]))
def test_what_was_formatted_is_read_back(values: list[Any], style: str, unit: str) -> None:
    thousands, decimal = style
    texts = []
    for value in values:
        text = f"{abs(value):,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        texts.append(("-" if value < 0 else "") + (text + " " + unit if unit in "€%" else unit + text).strip())
    assert numbers([*texts, "NA"]) == ("number", [*map(float, values), None])


@SETTINGS
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_floats_keep_every_bit(values: list[float]) -> None:
    assert numbers([repr(value) for value in values]) == ("number", values)


def dates(texts: list[str], known: str = "") -> tuple[str, list[Any]]:
    """The style of a column, and its values; the reason where there is no style."""
    rows = pl.DataFrame({"x": texts}).lazy()
    look = decide_dates(count_columns(rows, ["x"], date_counts)["x"], known)
    if look.style is None:
        return look.why, []
    return look.style.shown, rows.select(parsed_date(pl.col("x"), look.style)).collect().to_series().to_list()


FORMATS = {
    "%Y-%m-%d %H:%M:%S": "YYYY-MM-DD",
    "%Y/%m/%d %H:%M:%S": "YYYY/MM/DD",
    "%Y-%m-%dT%H:%M:%S.%f": "YYYY-MM-DD",
    "%Y-%m-%d %H:%M:%S UTC": "YYYY-MM-DD",
    "%Y-%m-%d %H:%M:%SZ": "YYYY-MM-DD",
    "%Y%m%dT%H%M%S": "YYYYMMDDThhmmss",
    "%a, %d %b %Y %H:%M:%S GMT": "DD Mon YYYY",
    "%d %B %Y %H:%M:%S": "DD Mon YYYY",
    "%d/%b/%Y:%H:%M:%S +0000": "DD Mon YYYY",
    "%b %d %Y %I:%M:%S %p": "Mon DD, YYYY",
    "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)": "Mon DD, YYYY",
    "%a %b %d %H:%M:%S %Y": "Mon DD hh:mm:ss YYYY",
    "%d.%m.%Y %H:%M:%S": "DD.MM.YYYY",
    "%d/%m/%Y %H:%M:%S": "DD/MM/YYYY",
    "%m/%d/%Y %I:%M:%S %p": "MM/DD/YYYY",
    "%m-%d-%Y %H:%M:%S": "MM-DD-YYYY",
}
moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31))


@SETTINGS
@given(st.sampled_from(list(FORMATS)), st.lists(moments, max_size=5))
def test_what_strftime_wrote_is_read_back(format: str, moments: list[datetime]) -> None:
    moments = [datetime(2024, 3, 28, 17, 5), *moments]  # a day that can only be one
    if "%f" not in format:
        moments = [moment.replace(microsecond=0) for moment in moments]
    texts = [f"{moment:{format}}".replace(f" {moment:%Y}", f" {moment.year:04}") for moment in moments]
    texts = [
        f"{moment.year:04}" + text[4:] if format.startswith("%Y") else text
        for moment, text in zip(moments, texts, strict=True)
    ]
    assert dates(texts) == (FORMATS[format], moments)


@SETTINGS
@given(moments, st.integers(-14 * 60, 14 * 60), st.booleans())
def test_offsets_are_taken_off(moment: datetime, minutes: int, has_colon: bool) -> None:
    from datetime import timedelta, timezone

    moment = min(max(moment, datetime(1001, 1, 1)), datetime(9999, 1, 1)).replace(microsecond=0)
    local = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    text = f"{local.year:04}{local:-%m-%dT%H:%M:%S%z}"
    if has_colon:
        text = text[:-2] + ":" + text[-2:]
    assert dates([text])[1] == [moment]


@pytest.mark.parametrize(
    ("texts", "known", "style", "first"),
    [
        (["28/03/2024", "03/04/2024"], "", "DD/MM/YYYY", date(2024, 3, 28)),
        (["03/28/2024", "03/04/2024"], "", "MM/DD/YYYY", date(2024, 3, 28)),
        (["03/04/2024"], "MM/DD/YYYY", "MM/DD/YYYY", date(2024, 3, 4)),
        (["03/04/2024"], "DD/MM/YYYY", "DD/MM/YYYY", date(2024, 4, 3)),
        (["2024-03-28", "2024-03-28 10:00"], "", "YYYY-MM-DD", datetime(2024, 3, 28)),
        (["2024-03-28 10:00:00 +0200 CEST"], "", "YYYY-MM-DD", datetime(2024, 3, 28, 8)),
        (["2024-03-28T10:00:00+01:00[Europe/Paris]"], "", "YYYY-MM-DD", datetime(2024, 3, 28, 9)),
        (["Thu Mar 28 10:00:00 +0000 2024"], "", "Mon DD hh:mm:ss YYYY", datetime(2024, 3, 28, 10)),
        (["01-OCT-2019 12.00.00.000000 AM"], "", "DD Mon YYYY", datetime(2019, 10, 1)),
    ],
)
def test_the_whole_column_decides_what_one_date_leaves_open(
    texts: list[str], known: str, style: str, first: date
) -> None:
    assert (dates(texts, known)[0], dates(texts, known)[1][0]) == (style, first)


def events(values: list[str]) -> str:
    """Events of one sequence at given times."""
    return "\n".join(["sequenceId,when,kind", *(f"1,{when},{'abc'[i % 3]}" for i, when in enumerate(values))]) + "\n"


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (["28-03-24", "29-03-24"], ["`28-03-24`", "two digits", "row 1"]),
        (["03/28/24", "03/29/24"], ["`03/28/24`", "two digits", "row 1"]),
        (
            ["2024-03-28", "24-03-29", "2024-03-30"],
            ["1 of 3 values is not a date", "row 2 after the header (`24-03-29`", "two digits"],
        ),
        (["2024-03-28", "0024-03-29", "2024-03-30"], ["row 2 after the header (`0024-03-29`: the year is below 1000)"]),
        (["2024-03-28", "29.03.2024", "2024-03-30"], ["row 2 after the header (`29.03.2024`"]),
        (["2024-02-29", "2024-02-30", "2024-03-01"], ["row 2 after the header (`2024-02-30`"]),
        (["03/04/2024", "03/05/2024"], ["`03/04/2024`", "several formats", "2013-01-31"]),
        (["28/03/2024", "03/29/2024"], ["two formats", "row 1"]),
        (["2024-03-28 10:00 EST", "2024-03-28 11:00 EST"], ["time zone `EST`", "row 1"]),
        (["2024-03-28T10:00[Europe/Paris]", "2024-03-28T11:00[Europe/Paris]"], ["neither", "row 1"]),
        (["2024-03-28 10:00 (EST)", "2024-03-28 11:00 (EST)"], ["neither", "row 1"]),
        (["2024-03-28 10:00", "2024-03-28 11:00+01:00"], ["1 of its dates have a time zone", "row 1"]),
        ([f"{day:02}022024" for day in range(1, 15)], ["1022024`", "DDMMYYYY", "row 1", "2013-01-31"]),
        ([f"2{day:02}2024" for day in range(1, 15)], ["`2012024`", "MMDDYYYY"]),
        ([f"{day:02}1299" for day in range(13, 28)], ["`131299`", "DDMMYY,"]),
        (["2024-W13-4", "2024-W13-5"], ["a week of a year"]),
        (["2024-03", "2024-04"], ["the day is missing"]),
    ],
)
def test_dates_without_one_meaning_are_refused(project: Project, values: list[str], parts: list[str]) -> None:
    with pytest.raises(DataError) as raised:
        project.run(project.write_text(events(values)), position_column="when", split_ratios=[1.0])
    for part in parts:
        assert part in str(raised.value), str(raised.value)
    assert project.files() == set()


@pytest.mark.parametrize("first", [date(24, 3, 28), datetime(24, 3, 28, 10)])
def test_years_of_two_digits_are_refused_in_a_column_of_dates(project: Project, first: date) -> None:
    """As a program writes them that took the 24 of 28-03-24 for the year."""
    when = [first.replace(year=2024), first]
    frame = pl.DataFrame({"sequenceId": [1, 1], "when": when, "kind": ["a", "b"]})
    with pytest.raises(DataError, match=r"`when` has the value 0024-03-28.*: the year is below 1000") as raised:
        project.run(project.write(frame), position_column="when", split_ratios=[1.0])
    assert "first in row 2" in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        [20240200 + day for day in range(1, 15)],
        [240200 + day for day in range(1, 15)],
        [10012000 + step for step in range(40)],  # a counter, each of whose numbers could be a date of another year
        [2012024 + 10000 * day for day in range(9)],  # too few to tell
        [45292 + day for day in range(40)],  # days of a spreadsheet
    ],
)
def test_other_integers_are_no_dates(project: Project, values: list[int]) -> None:
    written = [str(value) for value in values]
    project.run(project.write_text(events(written)), position_column="when", split_ratios=[1.0])
    assert project.split(0)["itemPosition"].to_list() == values


def test_the_order_of_day_and_month_is_reported_and_stored(project: Project) -> None:
    days = [f"{day:02}/03/2024 10:00" for day in (3, 2, 28)]
    metadata = project.run(project.write_text(events(days)), position_column="when", split_ratios=[1.0])
    assert project.split(0)["kind"].to_list() == [2, 1, 3]
    assert project.split(0)["itemPosition"][0] == datetime(2024, 3, 2, 10)
    assert (
        "note: column `when`: its dates are read as DD/MM/YYYY, because its first part goes up to 28" in project.lines
    )
    assert metadata.sequifier.reading.dates == "DD/MM/YYYY"

    later = project.write_text(events(["05/04/2024", "06/04/2024"]), "later.csv")
    stored = str(project.metadata_path)
    project.run(later, position_column="when", split_ratios=[1.0], metadata_config_path=stored)
    assert project.split(0)["itemPosition"].to_list() == [date(2024, 4, 5), date(2024, 4, 6)]


def test_nanoseconds_are_kept(project: Project) -> None:
    values = ["2024-03-28T10:00:00Z", "2024-03-28T10:00:00.000000001Z", "2024-03-28T10:00:00.000000002Z"]
    metadata = project.run(project.write_text(events(values)), position_column="when", split_ratios=[1.0])
    assert metadata.sequifier.position_type == "Datetime(ns)"
    assert np.diff(project.split(0)["itemPosition"].to_numpy()).astype(int).tolist() == [1, 1]


@pytest.mark.parametrize("n_before", [0, 3000])
def test_codes_keep_their_zeros_wherever_they_are(project: Project, n_before: int) -> None:
    path = project.write_text(columns([*(["17"] * n_before), "007", "12"]))
    metadata = project.run(path, split_ratios=[1.0])
    assert {"007", "12"} <= set(metadata.id_maps["x"])
    assert project.run(path, split_ratios=[1.0], column_types={"x": "Int64"}).id_maps["x"]["7"] == 1


@pytest.mark.parametrize("late", [False, True])
def test_dirty_numbers_are_read_in_the_sample_and_behind_it(project: Project, late: bool) -> None:
    plain = ["0.5"] * (1500 if late else 0)
    path = project.write_text(columns([*plain, '"1,000.25"', "NA", '""', "-1"]))
    metadata = project.run(path, split_ratios=[1.0], fill_null={"x": 0})
    values = [*map(float, plain), 1000.25, 0, 0, -1]
    assert metadata.selected_columns_statistics["x"]["mean"] == pytest.approx(np.mean(values))
    assert metadata.sequifier.reading.numbers["x"].thousands == ","
    assert any("`NA`" in line and f"row {len(plain) + 2:,}" in line for line in project.lines)


def test_a_file_without_values_has_no_say_in_types(project: Project) -> None:
    project.write_text(columns(["1.5", "2.5"]), "days/1.csv")
    project.write_text("sequenceId,itemPosition,kind,x\n", "days/2.csv")
    project.write_text(columns(['""', ""]).replace("\n1,", "\n2,"), "days/3.csv")
    metadata = project.run(project.root / "raw" / "days", split_ratios=[1.0], fill_null={"x": "mean"})
    assert metadata.column_types == {"kind": "String", "x": "Float64"}


def test_a_typed_file_without_values_has_no_say_in_types(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1, 1], "itemPosition": [1, 2], "kind": ["a", "b"], "x": [1.5, 2.5]})
    no_value = frame.with_columns(sequenceId=2, x=pl.lit(None, pl.String))
    no_row = frame.head(0).with_columns(x=pl.lit([1]), kind=pl.lit(1.5))
    for name, each in (("1", frame), ("2", no_value), ("3", no_row)):
        project.write(each, f"days/{name}.parquet")
    metadata = project.run(
        project.root / "raw" / "days", read_format="parquet", split_ratios=[1.0], fill_null={"x": "mean"}
    )
    assert metadata.column_types == {"kind": "String", "x": "Float64"}
    assert metadata.selected_columns_statistics["x"]["mean"] == 2


def test_instants_and_local_times_are_not_mixed(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1, 1], "itemPosition": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "k": "a"})
    project.write(frame, "days/1.parquet")
    project.write(frame.with_columns(pl.col("itemPosition").dt.replace_time_zone("UTC")), "days/2.parquet")
    with pytest.raises(DataError, match="`itemPosition` has a time zone in one file and none in another"):
        project.run(project.root / "raw" / "days", read_format="parquet")


def test_columns_that_only_later_files_have_are_named(project: Project) -> None:
    path = project.write_text("sequenceId,itemPosition,kind\n1,1,a\n1,2,b\n", "days/1.csv")
    project.write_text("sequenceId,itemPosition,kind,x\n2,1,a,1.5\n2,2,b,2.5\n", "days/2.csv")
    metadata = project.run(path.parent, split_ratios=[1.0])
    assert [*metadata.columns] == ["kind"]
    assert "note: left out, because 1.csv does not have them: x (in 2.csv)" in project.lines


@pytest.mark.parametrize("values", [["١٢", "٣"], ["٣.٥", "١.٢"], ["12", "٣"], ["3.5"] * 1200 + ["١.٢"]])
def test_digits_of_other_scripts_are_text(project: Project, values: list[str]) -> None:
    """Polars takes them for numbers, and then cannot read them."""
    metadata = project.run(project.write_text(columns(values)), split_ratios=[1.0])
    assert metadata.categories("x") == sorted({*values})


def test_numbers_with_a_unit_are_named(project: Project) -> None:
    project.run(project.write_text(columns([f"{n / 10} kg" for n in range(30)])), split_ratios=[1.0])
    said = [line for line in project.lines if "the unit" in line]
    assert len(said) == 1 and "column `x`" in said[0] and "the unit `kg` (`0.0 kg`)" in said[0]
    codes = [f"{n}{letter}" for n in range(1, 30) for letter in "AB"]
    project.run(project.write_text(columns(codes)), split_ratios=[1.0])
    assert not any("the unit" in line for line in project.lines)


def test_each_column_is_listed_with_its_kind(project: Project) -> None:
    project.run(project.write_text(columns(["1.5", "2.5", "3"])), split_ratios=[1.0])
    assert "categorical: kind (text, 2 values)" in project.lines
    assert "real: x (2.333 ± 0.7638)" in project.lines


def test_one_text_among_numbers_is_named(project: Project) -> None:
    path = project.write_text(columns(["1.5"] * 20 + ["broken", "2"]))
    metadata = project.run(path, split_ratios=[1.0])
    assert metadata.kind("x") == "categorical"
    said = "\n".join(project.lines)
    assert "column `x` is text, so it becomes categorical: 21 of its 22 values are numbers, but not `broken`" in said
    assert "row 21" in said and "fill_null.x" in said
    with pytest.raises(DataError, match=r"1 of 22 values is text: `broken`[\s\S]*row 21"):
        project.run(path, split_ratios=[1.0], column_types={"x": "real"})


def test_numbers_that_can_be_read_in_two_ways_are_refused(project: Project) -> None:
    path = project.write_text(columns(['"1,234"', '"5,678"']))
    with pytest.raises(DataError, match=r"`1,234` may be `1234,50` or `1,234\.50`[\s\S]*row 1[\s\S]*String"):
        project.run(path, split_ratios=[1.0])
    assert project.run(path, split_ratios=[1.0], column_types={"x": "String"}).categories("x") == ["1,234", "5,678"]


def test_stored_styles_decide_for_new_values(project: Project) -> None:
    project.run(project.write_text(columns(['"1.234,50"', '"7"', "NA"])), split_ratios=[1.0], fill_null={"x": 0})
    stored, mean = str(project.metadata_path), (1234.5 + 7) / 3
    std = project.metadata.selected_columns_statistics["x"]["std"]
    new = project.write_text(columns(["1.234", "2.345"]), "new.csv")  # plain floats to everybody else
    project.run(new, split_ratios=[1.0], metadata_config_path=stored)
    assert project.split(0)["x"][0] == pytest.approx((1234 - mean) / std, rel=1e-6)
    percent = project.write_text(columns(["5 %", "6 %"]), "percent.csv")
    with pytest.raises(DataError, match=r"earlier values had the format 1\.234,50, without %"):
        project.run(percent, split_ratios=[1.0], metadata_config_path=stored)


def test_positions_may_have_any_format_of_numbers(project: Project) -> None:
    """As sensors export times in Germany; what few new rows leave open, the stored format decides."""
    text = "sequenceId;itemPosition;kind\n1;2,25;b\n1;0,5;a\n1;10,125;c\n"
    fields: dict[str, Any] = {"split_ratios": [1.0], "time_features": ["gap"], "time_unit": "seconds"}
    metadata = project.run(project.write_text(text), **fields)
    assert project.split(0)["itemPosition"].to_list() == [0.5, 2.25, 10.125]
    assert [metadata.categories("kind")[i - 1] for i in project.split(0)["kind"]] == ["a", "b", "c"]
    later = project.write_text("sequenceId;itemPosition;kind\n1;2,250;b\n1;1,125;a\n", "later.csv")
    with pytest.raises(DataError, match=r"`itemPosition` fit several formats: `2,250` may be"):
        project.run(later, **fields)
    project.run(later, metadata_config_path=str(project.root / "configs/metadata_configs/events.json"), **fields)
    assert project.split(0)["itemPosition"].to_list() == [1.125, 2.25]
    thousands = "sequenceId;itemPosition;kind\n1;1,001,000;b\n1;1,000;a\n1;999;c\n"
    project.run(project.write_text(thousands, "thousands.csv"), split_ratios=[1.0])
    assert project.split(0)["itemPosition"].to_list() == [999, 1000, 1001000]


@pytest.mark.parametrize("dtype", [pl.Decimal(38, 0), pl.Float64, pl.Decimal(20, 2)])
def test_whole_numbers_of_any_type_are_keys(project: Project, dtype: Any) -> None:
    frame = pl.DataFrame({"sequenceId": [2, 1, 1], "itemPosition": [1, 2, 1], "kind": ["a", "b", "c"]})
    path = project.write(frame.with_columns(pl.col("sequenceId", "itemPosition").cast(dtype)))
    metadata = project.run(path, split_ratios=[1.0])
    assert (metadata.sequifier.sequence_type, metadata.sequifier.position_type) == ("Int64", "Int64")
    assert project.split(0)["sequenceId"].to_list() == [1, 1, 2]
    frame = frame.with_columns(itemPosition=pl.Series([1.0, 2.5, 1.0]))
    metadata = project.run(project.write(frame), split_ratios=[1.0])
    assert metadata.sequifier.position_type == "Float64"
    assert project.split(0)["itemPosition"].to_list() == [1.0, 2.5, 1.0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_marks_and_quotes_in_the_header(project: Project, end: str) -> None:
    text = '"sequenceId","itemPosition","a ""b"""\n"1","10","y"\n"1","9","x"\n'
    path = project.write_text("")
    path.write_bytes(("\ufeff" + text).replace("\n", end).encode())
    metadata = project.run(path, split_ratios=[1.0])
    assert metadata.categories('a "b"') == ["x", "y"]
    assert project.split(0)["itemPosition"].to_list() == [9, 10]
    assert metadata.sequifier.sequence_type == "Int64"


def test_names_in_scientific_notation_stay_names(project: Project) -> None:
    path = project.write_text("sequenceId,itemPosition,kind\n1e5,1,a\n1e5,2,b\n10e4,1,a\n10e4,2,b\n")
    project.run(path, split_ratios=[1.0])
    assert project.split(0)["sequenceId"].unique().sort().to_list() == ["10e4", "1e5"]


def test_a_fill_for_numbers_names_the_value_that_makes_the_column_text(project: Project) -> None:
    path = project.write_text(columns(["1.5"] * 20 + ["broken", "2"]))
    with pytest.raises(DataError, match=r"does not fit a column of type String: .*not `broken`") as raised:
        project.run(path, split_ratios=[1.0], fill_null={"x": "mean"})
    assert "either correct those cells, or empty them and then set fill_null.x; or use" in raised.value.fix
