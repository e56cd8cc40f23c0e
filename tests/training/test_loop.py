"""Losses, gradients and evaluation against hand computations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.dataset.windows import evaluation_windows
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.limits import Limits
from sequifier.training.loop import Calls, DivergedError, fit
from sequifier.training.step import batch_loss, train_step
from tests.support.quiet import quiet
from tests.support.rounding import rounding
from tests.support.tiny_training import N_CLASSES, config_of, events_of, model_of, objective_of, split_of, state_of


def hand_computed(model: Transformer, events: Events, seq_length: int) -> tuple[float, float]:
    """Both losses, one target at a time, each seen from the window that `evaluation_windows` promises."""
    windows = evaluation_windows(
        events.offsets, events.n_context, seq_length=seq_length, stride=max(seq_length // 2, 1)
    )
    kind_losses: list[Tensor] = []
    size_losses: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for last, first, counted in zip(windows.last, windows.first, windows.counted, strict=True):
            begin = max(last - seq_length, first)
            kind = torch.from_numpy(events.columns["kind"][begin:last])[None, :, None]
            size = torch.from_numpy(events.columns["size"][begin:last])[None, :, None]
            predictions = model.predict(model(kind, size)[0])  # rotary positions: padding in front changes nothing
            for row in range(counted, last + 1):
                step = row - 1 - begin
                size_losses.append((predictions["size"][step] - float(events.columns["size"][row])) ** 2)
                truth = int(events.columns["kind"][row])
                if truth:
                    kind_losses.append(-torch.log_softmax(predictions["kind"][step], dim=0)[truth - 1])
    return float(torch.stack(kind_losses).mean()), float(torch.stack(size_losses).mean())


@pytest.mark.parametrize("seq_length", [3, 8, 64])
def test_the_validation_loss_is_the_hand_computed_mean_over_known_targets(seq_length: int) -> None:
    events, model = events_of([9, 30, 2, 17], context=3), model_of(seq_length)
    split = split_of(events, seq_length=seq_length, evaluation=True)
    result = evaluate(model, split, objective_of({"kind": 1.0, "size": 0.5}), batch_size=4)
    kind, size = hand_computed(model, events, seq_length)
    assert result.metrics["val_kind_loss"] == pytest.approx(kind, rel=1e-5)
    assert result.metrics["val_kind_log_loss"] == pytest.approx(kind, rel=1e-5)
    assert result.metrics["val_size_loss"] == pytest.approx(size, rel=1e-5)
    assert result.metrics["val_size_rmse"] == pytest.approx(2.0 * size**0.5, rel=1e-5)
    assert result.metrics["val_loss"] == pytest.approx(kind + 0.5 * size, rel=1e-5)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    events, model = events_of([9, 30, 2, 17, 5]), model_of(8)
    split = split_of(events, seq_length=8, evaluation=True)
    results = [evaluate(model, split, objective_of(), batch_size=size) for size in (1, 3, 100)]
    for other in results[1:]:
        assert other.n_targets == results[0].n_targets
        assert other.metrics == pytest.approx(results[0].metrics, rel=rounding(64))
        assert other.standard_error == pytest.approx(results[0].standard_error, rel=rounding(64))


def test_targets_of_each_class_match_the_windows() -> None:
    events = events_of([9, 1, 30, 2], context=3)
    for evaluation in (False, True):
        split = split_of(events, seq_length=4, evaluation=evaluation)
        rows = {
            row
            for last, counted in zip(split.windows.last, split.windows.counted, strict=True)
            for row in range(counted, last + 1)
        }
        expected = np.bincount(events.columns["kind"][sorted(rows)], minlength=N_CLASSES)
        assert split.n_targets_of_class("kind", N_CLASSES).tolist() == expected.tolist()


@pytest.mark.parametrize(("batch_size", "accumulation", "effective"), [(3, 3, 7), (1, 7, None), (2, 4, 7)])
def test_accumulation_gives_the_gradient_of_the_full_batch(
    batch_size: int, accumulation: int, effective: int | None
) -> None:
    split = split_of(events_of([9, 30, 2, 17]), seq_length=8, evaluation=False)
    chosen = split.choose(np.arange(7))

    def gradients(**training: Any) -> list[Tensor]:
        # A step of plain SGD with rate 1 moves each weight by minus its gradient.
        config = config_of(optimizer={"name": "SGD"}, learning_rate=1.0, gradient_clip=None, **training)
        model = model_of(8)
        before = [weight.detach().clone() for weight in model.parameters()]
        train_step(state_of(model, config), split, [chosen], objective_of(), config)
        return [old - new.detach() for old, new in zip(before, model.parameters(), strict=True)]

    cut = gradients(batch_size=batch_size, accumulation_steps=accumulation, effective_batch_size=effective)
    for part, whole in zip(cut, gradients(batch_size=7), strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=rounding(64))


def test_unknown_targets_have_no_part_in_the_loss() -> None:
    events = events_of([12])
    split = split_of(events, seq_length=4, evaluation=False)
    model, chosen = model_of(4), np.arange(len(split))
    divisors = {target: int(split.n_known_targets(target, chosen).sum()) for target in ("kind", "size")}
    before = batch_loss(model, split.batch(split.choose(chosen)), objective_of({"kind": 1.0, "size": 0.0}), divisors)
    batch = split.batch(split.choose(chosen))
    known = batch.targets["kind"] != 0
    assert not bool(known.all()), "the case needs an unknown target"
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event))
    logits = model.predict(hidden)["kind"][known]
    expected = torch.nn.functional.cross_entropy(logits, batch.targets["kind"][known] - 1)
    torch.testing.assert_close(before, expected)


def test_an_optimizer_step_leaves_the_padding_embedding_at_zero() -> None:
    split = split_of(events_of([3, 30]), seq_length=8, evaluation=False)
    model, config = model_of(8), config_of(optimizer={"name": "AdamW", "weight_decay": 0.1}, decay_all=True)
    state = state_of(model, config)
    for _ in range(3):
        train_step(state, split, [split.choose(np.arange(len(split)))], objective_of(), config)
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    assert [float(table.weight[0].detach().abs().max()) for table in tables] == [0.0]


def test_a_loss_that_is_no_number_ends_the_run_as_diverged() -> None:
    split = split_of(events_of([30, 30]), seq_length=8, evaluation=False)
    valid = split_of(events_of([20], seed=1), seq_length=8, evaluation=True)
    config = config_of(optimizer={"name": "SGD"}, learning_rate=10, gradient_clip=None, epochs=200)
    model = model_of(8)
    with torch.no_grad():
        model.blocks[0].feed_forward.down.weight.mul_(1e30)
    with pytest.raises(DivergedError, match=r"loss is (nan|inf)"):
        fit(
            state_of(model, config), split, valid, objective_of(), config, seed=1, calls=Calls(quiet)
        )  # fmt: skip


def test_weights_that_overflowed_in_the_last_step_are_evaluated_to_no_number() -> None:
    valid, model = split_of(events_of([20, 20], seed=1), seq_length=8, evaluation=True), model_of(8)
    with torch.no_grad():
        model.blocks[0].feed_forward.down.weight.fill_(math.nan)
    found = evaluate(model, valid, objective_of(), batch_size=4).metrics
    assert math.isnan(found["val_loss"]) and math.isnan(found["val_kind_calibration_error"])


def test_early_stopping_counts_epochs_without_a_better_value() -> None:
    train = split_of(events_of([30, 30]), seq_length=8, evaluation=False)
    valid = split_of(events_of([20], seed=1), seq_length=8, evaluation=True)
    config = config_of(learning_rate=1e-12, epochs=50, early_stopping_epochs=3, optimizer={"name": "SGD"})
    state = state_of(model_of(8), config)
    state.progress.best_value, state.progress.best_epoch = -1.0, 0  # nothing can be better
    ended = fit(state, train, valid, objective_of(), config, seed=1, calls=Calls(quiet))
    assert (ended, state.progress.epoch) == ("early_stopping", 3)


def test_a_training_that_died_after_a_checkpoint_ends_as_it_would_have_without_a_further_epoch() -> None:
    train = split_of(events_of([30, 30]), seq_length=8, evaluation=False)
    valid = split_of(events_of([20], seed=1), seq_length=8, evaluation=True)
    config = config_of(epochs=5)
    limits = Limits(until_epoch=2)
    calls = Calls(quiet, stop_reason=lambda progress: limits.reached(progress, "minimize"))
    state = state_of(model_of(8), config)
    assert fit(state, train, valid, objective_of(), config, seed=1, calls=calls) == "paused"
    assert fit(state, train, valid, objective_of(), config, seed=1, calls=calls) == "paused", (
        "it is at the rung already"
    )
    assert state.progress.epoch == 2
    assert fit(state, train, valid, objective_of(), config, seed=1, calls=Calls(quiet)) == "finished"
    assert state.progress.epoch == 5
