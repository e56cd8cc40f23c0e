"""Baselines of labels: frequencies counted by hand, and the optimum of logistic regression."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.config.architecture import Target
from sequifier.config.train import TargetPosition
from sequifier.dataset.batches import Split
from sequifier.dataset.windows import label_windows
from sequifier.training.baselines import labels as module
from sequifier.training.baselines.history import TrainingData, training_labels
from sequifier.training.baselines.labels import LabelBaselines
from sequifier.training.baselines.scores import baselines
from sequifier.training.labels import Label
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation
from tests.support.events import make_events

N_CLASSES = {"kind": 5, "outcome": 4}
SEQ_LENGTH = 6


def events_of(n: int, seed: int) -> Events:
    """Events of which the first ones of a sequence, and its size, say something about its outcome."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 9, n)
    kind = generator.integers(0, 5, sizes.sum())
    size = generator.normal(size=sizes.sum())
    begins = np.cumsum(sizes) - sizes
    score = 2.0 * (kind[begins] == 2) + np.add.reduceat(size, begins)
    outcome = 1 + (score > 1) + (score > 3)
    outcome[generator.random(n) < 0.1] = 0  # unknown
    columns = {"kind": kind.astype(np.int32), "size": size.astype(np.float32)}
    columns["outcome"] = np.repeat(outcome, sizes).astype(np.int32)
    return make_events(sizes.tolist(), columns)


def split_of(events: Events, position: TargetPosition) -> Split:
    return Split(
        events,
        label_windows(events, "outcome", every=position == "every"),
        categorical=["kind"],
        real=["size"],
        targets=["outcome"],
        seq_length=SEQ_LENGTH,
        device=torch.device("cpu"),
    )


def scored(train: Events, valid: Events, position: TargetPosition, inputs: Sequence[str]) -> dict[str, Evaluation]:
    losses = build_losses([Target("outcome", "categorical", 4)], {})
    label = Label(1, by_length=position == "every")
    objective = Objective(losses, {"outcome": 1.0}, {}, labels={"outcome": label})
    found = baselines(
        TrainingData(train, inputs, N_CLASSES, SEQ_LENGTH), split_of(valid, position), objective, {"outcome": position}
    )
    return {name.removeprefix("baseline: "): each for name, each in found.items()}


def label_rows(events: Events, position: TargetPosition) -> NDArray[np.int64]:
    rows = events.offsets[1:] - 1 if position == "last" else np.arange(events.offsets[-1])
    known: NDArray[np.int64] = rows[events.columns["outcome"][rows] != 0]
    return known


@pytest.mark.parametrize("position", ["last", "every"])
def test_the_prior_is_the_frequency_of_each_class(position: TargetPosition) -> None:
    train, valid = events_of(300, seed=1), events_of(100, seed=2)
    counts = np.bincount(train.columns["outcome"][label_rows(train, position)], minlength=4)[1:]
    found = scored(train, valid, position, ["kind", "size"])["prior"].metrics
    truth = valid.columns["outcome"][label_rows(valid, position)] - 1
    probability = counts / counts.sum()
    expected = -np.log(probability[truth]).mean()
    assert found["val_outcome_log_loss"] == pytest.approx(expected, rel=2e-3), "smoothed a little"
    assert found["val_outcome_auc"] == 0.5
    n_all = len(truth) + found["val_outcome_n_unknown"]
    assert n_all == (100 if position == "last" else len(valid.columns["outcome"]))
    assert found["val_outcome_accuracy"] == pytest.approx((truth == counts.argmax()).sum() / n_all)


@pytest.mark.parametrize("position", ["last", "every"])
def test_regression_finds_what_counts_of_last_events_miss(position: TargetPosition) -> None:
    train, valid = events_of(3000, seed=1), events_of(1000, seed=2)
    found = {
        name: each.metrics["val_outcome_log_loss"]
        for name, each in scored(train, valid, position, ["kind", "size"]).items()
    }
    assert set(found) == {*module.NAMES}
    assert min(found, key=found.__getitem__) == "logistic regression"
    assert found["logistic regression"] < found["prior"] - 0.2


def test_the_regression_is_at_the_optimum_of_its_objective() -> None:
    """The gradient with respect to the bias vanishes: predicted and true frequencies are equal but for its penalty."""
    train = events_of(2000, seed=1)
    targets = training_labels(train, "outcome", SEQ_LENGTH, every=False, at_most=10**6)
    fitted = LabelBaselines(TrainingData(train, ["size", "kind"], N_CLASSES, SEQ_LENGTH), "outcome", targets)
    regression = fitted._regression
    assert regression is not None
    known = np.flatnonzero(train.columns["outcome"][targets.truth_rows])
    logits = torch.from_numpy(regression(train.columns, targets[known]))
    truth = torch.from_numpy(train.columns["outcome"][targets.truth_rows[known]].astype(np.int64) - 1)
    predicted = logits.softmax(1).mean(0)
    actual = torch.bincount(truth, minlength=3) / len(truth)
    torch.testing.assert_close(predicted, actual.double(), atol=2e-3, rtol=0)
    worse = F.cross_entropy(1.2 * logits, truth), F.cross_entropy(0.5 * logits, truth)
    assert F.cross_entropy(logits, truth) < min(worse)


def test_baselines_read_the_window_alone() -> None:
    train, valid = events_of(200, seed=1), events_of(60, seed=2)
    changed = {name: values.copy() for name, values in valid.columns.items()}
    lengths = np.diff(valid.offsets)
    for begin, length in zip(valid.offsets[:-1], lengths, strict=True):
        hidden = slice(begin, begin + max(length - SEQ_LENGTH, 0))
        changed["kind"][hidden], changed["size"][hidden] = 1, 99.0
    other = make_events(lengths.tolist(), changed)
    assert (lengths > SEQ_LENGTH).any()
    for name, found in scored(train, valid, "last", ["kind", "size"]).items():
        assert scored(train, other, "last", ["kind", "size"])[name].metrics == found.metrics, name


def test_a_model_of_real_columns_alone_has_a_prior_and_a_regression() -> None:
    found = scored(events_of(500, seed=1), events_of(100, seed=2), "last", ["size"])
    assert set(found) == {"prior", "logistic regression"}
    assert all(np.isfinite(each.metrics["val_loss"]) for each in found.values())
