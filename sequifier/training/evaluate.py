"""One pass over an evaluation split: every target is predicted once, and losses and metrics are summed in float64."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import is_known, statistics_columns
from sequifier.artifacts.transforms import Scale
from sequifier.dataset.batches import Batch, Chosen, Split, in_batches
from sequifier.dataset.gather import to_device
from sequifier.dataset.ranking.history import Rows
from sequifier.metrics.predictions import ClassPredictions, Predictions, ValuePredictions
from sequifier.model.device import in_double, sums_device
from sequifier.model.products import float32_products
from sequifier.model.transformer import Transformer
from sequifier.training.chunked_loss import chunk_size, chunks
from sequifier.training.losses import DistributionLoss
from sequifier.training.objective import Objective
from sequifier.training.predictions import CategoricalScores, joined, predictions_of_distribution, value_predictions
from sequifier.training.ranked import ranked_by_logits
from sequifier.training.tally import Evaluation, Tally


def evaluate(model: Transformer, split: Split, objective: Objective, *, batch_size: int) -> Evaluation:
    """Predict every target of `split`, without dropout.

    Args:
        model: its mode is restored.
        split: an evaluation index, in which each target counts once.
        objective: criteria and weights.
        batch_size: windows per forward pass; it changes results only by rounding in the matrix products, which on
            CUDA are TF32, whatever the run trains in.
    """
    was_training = model.training
    model.eval()
    tally = Tally(split, objective)
    try:
        with torch.inference_mode(), float32_products(split.device.type, tf32=True):
            for part in split.parts:
                for chosen in in_batches(part.choose(_order(part)), batch_size):
                    for each in compared(model, part, chosen, objective):
                        tally.add(*each)
            return tally.evaluation()
    finally:
        model.train(was_training)


def _order(split: Split) -> NDArray[np.int64]:
    """Return the windows in the order in which they are evaluated.

    Where positions are masked, windows with as many targets are together: then few steps are predicted that do not
    count, half of all with the default stride.
    """
    if split.picks:
        return np.arange(len(split))
    return np.argsort(-split.n_targets(), kind="stable")


class Compared(NamedTuple):
    """The predictions of one target in a batch, with the arguments of `Tally.add`."""

    target: str
    found: Predictions
    unit: Tensor
    known: Tensor | None
    n_known: int | None
    length: NDArray[np.int64] | None
    step: Tensor | None


def compared(model: Transformer, split: Split, chosen: Chosen, objective: Objective) -> Iterator[Compared]:
    """Predict the targets of some windows, and compare them with the truth. The model is in evaluation mode."""
    batch = split.batch(chosen)
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event, n_last=batch.n_steps))
    unit = batch.at_steps(split.target_unit(chosen, batch))
    steps = [] if objective.n_steps is None else [_steps(batch)]
    scales = model.window_scales(batch.reals, batch.is_event)
    for target, decoder in model.decoders(hidden, batch.targets, scales, batch.future).items():
        rules = objective.scored.get(target)
        before = unit if rules is None else batch.at_steps(split.n_before(chosen, batch))
        size = chunk_size(decoder, objective.loss_memory_mb, "evaluation")
        # Of many classes the logits are computed for some positions at a time, of few for all, known or not.
        source = batch.flat(decoder.prediction()) if size is None else decoder.vectors
        scale, of_sequence = objective.scale(target), _of_sequences(split, chosen, batch, objective, target)
        known, (truth, source, owner, before, *values) = batch.at_known(
            target, source, unit, before, *steps, *of_sequence.values()
        )
        step, values = values[: len(steps)], values[len(steps) :]
        of_sequence = dict(zip(of_sequence, map(in_double, values), strict=True))
        if scale.by_sequence:
            scale = scale.at(of_sequence["mean"], of_sequence["std"])
        n_known = None if known is None else int(split.n_known_targets(target, chosen.numbers).sum())
        candidates, rows = objective.candidates.get(target), None
        if candidates is not None and candidates.depends_on_history:
            rows = _known_rows(split, chosen, batch, target)
        parts: list[Predictions] = []
        for here in chunks(len(truth), size or max(len(truth), 1)):
            predicted = source[here] if size is None else replace(decoder, vectors=source[here]).prediction()
            known_here = None if known is None else known[here]
            part = _compared(objective, target, predicted, truth[here], scale, known_here)
            if candidates is not None:
                assert isinstance(part, ClassPredictions)
                part = ranked_by_logits(candidates, part, predicted, truth[here], *_between(rows, here))
            if target in objective.labels:
                assert isinstance(part, ClassPredictions)
                part = replace(part, probabilities=predicted.float().softmax(dim=1))
            parts.append(part)
        found = joined(parts)
        if isinstance(found, ValuePredictions):
            found = replace(found, naive=of_sequence.get("naive"))
        if rules is not None:
            found = rules.marked(found, before.to(sums_device(before.device)))
        length = None
        if target in objective.labels:
            length = split.n_events(chosen.numbers)
            if batch.picks:
                length = length[split.n_known_targets(target, chosen.numbers) > 0]
        yield Compared(target, found, owner, known, n_known, length, step[0] if step else None)


def _steps(batch: Batch) -> Tensor:
    """Return the step of the horizon of each target in a batch, from 0, (M * H,)."""
    n_positions = len(next(iter(batch.targets.values()))) // batch.horizon
    here = torch.arange(batch.horizon, device=batch.categories.device)
    return here.expand(n_positions, -1).reshape(-1)


def _of_sequences(split: Split, chosen: Chosen, batch: Batch, objective: Objective, target: str) -> dict[str, Tensor]:
    """Return what the metrics of a real target need of the sequence of each position, (M,) float32 each.

    `mean` and `std` of a target that is standardised by sequence; `naive`, the error of the seasonal naive forecast.
    """
    columns = {"naive": objective.naive[target]} if target in objective.naive else {}
    if objective.scale(target).by_sequence:
        begins, names = np.asarray(split.events.offsets[:-1]), statistics_columns(target)
        columns |= {key: split.events.columns[name][begins] for key, name in zip(("mean", "std"), names, strict=True)}
    if not columns:
        return {}
    sequence = split.target_sequence(chosen, batch)
    return {
        key: batch.at_steps(to_device(values[sequence].astype(np.float32), split.device))
        for key, values in columns.items()
    }


def _known_rows(split: Split, chosen: Chosen, batch: Batch, target: str) -> tuple[Rows, Rows | None]:
    """Return the rows of the known targets, and their places among the positions; None: they were picked out."""
    rows = split.target_rows(chosen.numbers, batch.n_steps)
    at = np.flatnonzero((rows >= 0) & is_known(split.events.columns[target][np.maximum(rows, 0)]))
    return rows[at], None if batch.picks else at


def _between(known: tuple[Rows, Rows | None] | None, here: slice) -> tuple[Rows | None, Rows | None]:
    """Return the part of `_known_rows` at some positions, with places that count from the first of them."""
    if known is None:
        return None, None
    rows, at = known
    if at is None:
        return rows[here], None
    is_here = (at >= here.start) & (at < here.stop)
    return rows[is_here], at[is_here] - here.start


def _compared(
    objective: Objective, target: str, prediction: Tensor, truth: Tensor, scale: Scale, known: Tensor | None = None
) -> Predictions:
    """Compare predictions with the truth; where it is not known, the result has no meaning, but is finite."""
    criterion, standardised = objective.losses[target], objective.n_steps is not None
    if isinstance(criterion, DistributionLoss):
        return predictions_of_distribution(criterion, prediction, truth, scale, known, standardised=standardised)
    if prediction.dim() == 1:
        loss = criterion.per_position(prediction, truth, known)
        return value_predictions(prediction, truth, loss, scale, standardised=standardised)
    scores = CategoricalScores.of(prediction, truth if known is None else truth.where(known, 1))
    # The criterion is mostly the log-loss itself; any other takes one more pass over the logits.
    loss = scores.log_loss if criterion.is_log_loss else criterion.per_position(prediction, truth, known)
    return scores.predictions(loss)
