"""Which model to deploy: said at the end of a search, and by the analysis."""

import json
from pathlib import Path

import polars as pl
import pytest

from sequifier.artifacts.ledger import latest_by_run, read_ledger
from tests.support.command_line import Run
from tests.support.shop import WriteConfig


def test_the_file_its_epoch_its_targets_and_its_data_are_named(
    run: Run, shop: Path, search_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    search_config()
    said = run("hyperparameter-search").out.splitlines()
    best = min(
        latest_by_run(read_ledger(shop / "logs" / "tune")).values(), key=lambda record: record.best_val_loss or 9.0
    )
    other = next(record for record in latest_by_run(read_ledger(shop / "logs" / "tune")).values() if record != best)
    metadata = json.loads((shop / "configs" / "metadata_configs" / "shop.json").read_text())
    train = pl.read_parquet(shop / metadata["split_paths"][0])
    rows, sequences = metadata["sequifier"]["rows"][0], metadata["sequifier"]["sequences"][0]
    assert 0 < sequences <= rows <= len(train)
    facts = f"predicts item; trained on {rows:,} events of {sequences} sequences (shop)"
    place = said.index(f"best model:  {best.files['best_onnx']}")
    assert said[place + 1].strip() == f"epoch {best.best_epoch} of 2; {facts}"
    analysed = run("search-analysis", "tune").out
    assert f"The model to deploy is {best.files['best_onnx']}: epoch {best.best_epoch} of 2; {facts}." in analysed

    (shop / best.files["best_onnx"]).unlink()
    analysed = run("search-analysis", "tune").out
    assert f"The best model on disk, of run {other.run}, is {other.files['best_onnx']}" in analysed
    (shop / "configs" / "metadata_configs" / "shop.json").unlink()
    analysed = run("search-analysis", "tune").out
    assert "predicts item." in analysed, "numbers that cannot be known are left out"
