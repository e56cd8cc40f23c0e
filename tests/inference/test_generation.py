"""Sampling and autoregression through `infer`, against loops by hand."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.inference.predict import Inference
from tests.support.shop import preprocess_shop
from tests.support.trained_shop import infer, model, train

L = 8  # seq_length of the shop
KEYS = ["sequenceId", "itemPosition"]


def written(result: list[Inference]) -> pl.DataFrame:
    return pl.read_csv(result[0].predictions)


def events(split: int) -> list[pl.DataFrame]:
    stored = pl.read_parquet(f"data/shop-split{split}.parquet")
    return stored.partition_by("sequenceId", maintain_order=True)


def continued(own: pl.DataFrame, start: int, first: int, n_steps: int) -> list[dict[str, Any]]:
    """The most likely events of model `one` from row `start` on, with the rows from `first` as history."""
    session = onnxruntime.InferenceSession(model("one"))
    columns = {"item": own["item"].to_list()[first:start], "price": own["price"].to_list()[first:start]}
    rows = []
    for step in range(n_steps):
        n = min(len(columns["item"]), L)
        feed = {
            "item": np.array([[0] * (L - n) + columns["item"][-L:]]),
            "price": np.array([[0.0] * (L - n) + columns["price"][-L:]], dtype=np.float32),
            "n_events": np.array([n]),
        }
        id, price = session.run(["item_id", "price_value"], feed)
        columns["item"].append(int(id.item()))
        columns["price"].append(float(price.item()))
        rows.append(
            {
                "sequenceId": own["sequenceId"][0],
                "itemPosition": own["itemPosition"][0] + start + step,
                "item": columns["item"][-1],
                "z": columns["price"][-1],
            }
        )
    return rows


@pytest.mark.parametrize("context", ["split", "full"])
def test_autoregression_equals_a_loop_by_hand(trained: Path, context: str) -> None:
    extra = 3
    rows = []
    for stored in events(2):
        n_context = int(stored["isContext"].sum())
        own_start = 0 if context == "full" else n_context
        n = stored.height - own_start
        start = n_context if context == "full" and n_context else own_start + max(1, min(L, n - 1))
        rows += continued(stored, start, own_start, stored.height - start + extra)
    expected = pl.DataFrame(rows)
    options = {"autoregression": True, "autoregression_extra_steps": extra, "evaluation_context": context}
    result = infer(model("one"), map_to_id=False, **options)
    found = written(result)
    assert_frame_equal(found[["sequenceId", "itemPosition", "item"]], expected[["sequenceId", "itemPosition", "item"]])
    z = expected["z"].to_numpy()
    slope, offset = np.polyfit(z, found["price"].to_numpy(), 1)
    np.testing.assert_allclose(found["price"], slope * z + offset, rtol=1e-4)
    known = pl.read_csv("data/shop.csv").rename({"customer": "sequenceId", "visit": "itemPosition"})
    n_known = found.join(known, on=KEYS).height
    assert result[0].evaluation["item"]["n"] == n_known == found.height - extra * len(events(2))


@pytest.mark.parametrize("path", [model("one"), "models/sequifier-one-best-1.pt"])
def test_generation_does_not_depend_on_the_batch_size(trained: Path, path: str) -> None:
    options: dict[str, Any] = {
        "autoregression": True,
        "autoregression_extra_steps": 20,
        "sampler": {"temperature": 1.2, "top_p": 0.95},
        "output_probabilities": True,
    }
    found = {}
    for size in (1, 7, 64):
        result = infer(path, inference_batch_size=size, **options)
        found[size] = written(result)
        assert_frame_equal(found[size], found[1], rel_tol=1e-4)
    other = written(infer(path, inference_batch_size=64, seed=5, **options))
    assert (other["item"] != found[64]["item"]).any()


def test_onnx_and_torch_generate_the_same(trained: Path) -> None:
    options: dict[str, Any] = {"autoregression": True, "autoregression_extra_steps": 30, "sampler": {"min_p": 0.05}}
    by_onnx = written(infer(model("one"), **options))
    by_torch = written(infer("models/sequifier-one-best-1.pt", **options))
    assert_frame_equal(by_torch, by_onnx, rel_tol=1e-3)


def test_positions_count_on_behind_the_last_event(trained: Path) -> None:
    found = written(infer(model("items"), autoregression=True, autoregression_extra_steps=4))
    last = pl.read_csv("data/shop.csv").group_by("customer").agg(pl.col("visit").max())
    ends = found.group_by("sequenceId").agg(pl.col("itemPosition").max())
    together = ends.join(last, left_on="sequenceId", right_on="customer")
    assert together.height == ends.height > 0
    assert (together["itemPosition"] == together["visit"] + 4).all()
    steps = found.select(pl.col("itemPosition").diff().over("sequenceId")).to_series().drop_nulls()
    assert (steps == 1).all()


def test_dates_behind_the_last_one_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dates = pl.date_range(pl.date(2013, 1, 1), pl.date(2013, 2, 9), eager=True)
    table = pl.concat(
        pl.DataFrame({"who": [w] * 40, "day": dates, "gate": [d % 4 for d in range(40)]}) for w in range(3)
    )
    (tmp_path / "data").mkdir()
    table.write_parquet("data/days.parquet")
    names = {"sequence_column": "who", "position_column": "day"}
    preprocess_shop(tmp_path, data_path="data/days.parquet", read_format="parquet", **names)
    metadata = "configs/metadata_configs/days.json"
    train(tmp_path, model_name="days", metadata_config_path=metadata, target_columns=["gate"])
    (result,) = infer(model("days"), autoregression=True, autoregression_extra_steps=2, write_format="parquet")
    found = pl.read_parquet(result.predictions)
    assert found["itemPosition"].dtype == pl.Date
    assert found.group_by("sequenceId").agg(pl.col("itemPosition").null_count())["itemPosition"].to_list() == [2, 2, 2]


def test_draws_have_the_shares_of_the_probabilities(trained: Path) -> None:
    options: dict[str, Any] = {"data_path": "data/shop-split0.parquet", "evaluation_context": "full"}
    (result,) = infer(model("items"), sample_from_distribution_columns="item", output_probabilities=True, **options)
    found = pl.read_csv(result.predictions)
    probabilities = pl.read_csv(result.probabilities[0]).drop(KEYS)
    expected = probabilities.sum().row(0, named=True)
    counts = Counter(found["item"])
    for label, share in expected.items():
        error = 4 * max(share, 1) ** 0.5
        assert abs(counts.get(label, 0) - share) < error, label
    greedy = pl.read_csv(infer(model("items"), **options)[0].predictions)
    assert (found["item"] != greedy["item"]).mean() > 0.1
    cold = pl.read_csv(infer(model("items"), sampler={"temperature": 0}, **options)[0].predictions)
    assert_frame_equal(cold, greedy)
    one = pl.read_csv(infer(model("items"), sampler={"top_k": 1}, **options)[0].predictions)
    assert_frame_equal(one, greedy)


def test_draws_do_not_depend_on_the_batch_size_and_the_seed_counts(trained: Path) -> None:
    options: dict[str, Any] = {"data_path": "data/shop-split0.parquet", "sampler": {"temperature": 1.5}}
    found = [written(infer(model("one"), inference_batch_size=size, **options)) for size in (1, 7, 64)]
    assert_frame_equal(found[1], found[0], rel_tol=1e-5)
    assert_frame_equal(found[2], found[0], rel_tol=1e-5)
    options["sampler"] = {"temperature": 1.5, "seed": 1}
    assert (written(infer(model("one"), **options))["item"] != found[0]["item"]).any()


def test_a_null_seed_is_drawn_and_reported(trained: Path) -> None:
    lines: list[str] = []
    first = written(infer(model("one"), lines, sampler={}, seed=None))
    (said,) = (line for line in lines if line.startswith("seed: "))
    again = written(infer(model("one"), sampler={}, seed=int(said.removeprefix("seed: "))))
    assert_frame_equal(first, again)
    lines.clear()
    infer(model("one"), lines, seed=None)
    assert not any(line.startswith("seed: ") for line in lines), "nothing is drawn"


def test_a_real_target_to_be_sampled_is_noted(trained: Path) -> None:
    lines: list[str] = []
    infer(model("one"), lines, sample_from_distribution_columns=["price"])
    assert any("`price` is real" in line for line in lines)


def test_the_export_of_a_sampler_search_is_taken(trained: Path) -> None:
    Path("best.yaml").write_text(
        "best_overall: {sampler_type: top_p, parameters: {temperature: 0}}\n"
        "best_by_sampler: {top_k: {parameters: {top_k: 1}}, hot: {temperature: 50.0}}\n"
        "search_metadata: {}\n"
    )
    greedy = written(infer(model("one")))
    assert_frame_equal(written(infer(model("one"), sampler="best.yaml")), greedy)
    assert_frame_equal(written(infer(model("one"), sampler="best.yaml:top_k")), greedy)
    assert not written(infer(model("one"), sampler="best.yaml:hot")).equals(greedy)
