"""Loss, gradient and evaluation of ragged, padded, partly unknown events against sums over one window at a time.

Target positions are picked out, as on a CPU, or masked, as on other devices. The reference has neither padding nor
masks: each window is cut to its real events, runs through the model alone and adds the losses of its known targets, in
float64.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture
from sequifier.config.base import Named
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.model.transformer import Transformer
from sequifier.preprocess.end_event import with_ends
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.optimizers import build_optimizer
from sequifier.training.schedules import build_schedule
from sequifier.training.state import TrainState
from sequifier.training.step import train_step
from tests.support.events import make_events, make_split, make_windows
from tests.support.from_formulas import predictions
from tests.support.shapes import NORMALIZED, TIED, describe, lively, pairwise

SIZES = st.lists(st.integers(1, 16), min_size=1, max_size=4)
CRITERIA: dict[str, nn.Module] = {
    "CrossEntropyLoss": nn.CrossEntropyLoss(reduction="none"),
    "NLLLoss": nn.CrossEntropyLoss(reduction="none"),  # of logits, of which torch's NLLLoss takes the logarithm
    "MultiMarginLoss": nn.MultiMarginLoss(reduction="none"),
    "MSELoss": nn.MSELoss(reduction="none"),
    "L1Loss": nn.L1Loss(reduction="none"),
    "SmoothL1Loss": nn.SmoothL1Loss(reduction="none"),
    "HuberLoss": nn.HuberLoss(reduction="none"),
    "PoissonNLLLoss": nn.PoissonNLLLoss(reduction="none"),
}
CATEGORICAL, REAL = tuple(CRITERIA)[:3], tuple(CRITERIA)[3:]
CLASS_WEIGHTS = [9.0, 0.5, 2.0, 0.0, 1.0, 3.0, 0.25]  # of `kind`, id 0 first: it has no effect


def events_of(shape: Architecture, sizes: list[int], seed: int) -> Events:
    """Random events; a fifth of the categories are unknown, up to two events of each sequence are context, some end.

    An END is the last class of `kind`, and no value in other columns.
    """
    draw = np.random.default_rng(seed)
    n_rows = sum(sizes)
    columns: dict[str, Any] = {column: draw.normal(size=n_rows).astype(np.float32) for column in shape.real}
    for column, n_classes in shape.categorical:
        ids = draw.integers(1, n_classes, n_rows).astype(np.int32)
        columns[column] = np.where(draw.random(n_rows) < 0.2, np.int32(0), ids)
    events = make_events(sizes, columns, n_context=draw.integers(0, 3, len(sizes)))
    return with_ends(events, draw.random(len(sizes)) < 0.5, {"kind": dict(shape.categorical)["kind"] - 1})


def split_of(shape: Architecture, events: Events, *, evaluation: bool, picks: bool) -> Split:
    L = shape.seq_length
    return make_split(
        events,
        make_windows(events, L, L // 2 if evaluation else 5, evaluation=evaluation, only_last=bool(shape.normalized)),
        L,
        categorical=[column for column, _ in shape.categorical],
        real=shape.real,
        targets=[target.name for target in shape.targets],
        picks=picks,
    )


def summed_by_hand(
    weights: dict[str, Tensor], shape: Architecture, split: Split, criteria: dict[str, str], kinks: list[Tensor]
) -> dict[str, tuple[Tensor, int]]:
    """Target -> the sum of its losses and how many they are, over all windows, one after the other.

    `kinks` gets numbers at whose 0 the gradient jumps, of relu and of the criteria.
    """
    columns = {name: torch.from_numpy(values) for name, values in split.events.columns.items()}
    sums = {target.name: (torch.zeros((), dtype=torch.float64), 0) for target in shape.targets}
    index = split.windows
    for last, first, counted in zip(index.last.tolist(), index.first.tolist(), index.counted.tolist(), strict=True):
        begin = max(last - shape.seq_length, first)
        categories = torch.stack([columns[name][begin:last] for name, _ in shape.categorical], dim=1)
        reals = torch.stack([columns[name][begin:last] for name in shape.real], dim=1)
        predicted = predictions(weights, shape, categories, reals, kinks)
        for target in shape.targets:
            truth = columns[target.name][counted : last + 1]
            prediction = predicted[target.name][counted - 1 - begin :]
            criterion = CRITERIA[criteria[target.name]]
            if target.kind == "real":
                prediction, truth = prediction[~truth.isnan()], truth[~truth.isnan()]
                losses = criterion(prediction, truth.double())
                kinks += [prediction.detach() - truth] if criteria[target.name] == "L1Loss" else []
            else:
                prediction, ids = prediction[truth > 0], truth[truth > 0].long()
                losses = criterion(prediction, ids - 1) * torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)[ids]
                margins = 1 - prediction.detach().gather(1, ids[:, None] - 1) + prediction.detach()
                margins = margins.scatter(1, ids[:, None] - 1, 1.0)
                kinks += [margins] if criteria[target.name] == "MultiMarginLoss" else []
            total, count = sums[target.name]
            sums[target.name] = total + losses.sum(), count + len(losses)
    return sums


def objective_of(shape: Architecture, criteria: dict[str, str], loss_weights: dict[str, float]) -> Objective:
    named = {target: Named(name=name) for target, name in criteria.items()}
    return Objective(build_losses(shape.targets, named, {"kind": CLASS_WEIGHTS}), loss_weights, {"length": Scale()})


def gradients(model: Transformer, split: Split, objective: Objective, **training: Any) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of one step on all windows: plain SGD with rate 1 moves a weight by minus its gradient."""
    config = TrainConfig.model_validate(
        {
            "metadata_config_path": "m.json",
            "model_name": "m",
            "target_columns": ["kind", "length"],
            "training_spec": {"optimizer": {"name": "SGD"}, "learning_rate": 1.0, "gradient_clip": None, **training},
        }
    )
    spec = config.training_spec
    optimizer = build_optimizer(spec.optimizer, model, learning_rate=1.0, decay_all=False)
    schedule = build_schedule(spec.scheduler, optimizer, epochs=1, steps=1, step_on="epoch", warmup_steps=0)
    before = [weight.detach().clone() for weight in model.parameters()]
    model.train()
    everything = split.choose(np.arange(len(split)))
    (loss,) = train_step(TrainState(model, optimizer, schedule), split, [everything], objective, config)
    return loss, [old - new.detach() for old, new in zip(before, model.parameters(), strict=True)]


