"""A table beside the events gives what the same columns in the table of events would give."""

import gzip
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from sequifier.errors import ConfigError, DataError
from tests.preprocess.test_bounded_memory import table as shuffled_table
from tests.support.small_project import Project

FILL = {"fill_null": {"price": "mean", "city": "unknown"}}


def labels(events: pl.DataFrame) -> pl.DataFrame:
    """A row for each sequence, in another order than that of the events."""
    ids = events["sequenceId"].unique().sort(descending=True)
    number = ids.cast(pl.String).str.strip_prefix("s").cast(pl.Int64)
    return pl.DataFrame(
        {
            "sequenceId": ids,
            "city": (number % 5).replace_strict(
                [0, 1, 2, 3, 4], ["Rome", None, "Oslo", "Bari", None], return_dtype=pl.String
            ),
            "amount": [f"{value:,.2f}" for value in (number * 377.25 + 1000).to_list()],
            "is_late": number % 5 == 0,
        }
    )


def content(project: Project) -> dict[str, Any]:
    """Everything that was written, without the names of files."""
    about = project.metadata.model_dump(exclude={"split_paths"})
    return about | {"splits": [project.split(i).to_dict(as_series=False) for i in range(3)]}


@pytest.mark.parametrize(
    ("text_ids", "suffix", "memory_bytes"),
    [
        (False, "csv", 1 << 30),
        (True, "csv", 1 << 30),
        (True, "parquet", 1 << 30),
        (False, "parquet", 16_000),
        (True, "csv", 16_000),
    ],
)
def test_a_table_equals_columns_of_the_events(project: Project, text_ids: bool, suffix: str, memory_bytes: int) -> None:
    events = shuffled_table(text_ids=text_ids)
    beside = labels(events)
    if suffix == "parquet":
        beside = beside.with_columns(pl.col("amount").str.replace_all(",", "").cast(pl.Float64))
    features = ["kind", "price", "city", "amount", "is_late"]
    of_sequences = ["city", "amount", "is_late"]
    whole = project.write(events.join(beside, on="sequenceId", maintain_order="left"), f"events.{suffix}")
    project.run(whole, selected_columns=features, sequence_columns=of_sequences, **FILL)
    expected = content(project)

    path = project.write(events, f"events.{suffix}")
    table = project.write(beside, f"labels.{suffix}")
    if suffix == "csv":  # another form than that of the events
        table = table.with_suffix(".csv.gz")
        table.write_bytes(gzip.compress(beside.write_csv(separator=";").encode()))
    metadata = project.run(
        path,
        selected_columns=["kind", "price"],
        sequence_table={"path": str(table)},
        memory_bytes=memory_bytes,
        **FILL,
    )

    assert metadata.sequence_columns == of_sequences
    assert metadata.column_types["amount"] == "Float64"
    assert content(project) == expected


def test_the_order_of_the_file_is_that_of_the_events(project: Project) -> None:
    events = shuffled_table(text_ids=True)
    table = project.write(labels(events), "labels.csv")
    path = project.write(events)
    fields = {"split_method": "between_sequence", "split_order": "file", **FILL}
    project.run(path, split_method="between_sequence", split_order="file", fill_null={"price": "mean"})
    expected = [project.split(i)["sequenceId"].to_list() for i in range(3)]
    project.run(path, sequence_table={"path": str(table), "columns": "city"}, **fields)
    assert [project.split(i)["sequenceId"].to_list() for i in range(3)] == expected


def test_the_columns_that_are_named_and_their_types(project: Project, events: pl.DataFrame) -> None:
    table = labels(events).with_columns(size=pl.Series([3, 1, 2]), isContext=pl.lit(1))
    path, beside = project.write(events), project.write(table, "labels.csv")
    fields: dict[str, Any] = {"column_types": {"size": "real", "code": "String"}}

    metadata = project.run(path, sequence_table={"path": str(beside), "columns": ["size", "is_late"]}, **fields)

    assert metadata.columns == ["kind", "code", "is_new", "price", "size", "is_late"]
    assert (metadata.column_types["size"], metadata.column_types["code"]) == ("Float64", "String")


