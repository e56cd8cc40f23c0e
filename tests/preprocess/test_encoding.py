"""Vocabularies and statistics, against plain Python; encoding new data with stored ones."""

import json
import statistics
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.transforms import Scale
from sequifier.errors import DataError
from sequifier.preprocess.encode import encode_categories, encode_reals
from sequifier.preprocess.learn import choose_categories, count_values
from sequifier.preprocess.moments import mean_and_std, moments
from tests.support.small_project import Project

categories = st.one_of(
    st.lists(st.text(max_size=3), min_size=1, max_size=40),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=40),
)
reals = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(categories, st.integers(0, 40), st.integers(1, 3), st.none() | st.integers(1, 5))
def test_a_vocabulary_is_the_sorted_frequent_values(
    values: list[Any], cut: int, min_count: int, max_categories: int | None
) -> None:
    series = pl.Series(values)
    parts = [count_values(series[:cut]), count_values(series[cut:])]
    chosen = choose_categories(parts, min_count=min_count, max_categories=max_categories)

    counts = Counter(values)
    frequent = sorted((value for value in counts if counts[value] >= min_count), key=lambda v: (-counts[v], v))
    assert chosen.to_list() == sorted(frequent[:max_categories])

    ids = {value: number for number, value in enumerate(chosen, start=1)}
    assert encode_categories(series, chosen).tolist() == [ids.get(value, 0) for value in values]
    assert encode_categories(series, chosen).dtype == np.int32


@given(st.lists(st.lists(reals, max_size=6), min_size=1, max_size=8), st.integers(0, 8))
def test_mean_and_std_cover_all_values_however_split(sequences: list[list[float]], cut: int) -> None:
    values = [value for sequence in sequences for value in sequence]

    def of(sequences: list[list[float]]) -> Any:
        values = [value for sequence in sequences for value in sequence]
        return moments(np.array(values), np.array([len(sequence) for sequence in sequences], dtype=int))

    mean, std = mean_and_std([of(sequences)])
    assert mean_and_std([of(sequences[:cut]), of(sequences[cut:])]) == (mean, std)
    assert mean == pytest.approx(statistics.fmean(values) if values else 0, rel=1e-12, abs=1e-9)
    expected = statistics.stdev(values) if len(set(values)) > 1 else 1.0
    if expected < 1e-150:  # squares of the differences underflow: the column counts as constant
        expected = std if std < 1e-150 else 1.0
    assert std == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_small_spread_around_a_large_mean_is_kept() -> None:
    values = 1e9 + np.random.default_rng(0).normal(size=10_000)
    mean, std = mean_and_std([moments(values, np.full(100, 100))])
    assert std == pytest.approx(np.std(values - 1e9, ddof=1), rel=1e-7)  # float64 keeps 1e-7 at 1e9
    z = encode_reals(values, Scale(mean, std))
    assert z.dtype == np.float32
    assert abs(z.mean()) < 1e-6


def test_a_constant_column_has_std_1_and_z_0(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1] * 7, "itemPosition": range(7), "a": [0.1] * 7})
    metadata = project.run(project.write(frame), split_ratios=[1])
    assert metadata.selected_columns_statistics["a"] == {"std": 1.0, "mean": 0.1}
    assert project.split(0)["a"].to_list() == [0.0] * 7


def test_categories_of_later_splits_are_unknown_when_learnt_from_train(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1] * 10, "itemPosition": range(10), "a": list("aabbaabbcd")})
    path = project.write(frame)
    assert project.run(path, split_ratios=[0.8, 0.2]).categories("a") == ["a", "b", "c", "d"]
    assert not any("unknown" in line for line in project.lines)

    metadata = project.run(path, split_ratios=[0.8, 0.2], vocabulary_from="train")
    assert metadata.categories("a") == ["a", "b"]
    assert project.split(1).filter(~pl.col("isContext"))["a"].to_list() == [0, 0]
    assert (
        "note: column `a`: 2 of 10 values are unknown (id 0): "
        "they do not occur in the training split (vocabulary_from: train)" in project.lines
    )


