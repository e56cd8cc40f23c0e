"""Training and evaluation with targets of whole sequences, against one sequence at a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.dataset.batches import Split
from sequifier.dataset.units import UnitIndex
from sequifier.dataset.windows import label_windows
from sequifier.metrics.ordering import Ordering
from sequifier.model.build import build_model
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import evaluate
from sequifier.training.labels import Label
from sequifier.training.loop import Calls, train_epoch
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.step import train_step
from sequifier.training.tally import Evaluation
from tests.support.events import make_events, make_windows
from tests.support.quiet import quiet
from tests.support.rounding import rounding
from tests.support.shapes import small
from tests.support.tiny_training import config_of, state_of

SEQ_LENGTH, N_KINDS, N_OUTCOMES = 5, 6, 4
TARGETS = (
    Target("kind", "categorical", N_KINDS),
    Target("outcome", "categorical", N_OUTCOMES, of_sequence=True),
    Target("total", "real", 0, of_sequence=True),
)
SIZES = [3, 9, 1, 5, 6, 2, 4, 8, 1, 7, 3, 5]
POSITIONS = {"outcome": "every", "total": "last"}
WEIGHTS = {"kind": 1.0, "outcome": 0.5, "total": 2.0}


def events_of(sizes: Sequence[int] = SIZES, *, known: bool = False) -> Events:
    """Events with two labels; `known`: no category is unknown."""
    generator = np.random.default_rng(0)
    n_rows = sum(sizes)
    outcome = generator.integers(1, N_OUTCOMES, len(sizes))
    outcome[1] *= known
    columns = {
        "kind": generator.integers(known, N_KINDS, n_rows).astype(np.int32),
        "size": generator.normal(size=n_rows).astype(np.float32),
        "outcome": np.repeat(outcome, sizes).astype(np.int32),
        "total": np.repeat(generator.normal(size=len(sizes)), sizes).astype(np.float32),
    }
    return make_events(sizes, columns)


def split_of(events: Events, *, evaluation: bool = False, picks: bool = True, targets: Sequence[str] = ()) -> Split:
    """Windows of events, of every event for `outcome`, and of the last events for `total`."""
    units = UnitIndex(events.offsets[:-1], "sequences")

    def part(windows: Any, *names: str, others: Sequence[Split] = ()) -> Split:
        return Split(
            events,
            windows,
            categorical=["kind"],
            real=["size"],
            targets=names,
            seq_length=SEQ_LENGTH,
            device=torch.device("cpu"),
            picks=picks,
            units=units,
            others=others,
        )

    of_labels = [
        part(label_windows(events, name, every=position == "every"), name)
        for name, position in POSITIONS.items()
        if not targets or name in targets
    ]
    if targets and "kind" not in targets:
        return of_labels[0]
    return part(make_windows(events, SEQ_LENGTH, SEQ_LENGTH, evaluation=evaluation), "kind", others=of_labels)


def model_of(targets: Sequence[Target] = TARGETS, **changes: Any) -> Transformer:
    shape = small(
        categorical=(("kind", N_KINDS),),
        real=("size",),
        embedding_widths=(12, 4),
        targets=tuple(targets),
        seq_length=SEQ_LENGTH,
        positional_encoding="learned",
        **changes,
    )
    return build_model(shape, torch.Generator().manual_seed(5))


def objective_of(*names: str, by: str = "val_loss") -> Objective:
    targets = [target for target in TARGETS if not names or target.name in names]
    return Objective(
        build_losses(targets, {}),
        {target.name: WEIGHTS[target.name] for target in targets},
        {"total": Scale(std=2.0)},
        by,
        labels={"outcome": Label(2, by_length=True)} if not names or "outcome" in names else {},
    )


def predicted(model: Transformer, events: Events, last: int, target: str) -> Tensor:
    """The prediction of a label after row `last`, from a window without padding on its left."""
    first = events.offsets[np.searchsorted(events.offsets, last, side="right") - 1]
    rows = np.arange(max(first, last - SEQ_LENGTH + 1), last + 1)
    n_padded = SEQ_LENGTH - len(rows)
    categories = torch.zeros(1, SEQ_LENGTH, 1, dtype=torch.int64)
    reals = torch.zeros(1, SEQ_LENGTH, 1)
    categories[0, n_padded:, 0] = torch.from_numpy(events.columns["kind"][rows])
    reals[0, n_padded:, 0] = torch.from_numpy(events.columns["size"][rows])
    is_event = torch.arange(SEQ_LENGTH)[None] >= n_padded
    return model.predict(model(categories, reals, is_event)[:, -1])[target][0]


def label_rows(events: Events, target: str) -> list[int]:
    rows = range(events.offsets[-1]) if POSITIONS[target] == "every" else (events.offsets[1:] - 1).tolist()
    column = events.columns[target]
    return [row for row in rows if column.dtype.kind == "f" or column[row]]


def losses_one_by_one(model: Transformer, events: Events, target: str, rows: Sequence[int]) -> Tensor:
    """The loss of each label, (M,)."""
    found = []
    for row in rows:
        prediction, truth = predicted(model, events, row, target), events.columns[target][row]
        if target == "outcome":
            found.append(F.cross_entropy(prediction[None], torch.tensor([int(truth) - 1])))
        else:
            found.append((prediction - float(truth)) ** 2)
    return torch.stack(found)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("picks", [True, False])
def test_a_step_has_the_gradient_of_the_weighted_means(accumulation: int, picks: bool) -> None:
    events, config = events_of(), config_of(accumulation_steps=accumulation, gradient_clip=None)
    split = split_of(events, picks=picks)
    model, reference = model_of(), model_of()
    everything = [part.choose(np.arange(len(part))) for part in split.parts]
    losses = train_step(state_of(model, config), split, everything, objective_of(), config)

    first = split.parts[0]
    batch = first.batch(first.choose(np.arange(len(first))))
    hidden = batch.at_targets(reference(batch.categories, batch.reals, batch.is_event))
    known, (truth, logits) = batch.at_known("kind", reference.predict(hidden)["kind"])
    if known is not None:
        truth, logits = truth[known], logits[known]
    expected = [F.cross_entropy(logits, truth - 1)]
    for target in POSITIONS:
        mean = losses_one_by_one(reference, events, target, label_rows(events, target)).mean()
        expected.append(WEIGHTS[target] * mean)
    torch.stack(expected).sum().backward()  # type: ignore[no-untyped-call]
    for found, exact in zip(losses, expected, strict=True):
        assert float(found) == pytest.approx(exact.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        gradient = reference.get_parameter(name).grad
        assert parameter.grad is not None and gradient is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6, msg=name)


def evaluated(model: Transformer, events: Events, by: str = "val_loss", *, picks: bool = True) -> Evaluation:
    return evaluate(model, split_of(events, evaluation=True, picks=picks), objective_of(by=by), batch_size=4)


def test_an_evaluation_predicts_each_label_from_its_last_events() -> None:
    events, model = events_of(), model_of()
    found = evaluated(model, events).metrics
    rows = label_rows(events, "outcome")
    with torch.no_grad():
        outcome = losses_one_by_one(model, events, "outcome", rows).mean()
        total = losses_one_by_one(model, events, "total", label_rows(events, "total")).mean()
        probability = torch.stack([predicted(model, events, row, "outcome").softmax(0) for row in rows])
    truth = events.columns["outcome"][rows].astype(np.int64) - 1
    assert found["val_outcome_log_loss"] == pytest.approx(float(outcome), rel=1e-5)
    assert found["val_total_rmse"] == pytest.approx(2 * float(total) ** 0.5, rel=1e-5)
    assert found["val_loss"] == pytest.approx(
        found["val_kind_loss"] + 0.5 * float(outcome) + 2 * float(total), rel=1e-5
    )
    right = probability.argmax(1).numpy() == truth
    assert found["val_outcome_n_unknown"] == SIZES[1]
    assert found["val_outcome_accuracy"] == pytest.approx(right.sum() / sum(SIZES)), "an unknown label is a miss"
    errors = probability.double().numpy() - np.eye(3)[truth]
    assert found["val_outcome_brier"] == pytest.approx((errors**2).sum(1).mean(), rel=1e-5)
    begin = events.offsets[np.searchsorted(events.offsets, rows, side="right") - 1]
    ordering = Ordering(probability.numpy(), truth, 2, np.array(rows) - begin + 1).metrics()
    assert {name: found[f"val_outcome_{name}"] for name in ordering} == pytest.approx(ordering, rel=1e-4)
    assert set(ordering) == {"auc", "average_precision"}
    by_length = evaluated(model, events).by_length
    assert set(by_length) == {"outcome"}
    length = np.array(rows) - begin + 1
    assert by_length["outcome"]["n"] == np.bincount(length)[1:].tolist()
    of_first = -probability[np.flatnonzero(length == 1), truth[length == 1]].log().mean()
    assert by_length["outcome"]["log_loss"][0] == pytest.approx(of_first.item(), rel=1e-5)


@pytest.mark.parametrize("metric", ["val_loss", "val_outcome_auc", "val_outcome_average_precision"])
def test_masked_positions_give_the_same_evaluation(metric: str) -> None:
    events, model = events_of(), model_of()
    picked, masked = (evaluated(model, events, metric, picks=picks) for picks in (True, False))
    assert masked.metrics == pytest.approx(picked.metrics, rel=rounding(64))
    assert (
        masked.n_targets
        == picked.n_targets
        == {
            "kind": int((events.columns["kind"][np.setdiff1d(np.arange(54), events.offsets[:-1])] != 0).sum()),
            "outcome": sum(SIZES) - SIZES[1],
            "total": len(SIZES),
        }
    )
    for name in ("val_loss", metric):
        np.testing.assert_allclose(masked.units[name].total, picked.units[name].total, rtol=1e-4, atol=1e-5)


def test_the_error_of_a_sum_over_windows_of_several_kinds_is_that_of_the_linearised_sum() -> None:
    events, model = events_of(), model_of()
    found = evaluated(model, events)
    units = found.units["val_loss"]
    assert units.value == pytest.approx(found.metrics["val_loss"], rel=1e-9) and units.n == len(SIZES)
    deviation = np.zeros(len(SIZES))
    for target in TARGETS:
        # By itself a target has sums and counts of its own.
        alone = evaluate(
            model,
            split_of(events, evaluation=True, targets=[target.name]),
            objective_of(target.name),
            batch_size=4,
        ).units["val_loss"]
        deviation += len(SIZES) * alone.residual / alone.count.sum()
    expected = np.sqrt((deviation**2).sum() / (len(SIZES) * (len(SIZES) - 1)))
    assert found.standard_error == pytest.approx(expected, rel=1e-9)


def test_the_error_of_an_area_is_that_of_the_jackknife() -> None:
    events, model = events_of(), model_of()
    units = evaluated(model, events, "val_outcome_auc").units["val_outcome_auc"]
    whole = evaluated(model, events).metrics["val_outcome_auc"]
    assert units.value == pytest.approx(whole, rel=1e-9)
    assert (units.by, units.n) == ("groups", len(SIZES))
    without = []
    for left_out in range(len(SIZES)):
        keep = np.repeat(np.arange(len(SIZES)) != left_out, SIZES)
        rest = make_events(
            [size for place, size in enumerate(SIZES) if place != left_out],
            {name: values[keep] for name, values in events.columns.items()},
        )
        without.append(evaluated(model, rest).metrics["val_outcome_auc"])
    n = len(SIZES)
    spread = np.array(without) - np.mean(without)
    assert units.standard_error == pytest.approx(((n - 1) / n * (spread**2).sum()) ** 0.5, rel=1e-4)


def test_the_training_loss_of_an_epoch_is_the_sum_of_the_means_over_the_targets_of_each_kind() -> None:
    """With a learning rate of almost 0 the model stays what it is, also where a part has no window in some steps."""
    events = events_of(known=True)
    config = config_of(batch_size=2, learning_rate=1e-12, gradient_clip=None)
    model, split = model_of(), split_of(events)
    state = state_of(model, config)
    assert len(split.parts[2]) < -(-split.n_windows // 2), "a part has fewer windows than the epoch has steps"
    list(train_epoch(state, split, objective_of(), config, seed=1, calls=Calls(quiet)))
    progress = state.progress
    assert progress.windows == split.n_windows
    assert progress.positions == sum(part.windows.n_targets for part in split.parts)
    found = evaluate(model, split, objective_of(), batch_size=4).metrics["val_loss"]
    assert float(state.epoch_loss) / progress.positions == pytest.approx(found, rel=1e-5)


def test_objectives_find_the_metric_that_ranks() -> None:
    assert replace(objective_of(), ranked_by="val_outcome_auc").ranking == ("outcome", "auc", None)
