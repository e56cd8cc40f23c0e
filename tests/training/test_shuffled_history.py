"""Training and evaluation on histories in random order, against a loop over targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sequifier.artifacts.mapped import map_events
from sequifier.artifacts.split_file import write_events
from sequifier.config.identity import identity
from sequifier.config.train import TrainConfig
from sequifier.dataset.shuffled import ShuffledSplit
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.loop import Calls, fit
from sequifier.training.step import train_step
from tests.support.events import make_windows
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, new_shop
from tests.support.tiny_training import config_of, events_of, model_of, objective_of, split_of, state_of


def shuffled(events: Any, seq_length: int, *, evaluation: bool, keeps_last: bool = False) -> ShuffledSplit:
    stride = max(seq_length // 2, 1) if evaluation else seq_length
    columns: dict[str, Any] = {"categorical": ["kind"], "real": ["size"], "targets": ["kind", "size"]}
    return ShuffledSplit(
        events,
        make_windows(events, seq_length, stride, evaluation=evaluation),
        **columns,
        seq_length=seq_length,
        device=torch.device("cpu"),
        seed=3,
        keeps_last=keeps_last,
    )


def hand_computed(model: Transformer, split: ShuffledSplit) -> tuple[float, float]:
    """Both losses, one target at a time, without padding, from the orders that the split chose."""
    batch = split.batch(split.choose(np.arange(len(split))))
    kinds, sizes = [], []
    model.eval()
    with torch.no_grad():
        for row in range(len(batch.categories)):
            is_event = slice(None) if batch.is_event is None else batch.is_event[row]
            hidden = model(batch.categories[row, is_event][None], batch.reals[row, is_event][None])
            predictions = model.predict(hidden[0, -1])
            sizes.append((predictions["size"] - batch.targets["size"][row]) ** 2)
            if truth := int(batch.targets["kind"][row]):
                kinds.append(-torch.log_softmax(predictions["kind"], dim=0)[truth - 1])
    return float(torch.stack(kinds).mean()), float(torch.stack(sizes).mean())


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("keeps_last", [False, True])
def test_the_validation_loss_is_the_mean_over_known_targets(batch_size: int, keeps_last: bool) -> None:
    events, model = events_of([9, 30, 2, 17], context=3), model_of(8)
    split = shuffled(events, 8, evaluation=True, keeps_last=keeps_last)
    result = evaluate(model, split, objective_of(), batch_size=batch_size)
    kind, size = hand_computed(model, split)
    assert result.metrics["val_kind_loss"] == pytest.approx(kind, rel=1e-5)
    assert result.metrics["val_size_loss"] == pytest.approx(size, rel=1e-5)
    ordered = evaluate(model, split_of(events, seq_length=8, evaluation=True), objective_of(), batch_size=batch_size)
    assert result.n_targets == ordered.n_targets
    assert result.units["val_loss"].pairs_with(ordered.units["val_loss"]), "differences can be paired"
    assert result.metrics["val_loss"] != ordered.metrics["val_loss"]


def test_a_step_is_that_of_all_its_targets_however_it_is_cut() -> None:
    events, steps = events_of([9, 30, 2, 17, 12]), []
    for accumulation in (1, 3):
        model = model_of(8)
        config = config_of(batch_size=4, accumulation_steps=accumulation, optimizer={"name": "SGD"}, learning_rate=0.1)
        split = shuffled(events, 8, evaluation=False).in_epoch(1)
        chosen = [split.choose(np.arange(len(split)))]
        (loss,) = train_step(state_of(model, config), split, chosen, objective_of(), config)
        steps.append((float(loss), model.state_dict()))
    kind, size = hand_computed(model_of(8), split)
    assert steps[0][0] == pytest.approx(kind + size, rel=1e-5)
    for name, value in steps[0][1].items():
        torch.testing.assert_close(value, steps[1][1][name], rtol=1e-4, atol=1e-6)


def test_a_history_of_one_event_has_one_order() -> None:
    """Sequences of two events, which train alike with any order."""
    events, seq_length, losses = events_of([2] * 30), 4, []
    for kind in ("none", "all", "before_last"):
        model = model_of(seq_length)
        config = config_of(epochs=3, batch_size=7, learning_rate=0.01)
        splits = [
            split_of(events, seq_length=seq_length, evaluation=evaluation)
            if kind == "none"
            else shuffled(events, seq_length, evaluation=evaluation, keeps_last=kind == "before_last")
            for evaluation in (False, True)
        ]
        state = state_of(model, config)
        fit(state, splits[0], splits[1], objective_of(), config, seed=1, calls=Calls(quiet))
        losses.append([entry["val_loss"] for entry in state.progress.history])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_mapped_columns_give_the_same(tmp_path: Path) -> None:
    events = events_of([9, 30, 2, 17], context=3)
    write_events(tmp_path / "events.parquet", [events], "parquet")
    mapped = map_events(tmp_path / "events.parquet", ["kind", "size"], expected_hashes=None)
    model = model_of(8)
    results = [
        evaluate(model, shuffled(each, 8, evaluation=True), objective_of(), batch_size=3).metrics
        for each in (events, mapped)
    ]
    assert results[0] == results[1]


def run(root: Path, name: str, **training: Any) -> TrainConfig:
    values = {"project_root": str(root), "model_name": name, "training_spec": {"epochs": 4} | training}
    return TrainConfig.model_validate(merged(TINY_RUN, values))


@pytest.mark.slow
def test_a_resumed_run_has_the_orders_of_a_whole_one(tmp_path: Path) -> None:
    from sequifier import api
    from sequifier.run import run as run_training

    root = new_shop(tmp_path / "shop")
    whole = api.train(run(root, "whole", shuffle_history="all"), emit=quiet)
    calls = iter([False, True])
    run_training(run(root, "cut", shuffle_history="all"), should_stop=lambda: next(calls), emit=quiet)
    resumed = api.train(run(root, "cut", shuffle_history="all"), emit=quiet)
    assert resumed.curve == whole.curve and len(whole.curve) == 4
    ordered = api.train(run(root, "ordered"), emit=quiet)
    assert ordered.curve != whole.curve
    assert ordered.n_targets == whole.n_targets


def test_only_another_order_is_another_run(tmp_path: Path) -> None:
    plain = identity(run(tmp_path, "a"), "data")
    assert identity(run(tmp_path, "a", shuffle_history="none"), "data") == plain
    assert (
        len({plain, *(identity(run(tmp_path, "a", shuffle_history=kind), "data") for kind in ("all", "before_last"))})
        == 3
    )