def test_rare_categories_become_unknown_in_all_columns_or_in_one(project: Project) -> None:
    frame = pl.DataFrame(
        {"sequenceId": [1] * 6, "itemPosition": range(6), "a": list("xxxyyz"), "b": [1, 1, 1, 2, 2, 3]}
    )
    path = project.write(frame)

    def vocabularies(**fields: Any) -> tuple[list[Any], list[Any]]:
        metadata = project.run(path, split_ratios=[1], **fields)
        return metadata.categories("a"), metadata.categories("b")

    assert vocabularies(min_count=2) == (["x", "y"], [1, 2])
    assert vocabularies(min_count={"b": 3}) == (["x", "y", "z"], [1])
    assert vocabularies(max_categories=1) == (["x"], [1])
    assert vocabularies(max_categories={"a": 2}) == (["x", "y"], [1, 2, 3])


def test_missing_values_become_what_fill_null_says(project: Project) -> None:
    nan, inf = float("nan"), float("inf")
    frame = pl.DataFrame(
        {
            "sequenceId": [1, 1, 1, 1, 2, 2, 2],
            "itemPosition": [0, 1, 2, 3, 0, 1, 2],
            "number": [1.0, None, nan, 5.0, 3.0, 4.0, inf],
            "mean": [1.0, None, nan, 4.0, 4.0, inf, -inf],
            "forward": [1.0, None, nan, 5.0, 3.0, 4.0, inf],
            "unknown": ["x", None, "y", "x", None, "x", "x"],
            "category": [7, None, 8, 7, 9, None, None],
            "flag": [True, None, False, False, True, None, None],
        }
    )
    fills = {
        "number": 2.0,
        "mean": "mean",
        "forward": "forward",
        "unknown": "unknown",
        "category": 5,
        "flag": "forward",
    }
    metadata = project.run(project.write(frame), split_ratios=[1], fill_null=fills)
    split = project.split(0)

    def original(column: str) -> list[float]:
        scale = metadata.selected_columns_statistics[column]
        return [round(z * scale["std"] + scale["mean"], 4) for z in split[column]]

    assert original("number") == [1, 2, 2, 5, 3, 4, 2]
    assert original("forward") == [1, 1, 1, 5, 3, 4, 4]
    assert original("mean") == [1, 3, 3, 4, 4, 3, 3]
    assert metadata.selected_columns_statistics["mean"]["std"] == pytest.approx(statistics.stdev([1, 4, 4]))
    assert split["unknown"].to_list() == [1, 0, 2, 1, 0, 1, 1]
    assert metadata.categories("category") == [5, 7, 8, 9]
    assert split["category"].to_list() == [2, 1, 3, 2, 4, 1, 1]
    assert split["flag"].to_list() == [2, 2, 1, 1, 2, 2, 2]


def test_forward_does_not_cross_sequences(project: Project) -> None:
    frame = pl.DataFrame({"sequenceId": [1, 1, 2, 2], "itemPosition": [0, 1, 0, 1], "a": ["x", "y", None, "x"]})
    with pytest.raises(DataError, match=r"1 of [0-9]+ values is missing without an earlier value"):
        project.run(project.write(frame), split_ratios=[1], fill_null={"a": "forward"})


def test_new_data_is_encoded_with_the_stored_vocabularies_and_statistics(
    project: Project, events: pl.DataFrame
) -> None:
    stored = project.run(project.write(events), split_ratios=[0.6, 0.4])
    stored_path = project.metadata_path
    new = events.with_columns(kind=pl.lit("never seen"), price=pl.col("price") * 2).reverse()
    path = project.write(new.select(reversed(new.columns)), "new.csv")

    metadata = project.run(path, split_ratios=[1.0], metadata_config_path=str(stored_path))

    assert metadata.id_maps == stored.id_maps
    assert metadata.columns == stored.columns
    assert metadata.selected_columns_statistics == stored.selected_columns_statistics
    split = project.split(0)
    assert split["kind"].unique().to_list() == [0]
    assert (
        "note: column `kind`: 22 of 22 values are unknown (id 0): "
        "they do not occur in the vocabulary of metadata_config_path" in project.lines
    )
    scale = stored.selected_columns_statistics["price"]
    expected = (new.sort("sequenceId", "itemPosition")["price"].to_numpy() - scale["mean"]) / scale["std"]
    assert split["price"].to_numpy() == pytest.approx(expected.astype(np.float32))


