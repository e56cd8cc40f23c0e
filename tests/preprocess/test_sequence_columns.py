"""Columns with one value for each sequence: how they are stored, and what is refused."""

import json

import polars as pl
import pytest

from sequifier.errors import DataError
from tests.preprocess.test_bounded_memory import table as shuffled_table
from tests.support.small_project import Project

REGIONS = {11: "north", 5: "south", 8: None}


def with_regions(events: pl.DataFrame, name: str = "region") -> pl.DataFrame:
    return events.with_columns(pl.col("sequenceId").replace_strict(REGIONS, return_dtype=pl.String).alias(name))


def test_they_are_ordinary_columns_that_the_metadata_names(project: Project, events: pl.DataFrame) -> None:
    path = project.write(with_regions(events), "events.csv")
    fields = {"fill_null": {"region": "unknown"}}
    ordinary = project.run(path, **fields)
    table = project.split(0)
    assert "sequence_columns" not in json.loads(project.metadata_path.read_text())["sequifier"]

    metadata = project.run(path, **fields, selected_columns=["price", "kind"], sequence_columns="region")

    assert metadata.columns == ["price", "kind", "region"]
    assert metadata.sequence_columns == ["region"]
    assert project.split(0).equals(table.select(project.split(0).columns))
    assert metadata.id_maps["region"] == ordinary.id_maps["region"] == {"north": 1, "south": 2}

    of_any_place = project.run(path, **fields, selected_columns=["region", "price"], sequence_columns=["region"])
    assert of_any_place.columns == ["region", "price"]
    as_ordinary = project.run(path, **fields, selected_columns=["region", "price"])
    assert of_any_place.fingerprint != as_ordinary.fingerprint


@pytest.mark.parametrize("memory_bytes", [1 << 20, 30_000])
def test_a_column_that_changes_is_refused_with_the_first_case(project: Project, memory_bytes: int) -> None:
    is_late = (pl.col("sequenceId") >= "s30") & (pl.col("itemPosition") >= 6)  # s30 has the positions 0 to 7
    city = pl.when(is_late).then(pl.lit("B")).otherwise(pl.lit("A"))
    path = project.write(shuffled_table(text_ids=True).with_columns(city=city))

    with pytest.raises(DataError) as raised:
        project.run(path, sequence_columns=["city"], fill_null={"price": "mean"}, memory_bytes=memory_bytes)

    what = "column `city` (sequence_columns) changes within a sequence: sequenceId=s30 has `A`, then `B`"
    assert raised.value.what == what
    assert raised.value.where == "sequenceId=s30 itemPosition=6"
    assert project.files() == set()


def test_a_value_that_is_missing_in_some_rows_of_a_sequence_is_a_change(project: Project, events: pl.DataFrame) -> None:
    is_first = pl.col("itemPosition") == 0
    path = project.write(events.with_columns(city=pl.when(is_first).then(pl.lit("A"))))
    with pytest.raises(DataError, match="sequenceId=5 has `A`, then no value"):
        project.run(path, sequence_columns=["city"], fill_null={"city": "unknown"})
    assert project.run(path, sequence_columns=["city"], fill_null={"city": "forward"}).sequence_columns == ["city"]


def test_a_column_that_does_not_exist(project: Project, events: pl.DataFrame) -> None:
    path = project.write(with_regions(events))
    with pytest.raises(DataError, match=r"column `regions` \(sequence_columns\) is missing") as raised:
        project.run(path, sequence_columns=["regions"])
    assert "did you mean `region`?" in str(raised.value)


def test_new_data_have_the_sequence_columns_of_the_metadata(project: Project, events: pl.DataFrame) -> None:
    fields = {"fill_null": {"region": "unknown"}}
    project.run(project.write(with_regions(events), "old.csv"), sequence_columns=["region"], **fields)
    stored = "configs/metadata_configs/old.json"
    new = project.write(with_regions(events), "new.csv")

    assert project.run(new, metadata_config_path=stored).sequence_columns == ["region"]
    assert project.run(new, metadata_config_path=stored, selected_columns=["kind"]).sequence_columns == []
    with pytest.raises(DataError, match="`kind`, which is not a sequence column in the metadata"):
        project.run(new, metadata_config_path=stored, sequence_columns=["kind"])
    changed = project.write(with_regions(events).with_columns(region=pl.col("kind")), "changed.csv")
    with pytest.raises(DataError, match=r"`region` .* changes within a sequence"):
        project.run(changed, metadata_config_path=stored)
