"""Columns of whole sequences as inputs of a model: in raw events, in the end-to-end graph and in generated events."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.errors import DataError
from tests.support.shop import preprocess_shop, write_shop
from tests.support.trained_shop import infer, model, new_rows, train

L = 8  # seq_length of the shop
PLACES = ("north", "south", "west")


def with_place(table: pl.DataFrame) -> pl.DataFrame:
    """Each customer has a place and a size."""
    number = pl.col("customer").str.slice(1).cast(pl.Int64)
    place = (number % 3).replace_strict([0, 1, 2], PLACES, return_dtype=pl.String)
    return table.with_columns(place=place, size=number * 1.5)


@pytest.fixture(scope="module")
def _towns(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("towns")
    table = with_place(pl.read_csv(_shop / "data" / "shop.csv"))
    (root / "data").mkdir()
    table.write_csv(root / "data" / "shop.csv")
    preprocess_shop(root, sequence_columns=["place", "size"])
    train(root, model_name="towns", export_end_to_end=True)
    return root


@pytest.fixture
def towns(_towns: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a shop whose customers have a place and a size, with a model that reads both."""
    monkeypatch.chdir(_towns)
    return _towns


def new_table(root: Path, n_visits: int) -> pl.DataFrame:
    write_shop(root / "data" / "new.csv", new_rows(n_visits=n_visits))
    table = with_place(pl.read_csv(root / "data" / "new.csv"))
    table.write_csv(root / "data" / "new.csv")
    return table


def test_raw_events_the_end_to_end_graph_and_encoded_events_give_the_same(towns: Path) -> None:
    new_table(towns, 9)
    metadata = "configs/metadata_configs/shop.json"
    preprocess_shop(towns, data_path="data/new.csv", metadata_config_path=metadata, split_ratios=[1.0])
    encoded = pl.read_csv(infer(model("towns"), data_path="data/new-split0.parquet")[0].predictions)
    table = new_table(towns, 8)

    raw = pl.read_csv(infer(model("towns"), read_format="raw", data_path="data/new.csv")[0].predictions)

    assert_frame_equal(raw, encoded, rel_tol=1e-5)
    session = onnxruntime.InferenceSession("models/sequifier-towns-best-end-to-end-1.onnx")
    windows = table.sort("customer", "visit").group_by("customer", maintain_order=True).tail(L)
    feed: dict[str, Any] = {"n_events": np.full(raw.height, L)}
    for column, kind in (("item", object), ("place", object), ("price", np.float32), ("size", np.float32)):
        feed[column] = np.array(windows[column].to_list(), kind).reshape(-1, L)
    labels, prices = session.run(["item_label", "price_value"], feed)
    assert labels[:, 0].tolist() == raw["item"].to_list()
    np.testing.assert_allclose(prices[:, 0], raw["price"], rtol=1e-4)


def test_raw_events_whose_column_changes_within_a_sequence_are_refused(towns: Path) -> None:
    table = new_table(towns, 8)
    is_last = (pl.col("customer") == "n2") & (pl.col("visit") == 7)
    table.with_columns(place=pl.when(is_last).then(pl.lit("east")).otherwise("place")).write_csv("data/new.csv")
    with pytest.raises(DataError) as raised:
        infer(model("towns"), read_format="raw", data_path="data/new.csv")
    assert "customer=n2 has `west`, then `east`" in raised.value.what
    assert raised.value.where == "customer=n2 visit=7"


def test_generated_events_have_the_values_of_their_sequence(towns: Path) -> None:
    new_table(towns, 5)
    n_steps = 9
    options = {"autoregression": True, "autoregression_extra_steps": n_steps, "map_to_id": False}
    (result,) = infer(model("towns"), read_format="raw", data_path="data/new.csv", **options)
    found = pl.read_csv(result.predictions)
    metadata = "configs/metadata_configs/shop.json"
    preprocess_shop(towns, data_path="data/new.csv", metadata_config_path=metadata, split_ratios=[1.0])
    session = onnxruntime.InferenceSession(model("towns"))
    for (customer,), own in pl.read_parquet("data/new-split0.parquet").group_by("sequenceId", maintain_order=True):
        items, prices = own["item"].to_list(), own["price"].to_list()
        for _ in range(n_steps):
            n = min(len(items), L)
            feed = {
                "item": np.array([[0] * (L - n) + items[-L:]]),
                "place": np.array([[0] * (L - n) + [own["place"][0]] * n]),
                "price": np.array([[0.0] * (L - n) + prices[-L:]], np.float32),
                "size": np.array([[0.0] * (L - n) + [own["size"][0]] * n], np.float32),
                "n_events": np.array([n]),
            }
            item, price = session.run(["item_id", "price_value"], feed)
            items.append(int(item.item()))
            prices.append(float(price.item()))
        assert found.filter(sequenceId=customer)["item"].to_list() == items[-n_steps:]


def test_columns_of_raw_events_may_be_in_a_table_beside_them(towns: Path) -> None:
    table = new_table(towns, 8)
    expected = pl.read_csv(infer(model("towns"), read_format="raw", data_path="data/new.csv")[0].predictions)
    others = pl.DataFrame({"customer": ["n1", "z9", "n3", "n0", "n2"], "size": [1.5, 7.0, 4.5, 0.0, 3.0]})
    others.with_columns(note=pl.lit("is not read")).write_csv("data/sizes.csv")
    table.drop("size").write_csv("data/new.csv")

    raw: dict[str, Any] = {"read_format": "raw", "data_path": "data/new.csv"}
    (result,) = infer(model("towns"), sequence_table={"path": "data/sizes.csv"}, **raw)

    assert_frame_equal(pl.read_csv(result.predictions), expected)
    with pytest.raises(DataError, match="column `size`") as raised:
        infer(model("towns"), **raw)
    assert "sequence_table may have place, size" in str(raised.value)
    others[:3].write_csv("data/sizes.csv")
    with pytest.raises(DataError, match="no row for 2 of 4 sequences of the events: first customer=n0"):
        infer(model("towns"), sequence_table={"path": "data/sizes.csv"}, **raw)


def test_predictions_as_of_several_moments(towns: Path) -> None:
    table = new_table(towns, 12)
    moments = [(f"n{customer}", visit) for visit in (5, 9) for customer in range(4)]
    rows = pl.DataFrame(moments, schema=["customer", "upto"], orient="row")
    rows = rows.join(table.group_by("customer").agg(pl.col("size").first()), on="customer", maintain_order="left")
    rows.write_csv("data/sizes.csv")
    table.drop("size").write_csv("data/new.csv")
    raw: dict[str, Any] = {"read_format": "raw", "data_path": "data/new.csv"}

    (result,) = infer(model("towns"), sequence_table={"path": "data/sizes.csv", "as_of": "upto"}, **raw)

    found = pl.read_csv(result.predictions)
    assert found["sequenceId"].to_list() == sorted(f"{customer}@{visit}" for customer, visit in moments)
    for upto in (5, 9):
        table.filter(pl.col("visit") <= upto).write_csv("data/cut.csv")
        (cut,) = infer(model("towns"), read_format="raw", data_path="data/cut.csv")
        own = found.filter(pl.col("sequenceId").str.ends_with(f"@{upto}"))
        assert_frame_equal(own.drop("sequenceId"), pl.read_csv(cut.predictions).drop("sequenceId"))
