"""Ranking metrics of `infer`, and seen classes of encoded splits, of which earlier splits have the beginning."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.errors import ConfigError, DataError
from tests.support.runs import train
from tests.support.shop import TINY_RUN, config_writer, preprocess_shop, working_copy, write_shop
from tests.support.trained_shop import infer

N_ITEMS, N_VISITS, CONTEXT = 30, 15, 2
"""Customers with 15 visits. A split stores only 2 events of earlier ones: most of a history is in their files."""
SPLITS: dict[str, dict[str, Any]] = {
    "within_sequence": {"split_ratios": [0.6, 0.2, 0.2]},
    "cutoff": {"split_method": "cutoff", "split_at": [9, 12]},
}
RANKINGS: dict[str, dict[str, Any]] = {
    "unseen": {"k": [1, 3, 10], "exclude_seen": True},
    "all": {"k": [1, 3, 10]},
    "popular": {"k": [1, 3, 10], "candidates": {"negatives": 12, "by": "popularity"}},
}


@pytest.fixture(scope="module", params=SPLITS)
def _catalogue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp(request.param), random.Random(3)
    rows = [
        (f"c{customer:02}", visit, f"item{draw.randrange(N_ITEMS):02}", draw.random())
        for customer in range(30)
        for visit in range(N_VISITS)
    ]
    write_shop(root / "data" / "shop.csv", rows)
    preprocess_shop(root, context_events=CONTEXT, end_event=["item"], **SPLITS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, ranking in RANKINGS.items():
            path = config_writer(root, TINY_RUN, "train.yaml")(
                model_name=name,
                target_columns=["item"],
                model_spec={"positional_encoding": "rope"},  # where a window begins changes nothing
                training_spec={"epochs": 1, "dropout": 0.0},
                ranking={"item": ranking},
                scoring={"min_events": 2},
            )
            train(path)
    return root


@pytest.fixture
def catalogue(_catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return working_copy(_catalogue, tmp_path, monkeypatch)


def model(name: str) -> str:
    return f"models/sequifier-{name}-best-1.onnx"


@pytest.mark.parametrize("name", RANKINGS)
def test_ranking_metrics_are_those_of_training(catalogue: Path, name: str) -> None:
    trained = json.loads(Path(f"logs/{name}/latest/metrics.jsonl").read_text().splitlines()[-1])
    (result,) = infer(model(name), data_path="data/shop-split1.parquet", evaluation_context="full")
    found = result.evaluation["item"]
    ranked = [metric for metric in found if metric.rpartition("_")[2].isdecimal()]
    assert len(ranked) == 9
    for metric in (*ranked, "accuracy", "log_loss"):
        assert found[metric] == pytest.approx(trained[f"val_item_{metric}"], rel=1e-4), metric


def test_seen_classes_of_an_encoded_split_are_left_out_of_the_top(catalogue: Path) -> None:
    options: dict[str, Any] = {"top_k": N_ITEMS, "exclude_seen": True, "write_format": "parquet"}
    (result,) = infer(model("all"), data_path="data/shop-split2.parquet", evaluation_context="full", **options)
    top = pl.read_parquet(result.top[0])
    raw = pl.read_csv("data/shop.csv")
    shown = top.group_by("sequenceId", "itemPosition").agg(pl.col("label").sort())
    assert shown.height == result.n_predictions > 60
    for customer, position, labels in shown.iter_rows():
        seen = set(raw.filter(pl.col("customer") == customer, pl.col("visit") < position)["item"])
        everything = {*raw["item"].unique(), "END"}
        assert set(labels) == everything - seen


def test_a_history_that_is_not_known_is_an_error_or_a_note(catalogue: Path) -> None:
    Path("moved.parquet").write_bytes(Path("data/shop-split1.parquet").read_bytes())
    lines: list[str] = []
    (result,) = infer(model("unseen"), lines, data_path="moved.parquet", evaluation_context="full")
    assert any("`item` is not ranked: no metadata name the splits before" in line for line in lines)
    assert not any(metric.startswith("ndcg") for metric in result.evaluation["item"])
    with pytest.raises(DataError, match="neither is the history of `item`"):
        infer(model("unseen"), data_path="moved.parquet", top_k=2, exclude_seen=True)
    (result,) = infer(model("all"), data_path="moved.parquet", evaluation_context="full")
    assert "ndcg_3" in result.evaluation["item"]


def test_exclude_seen_needs_top_k(catalogue: Path) -> None:
    with pytest.raises(ConfigError, match="top_k is not set"):
        infer(model("all"), exclude_seen=True)
