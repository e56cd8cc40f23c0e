"""Metrics against references written by hand, and independence of how positions were batched."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sequifier.config.catalogue.metric_names import (
    CATEGORICAL_METRICS,
    HIGHER_IS_BETTER,
    LABEL_METRICS,
    OBSERVED_METRICS,
    ORDERING_METRICS,
    REAL_METRICS,
    STANDARDISED_METRICS,
)
from sequifier.metrics.predictions import CALIBRATION_BINS, METRICS, Sums, at_positions, metrics_of
from sequifier.training import predictions
from sequifier.training.predictions import CategoricalScores
from tests.support.reference_metrics import macro_f1


def calibration_error(confidence: Sequence[float], hit: Sequence[bool]) -> float:
    """Guo et al. 2017, equations 2 and 3."""
    total = 0.0
    for m in range(1, CALIBRATION_BINS + 1):
        inside = [i for i, value in enumerate(confidence) if (m - 1) / CALIBRATION_BINS < value <= m / CALIBRATION_BINS]
        if inside:
            accuracy = sum(hit[i] for i in inside) / len(inside)
            average = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - average)
    return total


def drawn(n: int, n_classes: int, *, seed: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(1, n_classes + 1, (n,), generator=generator)
    return spread * torch.randn(n, n_classes, generator=generator), target


def metrics(logits: Tensor, target: Tensor) -> dict[str, float]:
    return metrics_of(CategoricalScores.of(logits, target).predictions())


def test_every_declared_metric_has_a_definition() -> None:
    declared = {*CATEGORICAL_METRICS, *REAL_METRICS, *OBSERVED_METRICS, *STANDARDISED_METRICS, *LABEL_METRICS}
    sums = declared - {*ORDERING_METRICS}
    assert set(METRICS) == sums and {*METRICS, *ORDERING_METRICS} >= HIGHER_IS_BETTER


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_overflowed_have_metrics_that_are_no_numbers(value: float) -> None:
    logits, target = drawn(6, 3, seed=1)
    logits[2:4] = value
    of_torch = CategoricalScores.of(logits, target).predictions()
    arrays: dict[str, Any] = {
        name: column.numpy() for name, column in vars(of_torch).items() if isinstance(column, Tensor)
    }
    arrays["rank"] = None
    for found in (metrics_of(of_torch), metrics_of(replace(of_torch, **arrays))):
        assert math.isnan(found["log_loss"]) and math.isnan(found["calibration_error"])
        assert math.isfinite(found["accuracy"])


@given(n=st.integers(1, 60), n_classes=st.integers(1, 9), seed=st.integers(0, 10**6), spread=st.floats(0.1, 8))
@settings(max_examples=60, deadline=None)
def test_every_metric_is_what_its_definition_gives(n: int, n_classes: int, seed: int, spread: float) -> None:
    logits, target = drawn(n, n_classes, seed=seed, spread=spread)
    found = metrics(logits, target)
    probability = logits.double().softmax(dim=1)
    predicted = (probability.argmax(dim=1) + 1).tolist()
    truth = target.tolist()
    order = logits.argsort(dim=1, descending=True) + 1
    rank = [order[row].tolist().index(truth[row]) + 1 for row in range(n)]
    hit = [a == b for a, b in zip(truth, predicted, strict=True)]
    # The confidences are float32: one at the border of two bins may fall into either.
    assert found.pop("calibration_error") == pytest.approx(
        calibration_error(probability.amax(dim=1).float().double().tolist(), hit), abs=1e-5
    )
    assert found == pytest.approx(
        {
            "log_loss": -sum(math.log(probability[row, truth[row] - 1]) for row in range(n)) / n,
            "accuracy": sum(hit) / n,
            "top5": sum(place <= 5 for place in rank) / n,
            "mrr": sum(1 / place for place in rank) / n,
            "macro_f1": macro_f1(truth, predicted),
        },
        rel=1e-4,
        abs=1e-6,
    )


@given(cuts=st.lists(st.integers(0, 80), max_size=4), n_classes=st.integers(1, 30), at_a_time=st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_metrics_do_not_depend_on_how_positions_are_cut(cuts: list[int], n_classes: int, at_a_time: int) -> None:
    logits, target = drawn(80, n_classes, seed=1)
    whole = metrics(logits, target)
    sums = Sums()
    edges = [0, *sorted(cuts), 80]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(predictions._LOGITS_AT_A_TIME, "cpu", at_a_time)
        for begin, end in pairwise(edges):
            sums.add(at_positions(CategoricalScores.of(logits[begin:end], target[begin:end]).predictions()))
    assert sums.metrics() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("n_classes", [3, 700, 20_000])
def test_the_log_loss_is_cross_entropy_to_the_last_bit(n_classes: int) -> None:
    logits, target = drawn(40, n_classes, seed=2)
    expected = F.cross_entropy(logits, target - 1, reduction="none")
    assert torch.equal(CategoricalScores.of(logits, target).log_loss, expected)


def test_ties_count_against_the_truth() -> None:
    logits, target = torch.zeros(4, 3), torch.tensor([1, 2, 3, 1])
    found = metrics(logits, target)
    assert (found["accuracy"], found["mrr"], found["macro_f1"]) == (0.0, 1 / 3, 0.0)
    assert found["calibration_error"] == pytest.approx(1 / 3)


def test_a_perfect_and_sure_model_has_perfect_scores() -> None:
    target = torch.tensor([1, 2, 3, 2])
    found = metrics(100.0 * F.one_hot(target - 1, 5).float(), target)
    best = {"log_loss": 0.0, "accuracy": 1.0, "top5": 1.0, "mrr": 1.0, "macro_f1": 1.0, "calibration_error": 0.0}
    assert found == best


def test_classes_that_do_not_occur_have_no_part_in_macro_f1() -> None:
    # Truth 1 1 2, predicted 1 2 2, of a hundred classes: F1 of both is 2/3.
    logits = torch.full((3, 100), -5.0)
    logits[[0, 1, 2], [0, 1, 1]] = 5.0
    assert metrics(logits, torch.tensor([1, 1, 2]))["macro_f1"] == pytest.approx(2 / 3)
