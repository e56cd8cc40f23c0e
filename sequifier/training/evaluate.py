"""One pass over an evaluation split: every target is predicted once, and losses and metrics are summed in float64."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import is_known
from sequifier.artifacts.sequence_losses import BLOCKS, Units
from sequifier.artifacts.transforms import Scale
from sequifier.dataset.batches import Batch, Chosen, Split, in_batches
from sequifier.metrics.predictions import AtPositions, ClassPredictions, Predictions, Sums, at_positions, find_metric
from sequifier.model.products import float32_products
from sequifier.model.transformer import Transformer
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import CategoricalScores, value_predictions
from sequifier.training.ranking.candidates import Candidates
from sequifier.training.ranking.history import Rows


@dataclass(frozen=True)
class Objective:
    """The training objective: the weighted sum of the criteria of all targets."""

    losses: Mapping[str, TargetLoss]
    weights: Mapping[str, float]  # of every target
    scales: Mapping[str, Scale]  # of every real target, for errors in original units
    ranked_by: str = "val_loss"  # the metric that chooses weights and ranks runs; it is summed by unit too
    candidates: Mapping[str, Candidates] = field(default_factory=dict)  # of the targets in `ranking` of the config

    def scale(self, target: str) -> Scale:
        """Return how a target is standardised."""
        return self.scales.get(target, Scale())

    @property
    def ranking(self) -> tuple[str, str] | None:
        """Target and metric of `ranked_by`; None for val_loss."""
        for target in self.losses:
            metric = self.ranked_by.removeprefix(f"val_{target}_")
            if self.ranked_by != metric and find_metric(metric) is not None:
                return target, metric
        return None


@dataclass(frozen=True)
class Evaluation:
    """The result of a pass over a split."""

    metrics: dict[str, float]  # val_loss and val_<target>_<metric>
    standard_error: float  # of val_loss, over `units`; NaN if unknown
    n_targets: dict[str, int]  # number of known targets of each target column
    units: dict[str, Units]  # val_loss and the metric that ranks runs, by sampling unit
    predicted_classes: dict[str, Tensor]  # categorical target -> number of predictions of each class, (K,) float64

    @property
    def scores(self) -> dict[str, float]:
        """The metrics and the standard error of val_loss, as far as they are finite."""
        found = {**self.metrics, "standard_error": self.standard_error}
        return {name: value for name, value in found.items() if isfinite(value)}


class Tally:
    """The sums of a pass over a split: of all metrics, and by sampling unit where standard errors need them."""

    def __init__(self, split: Split, objective: Objective) -> None:
        self._split, self._objective = split, objective
        self._sums = {target: Sums() for target in objective.losses}
        self._by_unit: dict[str, dict[str, Tensor]] = {target: {} for target in objective.losses}

    def add(
        self, target: str, found: Predictions, unit: Tensor, known: Tensor | None = None, n_known: int | None = None
    ) -> None:
        """Add positions of a target.

        Args:
            target: the column.
            found: predictions with the criterion at each position.
            unit: sampling unit of each position, (M,), as `Split.target_unit` returns it.
            known: (M,) bool, False where a position is to be ignored; None: none is.
            n_known: number of the others.
        """
        parts = at_positions(found)
        device = parts["loss"].value.device
        if known is not None:
            known, zero = known.to(device), parts["loss"].value.new_zeros(())
            parts = {name: replace(part, value=part.value.where(known, zero)) for name, part in parts.items()}
        self._sums[target].add(parts, n_known)
        unit, n_units = unit.to(device), len(self._split.units)
        self._add_by_unit(target, {"loss": parts["loss"]}, unit, n_units)
        if self._objective.ranking is not None and self._objective.ranking[0] == target:
            metric = find_metric(self._objective.ranking[1])
            assert metric is not None
            if not metric.is_mean:
                n_groups = min(n_units, BLOCKS)
                unit, n_units = unit * n_groups // n_units, n_groups
            ranked = {name: parts[name] for name in metric.sums if name != "loss"}
            one = torch.ones_like(parts["loss"].value) if known is None else known.to(parts["loss"].value)
            self._add_by_unit(target, {"count": AtPositions(one), **ranked}, unit, n_units)

    def _add_by_unit(self, target: str, parts: Mapping[str, AtPositions], unit: Tensor, n_units: int) -> None:
        sums = self._by_unit[target]
        for name, part in parts.items():
            found = part.by_unit(unit, n_units)
            sums[name] = sums[name] + found if name in sums else found

    @classmethod
    def joined(cls, tallies: Mapping[str, "Tally"]) -> "Tally":
        """Join several passes over one split: target -> the pass whose sums it takes."""
        first = next(iter(tallies.values()))
        result = cls(first._split, first._objective)
        for target, tally in tallies.items():
            result._sums[target], result._by_unit[target] = tally._sums[target], tally._by_unit[target]
        return result

    def loss(self, target: str) -> float:
        """Return the criterion of a target, summed over its known positions."""
        return float(self._sums[target].by_name["loss"])

    def evaluation(self) -> Evaluation:
        """Return the metrics, and their sums by sampling unit."""
        split, objective = self._split, self._objective
        metrics: dict[str, float] = {}
        n_targets = {target: int(split.n_known_targets(target).sum()) for target in objective.losses}
        total, count = 0.0, split.unit_targets.astype(np.float64)
        # Targets have different numbers of known positions; each is scaled to its mean before they are added up.
        by_unit = np.zeros(len(count))
        for target, sums in self._sums.items():
            is_ranked = target in objective.candidates
            n_unknown = split.windows.n_targets - n_targets[target] if is_ranked else 0
            values = sums.metrics(unit=objective.scale(target).error_unit, n_unknown=n_unknown)
            if is_ranked:
                values["n_unknown"] = float(n_unknown)
            metrics |= {f"val_{target}_{name}": value for name, value in values.items()}
            total += objective.weights[target] * values["loss"]
            share = objective.weights[target] * count.sum() / n_targets[target]
            by_unit += self._by_unit[target]["loss"].cpu().numpy() * share
        units = {"val_loss": Units(by_unit, count, split.units.by)}
        if objective.ranking is not None:
            units[objective.ranked_by] = self._ranking_units(*objective.ranking)
        error = units["val_loss"].standard_error
        predicted = {
            target: sums.by_name["class_predicted"].cpu()
            for target, sums in self._sums.items()
            if "class_predicted" in sums.by_name
        }
        return Evaluation(
            {"val_loss": total, **metrics}, float("nan") if error is None else error, n_targets, units, predicted
        )

    def _ranking_units(self, target: str, name: str) -> Units:
        """Return the sums of a metric by unit, or its jackknife pseudo-values if it is not a mean over positions."""
        metric, by = find_metric(name), self._split.units.by
        assert metric is not None
        found, unit = self._by_unit[target], self._objective.scale(target).error_unit
        count = found["count"].cpu().numpy()
        if metric.counts_unknown:
            count = self._split.unit_targets.astype(np.float64)
        if metric.is_mean:
            return Units((unit if metric.in_units else 1.0) * found[name].cpu().numpy(), count, by)
        whole, n_targets = {each: self._sums[target].by_name[each].cpu() for each in metric.sums}, int(count.sum())
        value = metric.of(whole, n_targets, unit=unit)
        without = np.full(len(count), value)
        for group in np.flatnonzero((count > 0) & (count < count.sum())):
            left = {each: whole[each] - found[each][group].cpu() for each in whole}
            without[group] = metric.of(left, n_targets - int(count[group]), unit=unit)
        # Delete-a-group jackknife (Wolter 2007, section 4.2), shifted so that the mean is the metric itself.
        pseudo = value + (len(count) - 1) * (without.mean() - without)
        return Units(pseudo, np.ones(len(count)), "groups" if by == "sequences" else by)


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
            for chosen in in_batches(split.choose(_order(split)), batch_size):
                _add_batch(tally, model, split, chosen, objective)
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


def _add_batch(tally: Tally, model: Transformer, split: Split, chosen: Chosen, objective: Objective) -> None:
    batch = split.batch(chosen)
    hidden = batch.at_targets(model(batch.categories, batch.reals, batch.is_event))
    unit = split.target_unit(chosen, batch)
    for target, prediction in model.predict(hidden).items():
        known, (truth, predicted, owner) = batch.at_known(target, prediction, unit)
        n_known = None if known is None else int(split.n_known_targets(target, chosen.numbers).sum())
        found = _compared(objective.losses[target], predicted, truth, objective.scale(target), known)
        if target in objective.candidates:
            assert isinstance(found, ClassPredictions)
            candidates, rows, at = objective.candidates[target], None, None
            if candidates.depends_on_history:
                rows, at = _known_rows(split, chosen, batch, target)
            found = candidates.ranked_by_logits(found, predicted, truth, rows, at)
        tally.add(target, found, owner, known, n_known)


def _known_rows(split: Split, chosen: Chosen, batch: Batch, target: str) -> tuple[Rows, Rows | None]:
    """Return the rows of the known targets, and their places among the positions; None: they were picked out."""
    rows = split.target_rows(chosen.numbers, batch.n_steps)
    at = np.flatnonzero((rows >= 0) & is_known(split.events.columns[target][np.maximum(rows, 0)]))
    return rows[at], None if batch.picks else at


def _compared(
    criterion: TargetLoss, prediction: Tensor, truth: Tensor, scale: Scale, known: Tensor | None = None
) -> Predictions:
    """Compare predictions with the truth; where it is not known, the result has no meaning, but is finite."""
    if prediction.dim() == 1:
        return value_predictions(prediction, truth, criterion.per_position(prediction, truth, known), scale)
    scores = CategoricalScores.of(prediction, truth if known is None else truth.where(known, 1))
    # The criterion is mostly the log-loss itself; any other takes one more pass over the logits.
    loss = scores.log_loss if criterion.is_log_loss else criterion.per_position(prediction, truth, known)
    return scores.predictions(loss)
