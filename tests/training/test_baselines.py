"""The baselines of a run: what they may read, on which targets they are scored, and how rows are named."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.config.architecture import Target
from sequifier.config.base import Named
from sequifier.dataset.batches import Split
from sequifier.preprocess.end_event import with_ends
from sequifier.training.baselines import categorical
from sequifier.training.baselines import scores as module
from sequifier.training.baselines.history import TrainingData
from sequifier.training.baselines.scores import EACH_BEST, baselines
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation
from tests.support.events import make_events, make_split, make_windows

N_CLASSES = {"kind": 5, "color": 4}


def events_of(sizes: Sequence[int], *, seed: int, context: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    n_rows = sum(sizes)
    kind = (np.cumsum(generator.integers(0, 3, n_rows)) % 4 + 1).astype(np.int32)
    kind[generator.random(n_rows) < 0.05] = 0  # unknown
    color = generator.integers(1, 4, n_rows).astype(np.int32)
    price = np.sin(np.arange(n_rows) / 2) + generator.normal(size=n_rows)
    columns = {
        "kind": kind,
        "color": color,
        "price": price.astype(np.float32),
        "size": price.astype(np.float32)[::-1].copy(),
    }
    return make_events(sizes, columns, n_context=context)


def evaluated(
    valid: Events, inputs: list[str], targets: list[str], seq_length: int, stride: int, context: str
) -> Split:
    """The split as a run evaluates it."""
    full = context == "full"
    windows = make_windows(valid, seq_length, stride if full else seq_length, evaluation=full)
    return make_split(
        valid,
        windows if full else windows.in_int64(),
        seq_length,
        categorical=[name for name in inputs if name in N_CLASSES],
        real=[name for name in inputs if name not in N_CLASSES],
        targets=targets,
    )


def scored(
    train: Events,
    valid: Events,
    *,
    inputs: Sequence[str],
    targets: Sequence[str],
    seq_length: int = 6,
    stride: int = 3,
    criterion: dict[str, Named] | None = None,
    context: str = "full",
) -> dict[str, Evaluation]:
    shapes = [Target(name, "categorical" if name in N_CLASSES else "real", N_CLASSES.get(name, 0)) for name in targets]
    objective = Objective(build_losses(shapes, criterion or {}), dict.fromkeys(targets, 1.0), {})
    split = evaluated(valid, inputs, targets, seq_length, stride, context)
    return baselines(TrainingData(train, inputs, N_CLASSES, seq_length), split, objective)


def changed(events: Events, column: str, rows: NDArray[Any] | slice, by: int) -> Events:
    """Other values of a column in some rows; categories stay known."""
    values = events.columns[column].copy()
    values[rows] = (values[rows] + by - 1) % (N_CLASSES[column] - 1) + 1 if column in N_CLASSES else values[rows] + by
    return replace(events, columns=events.columns | {column: values})


TRAIN, VALID = events_of([60, 50, 3, 1, 40], seed=0), events_of([20, 15, 2], seed=1, context=4)


@pytest.mark.parametrize("target", ["kind", "price"])
def test_a_target_that_is_not_an_input_is_not_read(target: str) -> None:
    """In the evaluated events its values are only what is predicted: their order in time does not matter.

    Two events have the same inputs before them when all inputs are constant, so every prediction must be the same.
    """
    inputs = ["color", "size"]
    train, valid = TRAIN, VALID
    for name in inputs:
        train = replace(train, columns=train.columns | {name: np.ones_like(train.columns[name])})
        valid = replace(valid, columns=valid.columns | {name: np.ones_like(valid.columns[name])})
    found = scored(train, valid, inputs=inputs, targets=[target], seq_length=1, stride=1)
    shuffled = valid.columns[target].copy()
    first = valid.offsets[:-1] + np.maximum(valid.n_context, 1)
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, valid.offsets[1:], strict=True)])
    shuffled[rows] = np.random.default_rng(5).permutation(shuffled[rows])
    again = scored(
        train,
        replace(valid, columns=valid.columns | {target: shuffled}),
        inputs=inputs,
        targets=[target],
        seq_length=1,
        stride=1,
    )
    for name, evaluation in found.items():
        if "mean" in name or "unigram" in name or "ridge" in name:
            assert again[name].metrics["val_loss"] == pytest.approx(evaluation.metrics["val_loss"], rel=1e-6), name
    assert "baseline: last value" not in found
    assert "baseline: AR(1)" not in found


@pytest.mark.parametrize("context", ["full", "split"])
@pytest.mark.parametrize(
    ("inputs", "targets"), [(["kind", "price"], ["kind", "price"]), (["color", "size"], ["kind", "price"])]
)
def test_predictions_depend_on_what_the_window_shows_alone(inputs: list[str], targets: list[str], context: str) -> None:
    """Change everything that the model does not see of one target: the loss of that target stays."""
    seq_length, stride = 4, 2
    valid = events_of([23], seed=7, context=6)
    windows = evaluated(valid, inputs, targets, seq_length, stride, context).windows
    for window in range(len(windows)):
        last, first = int(windows.last[window]), int(windows.first[window])
        shown = np.arange(max(last - seq_length, first), last)
        other = valid
        for name in {*inputs, *targets}:
            hidden = np.ones(23, dtype=bool)
            hidden[shown if name in inputs else slice(0, 0)] = False
            if name in targets:
                hidden[windows.counted[window] : last + 1] = False  # what is predicted
            other = changed(other, name, hidden, 1)
        losses = []
        for events in (valid, other):
            module_losses: dict[str, Any] = {}
            for name, evaluation in scored_window(TRAIN, events, inputs, targets, seq_length, stride, context, window):
                module_losses[name] = evaluation
            losses.append(module_losses)
        assert losses[0] == pytest.approx(losses[1]), (window, shown)


def scored_window(
    train: Events,
    valid: Events,
    inputs: list[str],
    targets: list[str],
    seq_length: int,
    stride: int,
    context: str,
    window: int,
) -> list[tuple[str, float]]:
    """(target and baseline, loss) of the targets of one window."""
    from sequifier.training.baselines import series
    from sequifier.training.baselines.history import evaluated_targets, read, training_targets
    from sequifier.training.baselines.window_ridge import WindowRidge

    split = evaluated(valid, inputs, targets, seq_length, stride, context)
    training = training_targets(train, seq_length, at_most=1 << 20)
    shapes = [Target(name, "categorical" if name in N_CLASSES else "real", N_CLASSES.get(name, 0)) for name in targets]
    losses = build_losses(shapes, {})
    data, found = TrainingData(train, inputs, N_CLASSES, seq_length), []
    for target in targets:
        fitted: Any
        if target in N_CLASSES:
            fitted = categorical.CategoricalBaselines(data, target, training)
        else:
            ridge = WindowRidge([train.columns[target]], training, seq_length) if target in data.real else None
            fitted = series.RealBaselines(data, target, training, ridge=ridge)
        for part in evaluated_targets(split, 1 << 20):
            mine = part[part.begin == split.windows.last[window] - seq_length]
            truth = read(valid.columns[target], mine.rows)
            mine, truth = (mine[truth != 0], truth[truth != 0]) if target in N_CLASSES else (mine, truth)
            for number, (name, guess) in enumerate(fitted.scored(valid.columns, mine, truth, losses[target])):
                assert guess.loss is not None
                found.append((f"{target} {name} {number}", float(guess.loss.sum())))
    return found


def test_every_row_is_scored_on_the_targets_of_the_model() -> None:
    found = scored(TRAIN, VALID, inputs=["kind", "price"], targets=["kind", "price"])
    own = VALID.offsets[1:] - VALID.offsets[:-1] - np.maximum(VALID.n_context, 1)
    first = VALID.offsets[:-1] + np.maximum(VALID.n_context, 1)
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first, VALID.offsets[1:], strict=True)])
    for evaluation in found.values():
        assert evaluation.n_targets == {"kind": int((VALID.columns["kind"][rows] != 0).sum()), "price": own.sum()}
    price = VALID.columns["price"].astype(np.float64)
    row = found["baseline: trigram back-off, last value"]
    assert row.metrics["val_price_loss"] == pytest.approx(np.mean((price[rows] - price[rows - 1]) ** 2))
    assert row.metrics["val_loss"] == pytest.approx(row.metrics["val_kind_loss"] + row.metrics["val_price_loss"])


def test_the_best_of_each_target_is_a_row_when_no_other_row_is_it() -> None:
    found = scored(TRAIN, VALID, inputs=["kind", "price"], targets=["kind", "price"])
    best = [min(row.metrics[f"val_{target}_loss"] for row in found.values()) for target in ("kind", "price")]
    assert min(row.metrics["val_loss"] for row in found.values()) == pytest.approx(sum(best))
    alone = scored(TRAIN, VALID, inputs=["kind"], targets=["kind"])
    assert EACH_BEST not in alone
    assert list(alone) == [f"baseline: {name}" for name in categorical.BY_ORDER]


def test_more_inputs_never_make_the_best_baseline_of_a_real_target_weaker() -> None:
    alone = scored(TRAIN, VALID, inputs=["kind"], targets=["price"])
    both = scored(TRAIN, VALID, inputs=["kind", "price"], targets=["price"])
    assert alone.keys() - both.keys() == set()
    assert min(row.metrics["val_loss"] for row in both.values()) <= min(
        row.metrics["val_loss"] for row in alone.values()
    )


def test_a_window_of_two_events_allows_no_more_than_a_trigram() -> None:
    assert list(scored(TRAIN, VALID, inputs=["kind"], targets=["kind"], seq_length=2, stride=1)) == [
        "baseline: unigram",
        "baseline: bigram back-off",
        "baseline: trigram back-off",
    ]


def test_a_target_that_is_not_an_input_is_counted_after_the_input_that_predicts_it_best() -> None:
    train = events_of([400], seed=3)
    kind = train.columns["kind"]
    copied = np.concatenate([kind[1:], kind[:1]]) % 3 + 1  # says something of the next kind
    train = replace(train, columns=train.columns | {"color": copied.astype(np.int32)})
    random = np.random.default_rng(0).integers(1, 5, 400).astype(np.int32)
    train = replace(train, columns={**train.columns, "kind": kind, "noise": random})
    from sequifier.training.baselines.history import training_targets

    data = TrainingData(train, ["noise", "color"], N_CLASSES | {"noise": 5}, 6)
    fitted = categorical.CategoricalBaselines(data, "kind", training_targets(train, 6, at_most=1 << 20))
    assert fitted.source == "color"


def test_context_events_of_the_training_split_are_not_counted() -> None:
    """They belong to an earlier split, and no training window reaches them."""
    whole = events_of([30, 30], seed=2, context=10)
    own = [np.arange(10, 30), np.arange(40, 60)]
    columns = {name: np.concatenate([values[rows] for rows in own]) for name, values in whole.columns.items()}
    alone = make_events([20, 20], columns)
    for inputs, targets in ((["kind"], ["kind"]), (["price"], ["price"])):
        one, two = (scored(train, VALID, inputs=inputs, targets=targets) for train in (whole, alone))
        assert {name: row.metrics for name, row in one.items()} == {name: row.metrics for name, row in two.items()}


def test_scoring_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(TRAIN, VALID, inputs=["kind", "price"], targets=["kind", "price"])
    monkeypatch.setattr(module, "_ROWS", 7)
    parts = scored(TRAIN, VALID, inputs=["kind", "price"], targets=["kind", "price"])
    for name, row in whole.items():
        assert parts[name].metrics == pytest.approx(row.metrics, rel=1e-12, nan_ok=True)
        np.testing.assert_allclose(parts[name].units["val_loss"].total, row.units["val_loss"].total)


@pytest.mark.parametrize("criterion", ["L1Loss", "HuberLoss"])
def test_the_loss_follows_the_criterion(criterion: str) -> None:
    found = scored(TRAIN, VALID, inputs=["price"], targets=["price"], criterion={"price": Named(name=criterion)})
    row = found["baseline: last value"].metrics
    if criterion == "L1Loss":
        assert row["val_loss"] == pytest.approx(row["val_price_mae"])
    assert row["val_price_rmse"] == pytest.approx(
        scored(TRAIN, VALID, inputs=["price"], targets=["price"])["baseline: last value"].metrics["val_price_rmse"]
    )


def test_an_end_changes_no_baseline_of_a_target_that_has_no_value_there() -> None:
    train, valid = events_of([9, 3, 30, 5], seed=1), events_of([7, 12, 1, 4], seed=2)
    inputs, targets = ["kind", "price"], ["kind", "price", "size"]
    before = scored(train, valid, inputs=inputs, targets=targets, seq_length=40)
    ended = [with_ends(events, np.ones(4, dtype=bool), {}) for events in (train, valid)]
    after = scored(*ended, inputs=inputs, targets=targets, seq_length=40)
    assert after.keys() == before.keys()
    for name, expected in before.items():
        assert after[name].metrics == pytest.approx(expected.metrics, rel=1e-12)
        assert after[name].n_targets == expected.n_targets


def test_an_end_is_a_class_that_is_counted() -> None:
    """Of sequences of three events, popularity predicts END once in three targets."""
    events = with_ends(events_of([3] * 30, seed=1), np.ones(30, dtype=bool), {"color": N_CLASSES["color"]})
    shape = Target("color", "categorical", N_CLASSES["color"] + 1)
    objective = Objective(build_losses([shape], {}), {"color": 1.0}, {})
    split = evaluated(events, ["color"], ["color"], 6, 3, "full")
    found = baselines(TrainingData(events, ["color"], {"color": shape.n_classes}, 6), split, objective)
    assert found["baseline: unigram"].n_targets == {"color": 90}
    # After two events it is as frequent as all others together: accuracy is at least that of END alone.
    assert found["baseline: unigram"].metrics["val_color_accuracy"] >= 1 / 3
    assert found["baseline: 4-gram back-off"].metrics["val_color_accuracy"] > 0.6