def test_stored_types_decide_how_new_csv_data_is_read(project: Project) -> None:
    first = project.write_text("sequenceId,itemPosition,zip\n1,1,007\n1,2,x\n1,3,007\n", "first.csv")
    project.run(first, split_ratios=[1])
    second = project.write_text("sequenceId,itemPosition,zip\n1,1,007\n1,2,7\n1,3,007\n", "second.csv")
    project.run(second, split_ratios=[1], metadata_config_path=str(project.metadata_path))
    assert project.split(0)["zip"].to_list() == [1, 0, 1]


def test_selected_columns_leave_out_columns_of_the_stored_metadata(project: Project, events: pl.DataFrame) -> None:
    stored = project.run(project.write(events), split_ratios=[1])
    options = {"split_ratios": [1], "metadata_config_path": str(project.metadata_path)}
    new = project.write(events.drop("code", "is_new").reverse(), "new.parquet")
    metadata = project.run(new, selected_columns=["sequenceId", "price", "kind"], **options)
    assert metadata.columns == ["price", "kind"]
    assert metadata.id_maps == {"kind": stored.id_maps["kind"]}
    assert metadata.selected_columns_statistics == stored.selected_columns_statistics
    assert project.run(new, selected_columns="kind", **options).columns == ["kind"]


def test_stored_types_are_not_to_be_declared_otherwise(project: Project) -> None:
    table = "sequenceId,itemPosition,a\n1,1,5\n1,2,{}\n"
    project.run(project.write_text(table.format(6)), split_ratios=[1])
    new = project.write_text(table.format(2**63), "new.csv")
    with pytest.raises(DataError, match="`a` has integers that do not fit in 64 bits") as raised:
        project.run(new, split_ratios=[1], metadata_config_path=str(project.metadata_path))
    assert raised.value.fix == "correct them: the metadata declare the column as Int64"


def test_stored_metadata_is_not_replaced_and_must_fit(project: Project, events: pl.DataFrame) -> None:
    path = project.write(events)
    project.run(path, split_ratios=[1])
    stored = str(project.metadata_path)

    with pytest.raises(DataError, match=r"would replace events\.json"):
        project.run(path, split_ratios=[1], metadata_config_path=stored)
    with pytest.raises(DataError, match=r"`price` \(the metadata\) is missing in less\.parquet"):
        project.run(project.write(events.drop("price"), "less.parquet"), metadata_config_path=stored)
    with pytest.raises(DataError, match="`color`, which is not in the metadata"):
        other = project.write(events, "other.parquet")
        project.run(other, metadata_config_path=stored, selected_columns=["color"])
    with pytest.raises(DataError, match="column `code` is declared as Int64, but 22 of 22 values are text: `x`"):
        text = events.with_columns(code=pl.lit("x"))
        project.run(project.write(text, "text.parquet"), metadata_config_path=stored)


def test_metadata_is_where_v1_wrote_it(project: Project, events: pl.DataFrame) -> None:
    project.run(project.write(events, "flights.parquet"), split_ratios=[0.5, 0.5])
    assert project.metadata_path == project.root / "configs" / "metadata_configs" / "flights.json"
    assert project.files() == {
        "configs/metadata_configs/flights.json",
        "data/flights-split0.parquet",
        "data/flights-split1.parquet",
    }
    keys = ["n_classes", "id_maps", "split_paths", "column_types", "selected_columns_statistics", "sequifier"]
    assert list(json.loads(project.metadata_path.read_text())) == keys
