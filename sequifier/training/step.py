"""One optimizer step: the exact gradient of a batch, however it is cut."""

import torch
from torch import Tensor

from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Batch, Chosen, Split
from sequifier.dataset.order import split_evenly
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import Objective
from sequifier.training.precision import Precision
from sequifier.training.state import TrainState

FLOAT32 = Precision()


def train_step(state: TrainState, train: Split, chosen: Chosen, objective: Objective, config: TrainConfig) -> Tensor:
    """Take one optimizer step on the windows `chosen`, in `accumulation_steps` nearly equal batches.

    The loss is divided by the number of known targets of the whole step, which the index gives beforehand, so the
    gradient does not depend on how the windows are cut into batches.

    Returns:
        The loss of the step, a scalar on the device.
    """
    spec, scaler = config.training_spec, state.precision.scaler
    divisors = {target: int(train.n_known_targets(target, chosen.numbers).sum()) for target in objective.losses}
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=train.device)
    start = 0
    for size in split_evenly(len(chosen), spec.accumulation_steps):
        batch = train.batch(chosen[start : start + size])
        loss = batch_loss(state.model, batch, objective, divisors, state.precision)
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        total = total + loss.detach()
        start += size
    if scaler is not None:
        scaler.unscale_(state.optimizer)
    if spec.gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), spec.gradient_clip)
    if scaler is None:
        state.optimizer.step()
    else:
        scaler.step(state.optimizer)  # skips the step if a gradient has overflowed
        scaler.update()
    state.schedule.step("batch")
    return total


def batch_loss(
    model: Transformer, batch: Batch, objective: Objective, divisors: dict[str, int], precision: Precision = FLOAT32
) -> Tensor:
    """Return a batch's part of the step's loss: sums over its known targets, divided by `divisors`.

    Args:
        model: predicts the targets.
        batch: some windows of the step.
        objective: criteria and weights.
        divisors: number of known targets of the whole step, by target.
        precision: number formats of the matrix products.
    """
    with precision.products(precision.linear):
        hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event))
    with precision.products(precision.decoder):
        predictions = model.predict(hidden if precision.decoder != torch.float32 else hidden.float())
    total = torch.zeros((), device=hidden.device)
    for target, prediction in predictions.items():
        known, (truth, predicted) = batch.at_known(target, prediction.float())
        summed = objective.losses[target].sum(predicted, truth, known)
        total = total + summed * (objective.weights[target] / max(divisors[target], 1))
    return total
