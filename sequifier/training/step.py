"""One optimizer step: the exact gradient of a batch, whatever it is cut into."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Batch, Split
from sequifier.dataset.order import split_evenly
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import Objective
from sequifier.training.state import TrainState


def train_step(
    state: TrainState, train: Split, chosen: NDArray[np.int64], objective: Objective, config: TrainConfig
) -> Tensor:
    """One optimizer step on the windows `chosen`, in `accumulation_steps` nearly equal batches.

    The divisor is the number of known targets of the whole step, known beforehand, so the gradient is that of one
    batch whatever the cuts.

    Returns:
        The loss of the step, a scalar on the device.
    """
    spec = config.training_spec
    divisors = {target: int(train.n_known_targets(target, chosen).sum()) for target in objective.losses}
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=train.device)
    start = 0
    for size in split_evenly(len(chosen), spec.accumulation_steps):
        loss = batch_loss(state.model, train.batch(chosen[start : start + size]), objective, divisors)
        loss.backward()  # type: ignore[no-untyped-call]
        total = total + loss.detach()
        start += size
    if spec.gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), spec.gradient_clip)
    state.optimizer.step()
    state.schedule.step("batch")
    return total


def batch_loss(model: Transformer, batch: Batch, objective: Objective, divisors: dict[str, int]) -> Tensor:
    """A batch's part of the step's loss: sums over its known targets, divided by those of the whole step."""
    hidden = model(batch.categories, batch.reals, batch.is_event).flatten(0, 1)
    if batch.positions is not None:
        hidden = hidden[batch.positions]
    total = torch.zeros((), device=hidden.device)
    for target, prediction in model.predict(hidden).items():
        truth = batch.targets[target]
        if not batch.all_known[target]:
            known = truth != 0
            truth, prediction = truth[known], prediction[known]
        summed = objective.losses[target].sum(prediction, truth)
        total = total + summed * (objective.weights[target] / max(divisors[target], 1))
    return total
