"""The pilot of a proposed model: what it trains, and that nothing of it remains."""

import polars as pl
import pytest
import torch

from sequifier.config.train import TrainConfig
from sequifier.prepare import Prepared
from sequifier.project import pilot
from sequifier.training import step

TRAIN = {
    "metadata_config_path": "configs/shop.json",
    "model_name": "pilot",
    "target_columns": ["item"],
    "metric": "val_item_ndcg_10",
    "direction": "maximize",
    "ranking": {"item": {"k": [10]}},
    "model_spec": {"dim_model": 8, "n_head": 2, "num_layers": 1},
    "training_spec": {"batch_size": 4, "device": "cpu"},
}


def test_it_trains_a_model_of_the_size_of_the_table(monkeypatch, tmp_path) -> None:
    seen: list[Prepared] = []

    def take(state, train, chosen, objective, config: TrainConfig):
        seen.append((state.model, config, [len(windows) for windows in chosen]))
        return original(state, train, chosen, objective, config)

    original = step.train_step
    monkeypatch.setattr(step, "train_step", take)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    found = pilot.measure(TRAIN, {"item": 300, "time_gap": 0}, pl.Series([6] * 40), seq_length=5)

    assert found is not None and found.seconds > found.validation_seconds > 0 and found.device == "cpu"
    model, config, n_windows = seen[-1]
    assert model.heads.target_classes == {"item": 301}
    assert (config.seq_length, config.input_columns) == (5, ["item", "time_gap"])
    assert n_windows == [4] and len(seen) <= pilot.STEPS + 1
    assert torch.get_num_threads() == threads and not list(tmp_path.iterdir())


def test_a_model_that_cannot_train_has_no_pilot() -> None:
    wide = TRAIN | {"model_spec": {"dim_model": 7, "n_head": 2}}
    assert pilot.measure(wide, {"item": 300}, pl.Series([6] * 40), seq_length=5) is None


@pytest.mark.parametrize(("seconds", "shown"), [(0.12345, "120"), (0.0012345, "1.2"), (2.5678, "2,600")])
def test_a_duration_has_two_digits(seconds, shown) -> None:
    assert pilot.Pilot(seconds, 0.0, "cpu").milliseconds == shown
