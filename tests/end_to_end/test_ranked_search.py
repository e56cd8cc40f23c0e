"""A search that ranks its runs by NDCG, seen items left out, through the public commands."""

import csv
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest

from tests.support.command_line import run_here, sequifier
from tests.support.runs import latest
from tests.support.shop import TINY_SEARCH, config_writer, merged, preprocess_shop, write_shop

N_ITEMS, SEQ_LENGTH = 40, 3
METRIC = "val_item_ndcg_5"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 items that mostly follow each other; splits hold two events of the history before them."""
    root = tmp_path_factory.mktemp("catalogue")
    draw = random.Random(0)
    rows = []
    for customer in range(80):
        item = draw.randrange(N_ITEMS)
        for visit in range(draw.randint(6, 12)):
            item = (item + draw.choice([1, 1, 1, 2, 39])) % N_ITEMS
            rows.append((f"c{customer:02d}", visit, f"item{item}", 10.0 + draw.gauss(0, 1)))
    write_shop(root / "data" / "shop.csv", rows)
    preprocess_shop(root, split_ratios=[0.6, 0.2, 0.2], seq_length=SEQ_LENGTH, context_events=2)
    search = {
        "metric": METRIC,
        "direction": "maximize",
        "ranking": {"item": {"k": [1, 5], "exclude_seen": True}},
        "pruner": {"type": "median"},
        # A prediction is the same at every step of a window with the same events before it.
        "model_hyperparameter_sampling": {"n_head": [2, 4], "positional_encoding": "rope"},
        "training_hyperparameter_sampling": {"evaluation_stride": 1, "early_stopping_epochs": 1, "epochs": 3},
    }
    config_writer(root, merged(TINY_SEARCH, search), "hyperparameter_search.yaml")()
    return root


def by_hand(root: Path, model: Path, split: int) -> float:
    """NDCG of an exported model, from its probabilities and the three splits as tables."""
    metadata = json.loads((root / "configs/metadata_configs/shop.json").read_text())
    own = [
        pl.read_parquet(root / path).filter(~pl.col("isContext")).with_columns(split=pl.lit(number))
        for number, path in enumerate(metadata["split_paths"][: split + 1])
    ]
    events = pl.concat(own).sort("sequenceId", "itemPosition", maintain_order=True)
    session = onnxruntime.InferenceSession(model)
    gains = []
    for _, sequence in events.group_by("sequenceId"):
        items, prices = sequence["item"].to_numpy(), sequence["price"].to_numpy()
        for place in range(1, len(items)):
            if sequence["split"][place] != split:
                continue
            # The split holds two events before its own, and a window three.
            begin = max(place - SEQ_LENGTH, int(np.flatnonzero(sequence["split"].to_numpy() == split)[0]) - 2, 0)
            item, price = np.zeros((1, SEQ_LENGTH), np.int64), np.zeros((1, SEQ_LENGTH), np.float32)
            item[0, SEQ_LENGTH - (place - begin) :] = items[begin:place]
            price[0, SEQ_LENGTH - (place - begin) :] = prices[begin:place]
            feed = {"item": item, "price": price, "n_events": np.array([place - begin])}
            (probabilities,) = session.run(["item_probabilities"], feed)
            score = {item: value for item, value in enumerate(probabilities.reshape(-1).tolist()) if item != 0}
            truth, seen = int(items[place]), {*items[:place].tolist()}
            others = [value for item, value in score.items() if item not in seen and item != truth]
            rank = 1 + sum(value >= score[truth] for value in others)
            gains.append(1 / math.log2(rank + 1) if rank <= 5 else 0.0)
    return sum(gains) / len(gains)


def test_a_search_ranks_by_ndcg_of_unseen_items(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    done = sequifier("hyperparameter-search", "--config-path", "configs/hyperparameter_search.yaml")
    assert done.returncode == 0, done.stderr
    assert METRIC in done.stdout
    with (project / "logs/tune/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = [float(row[METRIC]) for row in rows]
    assert values == sorted(values, reverse=True)
    for baseline in ("bigram", "co-occurrence"):
        assert [row["name"] for row in rows if row["name"].startswith(f"baseline: {baseline}")]
    on_test = re.search(
        rf"test {METRIC} of the best run: ([0-9.]+) \(best baseline there: .+, ([0-9.]+)\)", done.stdout
    )
    assert on_test is not None and "all results: logs/tune/results.csv" in done.stdout
    ranked = [row for row in rows if row["run"]]
    records = latest(project)
    assert len(ranked) == len(records) == 2
    for row in ranked:
        record = records[int(row["run"])]
        assert record.metrics[METRIC] == float(row[METRIC]) == max(record.curve)
        assert float(row["standard_error"]) > 0
        assert row["val_item_n_unknown"] == "0.0"
        assert record.inputs["ranking.item"] == "among all classes but those seen"
        assert by_hand(project, project / row["model_path"], 1) == pytest.approx(float(row[METRIC]), abs=1e-9)
    assert float(on_test[1]) == pytest.approx(float(ranked[0]["test_metric"]), abs=1e-4)
    assert by_hand(project, project / ranked[0]["model_path"], 2) == pytest.approx(
        float(ranked[0]["test_metric"]), abs=1e-9
    )
    path = f"configs/hp_search/tune-run-{ranked[0]['run']}.yaml"
    again = run_here(monkeypatch, capfd, "train", "--config-path", path, "--verify")
    assert again.code == 0, again.err
    changed = sequifier(
        "hyperparameter-search", "-D", "ranking.item.exclude_seen=false", "--config-path",
        "configs/hyperparameter_search.yaml",
    )  # fmt: skip
    assert changed.returncode == 1
    assert "ranking.item" in changed.stderr and "their metrics cannot be compared" in changed.stderr
