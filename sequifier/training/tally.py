"""The sums of an evaluation, target by target and by sampling unit, and the metrics that are made of them.

Shapes: M target positions, at all steps of a horizon, H steps, U sampling units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sequifier.artifacts.sequence_losses import BLOCKS, By, Units
from sequifier.config.catalogue.metric_names import ORDERING_METRICS
from sequifier.dataset.batches import Split
from sequifier.dataset.ranking.history import Rows
from sequifier.metrics.ordering import ByLength
from sequifier.metrics.predictions import AtPositions, ClassPredictions, Predictions, Sums, at_positions, find_metric
from sequifier.metrics.steps import StepSums
from sequifier.training.labels import LabelPredictions, without_each_group
from sequifier.training.objective import Objective

_AT_STEP = "loss of one step"
"""Sums by unit of the criterion at the step that ranks."""


@dataclass(frozen=True)
class Evaluation:
    """The result of a pass over a split."""

    metrics: dict[str, float]  # val_loss and val_<target>_<metric>
    standard_error: float  # of val_loss, over `units`; NaN if unknown
    n_targets: dict[str, int]  # number of known targets of each target column
    units: dict[str, Units]  # val_loss and the metric that ranks runs, by sampling unit
    predicted_classes: dict[str, Tensor]  # categorical target -> number of predictions of each class, (K,) float64
    by_length: dict[str, ByLength] = field(default_factory=dict)  # label that is predicted from prefixes -> its metrics

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
        self._labels = {target: LabelPredictions(label) for target, label in objective.labels.items()}
        n_steps = objective.n_steps
        self._by_step = {target: StepSums(n_steps) for target in objective.losses} if n_steps is not None else {}

    def add(
        self,
        target: str,
        found: Predictions,
        unit: Tensor,
        known: Tensor | None = None,
        n_known: int | None = None,
        length: Rows | None = None,
        step: Tensor | None = None,
    ) -> None:
        """Add positions of a target.

        Args:
            target: the column.
            found: predictions with the criterion at each position.
            unit: sampling unit of each position, (M,), as `Split.target_unit` returns it.
            known: (M,) bool, False where a position is to be ignored; None: none is.
            n_known: number of the others.
            length: number of events of each prefix, (M,), for labels that are predicted from prefixes.
            step: of the horizon, from 0, (M,); None without one.
        """
        if target in self._labels:
            assert isinstance(found, ClassPredictions)
            self._labels[target].add(found, unit, known, length)
        parts = at_positions(found)
        device = parts["loss"].value.device
        if known is not None:
            known, zero = known.to(device), parts["loss"].value.new_zeros(())
            parts = {name: replace(part, value=part.value.where(known, zero)) for name, part in parts.items()}
        self._sums[target].add(parts, n_known)
        one = torch.ones_like(parts["loss"].value) if known is None else known.to(parts["loss"].value)
        if step is not None:
            step = step.to(device)
            self._by_step[target].add(parts, AtPositions(one), step)
        unit, n_units = unit.to(device), len(self._split.units)
        self._add_by_unit(target, {"loss": parts["loss"]}, unit, n_units)
        ranking = self._objective.ranking
        if ranking is not None and ranking[0] == target and (metric := find_metric(ranking[1])) is not None:
            if not metric.is_mean:
                n_groups = min(n_units, BLOCKS)
                unit, n_units = unit * n_groups // n_units, n_groups
            ranked = {"count": metric.counts(parts) or AtPositions(one)}
            ranked |= {name: parts[name] for name in metric.sums if name != "loss"}
            if ranking[2] is not None:
                assert step is not None
                ranked |= {_AT_STEP if name == "loss" else name: parts[name] for name in metric.sums}
                ranked = {name: part.only(step == ranking[2]) for name, part in ranked.items()}
            self._add_by_unit(target, ranked, unit, n_units)

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
            if target in tally._labels:
                result._labels[target] = tally._labels[target]
            if target in tally._by_step:
                result._by_step[target] = tally._by_step[target]
        return result

    def loss(self, target: str) -> float:
        """Return the criterion of a target, summed over its known positions."""
        return float(self._sums[target].by_name["loss"])

    def evaluation(self) -> Evaluation:
        """Return the metrics, and their sums by sampling unit."""
        split, objective = self._split, self._objective
        metrics: dict[str, float] = {}
        n_targets = {target: int(split.of(target).n_known_targets(target).sum()) for target in objective.losses}
        total, orderings = 0.0, {target: found.ordering() for target, found in self._labels.items()}
        for target, sums in self._sums.items():
            unknown, unit = self._n_unknown(target).sum(axis=0), objective.scale(target).error_unit
            n_unknown = int(unknown.sum())
            values = sums.metrics(unit=unit, n_unknown=n_unknown)
            if n_unknown or target in objective.candidates:
                values["n_unknown"] = float(n_unknown)
            if (ordering := orderings.get(target)) is not None:
                values |= ordering[0].metrics()
                if objective.labels[target].by_length:
                    values["n_lengths_left_out"] = float(ordering[0].n_left_out)
            if target in self._by_step:
                values |= self._by_step[target].metrics(unit=unit, n_unknown=unknown.tolist())
            metrics |= {f"val_{target}_{name}": value for name, value in values.items()}
            total += objective.weights[target] * values["loss"]
        units = {"val_loss": self._loss_units(n_targets)}
        if objective.ranking is not None:
            target, name, step = objective.ranking
            if name not in ORDERING_METRICS:
                units[objective.ranked_by] = self._ranking_units(target, name, step)
            elif (ordering := orderings[target]) is not None and objective.ranked_by in metrics:
                n_groups = min(len(split.units), BLOCKS)
                without = without_each_group(*ordering, name, len(split.units), n_groups)
                units[objective.ranked_by] = _jackknife(metrics[objective.ranked_by], without, split.units.by)
        error = units["val_loss"].standard_error
        predicted = {
            target: sums.by_name["class_predicted"].cpu()
            for target, sums in self._sums.items()
            if "class_predicted" in sums.by_name
        }
        by_length = {
            target: found[0].table()
            for target, found in orderings.items()
            if found is not None and objective.labels[target].by_length
        }
        error = float("nan") if error is None else error
        return Evaluation({"val_loss": total, **metrics}, error, n_targets, units, predicted, by_length)

    def _loss_units(self, n_targets: Mapping[str, int]) -> Units:
        """Return the sums of val_loss by unit."""
        split, weights = self._split, self._objective.weights
        parts = []
        for part in split.parts:
            # Targets have different numbers of known positions; each is scaled to its mean before they are added up.
            count = part.unit_targets.astype(np.float64)
            by_unit = np.zeros(len(count))
            for target in part.targets:
                share = weights[target] * count.sum() / n_targets[target]
                by_unit += self._by_unit[target]["loss"].cpu().numpy() * share
            parts.append(Units(by_unit, count, split.units.by))
        if len(parts) == 1:
            return parts[0]
        # A sum of ratios with different denominators: its error is that of the linearised sum (Cochran 1977, 6.3).
        n_units = len(split.units)
        deviation = sum(n_units * units.residual / units.count.sum() for units in parts)
        return Units(sum(units.value for units in parts) + deviation, np.ones(n_units), split.units.by)

    def _n_unknown(self, target: str) -> NDArray[np.int64]:
        """Return the number of unknown targets that count in metrics, by unit and step, (U, H)."""
        rules = self._objective.scored.get(target)
        return self._split.of(target).n_unknown_targets(target, 1 if rules is None else rules.min_events)

    def _ranking_units(self, target: str, name: str, step: int | None) -> Units:
        """Return the sums of a metric by unit, or its jackknife pseudo-values if it is not a mean over positions.

        Args:
            target, name: target and metric.
            step: of the horizon; None: all.
        """
        metric, by = find_metric(name), self._split.units.by
        assert metric is not None
        found, unit = self._by_unit[target], self._objective.scale(target).error_unit
        count = found["count"].cpu().numpy()
        if metric.counts_unknown:
            count = count + self._n_unknown(target)[:, slice(None) if step is None else [step]].sum(axis=1)
        if metric.is_mean:
            of_metric = found[_AT_STEP if name == "loss" and step is not None else name]
            return Units((unit if metric.in_units else 1.0) * of_metric.cpu().numpy(), count, by)
        sums = self._sums[target].by_name if step is None else self._by_step[target].at(name, step)
        whole, n_targets = {each: sums[each].cpu() for each in metric.sums}, int(count.sum())
        value = metric.of(whole, n_targets, unit=unit)
        without = np.full(len(count), value)
        for group in np.flatnonzero((count > 0) & (count < count.sum())):
            left = {each: whole[each] - found[each][group].cpu() for each in whole}
            without[group] = metric.of(left, n_targets - int(count[group]), unit=unit)
        return _jackknife(value, without, by)


def _jackknife(value: float, without: ArrayLike, by: By) -> Units:
    """Return the pseudo-values of a metric, from its values without each group of units."""
    left = np.asarray(without)
    # Delete-a-group jackknife (Wolter 2007, section 4.2), shifted so that the mean is the metric itself.
    pseudo = value + (len(left) - 1) * (left.mean() - left)
    return Units(pseudo, np.ones(len(left)), "groups" if by == "sequences" else by)
