"""Baselines that a search keeps for its table."""

import json
from pathlib import Path

from sequifier.search.notes import Notes


def test_of_each_baseline_the_better_one_of_all_runs_is_kept(tmp_path: Path) -> None:
    """A run with a short window reads less than another; the table compares with the strongest."""
    notes = Notes(tmp_path)
    notes.keep_baselines({"baseline: unigram": {"val_loss": 2.0}, "baseline: bigram back-off": {"val_loss": 1.5}})
    notes.keep_baselines({"baseline: unigram": {"val_loss": 2.1}, "baseline: trigram back-off": {"val_loss": 1.2}})
    notes.keep_baselines({"baseline: bigram back-off": {"val_loss": 1.4}})
    expected = {"baseline: unigram": 2.0, "baseline: bigram back-off": 1.4, "baseline: trigram back-off": 1.2}
    assert {name: values["val_loss"] for name, values in Notes(tmp_path).baselines.items()} == expected


def test_baselines_under_older_names_are_still_read(tmp_path: Path) -> None:
    old = {"baseline: what follows what, last value": {"val_loss": 1.5, "standard_error": 0.1}}
    (tmp_path / "baselines.json").write_text(json.dumps(old), encoding="utf-8")
    notes = Notes(tmp_path)
    assert notes.baselines == old
    notes.keep_baselines({"baseline: 4-gram back-off, ridge": {"val_loss": 1.2}})
    assert list(Notes(tmp_path).baselines) == [*old, "baseline: 4-gram back-off, ridge"]
