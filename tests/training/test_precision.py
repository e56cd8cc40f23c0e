"""Number formats while training: what stays in float32, and what a shorter format may change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec
from sequifier.dataset.batches import Split
from sequifier.model.cpu import switch
from sequifier.model.products import float32_products
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
        state_of(model_of(6), config),
        precision=build_precision(config.training_spec, "cpu", batch_numbers=10, dim_model=8),
    ), config


def losses(state: TrainState, config: TrainConfig, steps: int) -> list[float]:
    split = training_split()
    everything = split.choose(np.arange(len(split)))
    state.model.train()
    return [float(sum(train_step(state, split, [everything], objective_of(), config))) for _ in range(steps)]


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

    def chosen(spec: TrainingSpec, device_type: str, batch_numbers: int = 500_000, dim_model: int = 512) -> object:
        return formats(spec, device_type, batch_numbers=batch_numbers, dim_model=dim_model)

    monkeypatch.setattr(precision, "has_matrix_unit", lambda: True)
    assert chosen(spec, "cpu") == chosen(spec, "cpu", dim_model=16) == short
    assert chosen(spec, "cpu", batch_numbers=50_000) == {}
    assert chosen(config_of(layer_autocast=False).training_spec, "cpu") == {}
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: False)
    assert chosen(spec, "cpu") == {}
    assert chosen(spec, "mps") == {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert chosen(spec, "cuda", batch_numbers=1, dim_model=256) == short
    assert chosen(spec, "cuda", dim_model=255) == {}
    for given in ({"layer_autocast": False}, {"layer_type_dtypes": {}}):
        assert chosen(config_of(**given).training_spec, "cuda") == {}
    configured = {"linear": "float16"}
    assert chosen(config_of(layer_type_dtypes=configured).training_spec, "cuda", dim_model=16) == configured
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert chosen(spec, "cuda") == {}


def test_the_precision_of_products_is_the_processs_own_again_afterwards() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    with float32_products("cpu", tf32=True):
        assert matmul.fp32_precision == before
    with float32_products("cuda", tf32=False):
        assert matmul.fp32_precision == "ieee"
        with pytest.raises(KeyboardInterrupt), float32_products("cuda", tf32=True):
            assert matmul.fp32_precision == "tf32"
            raise KeyboardInterrupt
        assert matmul.fp32_precision == "ieee"
    assert matmul.fp32_precision == before


def test_a_process_that_has_chosen_tf32_trains_exactly_and_keeps_its_choice() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.allow_tf32 = True  # as an NVIDIA container does
    try:
        with float32_products("cuda", tf32=False):
            assert matmul.fp32_precision == "ieee"
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = False
        matmul.fp32_precision = before


class RoundedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes products of float32 matrices on the CPU with operands of fewer bits, as a tensor core does."""

    def __init__(self, bits: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dropped = 24 - bits
        self.n_products = 0

    def rounded(self, value: Tensor) -> Tensor:
        """Round to the nearest number of that many bits, to an even one in the middle."""
        bits = value.contiguous().view(torch.int32)
        bits = bits + (1 << self.dropped - 1) - 1 + (bits >> self.dropped & 1)
        return (bits >> self.dropped << self.dropped).view(torch.float32)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # in inference mode torch passes composite operators on as they are
            result = function.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        first = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}.get(function.overloadpacket.__name__)
        if first is not None:
            self.n_products += 1
            operands = [self.rounded(value) for value in args[first : first + 2]]
            args = (*args[:first], *operands, *args[first + 2 :])
        return function(*args, **(kwargs or {}))


def test_the_rounding_of_this_test_is_torchs_own() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RoundedProducts(8).rounded(values), values.bfloat16().float())


def test_tf32_products_change_a_validation_loss_by_less_than_1e4() -> None:
    state, config = state_with(None)
    train = split_of(events_of([200] * 10), seq_length=6, evaluation=False)
    state.model.train()
    for _ in range(51):  # as long as the validation loss falls: see docs/decisions/028-products-on-a-gpu.md
        train_step(state, train, [train.choose(np.arange(len(train)))], objective_of(), config)
    valid = split_of(events_of([400] * 5, seed=1), seq_length=6, evaluation=True)

    def validation_loss() -> float:
        with switch.only(), sdpa_kernel(SDPBackend.MATH):
            return evaluate(state.model, valid, objective_of(), batch_size=len(valid)).metrics["val_loss"]

    exact = validation_loss()
    with RoundedProducts(bits=11) as mode:
        in_tf32 = validation_loss()
    assert mode.n_products == 10  # embedding, queries, scores, values, out, gate, up, down, two heads
    assert 0 < abs(in_tf32 - exact) < 1e-4