def test_the_table_may_have_the_split_of_each_sequence(project: Project, events: pl.DataFrame) -> None:
    parts = pl.DataFrame({"sequenceId": [5, 8, 11], "part": ["validation", "test", "train"], "late": [1, 0, 1]})
    path, beside = project.write(events), project.write(parts, "labels.csv")
    fields: dict[str, Any] = {"split_method": "given", "split_column": "part"}

    metadata = project.run(path, sequence_table={"path": str(beside)}, **fields)

    assert [project.split(i)["sequenceId"].unique().to_list() for i in range(3)] == [[11], [5], [8]]
    assert metadata.sequence_columns == ["late"]
    assert "part" not in metadata.columns


def test_new_data_take_the_columns_that_the_metadata_have(project: Project, events: pl.DataFrame) -> None:
    old, new = project.write(events, "old.csv"), project.write(events, "new.csv")
    beside = project.write(labels(events), "labels.csv")
    project.run(old, sequence_table={"path": str(beside), "columns": ["is_late", "city"]}, **FILL)
    expected = content(project)
    stored = "configs/metadata_configs/old.json"
    more = project.write(labels(events).with_columns(other=1), "more.csv")

    metadata = project.run(new, metadata_config_path=stored, sequence_table={"path": str(more)})

    assert metadata.sequence_columns == ["is_late", "city"]
    assert content(project)["splits"] == expected["splits"]
    without = project.write(events.select("sequenceId"), "without.csv")
    with pytest.raises(DataError, match="sequence_table has none of is_late, city"):
        project.run(new, metadata_config_path=stored, sequence_table={"path": str(without)})


def test_more_rows_than_are_read_are_no_error(project: Project, events: pl.DataFrame) -> None:
    path, beside = project.write(events), project.write(labels(events), "labels.csv")
    project.run(path, sequence_table={"path": str(beside), "columns": "is_late"}, max_rows=10)
    assert project.split(0)["sequenceId"].unique().to_list() == [11]


BAD_TABLES: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "sequenceId,late\n5,1\n8,1\n",
        {},
        ["has no row for 1 of 3 sequences of the events: first sequenceId=11", "labels.csv"],
    ),
    (
        "sequenceId,late\n5,1\n8,1\n11,1\n12,0\n13,0\n",
        {},
        ["has 2 of 5 rows for sequences without events: first sequenceId=12", "remove those rows"],
    ),
    (
        "sequenceId,late\n5,1\n11,1\n8,1\n5,0\n",
        {},
        ["has 2 rows for sequenceId=5", "first in row 1 after the header", "sequence_table.as_of"],
    ),
    ("sequenceId,late\n5,1\n,1\n", {}, ["`sequenceId` of sequence_table: 1 of 2 values is missing", "first in row 2"]),
    ("sequenceId,late\n5,1\n8,\n11,0\n", {}, ["column `late`: 5 of 22 values are missing, first at sequenceId=8"]),
    ("id,late\n5,1\n", {}, ["column `sequenceId` (sequence_column) is missing in labels.csv"]),
    ("sequenceId,late\na,1\nb,2\n", {}, ["sequences are integers in the events, and text in sequence_table: `a`"]),
    ("sequenceId,late\n5,1\n", {"columns": ["lat"]}, ["names `lat`", "did you mean `late`?"]),
    ("sequenceId\n5\n", {}, ["has no column besides the sequence column"]),
    ("sequenceId,price\n5,1\n8,1\n11,1\n", {}, ["column `price` is in the events and in sequence_table"]),
    ("sequenceId,isContext\n5,1\n", {}, ["every split has a column `isContext` already"]),
    ("", {}, ["the file is empty", "labels.csv"]),
    ("sequenceId,kind\n5,a\n", {"columns": "kind"}, ["`kind` is in the events and in"]),
]


