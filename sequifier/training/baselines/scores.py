"""Baselines: the scores of standard simple methods, which a model must beat.

All are fitted on the training events, and scored on the targets and with the criterion of the model. Each reads only
what the model may read: the input columns, in the events of the target's window. `categorical` and `series` list them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch

from sequifier.artifacts.events import is_known
from sequifier.artifacts.mapped import MappedEvents
from sequifier.config.train import TargetPosition
from sequifier.dataset.batches import Split
from sequifier.metrics.predictions import ValuePredictions
from sequifier.training.baselines import categorical, labels, series
from sequifier.training.baselines.history import (
    Targets,
    TrainingData,
    evaluated_targets,
    read,
    read_truth,
    training_labels,
    training_targets,
)
from sequifier.training.baselines.known_steps import DynamicRegression
from sequifier.training.baselines.time_to_event import Clock, RateBaselines
from sequifier.training.baselines.window_ridge import WindowRidge
from sequifier.training.losses import DistributionLoss
from sequifier.training.objective import Objective
from sequifier.training.tally import Evaluation, Tally

PREFIX = "baseline: "
EACH_BEST = PREFIX + "best of each target"
_ROWS = 1 << 18
"""Targets that are scored together."""
_FITTED = 1 << 22
"""Training targets on which baselines are fitted; of more targets, blocks spread evenly over the split are used."""

Fitted = categorical.CategoricalBaselines | series.RealBaselines | labels.LabelBaselines
Variant = tuple[str, int]
"""Name of a baseline and number of its variant; of several variants, the best on the evaluated split counts."""


def baselines(
    train: TrainingData,
    split: Split,
    objective: Objective,
    positions: Mapping[str, TargetPosition] = MappingProxyType({}),
    clock: Clock | None = None,
) -> dict[str, Evaluation]:
    """Score the baselines on the targets of `split`.

    Args:
        train: the training data, with the input and target columns.
        split: the evaluation split; its targets are scored, its events give the history.
        objective: criteria and weights of the run.
        positions: target of whole sequences -> the events from which it is predicted.
        clock: how inputs show the time of day; None: they do not.

    Returns:
        Baseline name -> its evaluation, like that of a model. With several targets each row has one method for each
        target, and a last row has the best method of each target, unless another row is the same.
    """
    fit, scores = _Fit(train, split, objective, positions, clock), dict[str, _Scores]()
    for target in objective.losses:
        scores[target] = _Scores(fit(target), split, objective)
        if isinstance(train.events, MappedEvents):
            train.events.file.release()
    best = {target: found.best() for target, found in scores.items()}
    rows = _rows(scores)
    if all(row != best for row in rows.values()):
        rows[EACH_BEST] = best
    return {
        name: Tally.joined({target: scores[target].tallies[method] for target, method in row.items()}).evaluation()
        for name, row in rows.items()
    }


class _Fit:
    """Fits the methods of each target; the arguments are those of `baselines`."""

    def __init__(
        self,
        train: TrainingData,
        split: Split,
        objective: Objective,
        positions: Mapping[str, TargetPosition],
        clock: Clock | None,
    ) -> None:
        self._train, self._split, self._objective, self._clock = train, split, objective, clock
        self._training: dict[TargetPosition | None, Targets] = {}
        for target in objective.losses:
            position = positions.get(target)
            if position not in self._training:  # labels of one position have the same targets
                self._training[position] = self._targets(target, position)
        self._positions = positions
        continued = [target for target in objective.losses if target in train.real]
        self._ridge: WindowRidge | None = None
        self._dynamic: DynamicRegression | None = None
        if continued:  # all have a value at the same events
            columns = [train.columns[target] for target in continued]
            self._ridge = WindowRidge(columns, self._with_values(continued[0]), train.seq_length)
            if train.known_future:
                self._dynamic = DynamicRegression(train, continued, self._with_values(continued[0]))

    def __call__(self, target: str) -> Sequence[Fitted]:
        """Return the methods for all steps of a horizon, or for each of them."""
        train, objective, training = self._train, self._objective, self._training[self._positions.get(target)]
        if target in objective.labels:
            return [labels.LabelBaselines(train, target, training)]
        if target in train.n_classes:
            steps, candidates = range(self._split.horizon), objective.candidates.get(target)
            return [categorical.CategoricalBaselines(train, target, training.at(step), candidates) for step in steps]
        loss, rates = objective.losses[target], None
        if isinstance(loss, DistributionLoss) and loss.distribution.is_positive:
            still_open = self._split.columns.still_open.get(target)
            rates = RateBaselines(train, target, still_open, training, loss, self._clock)
        return [
            series.RealBaselines(
                train,
                target,
                self._with_values(target),
                ridge=self._ridge,
                dynamic=self._dynamic,
                scale=objective.scale(target),
                loss=loss,
                rates=rates,
                standardised=objective.n_steps is not None,
            )
        ]

    def _targets(self, target: str, position: TargetPosition | None) -> Targets:
        events, n_steps, seq_length = self._train.events, self._split.horizon, self._train.seq_length
        if position is None:
            return training_targets(events, seq_length, at_most=_FITTED // n_steps, n_steps=n_steps)
        return training_labels(events, target, seq_length, every=position == "every", at_most=_FITTED)

    def _with_values(self, target: str) -> Targets:
        """Return the training targets that have a value at each step; END has none of a real column."""
        targets = self._training[self._positions.get(target)]
        known = is_known(read(self._train.columns[target], targets.truth_rows))
        return targets[np.flatnonzero(known.reshape(len(targets), targets.n_steps).all(axis=1))]


class _Scores:
    """The sums of all methods on one target.

    Args:
        fitted: the methods, for all steps of a horizon or for each of them.
        split, objective: as of `baselines`.
    """

    def __init__(self, fitted: Sequence[Fitted], split: Split, objective: Objective) -> None:
        self.target = fitted[0].target
        found: dict[Variant, Tally] = {}
        columns, criterion = split.events.columns, objective.losses[self.target]
        still_open = split.columns.still_open.get(self.target)
        rules = objective.scored.get(self.target)
        for targets, first_step in _by_step(split.of(self.target), len(fitted)):
            if not len(targets):
                continue
            truth = read_truth(columns, self.target, still_open, targets.truth_rows)
            values, each = truth if truth.ndim == 1 else truth[:, 0], truth.shape[1:]
            known = np.flatnonzero(is_known(values).reshape(len(targets), -1).all(axis=1))
            truth = truth.reshape(len(targets), targets.n_steps, *each)[known].reshape(-1, *each)
            targets = targets[known]
            if not len(known):
                continue
            unit, n_before = split.units.of(targets.at(-first_step).truth_rows), targets.rows - targets.first
            unit, n_before = (np.repeat(each, targets.n_steps) for each in (unit, n_before))
            step = torch.arange(first_step, first_step + targets.n_steps).repeat(len(targets))
            naive = None
            if self.target in objective.naive:
                sequence = np.searchsorted(np.asarray(split.events.offsets), targets.truth_rows, side="right") - 1
                naive = torch.from_numpy(objective.naive[self.target][sequence])
            n_variants: Counter[str] = Counter()
            for name, predictions in fitted[first_step].scored(columns, targets, truth, criterion):
                variant = (name, n_variants[name])
                n_variants[name] += 1
                if variant not in found:
                    found[variant] = Tally(split, objective)
                if isinstance(predictions, ValuePredictions):
                    predictions = replace(predictions, naive=naive)
                if rules is not None:
                    predictions = rules.marked(predictions, torch.from_numpy(n_before))
                found[variant].add(
                    self.target,
                    predictions,
                    torch.from_numpy(unit),
                    length=n_before,
                    step=None if objective.n_steps is None else step,
                )
        self.tallies: dict[str, Tally] = {}
        for (name, _), tally in found.items():
            if name not in self.tallies or tally.loss(self.target) < self.tallies[name].loss(self.target):
                self.tallies[name] = tally

    def best(self) -> str:
        """Return the method with the lowest loss."""
        return min(self.tallies, key=lambda name: self.tallies[name].loss(self.target))


def _by_step(split: Split, n_parts: int) -> Iterator[tuple[Targets, int]]:
    """Yield the targets of a split with their first step: all steps together, or in `n_parts` one after another."""
    for targets in evaluated_targets(split, _ROWS):
        if n_parts == 1:
            yield targets, 0
        else:
            yield from ((targets.at(step), step) for step in range(n_parts))


def _rows(scores: Mapping[str, _Scores]) -> dict[str, dict[str, str]]:
    """Return the rows of the table: name -> target -> method, methods without history first.

    A target that lacks a method, such as the seasonal mean of a series without seasons, takes the one before it.
    """
    orders = (categorical.NAMES, series.NAMES, labels.NAMES)
    used = [[name for name in order if any(name in found.tallies for found in scores.values())] for order in orders]
    rows = {}
    for number in range(max(len(names) for names in used)):
        row, here = {}, [names[min(number, len(names) - 1)] for names in used if names]
        for target, found in scores.items():
            order = next(order for order in orders if any(name in found.tallies for name in order))
            name = next(name for name in here if name in order)
            known = [each for each in order if each in found.tallies]
            row[target] = ([each for each in known if order.index(each) <= order.index(name)] or known[:1])[-1]
        rows[PREFIX + ", ".join(here)] = row
    return rows
