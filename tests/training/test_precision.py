"""Number formats while training: what stays in float32, and what a shorter format may change."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.training import precision
from sequifier.training.evaluate import evaluate
from sequifier.training.precision import build_precision, formats, kept_in_float32
from sequifier.training.state import TrainState
from sequifier.training.step import train_step
from tests.support.tiny_training import config_of, events_of, model_of, objective_of, split_of, state_of


def training_split() -> Split:
    return split_of(events_of([40, 30, 25]), seq_length=6, evaluation=False)


def state_with(formats: dict[str, str] | None) -> tuple[TrainState, TrainConfig]:
    config = config_of(learning_rate=1e-2, layer_type_dtypes=formats)
    return replace(
        state_of(model_of(6), config), precision=build_precision(config.training_spec, "cpu", batch_numbers=10)
    ), config


def losses(state: TrainState, config: TrainConfig, steps: int) -> list[float]:
    split = training_split()
    everything = np.arange(len(split))
    state.model.train()
    return [float(train_step(state, split, everything, objective_of(), config)) for _ in range(steps)]


@pytest.mark.parametrize(
    "given",
    [
        {"linear": "bfloat16"},
        {"linear": "float16"},
        {"linear": "bfloat16", "decoder": "float32"},
        {"decoder": "float16"},
    ],
)
def test_a_shorter_format_learns_nearly_the_same(given: dict[str, str]) -> None:
    exact, short = losses(*state_with(None), steps=30), losses(*state_with(given), steps=30)
    assert exact != short
    assert len({*short, *exact}) > 30
    # bfloat16 has 8 bits; with float16 the first steps are left out, until the scaled loss no longer overflows.
    assert short[-1] == pytest.approx(exact[-1], rel=0.15)
    assert short[-1] < 0.7 * short[0]


def test_weights_losses_and_validation_stay_in_float32() -> None:
    state, config = state_with({"linear": "bfloat16", "norm": "bfloat16", "embedding": "bfloat16"})
    assert "kept in float32: embedding, norm;" in (kept_in_float32(config.training_spec) or "")
    losses(state, config, steps=2)
    assert {weight.dtype for weight in state.model.state_dict().values()} == {torch.float32}
    moments = [value for entry in state.optimizer.state.values() for value in entry.values()]
    assert {moment.dtype for moment in moments} == {torch.float32}
    plain = model_of(6)
    plain.load_state_dict(state.model.state_dict())
    split = split_of(events_of([40, 30]), seq_length=6, evaluation=True)
    found, expected = (evaluate(model, split, objective_of(), batch_size=16) for model in (state.model, plain))
    assert found.metrics == expected.metrics


def test_float16_leaves_out_a_step_whose_gradients_overflow() -> None:
    state, config = state_with({"linear": "float16"})
    scaler = state.precision.scaler
    assert scaler is not None
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**100})
    before = state.weights()
    losses(state, config, steps=1)
    assert all(torch.equal(value, before[name]) for name, value in state.weights().items())
    assert scaler.get_scale() == 2.0**99
    restored, _ = state_with({"linear": "float16"})
    restored.restore(state.checkpoint())
    assert restored.precision.scaler is not None
    assert restored.precision.scaler.get_scale() == 2.0**99


def test_bfloat16_is_the_default_where_hardware_multiplies_it_and_batches_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = config_of().training_spec
    short = {"linear": "bfloat16", "decoder": "float32"}
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: True)
    assert formats(spec, "cpu", batch_numbers=500_000) == short
    assert formats(spec, "cpu", batch_numbers=50_000) == {}
    assert formats(config_of(layer_autocast=False).training_spec, "cpu", batch_numbers=500_000) == {}
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: False)
    assert formats(spec, "cpu", batch_numbers=500_000) == {}
    assert formats(spec, "mps", batch_numbers=500_000) == {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert formats(spec, "cuda", batch_numbers=1) == {"linear": "bfloat16"}
    for given in ({"layer_autocast": False}, {"layer_type_dtypes": {}}):
        assert formats(config_of(**given).training_spec, "cuda", batch_numbers=1) == {}
