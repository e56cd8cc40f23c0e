"""One pass over an evaluation split: every target predicted once, losses and metrics summed in float64."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sequifier.dataset.batches import Split, in_batches
from sequifier.metrics import CategoricalScores, clustered_standard_error, means, real_sums
from sequifier.model.transformer import Transformer
from sequifier.training.losses import TargetLoss


@dataclass(frozen=True)
class Objective:
    """What training minimises: each target's criterion, weighted and summed."""

    losses: Mapping[str, TargetLoss]
    weights: Mapping[str, float]  # of every target
    stds: Mapping[str, float]  # of every real target, to give errors in original units


@dataclass(frozen=True)
class Evaluation:
    """What a pass over a split found."""

    metrics: dict[str, float]  # val_loss and val_<target>_<metric>
    standard_error: float  # of val_loss, over sequences
    n_targets: dict[str, int]  # known targets
    sequence_loss: Tensor  # (S,) float64: val_loss summed over each sequence's targets
    sequence_targets: Tensor  # (S,) how many those are
    predicted_classes: dict[str, Tensor]  # categorical target -> (K,) float64: how often each class was predicted


def evaluate(model: Transformer, split: Split, objective: Objective, *, batch_size: int) -> Evaluation:
    """Predict every target of `split`; dropout is off.

    Args:
        model: left in the mode it was in.
        split: an evaluation index, in which each target counts once.
        objective: criteria and weights.
        batch_size: windows per forward pass; changes the result only by rounding in the matrix products.
    """
    was_training = model.training
    model.eval()
    sums: dict[str, dict[str, Tensor]] = {target: {} for target in objective.losses}
    # Sums stay on the device: reading one waits for the batch.
    by_window = {
        target: torch.zeros(len(split), dtype=torch.float64, device=split.device) for target in objective.losses
    }
    with torch.inference_mode():
        for chosen in in_batches(np.arange(len(split)), batch_size):
            batch = split.batch(chosen)
            hidden = model(batch.categories, batch.reals, batch.is_event).flatten(0, 1)
            if batch.positions is not None:
                hidden = hidden[batch.positions]
            windows = split.target_window(chosen) + int(chosen[0])
            for target, prediction in model.predict(hidden).items():
                truth, owner = batch.targets[target], windows
                if not batch.all_known[target]:
                    known = truth != 0
                    truth, owner, prediction = truth[known], owner[known], prediction[known]
                loss, found = _looked_at(objective.losses[target], prediction, truth)
                for name, value in {"loss": loss.sum(), **found}.items():
                    sums[target][name] = sums[target].get(name, torch.zeros_like(value)) + value
                by_window[target].index_add_(0, owner, loss)
    model.train(was_training)
    return summarise(sums, {target: loss.cpu() for target, loss in by_window.items()}, split, objective)


def _looked_at(criterion: TargetLoss, prediction: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The criterion at each position, (M,) float64, and the sums of the metrics."""
    if prediction.dim() == 1:
        return criterion.per_position(prediction, truth).double(), real_sums(prediction, truth)
    scores = CategoricalScores.of(prediction, truth)
    # What training minimises is mostly the log-loss itself, which takes a walk over all logits.
    loss = scores.log_loss if criterion.is_log_loss else criterion.per_position(prediction, truth)
    return loss.double(), scores.sums()


def summarise(
    sums: Mapping[str, Mapping[str, Tensor]], by_window: Mapping[str, Tensor], split: Split, objective: Objective
) -> Evaluation:
    """Metrics from the sums of a pass.

    Args:
        sums: target -> metric -> sum over known targets.
        by_window: target -> (W,) sum of the criterion in each window.
        split: the windows.
        objective: weights of the targets.
    """
    metrics: dict[str, float] = {}
    n_targets = {target: int(split.n_known_targets(target).sum()) for target in objective.losses}
    total = 0.0
    _, sequence_of_window = np.unique(split.windows.first, return_inverse=True)
    sequence = torch.from_numpy(sequence_of_window)
    n_sequences = int(sequence.max()) + 1
    # Targets have different numbers of known positions; each is scaled to its mean before they are added up.
    per_sequence = torch.zeros(n_sequences, dtype=torch.float64)
    positions = torch.from_numpy(split.windows.last - split.windows.counted + 1)
    per_sequence_count = torch.zeros(n_sequences, dtype=torch.int64).index_add_(0, sequence, positions)
    for target, found in sums.items():
        count = n_targets[target]
        values = means(found, count, std=objective.stds.get(target, 1.0))
        metrics |= {f"val_{target}_{name}": value for name, value in values.items()}
        total += objective.weights[target] * values["loss"]
        share = objective.weights[target] * float(positions.sum()) / count
        per_sequence.index_add_(0, sequence, by_window[target] * share)
    error = clustered_standard_error(per_sequence, per_sequence_count)
    predicted = {target: found["class_predicted"].cpu() for target, found in sums.items() if "class_predicted" in found}
    return Evaluation({"val_loss": total, **metrics}, error, n_targets, per_sequence, per_sequence_count, predicted)
