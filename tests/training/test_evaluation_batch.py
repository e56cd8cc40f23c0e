"""The number of windows that are evaluated together, and what happens where they do not fit into memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.evaluation_batch import NUMBERS, Evaluator, evaluation_batch
from sequifier.training.loop import Calls, fit
from tests.support.quiet import quiet
from tests.support.tiny_training import config_of, events_of, model_of, objective_of, split_of, state_of

SIZES = [9, 30, 2, 17, 40, 12]


def forget(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def model_with_room_for(n_windows: int, fail: Callable[..., None] = forget) -> Transformer:
    """A model that fails with more windows than that, unless it trains."""
    model = model_of(8)

    def check(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if not module.training and len(inputs[0]) > n_windows:
            fail()

    model.register_forward_pre_hook(check)
    return model


@pytest.mark.parametrize("picks", [True, False])
def test_a_batch_that_runs_out_of_memory_is_halved_once_and_for_all(picks: bool) -> None:
    split = split_of(events_of(SIZES), seq_length=8, evaluation=True, picks=picks)
    lines: list[str] = []
    evaluator = Evaluator(split, objective_of(), batch_size=20, log=lines.append)
    model = model_with_room_for(7).train()
    found = [evaluator(model).metrics for _ in range(2)]
    assert found == [evaluate(model_of(8), split, objective_of(), batch_size=5).metrics] * 2
    assert lines == [
        "evaluating 20 windows at a time ran out of memory: now 10",
        "evaluating 10 windows at a time ran out of memory: now 5",
    ]
    assert model.training


def test_a_window_that_does_not_fit_is_an_error() -> None:
    split = split_of(events_of(SIZES), seq_length=8, evaluation=True)
    evaluator = Evaluator(split, objective_of(), batch_size=1000)
    with pytest.raises(torch.OutOfMemoryError):
        evaluator(model_with_room_for(0))
    assert evaluator.batch_size == 1


def test_another_error_is_raised_at_once() -> None:
    split = split_of(events_of(SIZES), seq_length=8, evaluation=True)

    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    evaluator = Evaluator(split, objective_of(), batch_size=8)
    with pytest.raises(RuntimeError, match="mat1"):
        evaluator(model_with_room_for(2, fail))
    assert evaluator.batch_size == 8


def test_a_run_whose_validation_does_not_fit_trains_with_its_batch() -> None:
    train = split_of(events_of([40, 40]), seq_length=8, evaluation=False)
    valid = split_of(events_of(SIZES, seed=1), seq_length=8, evaluation=True)
    config = config_of(epochs=3, batch_size=8)
    lines: list[str] = []
    small, large = (state_of(model, config) for model in (model_with_room_for(9), model_of(8)))
    for state in (small, large):
        calls = Calls(quiet, log=lines.append)
        assert fit(state, train, valid, objective_of(), config, seed=1, calls=calls) == "finished"
    assert lines == ["evaluating 16 windows at a time ran out of memory: now 8"]
    for name, weight in large.weights().items():
        torch.testing.assert_close(small.weights()[name], weight, rtol=0, atol=0)


def test_on_a_device_the_batch_follows_from_memory() -> None:
    split, model = split_of(events_of(SIZES), seq_length=8, evaluation=True), model_of(8)
    assert evaluation_batch(model, split, 32) == 64
    split.device = torch.device("cuda")
    in_window = 8 * (16 * 8 + 6 + 8)  # 5 known kinds and one size; width and seq_length are 8
    assert evaluation_batch(model, split, 32) == NUMBERS // in_window
    model.heads.target_classes["kind"] = 10**7
    assert evaluation_batch(model, split, 32) == 32, "what fits with its gradients"
