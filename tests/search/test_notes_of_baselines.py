"""A search keeps of each baseline the better one, with the sums that belong to it."""

import json
from pathlib import Path

import numpy as np

from sequifier.artifacts.sequence_losses import OF_BASELINES, Units, read_unit_sums, write_unit_sums
from sequifier.search.notes import Notes


def record_of(root: Path, **losses: float) -> tuple[dict[str, dict[str, float]], Path]:
    """Scores of baselines, and the record of the run that computed them."""
    units = {name: {"val_loss": Units(np.full(6, loss), np.ones(6), "sequences")} for name, loss in losses.items()}
    root.mkdir()
    write_unit_sums(root / OF_BASELINES, units)
    return {name: {"val_loss": loss} for name, loss in losses.items()}, root


def test_the_better_one_of_each_name_is_kept_with_its_own_sums(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
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
    Notes(tmp_path).keep_baselines(*record_of(tmp_path / "0", bigram=2.0))
    (tmp_path / OF_BASELINES).write_bytes(b"damaged")
    Notes(tmp_path).keep_baselines(*record_of(tmp_path / "1", bigram=2.0))
    assert read_unit_sums(tmp_path / OF_BASELINES)["bigram"]["val_loss"].value == 2.0
    (tmp_path / OF_BASELINES).unlink()
    Notes(tmp_path).keep_baselines(*record_of(tmp_path / "2", bigram=2.4))
    assert read_unit_sums(tmp_path / OF_BASELINES) == {}, "sums of a weaker baseline are not those that are shown"
