"""What a verification says of a run that was trained again, without training one."""

import json
from pathlib import Path

import pytest

from sequifier.artifacts.ledger import Record
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError
from sequifier.search.verify import check_same, compared, stored
from tests.support.searches import ended, metadata, search, started

FACTS = {"device": "cpu", "products": "float32", "torch": "2.13", "cpu_threads": 1, "sequifier": "4", "arithmetic": 2}


@pytest.fixture
def run(tmp_path: Path) -> tuple[TrainConfig, Record]:
    plan = started(search(training={"dropout": [0.1, 0.2]}, project_root=str(tmp_path)), [])
    records = [ended(plan.runs[0]), ended(plan.runs[1], "failed")]
    folder = tmp_path / "logs" / "demo"
    folder.mkdir(parents=True)
    lines = [json.dumps(record.model_copy(update=FACTS).model_dump()) for record in records]
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    return plan.runs[0].config, records[0].model_copy(update=FACTS)


def test_the_stored_loss_is_the_same_or_so_far_off(run: tuple[TrainConfig, Record]) -> None:
    _, record = run
    same = compared(record, record.best_val_loss, FACTS)
    assert (same.is_same, same.line) == (True, "same: validation loss 1.0, as in the ledger")
    off = compared(record, 1.5, FACTS)
    assert not off.is_same
    assert off.line == (
        "differs by +0.5 (relative 0.5): validation loss 1.5, in the ledger 1.0; data, config and environment are the "
        "same as far as the ledger shows"
    )
    other = compared(record, 1.0000001, FACTS | {"torch": "2.14", "arithmetic": 3})
    assert "environment changed: torch 2.13 -> 2.14; arithmetic 2 -> 3" in other.line
    on_gpu = record.model_copy(update={"device_index": "0"})
    assert "environment changed: device_index 0 -> 3" in compared(on_gpu, 1.5, FACTS | {"device_index": "3"}).line
    assert compared(record, None, FACTS).line.startswith("no finite validation loss, in the ledger 1.0;")


def test_another_config_or_other_data_are_named_before_anything_is_trained(run: tuple[TrainConfig, Record]) -> None:
    config, _ = run
    record = stored(config)
    check_same(config, metadata(), record)
    with pytest.raises(RunError, match=r"not the same run: data changed \(data 0123456789abcdef -> fedcba9876543210"):
        check_same(config, metadata("fedcba9876543210"), record)
    trained = config.root / "record"
    trained.mkdir()
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(RunError, match="not the same run: config changed"):
        check_same(other, metadata(), record)


def test_only_a_finished_run_of_a_search_can_be_verified(run: tuple[TrainConfig, Record]) -> None:
    config, _ = run
    with pytest.raises(RunError, match="`demo-run-1` is failed"):
        stored(config.model_copy(update={"model_name": "demo-run-1"}))
    for name in ("demo-run-7", "alone"):
        with pytest.raises(RunError, match=f"no ledger has a run named `{name}`"):
            stored(config.model_copy(update={"model_name": name}))
