"""The loss in chunks against all logits at once: values, gradients, number formats, memory."""

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sequifier.config import memory
from sequifier.config.architecture import Target
from sequifier.config.base import Named
from sequifier.config.memory import memory_estimate
from sequifier.errors import ConfigError
from sequifier.model.heads import Decoder
from sequifier.training.chunked_loss import summed_in_chunks
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import TargetLoss, build_losses
from sequifier.training.precision import Precision
from sequifier.training.step import batch_loss
from tests.support.runs import train
from tests.support.shapes import small
from tests.support.shop import WriteConfig
from tests.support.tiny_training import events_of, model_of, objective_of, split_of

CRITERIA = {
    "cross-entropy": Named(name="CrossEntropyLoss"),
    "smoothed": Named(name="CrossEntropyLoss", label_smoothing=0.1),
    "margin": Named(name="MultiMarginLoss"),
}


def loss_of(criterion: str, n_classes: int, *, weighted: bool) -> TargetLoss:
    weights = {"item": [0.0, *np.linspace(0.5, 2, n_classes).tolist()]} if weighted else None
    return build_losses([Target("item", "categorical", n_classes + 1)], {"item": CRITERIA[criterion]}, weights)["item"]


def with_gradients(summed: Tensor, *leaves: Tensor | None) -> list[Tensor]:
    wanted = [leaf for leaf in leaves if leaf is not None]
    return [summed.detach(), *torch.autograd.grad(summed * 0.3, wanted)]


@settings(deadline=None)
@given(
    n_positions=st.integers(0, 9),
    n_classes=st.integers(2, 12),
    size=st.integers(1, 10),
    criterion=st.sampled_from([*CRITERIA]),
    weighted=st.booleans(),
    has_bias=st.booleans(),
    masked=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**16),
)
def test_chunks_of_any_size_have_the_loss_and_the_gradient_of_all_logits(
    n_positions: int,
    n_classes: int,
    size: int,
    criterion: str,
    weighted: bool,
    has_bias: bool,
    masked: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n_positions, 5, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(n_classes, 5, generator=draw, dtype=dtype).requires_grad_()
    bias = torch.randn(n_classes, generator=draw, dtype=dtype).requires_grad_() if has_bias else None
    truth = torch.randint(0 if masked else 1, n_classes + 1, (n_positions,), generator=draw)
    known = truth != 0 if masked else None
    decoder, loss = Decoder(vectors, weight, bias), loss_of(criterion, n_classes, weighted=weighted)
    full = with_gradients(loss.sum(decoder.prediction(), truth, known), vectors, weight, bias)
    cut = with_gradients(summed_in_chunks(loss, decoder, truth, known, size), vectors, weight, bias)
    # Sums of up to 9 x 12 numbers of about 1 in another order.
    close = {"rtol": 1e-6, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for ours, expected in zip(cut, full, strict=True):
        torch.testing.assert_close(ours, expected, **close)


@pytest.fixture
def three_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few classes are cut as many are: three positions in each chunk."""
    monkeypatch.setattr(memory, "MANY_CLASSES", 2)
    tensors = 1_000_000 // (4 * 5 * 3)
    monkeypatch.setattr(memory, "TENSORS_OF_LOSS", {"training": tensors, "evaluation": tensors})


IN_CHUNKS = replace(objective_of(), loss_memory_mb=1)


@pytest.mark.usefixtures("three_at_a_time")
@pytest.mark.parametrize("picks", [True, False])
@pytest.mark.parametrize("decoder", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_in_chunks_is_a_step_of_all_positions(picks: bool, decoder: torch.dtype) -> None:
    split, model = split_of(events_of([30, 9, 17]), seq_length=8, evaluation=False, picks=picks), model_of(8)
    batch = split.batch(split.choose(np.arange(len(split))))
    divisors, precision = {"kind": 7, "size": 7}, Precision(decoder=decoder)
    found = []
    for objective in (replace(objective_of(), loss_memory_mb=10**6), IN_CHUNKS):
        loss = batch_loss(model, batch, objective, divisors, precision)
        found.append([loss.detach(), *torch.autograd.grad(loss, [*model.parameters()])])
    # A number of about 1 has 8 bits in bfloat16 and 11 in float16; a sum of 40 of them may differ by some units.
    close = {torch.float32: 1e-6, torch.float16: 5e-3, torch.bfloat16: 5e-2}[decoder]
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=close, atol=close)


@pytest.mark.usefixtures("three_at_a_time")
@pytest.mark.parametrize("picks", [True, False])
def test_an_evaluation_in_chunks_has_the_same_metrics(picks: bool) -> None:
    split = split_of(events_of([30, 9, 17]), seq_length=8, evaluation=True, picks=picks)
    whole, cut = (
        evaluate(model_of(8), split, replace(objective_of(), loss_memory_mb=mb), batch_size=3) for mb in (10**6, 1)
    )
    assert cut.metrics == pytest.approx(whole.metrics, rel=1e-6)
    assert cut.n_targets == whole.n_targets
    assert torch.equal(cut.predicted_classes["kind"], whole.predicted_classes["kind"])


class LiveBytes(TorchDispatchMode):
    """The peak of the bytes in tensors that were made since it began and still exist."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        at, size = storage.data_ptr(), storage.nbytes()
        if at in self._seen or not size:
            return
        self._seen.add(at)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, at, size)

    def _forget(self, at: int, size: int) -> None:
        self._seen.discard(at)
        self.now -= size


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_loss_takes_no_more_memory_than_it_may(criterion: str, weighted: bool) -> None:
    n_positions, n_classes, megabytes = 600, 10_000, 4
    vectors = torch.randn(n_positions, 4).requires_grad_()
    weight, truth = torch.randn(n_classes, 4).requires_grad_(), torch.randint(1, n_classes, (n_positions,))
    size, loss = memory.positions_at_once(n_classes, megabytes), loss_of(criterion, n_classes, weighted=weighted)
    assert size is not None and 1 < size < n_positions / 10
    with LiveBytes() as live:
        summed_in_chunks(loss, Decoder(vectors, weight, None), truth, None, size)
    of_gradients = 4 * (vectors.numel() + weight.numel())
    assert 0.2e6 * megabytes < live.peak - of_gradients < 1e6 * megabytes


def test_too_little_memory_for_one_position_is_refused(
    train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MANY_CLASSES", 2)
    monkeypatch.setattr(memory, "TENSORS_OF_LOSS", {"training": 100_000, "evaluation": 1})
    with pytest.raises(ConfigError, match=r"2 MB are too little for one position of `item`(.|\n)*at least 3"):
        train(train_config(training_spec={"loss_memory_mb": 2}))


def test_the_estimate_counts_the_logits_of_a_chunk_alone() -> None:
    shape = small(targets=(Target("kind", "categorical", 1_000_001),))
    sizes = [memory_estimate(shape, batch_size=n, loss_memory_mb=128) for n in (64, 640)]
    assert sizes[1] - sizes[0] < 100e6  # 4,608 positions of a million logits are 18 GB
