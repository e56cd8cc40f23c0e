"""One optimizer step: the exact gradient of a batch, however it is cut."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Batch, Chosen, Split
from sequifier.dataset.gather import to_device
from sequifier.dataset.order import split_evenly
from sequifier.model.heads import Decoder
from sequifier.model.transformer import Transformer
from sequifier.training.chunked_loss import chunk_size, summed_in_chunks
from sequifier.training.objective import Objective
from sequifier.training.precision import Precision
from sequifier.training.state import TrainState

FLOAT32 = Precision()


def train_step(
    state: TrainState, train: Split, chosen: Sequence[Chosen], objective: Objective, config: TrainConfig
) -> list[Tensor]:
    """Take one optimizer step on windows of each part of a split, in `accumulation_steps` nearly equal batches.

    Where a window takes several rows of a batch, there are as many times more batches, which have as many rows.

    The loss of a target is divided by the number of its known values in the whole step, which the index gives
    beforehand, so the gradient does not depend on how the windows are cut into batches.

    Args:
        state: changed in place.
        train: the training windows.
        chosen: windows of each part of `train`.
        objective: criteria and weights.
        config: of the run.

    Returns:
        The loss of each part, a scalar on the device; their sum is the loss of the step.
    """
    spec, scaler = config.training_spec, state.precision.scaler
    state.optimizer.zero_grad(set_to_none=True)
    losses = []
    for number, (part, windows) in enumerate(zip(train.parts, chosen, strict=True)):
        divisors = {target: int(part.n_known_targets(target, windows.numbers).sum()) for target in part.targets}
        total = torch.zeros((), device=train.device)
        start = 0
        for place, size in enumerate(split_evenly(len(windows), spec.accumulation_steps * part.rows_per_window)):
            batch = part.batch(windows[start : start + size])
            sampled = {
                target: to_device(sampler.draw(config.seed or 0, state.progress.step, number, place), train.device)
                for target, sampler in objective.samplers.items()
                if target in part.targets
            }
            loss = batch_loss(state.model, batch, objective, divisors, state.precision, sampled)
            (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
            start += size
        losses.append(total)
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
    return losses


def batch_loss(
    model: Transformer,
    batch: Batch,
    objective: Objective,
    divisors: dict[str, int],
    precision: Precision = FLOAT32,
    sampled: Mapping[str, Tensor] = MappingProxyType({}),
) -> Tensor:
    """Return a batch's part of the step's loss: sums over its known targets, divided by `divisors`.

    Args:
        model: predicts the targets.
        batch: some windows of the step.
        objective: criteria and weights.
        divisors: number of known values of each target in the whole step.
        precision: number formats of the matrix products.
        sampled: the classes of each target with a sampled softmax.
    """
    with precision.products(precision.linear):
        hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event, n_last=batch.n_steps))
    total = torch.zeros((), device=hidden.device)
    with precision.products(precision.decoder):
        hidden = hidden if precision.decoder != torch.float32 else hidden.float()
        scales = model.window_scales(batch.reals, batch.is_event)
        decoders = model.decoders(hidden, batch.targets, scales, batch.future)
    for target, decoder in decoders.items():
        summed = _summed(target, decoder, batch, objective, precision, sampled.get(target))
        total = total + summed * (objective.weights[target] / max(divisors[target], 1))
    return total


def _summed(
    target: str,
    decoder: Decoder,
    batch: Batch,
    objective: Objective,
    precision: Precision,
    sample: Tensor | None,
) -> Tensor:
    """Return the sum of a target's losses over its known positions."""
    loss, size = objective.losses[target], chunk_size(decoder, objective.loss_memory_mb)
    if size is None and sample is None:
        with precision.products(precision.decoder):
            prediction = decoder.prediction()
        known, (truth, predicted) = batch.at_known(target, batch.flat(prediction).float())
        return loss.sum(predicted, truth, known)
    known, (truth, vectors) = batch.at_known(target, decoder.vectors)
    at_known = replace(decoder, vectors=vectors)
    with precision.products(precision.decoder):
        if sample is not None:
            return objective.samplers[target].summed(at_known, truth, known, sample)
        assert size is not None
        return summed_in_chunks(loss, at_known, truth, known, size)
