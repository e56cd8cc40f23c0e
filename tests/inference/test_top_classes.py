"""`top_k`: the most probable classes of each prediction, against a sort of the written probabilities."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.errors import ConfigError, DataError
from sequifier.inference import top_classes as module
from sequifier.inference.top_classes import top_classes
from tests.support.shop import write_shop
from tests.support.trained_shop import infer, model

Row = tuple[str, int, int, str, float]


def rows_of(path: Path) -> list[Row]:
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    assert table.columns == ["sequenceId", "itemPosition", "rank", "label", "probability"]
    return [tuple(row) for row in table.iter_rows()]


def by_hand(probabilities: Path, k: int, seen: dict[str, set[str]]) -> list[Row]:
    found: list[Row] = []
    for row in pl.read_parquet(probabilities).iter_rows(named=True):
        known = {name: value for name, value in row.items() if name.startswith("item") and name != "itemPosition"}
        kept = {name: value for name, value in known.items() if name not in seen.get(row["sequenceId"], set())}
        best = sorted(kept.items(), key=lambda item: -item[1])[:k]
        found += [
            (row["sequenceId"], row["itemPosition"], rank, name, value) for rank, (name, value) in enumerate(best, 1)
        ]
    return found


@pytest.mark.parametrize("name", ["one", "three", "mixed"])
@pytest.mark.parametrize("context", ["split", "full"])
def test_the_best_classes_are_those_of_the_probabilities(trained: Path, name: str, context: str) -> None:
    options: dict[str, Any] = {"output_probabilities": True, "write_format": "parquet", "evaluation_context": context}
    lines: list[str] = []
    (result,) = infer(model(name), lines, top_k=3, **options)
    assert result.top == [Path(f"outputs/top_k/{Path(model(name)).stem}-item-top_k.parquet")]
    assert f"top 3 classes in {result.top[0]}" in lines
    found = rows_of(result.top[0])
    assert found == by_hand(result.probabilities[0], 3, {}) and len(found) == 3 * result.n_predictions


@settings(deadline=None)
@given(n_predictions=st.integers(0, 5), n_classes=st.integers(2, 60), k=st.integers(1, 59), seed=st.integers(0, 2**16))
def test_of_equal_classes_the_first_come_first(n_predictions: int, n_classes: int, k: int, seed: int) -> None:
    draw, k = np.random.default_rng(seed), min(k, n_classes - 1)
    probabilities = (draw.integers(0, 8, (n_predictions, n_classes)) / 8).astype(np.float32)
    is_candidate = draw.random((n_predictions, n_classes)) < draw.random()
    with patch.object(module, "_AT_A_TIME", 2 * n_classes):
        found = top_classes(probabilities, k, is_candidate)
    expected = []
    for number, row in enumerate(probabilities):
        order = sorted(np.flatnonzero(is_candidate[number, 1:]) + 1, key=lambda each: (-row[each], each))[:k]
        expected += [(number, rank, each, row[each]) for rank, each in enumerate(order, 1)]
    rows = zip(found.prediction, found.rank, found.class_id, found.probability, strict=True)
    assert [*rows] == expected


def raw_events(root: Path) -> dict[str, set[str]]:
    """Write histories longer than the window, and return what each customer has seen."""
    items = {"a": [0, 1, *[2] * 12], "b": [5, 4, 3, 2], "c": [1]}
    rows = [
        (customer, visit, f"item{item}", 10.0) for customer, seen in items.items() for visit, item in enumerate(seen)
    ]
    write_shop(root / "new.csv", rows)
    return {customer: {f"item{item}" for item in seen} for customer, seen in items.items()}


@pytest.mark.parametrize("name", ["one", "three"])
def test_seen_classes_of_the_whole_history_are_left_out(trained: Path, name: str) -> None:
    seen = raw_events(trained)
    options: dict[str, Any] = {"data_path": "new.csv", "read_format": "raw", "write_format": "parquet"}
    (result,) = infer(model(name), top_k=4, exclude_seen=True, output_probabilities=True, **options)
    last = [row for row in rows_of(result.top[0]) if row[1] == {"a": 14, "b": 4, "c": 1}[row[0]]]
    expected = by_hand(result.probabilities[0], 4, seen)
    assert last == [row for row in expected if row[1] == {"a": 14, "b": 4, "c": 1}[row[0]]]
    assert [row[0] for row in last] == ["a"] * 3 + ["b"] * 2 + ["c"] * 4, "6 items, less those seen"
    (result,) = infer(model(name), top_k=1, **options)
    assert [row[3] for row in rows_of(result.top[0])] == pl.read_parquet(result.predictions)["item"].to_list()
    (result,) = infer(model(name), top_k=1, map_to_id=False, **options)
    assert [row[3] for row in rows_of(result.top[0])] == pl.read_parquet(result.predictions)["item"].to_list()
    assert all(isinstance(row[3], int) for row in rows_of(result.top[0]))


def test_a_history_of_every_class_is_an_error(trained: Path) -> None:
    write_shop(trained / "new.csv", [("a", visit, f"item{visit}", 10.0) for visit in range(6)])
    with pytest.raises(DataError, match="no class of `item` is left") as raised:
        infer(model("one"), data_path="new.csv", read_format="raw", top_k=1, exclude_seen=True)
    assert "sequenceId=a" in str(raised.value.where)
    assert not (trained / "outputs/top_k").exists() or not [*(trained / "outputs/top_k").iterdir()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_k": 7}, "7 exceeds the 6 classes of `item`"),
        ({"top_k": 2, "target_columns": ["price"]}, r"no predicted target has classes \(price\)"),
        ({"top_k": 2, "autoregression": True}, "generation takes one class for each event"),
        ({"exclude_seen": True, "read_format": "raw"}, "top_k is not set"),
        ({"top_k": 2, "model_type": "embedding"}, "an embedding model makes no predictions"),
    ],
)
def test_what_has_no_top_classes_is_one_error(trained: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        infer(model("one"), **values)


def test_ties_go_to_the_smaller_id_and_the_unknown_class_is_none() -> None:
    probabilities = np.array([[0.9, 0.1, 0.4, 0.1, 0.4], [0.9, 0.0, 0.0, 0.0, 0.0]])
    found = top_classes(probabilities, 3, np.ones((2, 5), dtype=bool))
    assert found.prediction.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.rank.tolist() == [1, 2, 3, 1, 2, 3]
    assert found.class_id.tolist() == [2, 4, 1, 1, 2, 3]
    assert found.probability.tolist() == [0.4, 0.4, 0.1, 0.0, 0.0, 0.0]
