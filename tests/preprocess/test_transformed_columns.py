"""`transforms`: real columns that are transformed before they are standardised."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier.errors import ConfigError, DataError, SequifierError
from tests.support.small_project import Project

LOG = {"price": "log1p"}


def skewed(n_sequences: int = 6, length: int = 9) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    n = n_sequences * length
    return pl.DataFrame(
        {
            "sequenceId": np.repeat(np.arange(n_sequences), length),
            "itemPosition": np.tile(np.arange(length), n_sequences),
            "price": np.round(np.exp(draw.normal(3, 2, n)), 2),
            "change": draw.normal(0, 50, n) ** 3,
            "kind": draw.choice(["a", "b"], n),
        }
    )


def test_statistics_and_values_are_those_of_the_transformed_column(project: Project) -> None:
    rows = skewed()
    metadata = project.run(project.write(rows), transforms={"price": "log1p", "change": "asinh"}, split_ratios=[1.0])
    assert metadata.sequifier.reading.transforms == {"price": "log1p", "change": "asinh"}
    expected = {"price": (pl.col("price") + 1).log(), "change": pl.col("change").arcsinh()}
    encoded = project.split(0)
    for column, expression in expected.items():
        values = rows.select(expression).to_series()
        statistics = metadata.selected_columns_statistics[column]
        assert statistics == pytest.approx({"mean": values.mean(), "std": values.std()}, rel=1e-12)
        z = (values - values.mean()) / values.std()
        np.testing.assert_allclose(encoded[column], z, rtol=1e-6, atol=1e-6)
    assert any(line.startswith("real: price (log1p: ") for line in project.lines)


def test_statistics_are_those_of_the_training_split_in_bounded_memory_too(project: Project) -> None:
    path = project.write(skewed())
    whole = project.run(path, transforms=LOG)
    in_parts = project.run(path, transforms=LOG, memory_bytes=500)
    assert whole == in_parts
    values = skewed().group_by("sequenceId", maintain_order=True).head(7)["price"].log1p()
    assert whole.selected_columns_statistics["price"]["mean"] == pytest.approx(values.mean())


def test_none_is_the_same_as_no_entry_and_leaves_no_trace(project: Project) -> None:
    path = project.write(skewed())
    project.run(path)
    before = project.metadata_path.read_bytes()
    project.run(path, transforms={"price": "none"})
    assert project.metadata_path.read_bytes() == before
    assert "transforms" not in json.loads(before)["sequifier"]["reading"]


def test_the_fingerprint_covers_the_transform(project: Project) -> None:
    """Equal numbers that mean something else: once the logarithm is in the table, once it is taken here."""
    rows = skewed().select("sequenceId", "itemPosition", "price")
    taken = project.run(project.write(rows), transforms=LOG)
    given = project.run(project.write(rows.with_columns(pl.col("price").log1p())))
    assert taken.selected_columns_statistics == given.selected_columns_statistics
    assert taken.sequifier.column_hashes == given.sequifier.column_hashes
    assert taken.fingerprint != given.fingerprint


def test_missing_values_are_filled_before_the_transform(project: Project) -> None:
    rows = skewed().with_columns(price=pl.when(pl.col("itemPosition") % 4 == 3).then(None).otherwise(pl.col("price")))
    project.run(project.write(rows), transforms=LOG, fill_null={"price": 12}, split_ratios=[1.0])
    filled = rows["price"].fill_null(12).log1p()
    np.testing.assert_allclose(project.split(0)["price"], (filled - filled.mean()) / filled.std(), rtol=1e-6, atol=1e-6)
    project.run(project.write(rows), transforms=LOG, fill_null={"price": "mean"}, split_ratios=[1.0])
    assert set(project.split(0)["price"].gather_every(9, 3)) == {0.0}


def test_later_data_take_the_transforms_of_the_metadata(project: Project) -> None:
    known = project.run(project.write(skewed(), "old.parquet"), transforms=LOG)
    stored = {"metadata_config_path": str(project.metadata_path)}
    path = project.write(skewed(), "new.parquet")
    again = project.run(path, **stored)
    assert again.sequifier.reading.transforms == LOG
    assert again.fingerprint == known.fingerprint
    assert project.run(path, **stored, transforms=LOG) == again
    with pytest.raises(DataError, match=r"transforms\.change is asinh, but none in the metadata"):
        project.run(path, **stored, transforms={"change": "asinh"})
    with pytest.raises(DataError, match=r"transforms\.price is none, but log1p in the metadata"):
        project.run(path, **stored, transforms={"price": "none"})


@pytest.mark.parametrize("memory_bytes", [1 << 30, 500])
def test_a_logarithm_of_a_negative_value_is_refused_with_its_row(project: Project, memory_bytes: int) -> None:
    rows = skewed().with_columns(
        price=pl.when(pl.col("sequenceId") * 10 + pl.col("itemPosition") == 24).then(-0.5).otherwise(pl.col("price"))
    )
    with pytest.raises(DataError) as error:
        project.run(project.write(rows), transforms=LOG, memory_bytes=memory_bytes)
    assert error.value.what == (
        "column `price`: 1 of 54 values is below 0, but transforms.price is log1p, first at sequenceId=2 itemPosition=4"
    )
    assert "transforms.price: asinh" in error.value.fix


@pytest.mark.parametrize(
    ("transforms", "fill_null", "message"),
    [
        ({"prize": "log1p"}, {}, "transforms names `prize`, which is not among the selected columns"),
        ({"kind": "log1p"}, {}, "transforms names `kind`, which has the type String and is categorical"),
        ({"price": "log"}, {}, "log1p"),
        ({"price": "log1p"}, {"price": -1}, "log1p has no negative values, but fill_null.price is -1"),
    ],
)
def test_transforms_that_do_not_fit_are_refused(
    project: Project, transforms: dict[str, str], fill_null: dict[str, Any], message: str
) -> None:
    with pytest.raises((SequifierError, ValueError), match=message):
        project.run(project.write(skewed()), transforms=transforms, fill_null=fill_null)


def test_a_text_has_no_transforms(project: Project) -> None:
    path = project.write_text("a b c d e f g h", "text.txt")
    with pytest.raises((ConfigError, ValueError), match="applies to tables only"):
        project.run(path, read_format="text", transforms={"char": "log1p"})