@pytest.mark.parametrize("shape", [*pairwise(), TIED[2], *NORMALIZED[:2]], ids=describe)
@settings(max_examples=5, deadline=None)
@given(
    sizes=SIZES,
    seed=st.integers(0, 2**16),
    categorical=st.sampled_from(CATEGORICAL),
    real=st.sampled_from(REAL),
    real_weight=st.sampled_from([1.0, 0.3]),
    accumulation_steps=st.integers(1, 4),
    picks=st.booleans(),
)
def test_loss_and_gradient_of_a_step_are_the_sums_over_windows_without_padding(
    shape: Architecture,
    sizes: list[int],
    seed: int,
    categorical: str,
    real: str,
    real_weight: float,
    accumulation_steps: int,
    picks: bool,
) -> None:
    split = split_of(shape, events_of(shape, sizes, seed), evaluation=False, picks=picks)
    if len(split) == 0:
        return
    model, criteria = lively(shape, seed), {"kind": categorical, "length": real}
    weights = {name: weight.detach().double().requires_grad_() for name, weight in model.named_parameters()}
    loss_weights = {"kind": 1.0, "length": real_weight}
    kinks: list[Tensor] = []
    summed = summed_by_hand(weights, shape, split, criteria, kinks)
    # Nearer to a jump of the gradient float32 may be on its other side.
    assume(all(bool((kink.abs() > 1e-5).all()) for kink in kinks))
    expected = sum(loss_weights[target] * total / max(count, 1) for target, (total, count) in summed.items())
    assert isinstance(expected, Tensor)
    expected.backward()

    objective = objective_of(shape, criteria, loss_weights)
    batch_size = -(-len(split) // accumulation_steps)
    loss, found = gradients(model, split, objective, batch_size=batch_size, accumulation_steps=accumulation_steps)
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-4, atol=1e-5)
    for (name, weight), gradient in zip(weights.items(), found, strict=True):
        wanted = torch.zeros_like(weight) if weight.grad is None else weight.grad
        # A gradient is read off weights of up to 1 in float32, which are exact to 1e-7.
        torch.testing.assert_close(
            gradient.double(), wanted, rtol=2e-3, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("shape", [*pairwise(), TIED[2], *NORMALIZED[:2]], ids=describe)
@settings(max_examples=5, deadline=None)
@given(
    sizes=SIZES,
    seed=st.integers(0, 2**16),
    categorical=st.sampled_from(CATEGORICAL),
    real=st.sampled_from(REAL),
    batch_size=st.integers(1, 9),
    picks=st.booleans(),
)
@torch.no_grad()
def test_the_evaluated_loss_is_the_mean_over_known_targets_without_padding(
    shape: Architecture, sizes: list[int], seed: int, categorical: str, real: str, batch_size: int, picks: bool
) -> None:
    split = split_of(shape, events_of(shape, sizes, seed), evaluation=True, picks=picks)
    criteria, loss_weights = {"kind": categorical, "length": real}, {"kind": 1.0, "length": 0.3}
    if any(int(split.n_known_targets(target.name).sum()) == 0 for target in shape.targets):
        return  # a split without targets is refused before it is evaluated
    model = lively(shape, seed)
    weights = {name: weight.double() for name, weight in model.named_parameters()}
    summed = summed_by_hand(weights, shape, split, criteria, [])
    result = evaluate(model, split, objective_of(shape, criteria, loss_weights), batch_size=batch_size)
    assert result.n_targets == {target: count for target, (_, count) in summed.items()}
    means = {target: float(total) / count for target, (total, count) in summed.items()}
    for target, mean in means.items():
        assert result.metrics[f"val_{target}_loss"] == pytest.approx(mean, rel=1e-4, abs=1e-5)
    expected = sum(loss_weights[target] * mean for target, mean in means.items())
    assert result.metrics["val_loss"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