@pytest.mark.parametrize(("text", "fields", "expected"), BAD_TABLES)
def test_tables_that_do_not_fit_the_events(
    project: Project, events: pl.DataFrame, text: str, fields: dict[str, Any], expected: list[str]
) -> None:
    table = project.write_text(text, "labels.csv")
    with pytest.raises(DataError) as raised:
        project.run(project.write(events), sequence_table={"path": str(table), **fields})
    for part in expected:
        assert part in str(raised.value)
    assert project.files() == set()


def test_a_table_that_does_not_exist(project: Project, events: pl.DataFrame) -> None:
    project.write(events, "labels.csv")
    with pytest.raises(ConfigError, match=r"sequence_table\.path.*label\.csv") as raised:
        project.run(project.write(events), sequence_table={"path": str(project.root / "raw" / "label.csv")})
    assert "did you mean `labels.csv`?" in str(raised.value)


def visits() -> pl.DataFrame:
    """Ten customers with a visit on each of 40 days, of which the first ones have begun earlier."""
    first = date(2013, 1, 1)
    return pl.DataFrame(
        [
            {"customer": f"c{c}", "day": first + timedelta(days=c + step), "item": f"i{(step * step + c) % 4}"}
            for c in range(10)
            for step in range(40)
        ]
    )


def churn(*days: date) -> pl.DataFrame:
    rows = [(f"c{c}", day, f"label{(c + day.month) % 2}") for c in range(10) for day in days]
    return pl.DataFrame(rows, schema=["customer", "moment", "leaves"], orient="row")


KEYS_STORED = ("sequenceId", "itemPosition")
KEYS = {"sequence_column": "customer", "position_column": "day"}
AS_OF: dict[str, Any] = {**KEYS, "split_method": "between_sequence"}


@pytest.mark.parametrize("memory_bytes", [1 << 30, 3000])
@pytest.mark.parametrize("dates", ["%Y-%m-%d", "%d.%m.%Y"])
def test_only_events_up_to_the_moment_are_read(project: Project, dates: str, memory_bytes: int) -> None:
    moments = date(2013, 1, 20), date(2013, 2, 3)
    by_hand = [
        (f"{customer}@{moment}", day, item, label)
        for customer, day, item in visits().rows()
        for other, moment, label in churn(*moments).rows()
        if customer == other and day <= moment
    ]
    rows = pl.DataFrame(by_hand, schema=["customer", "day", "item", "leaves"], orient="row")
    whole = project.write(rows.with_columns(raw=pl.lit("train")), "events.csv")
    fields: dict[str, Any] = {"split_column": "raw", "split_method": "given", "validation_fraction": 0.5}
    project.run(whole, sequence_columns="leaves", **KEYS, **fields)
    n_rows = len(by_hand)

    table = project.write(churn(*moments).with_columns(pl.col("moment").dt.strftime(dates)), "labels.csv")
    path = project.write(visits(), "events.csv")
    metadata = project.run(
        path, sequence_table={"path": str(table), "as_of": "moment"}, memory_bytes=memory_bytes, **AS_OF
    )

    splits = pl.concat([project.split(i) for i in range(3)])
    expected = {(customer, day) for customer, day, _, _ in by_hand}
    assert {*splits.select("sequenceId", "itemPosition").rows()} == expected
    assert splits.height == n_rows == sum(metadata.sequifier.rows)
    item_of = {id: name for name, id in metadata.id_maps["item"].items()}
    label_of = {id: name for name, id in metadata.id_maps["leaves"].items()}
    found = [(s, d, item_of[i], label_of[v]) for s, d, i, v in splits.select(*KEYS_STORED, "item", "leaves").rows()]
    assert sorted(found) == sorted(by_hand)
    assert metadata.sequifier.sequence_type == "String"
    assert metadata.sequence_columns == ["leaves"]


