"""Splits from raw data to validation and test losses: each target is evaluated once, and no other."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from sequifier import api
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.artifacts.split_file import read_events
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.dataset.windows import evaluation_windows
from tests.support.quiet import quiet
from tests.support.runs import train

DATA = Path(__file__).parents[3] / "shared" / "data"


def preprocess(root: Path, frame: pl.DataFrame, **fields: Any) -> Metadata:
    """Write the table and its configs, and preprocess it as the command does."""
    (root / "data").mkdir(exist_ok=True)
    (root / "configs").mkdir(exist_ok=True)
    frame.write_csv(root / "data" / "events.csv")
    config = {"project_root": str(root), "data_path": "data/events.csv", "seq_length": 5} | fields
    (root / "configs" / "preprocess.yaml").write_text(yaml.safe_dump(config))
    return read_metadata(api.preprocess(load(PreprocessConfig, root / "configs" / "preprocess.yaml").config, log=quiet))


def targets(root: Path, metadata: Metadata, number: int, *, seq_length: int, stride: int) -> Counter[tuple[Any, Any]]:
    """Count how often (sequence, position) is a target of the evaluation windows of a split."""
    events = read_events(root / metadata.split_paths[number], [], expected_hashes=None)
    windows = evaluation_windows(events.offsets, events.n_context, seq_length=seq_length, stride=stride)
    rows = np.concatenate([np.arange(c, last + 1) for c, last in zip(windows.counted, windows.last, strict=True)])
    sequence = np.searchsorted(events.offsets, rows, side="right") - 1
    return Counter(zip(events.sequence_ids[sequence].tolist(), events.positions[rows].tolist(), strict=True))


def trained_n_targets(root: Path) -> int:
    """Train one epoch on the table, and return the number of targets that validation had."""
    config = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "tiny",
        "target_columns": ["item"],
        "input_columns": ["item"],
        "seq_length": 5,
        "model_spec": {"dim_model": 8, "n_head": 2, "num_layers": 1, "dim_feedforward": 16},
        "training_spec": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "device": "cpu"},
    }
    (root / "configs" / "train.yaml").write_text(yaml.safe_dump(config))
    result = train(root / "configs" / "train.yaml")
    return int(result.n_targets["item"])


def item_sequences(path: Path) -> pl.DataFrame:
    """Return lines `user item item ...` as a table of events."""
    rows = []
    for line in path.read_text().splitlines():
        user, *items = line.split()
        rows += [(int(user), place, int(item)) for place, item in enumerate(items)]
    return pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "item"], orient="row")


def check_leave_one_out(root: Path, frame: pl.DataFrame) -> Metadata:
    metadata = preprocess(root, frame, split_method="last_events", column_types={"item": "categorical"})
    last = frame.group_by("sequenceId").agg(pl.col("itemPosition").max(), pl.len()).filter(pl.col("len") > 2)
    for number, before in ((1, 1), (2, 0)):
        expected = dict.fromkeys(zip(last["sequenceId"], last["itemPosition"] - before, strict=True), 1)
        for seq_length, stride in ((1, 1), (50, 25), (3, 2)):
            assert targets(root, metadata, number, seq_length=seq_length, stride=stride) == expected
    return metadata


def small_shop() -> pl.DataFrame:
    rows = [(s, 10 * s + p, (s + p) % 5) for s in range(30) for p in range(1 + s % 7)]
    return pl.DataFrame(rows, schema=["sequenceId", "itemPosition", "item"], orient="row")


def test_leave_one_out_evaluates_the_last_two_events_of_each_sequence_once(tmp_path: Path) -> None:
    metadata = check_leave_one_out(tmp_path, small_shop())
    n_long = sum(1 + s % 7 > 2 for s in range(30))
    assert metadata.sequifier.rows[1:] == [n_long, n_long]
    assert trained_n_targets(tmp_path) == n_long


@pytest.mark.parametrize(("name", "n_users", "n_events"), [("LastFM", 1090, 52551), ("Beauty", 22363, 198502)])
def test_leave_one_out_of_public_data(tmp_path: Path, name: str, n_users: int, n_events: int) -> None:
    if not (DATA / f"{name}.txt").is_file():
        pytest.skip("the data are not here")
    metadata = check_leave_one_out(tmp_path, item_sequences(DATA / f"{name}.txt"))
    assert metadata.sequifier.rows == [n_events - 2 * n_users, n_users, n_users]


@pytest.mark.parametrize(
    "fields",
    [
        {"split_method": "cutoff", "split_at": [122, 204]},
        {"split_method": "between_sequence", "split_order": "by_start", "split_overlap": "cut"},
        {"split_method": "between_sequence", "split_order": "file", "split_ratios": [0.7, 0.3]},
        {"split_method": "given", "split_column": "part"},
    ],
)
def test_every_event_of_validation_after_another_one_is_evaluated_once(tmp_path: Path, fields: dict[str, Any]) -> None:
    part = pl.when(pl.col("sequenceId") % 5 == 0).then(pl.lit("test")).otherwise(pl.lit("train"))
    frame = small_shop().with_columns(part=part)
    drop = [] if fields["split_method"] == "given" else ["part"]

    metadata = preprocess(tmp_path, frame.drop(drop), column_types={"item": "categorical"}, **fields)

    first = dict(frame.group_by("sequenceId").agg(pl.col("itemPosition").min()).iter_rows())
    for number in range(1, len(metadata.split_paths)):
        rows = pl.read_parquet(tmp_path / metadata.split_paths[number]).filter(~pl.col("isContext"))
        own = rows.select("sequenceId", "itemPosition").rows()
        expected = dict.fromkeys([row for row in own if row[1] > first[row[0]]], 1)
        assert targets(tmp_path, metadata, number, seq_length=4, stride=2) == expected
        if number == 1:
            assert trained_n_targets(tmp_path) == len(expected)
