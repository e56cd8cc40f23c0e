"""A search keeps of each baseline the better one, with the sums that belong to it."""

import json
from pathlib import Path

import numpy as np

from sequifier.artifacts.sequence_losses import OF_BASELINES, Units, read_unit_sums, write_unit_sums
from sequifier.search.folder import SearchFolder


def record_of(root: Path, **losses: float) -> tuple[dict[str, dict[str, float]], Path]:
    """Scores of baselines, and the record of the run that computed them."""
    units = {name: {"val_loss": Units(np.full(6, loss), np.ones(6), "sequences")} for name, loss in losses.items()}
    root.mkdir()
    write_unit_sums(root / OF_BASELINES, units)
    return {name: {"val_loss": loss} for name, loss in losses.items()}, root


def test_the_better_one_of_each_name_is_kept_with_its_own_sums(tmp_path: Path) -> None:
    notes = SearchFolder(tmp_path)
    notes.keep_baselines(*record_of(tmp_path / "0", bigram=2.0, unigram=3.0))
    notes.keep_baselines(*record_of(tmp_path / "1", bigram=2.5, unigram=2.9, ridge=4.0))
    notes.keep_baselines({"bigram": {"val_loss": 2.2}}, None)
    expected = {"bigram": 2.0, "unigram": 2.9, "ridge": 4.0}
    kept = json.loads((tmp_path / "baselines.json").read_text())
    assert {name: scores["val_loss"] for name, scores in kept.items()} == expected
    sums = {name: of["val_loss"].value for name, of in read_unit_sums(tmp_path / OF_BASELINES).items()}
    assert sums == expected
    assert not [*tmp_path.glob(f"[01]/{OF_BASELINES}")], "moved, not copied"


def test_sums_that_were_lost_are_taken_from_the_next_run(tmp_path: Path) -> None:
    SearchFolder(tmp_path).keep_baselines(*record_of(tmp_path / "0", bigram=2.0))
    (tmp_path / OF_BASELINES).write_bytes(b"damaged")
    SearchFolder(tmp_path).keep_baselines(*record_of(tmp_path / "1", bigram=2.0))
    assert read_unit_sums(tmp_path / OF_BASELINES)["bigram"]["val_loss"].value == 2.0
    (tmp_path / OF_BASELINES).unlink()
    SearchFolder(tmp_path).keep_baselines(*record_of(tmp_path / "2", bigram=2.4))
    assert read_unit_sums(tmp_path / OF_BASELINES) == {}, "sums of a weaker baseline are not those that are shown"


def test_of_each_baseline_the_better_one_of_all_runs_is_kept(tmp_path: Path) -> None:
    """A run with a short window reads less than another; the table compares with the strongest."""
    notes = SearchFolder(tmp_path)
    notes.keep_baselines({"baseline: unigram": {"val_loss": 2.0}, "baseline: bigram back-off": {"val_loss": 1.5}})
    notes.keep_baselines({"baseline: unigram": {"val_loss": 2.1}, "baseline: trigram back-off": {"val_loss": 1.2}})
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 1.4}})
    expected = {"baseline: unigram": 2.0, "baseline: bigram back-off": 1.4, "baseline: trigram back-off": 1.2}
    assert {name: values["val_loss"] for name, values in SearchFolder(tmp_path).baselines.items()} == expected


def test_baselines_under_older_names_are_still_read(tmp_path: Path) -> None:
    old = {"baseline: what follows what, last value": {"val_loss": 1.5, "standard_error": 0.1}}
    (tmp_path / "baselines.json").write_text(json.dumps(old), encoding="utf-8")
    notes = SearchFolder(tmp_path)
    assert notes.baselines == old
    notes.keep_baselines({"baseline: 4-gram back-off, ridge": {"val_loss": 1.2}})
    assert list(SearchFolder(tmp_path).baselines) == [*old, "baseline: 4-gram back-off, ridge"]


def test_the_better_one_is_so_by_the_metric_that_ranks(tmp_path: Path) -> None:
    """With another criterion or distribution val_loss is another quantity, and more inputs may rank worse by it."""
    notes = SearchFolder(tmp_path, metric="val_item_accuracy", maximize=True)
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 1.5, "val_item_accuracy": 0.4}})
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 1.9, "val_item_accuracy": 0.6}})
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 0.1, "val_item_accuracy": 0.5}})
    assert notes.baselines == {"baseline: bigram back-off": {"val_loss": 1.9, "val_item_accuracy": 0.6}}
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 1.8, "val_item_accuracy": 0.6}})
    assert notes.baselines["baseline: bigram back-off"]["val_loss"] == 1.8, "which the other targets decide"
    by_script = SearchFolder(tmp_path / "scripted", metric="latency")
    by_script.path.mkdir()
    for loss in (1.5, 1.9, 1.2):
        by_script.keep_baselines({"baseline: unigram": {"val_loss": loss}})
    assert by_script.baselines == {"baseline: unigram": {"val_loss": 1.2}}