@pytest.mark.parametrize("order", ["random", "file", "by_start"])
def test_all_moments_of_a_sequence_are_in_one_split(project: Project, order: str) -> None:
    table = project.write(churn(*(date(2013, 1, 10 + d) for d in range(0, 20, 3))), "labels.parquet")
    fields = {"split_order": order, "split_ratios": [0.5, 0.3, 0.2]}
    project.run(project.write(visits()), sequence_table={"path": str(table), "as_of": "moment"}, **AS_OF, **fields)
    customers = [{*project.split(i)["sequenceId"].str.split("@").list.first().unique().to_list()} for i in range(3)]
    assert [len(some) for some in customers] == [5, 3, 2]
    assert set.union(*customers) == {f"c{c}" for c in range(10)}
    if order != "random":
        assert customers == [{f"c{c}" for c in part} for part in (range(5), range(5, 8), range(8, 10))]


def test_moments_of_a_sequence_may_be_given_to_different_splits(project: Project) -> None:
    days = [date(2013, 1, 20), date(2013, 1, 30), date(2013, 2, 9)]
    parts = dict(zip(days, ["train", "validation", "test"], strict=True))
    table = churn(*days).with_columns(part=pl.col("moment").replace_strict(parts, return_dtype=pl.String))
    beside = project.write(table, "labels.csv")
    fields: dict[str, Any] = {"split_method": "given", "split_column": "part"}
    project.run(project.write(visits()), sequence_table={"path": str(beside), "as_of": "moment"}, **KEYS, **fields)
    for number, day in enumerate(days):
        assert {*project.split(number)["sequenceId"]} == {f"c{c}@{day}" for c in range(10)}


def test_a_date_is_the_start_of_the_day_among_datetimes(project: Project) -> None:
    events = visits().with_columns(pl.col("day").cast(pl.Datetime("us")) + pl.duration(hours=12))
    table = project.write(churn(date(2013, 1, 20)), "labels.csv")
    project.run(project.write(events), sequence_table={"path": str(table), "as_of": "moment"}, **AS_OF)
    splits = pl.concat([project.split(i) for i in range(3)])
    assert splits["itemPosition"].max() == datetime(2013, 1, 19, 12)
    assert splits["sequenceId"][0].endswith("@2013-01-20T00:00:00.000000")


@pytest.mark.parametrize("moment", [2.5, 2])
def test_moments_are_numbers_where_positions_are(project: Project, moment: float) -> None:
    events = visits().with_columns(day=pl.int_range(pl.len()).over("customer") / 2)
    table = project.write(pl.DataFrame({"customer": events["customer"].unique(), "moment": moment, "leaves": "yes"}),
                          "labels.csv")  # fmt: skip
    project.run(project.write(events), sequence_table={"path": str(table), "as_of": "moment"}, **AS_OF)
    splits = pl.concat([project.split(i) for i in range(3)])
    assert splits.height == events.filter(pl.col("day") <= moment).height
    assert {*splits["sequenceId"]} == {f"{customer}@{float(moment)}" for customer in events["customer"]}


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([("c0", "2013-01-20"), ("c0", "2013-01-20")], ["has 2 rows for customer=c0 moment=2013-01-20", "row 1 after"]),
        (
            [("c0", "2012-12-31")],
            ["has 1 of 10 rows before the first event", "customer=c0 moment=2012-12-31", "begin at 2013-01-01"],
        ),
        ([("c0", "20")], ["sequence_table.as_of is Int64, but positions are Date", "as `day` has positions"]),
        ([("c0", "2013-01-20T12:00")], ["sequence_table.as_of is Datetime(us), but positions are Date"]),
        ([("c0", "")], ["column `moment` of sequence_table: 1 of 10 values is missing"]),
    ],
)
def test_moments_that_do_not_fit_the_events(
    project: Project, moments: list[tuple[str, str]], expected: list[str]
) -> None:
    others = "" if moments[0][1] in ("20", "2013-01-20T12:00") else "2013-01-20"
    rows = [*moments, *((f"c{c}", others or moments[0][1]) for c in range(1, 10))]
    text = "".join(f"{customer},{moment},yes\n" for customer, moment in rows)
    table = project.write_text(f"customer,moment,leaves\n{text}", "labels.csv")
    with pytest.raises(DataError) as raised:
        project.run(project.write(visits()), sequence_table={"path": str(table), "as_of": "moment"}, **AS_OF)
    for part in expected:
        assert part in str(raised.value)
