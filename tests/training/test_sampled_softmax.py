"""The sampled softmax: by hand, what its samples are, and that a run with it approaches the full softmax."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.config.loading.load import load
from sequifier.config.softmax import SampledSoftmax
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.model.heads import Decoder
from sequifier.run import run
from sequifier.training import sampled_softmax
from sequifier.training.sampled_softmax import ClassSampler
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import WriteConfig

CPU = torch.device("cpu")


def sampler_of(counts: list[int], **asked: Any) -> ClassSampler:
    return ClassSampler.of(SampledSoftmax.model_validate(asked), np.array(counts), CPU)


def decoder_of(n_positions: int, n_classes: int, seed: int = 0, *, bias: bool = True) -> Decoder:
    draw = torch.Generator().manual_seed(seed)
    return Decoder(
        torch.randn(n_positions, 3, generator=draw).requires_grad_(),
        torch.randn(n_classes, 3, generator=draw).requires_grad_(),
        torch.randn(n_classes, generator=draw).requires_grad_() if bias else None,
    )


@settings(deadline=None)
@given(
    n_positions=st.integers(0, 6),
    n_classes=st.integers(2, 9),
    n_samples=st.integers(1, 9),
    logq=st.booleans(),
    masked=st.booleans(),
    bias=st.booleans(),
    at_a_time=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_the_loss_is_over_the_true_class_and_the_sample_with_its_gradient(
    n_positions: int, n_classes: int, n_samples: int, logq: bool, masked: bool, bias: bool, at_a_time: int, seed: int
) -> None:
    n_samples = min(n_samples, n_classes)
    counts = np.random.default_rng(seed).integers(0, 100, n_classes).tolist()
    sampler, decoder = (
        sampler_of(counts, sampled=n_samples, logq=logq),
        decoder_of(n_positions, n_classes, seed, bias=bias),
    )
    truth = torch.from_numpy(np.random.default_rng(seed).integers(0 if masked else 1, n_classes + 1, n_positions))
    known, sample = truth != 0 if masked else None, torch.from_numpy(sampler.draw(seed, 1))
    leaves = [leaf for leaf in (decoder.vectors, decoder.weight, decoder.bias) if leaf is not None]
    with patch.dict(sampled_softmax._LOGITS_AT_A_TIME, cpu=at_a_time):
        found = sampler.summed(decoder, truth, known, sample)
        gradients = torch.autograd.grad(found * 0.3, leaves)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    logits = exact[0] @ exact[1].T + (exact[2] if bias else 0.0)
    if sampler.log_chance is not None:
        logits = logits - sampler.log_chance
    is_candidate = torch.zeros(n_positions, n_classes, dtype=torch.bool)
    is_candidate[:, sample] = True
    is_candidate |= torch.arange(n_classes) == truth[:, None] - 1
    each = (
        logits.masked_fill(~is_candidate, -torch.inf).logsumexp(1)
        - logits.gather(1, truth.clamp(min=1)[:, None] - 1)[:, 0]
    )
    expected = each[truth != 0].sum()
    # Logits of about 10 in float32.
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    for ours, wanted in zip(gradients, torch.autograd.grad(expected * 0.3, exact, allow_unused=True), strict=True):
        torch.testing.assert_close(
            ours.double(), torch.zeros_like(ours).double() if wanted is None else wanted, rtol=1e-4, atol=1e-4
        )


def test_a_sample_of_all_classes_is_the_full_softmax_with_its_gradient() -> None:
    decoder, truth = decoder_of(20, 7), torch.arange(20) % 7 + 1
    sampler = sampler_of([50, 1, 3, 8, 0, 2, 9], sampled=7)
    leaves = [decoder.vectors, decoder.weight, decoder.bias]
    sampled = sampler.summed(decoder, truth, None, torch.from_numpy(sampler.draw(3)))
    full = torch.nn.functional.cross_entropy(decoder.prediction(), truth - 1, reduction="sum")
    assert sampled.item() == pytest.approx(full.item(), rel=1e-6)
    for ours, expected in zip(torch.autograd.grad(sampled, leaves), torch.autograd.grad(full, leaves), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("by", ["popularity", "uniform"])
def test_classes_are_sampled_as_often_as_the_correction_says(by: str) -> None:
    counts = [1000 // (number + 1) for number in range(400)]
    sampler, n_draws = sampler_of(counts, sampled=100, by=by), 2000
    times = np.zeros(400)
    for number in range(n_draws):
        sample = sampler.draw(5, number)
        assert len(set(sample.tolist())) == 100
        times[sample] += 1
    assert sampler.log_chance is not None
    chance = sampler.log_chance.exp().double().numpy()
    assert chance.sum() == pytest.approx(100, rel=1e-6)
    if by == "popularity":
        assert chance[0] > 0.99 > 9 * chance[-1]
    # Five standard errors of a frequency, and 0.01 for the time at which a sample is full.
    assert (np.abs(times / n_draws - chance) < 5 * np.sqrt(chance * (1 - chance) / n_draws) + 0.01).all()


def test_a_run_samples_the_same_classes_again_also_after_an_interruption(shop: Path, train_config: WriteConfig) -> None:
    settings_of = {"training_spec": {"softmax": {"item": {"sampled": 2}}, "accumulation_steps": 2, "batch_size": 8}}
    whole = train(train_config(model_name="whole", **settings_of))
    path = train_config(**settings_of)
    run(load(TrainConfig, path).config, emit=quiet, should_stop=(shop / "checkpoints" / "tiny-epoch-2.pt").exists)
    assert train(path).best_val_loss == whole.best_val_loss
    full = train(train_config(model_name="full", training_spec={"softmax": {"item": "full"}}))
    assert full.best_val_loss is not None
    assert whole.best_val_loss != full.best_val_loss
    assert whole.best_val_loss == pytest.approx(full.best_val_loss, rel=0.2)  # 2 of 6 classes, three epochs


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"softmax": {"item": {"sampled": 7}}}, r"softmax\.item\.sampled`: 7 exceeds the 6 classes of `item`"),
        ({"softmax": {"price": {"sampled": 2}}}, "`price` is real"),
        (
            {"softmax": {"item": {"sampled": 2}}, "class_weights": {"item": [0, 1, 1, 1, 1, 1, 2]}},
            "`item` has class_weights, which a sample cannot have",
        ),
        (
            {"softmax": {"item": {"sampled": 2}}, "criterion": {"item": "MultiMarginLoss"}},
            "`item` has another criterion than CrossEntropyLoss",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(train_config: WriteConfig, training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(train_config(training_spec=training))


def test_a_softmax_of_no_target_is_refused_where_it_is_written(train_config: WriteConfig) -> None:
    with pytest.raises(ConfigError, match="names `shop`, which is not a target"):
        load(TrainConfig, train_config(training_spec={"softmax": {"shop": {"sampled": 2}}}))
