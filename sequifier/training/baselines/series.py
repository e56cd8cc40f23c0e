"""Baselines of real targets.

A target that is an input is predicted from its own past: the last value, AR(1), the mean of the same season over
earlier periods (SeasonalWindowAverage of statsforecast; SeasonalNaive for one period), and a linear map of the window
(`window_ridge`). Another target is predicted from the last event's real inputs, and any target from the last event's
category. Each predicts all steps of a horizon.
Shapes: M targets, H steps of the horizon, F features, Q levels.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, scale_at
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.dataset.seasons import find_period
from sequifier.model.distributions.base import Distribution
from sequifier.model.distributions.forms import stored_values
from sequifier.training.baselines.history import Column, Found, Targets, TrainingData, read
from sequifier.training.baselines.ridge import Products
from sequifier.training.baselines.time_to_event import NAMES as RATE_NAMES
from sequifier.training.baselines.time_to_event import RateBaselines
from sequifier.training.baselines.window_ridge import LONGEST_WINDOW, REGRESSED, WindowRidge, parts
from sequifier.training.losses import DistributionLoss, TargetLoss
from sequifier.training.predictions import predictions_of_distribution, value_predictions

Floats = NDArray[np.float64]

MARGINAL, MEAN, LAST, AUTOREGRESSION, SEASON, RIDGE, GROUP = (
    "marginal distribution",
    "mean",
    "last value",
    "AR(1)",
    "seasonal mean",
    "ridge",
    "mean by last category",
)
OF_DISTRIBUTIONS = (MARGINAL, *RATE_NAMES)
NAMES = (*OF_DISTRIBUTIONS, MEAN, GROUP, LAST, AUTOREGRESSION, SEASON, RIDGE)
_RESIDUALS = 1 << 20
"""Training targets at all steps whose errors give the quantiles of a baseline."""
SEASONS = 8
"""Largest number of earlier periods in a seasonal mean."""


class RealBaselines:
    """The baselines of one real target.

    Args:
        train: the training data.
        target: the target column.
        training: the training targets.
        ridge: the map shared by targets that are inputs.
        scale: of the target.
        distribution: of the target; None: its value is predicted.
        rates: baselines of times; None: it has none.
        standardised: whether the metrics of standardised errors are wanted.
    """

    def __init__(
        self,
        train: TrainingData,
        target: str,
        training: Targets,
        *,
        ridge: WindowRidge | None = None,
        scale: Scale = Scale(),  # noqa: B008 - it cannot change
        distribution: Distribution | None = None,
        rates: RateBaselines | None = None,
        standardised: bool = False,
    ) -> None:
        events, real, seq_length = train.events, train.real, train.seq_length
        self.target, self._ridge, self._scale = target, ridge if target in real else None, scale
        self._rates, self._standardised = rates, standardised
        truth = read(events.columns[target], training.truth_rows).astype(np.float64)
        truth = truth.reshape(len(training), training.n_steps)  # (M, H)
        self._mean: Floats = truth.mean(axis=0)
        self.period: int | None = None
        self._autoregression: tuple[float, float] | None = None
        self._linear: _LastEventRidge | None = None
        self._groups: _GroupMeans | None = None
        if target in real:
            previous = read(events.columns[target], training.rows - 1).astype(np.float64)
            self._autoregression = _line(previous, truth[:, 0])
            self.period = find_period(events, target, seq_length)
            self._n_periods = 0 if self.period is None else min(seq_length // self.period, SEASONS)
        few = slice(0, None, max(len(training) // REGRESSED, 1))
        if train.categorical:
            self._groups = _GroupMeans.best(train, training[few], truth[few])
        if real and target not in real:
            self._linear = _LastEventRidge(events, real[:LONGEST_WINDOW], training[few], truth[few])
        self._residuals: list[Floats] = []
        self._marginal: torch.Tensor | None = None
        if distribution is None:
            return
        if distribution.from_quantiles(torch.zeros(len(LEVELS))) is None:
            fitted = distribution.form.constant(stored_values(truth.ravel(), scale), scale)
            self._marginal = torch.from_numpy(fitted.astype(np.float32))
        else:
            few = slice(0, None, max(len(training) * training.n_steps // _RESIDUALS, 1))
            self._residuals = [
                np.quantile(truth[few] - predicted, LEVELS, axis=0).T
                for _, predicted in self.predictions(events.columns, training[few])
            ]

    def scored(
        self, columns: Mapping[str, Column], targets: Targets, truth: NDArray[Any], criterion: TargetLoss
    ) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets; a name may have several variants.

        Where the loss is one of distributions, each has the quantiles of its errors in training around it, step by
        step; where that is no distribution of the family, there is only one without any input.
        """
        scale = scale_at(self._scale, self.target, columns, np.repeat(targets.first, targets.n_steps))
        if scale.by_sequence:
            scale = scale.at(torch.from_numpy(scale.mean), torch.from_numpy(scale.std))
        if isinstance(criterion, DistributionLoss):
            yield from self._scored_as_distributions(columns, targets, torch.from_numpy(truth), criterion, scale)
            return
        for name, prediction in self.predictions(columns, targets):
            # Predictions are float32, as a model's are.
            value, target = torch.from_numpy(prediction.astype(np.float32).reshape(-1)), torch.from_numpy(truth)
            loss = criterion.per_position(value, target)
            yield name, value_predictions(value, target, loss, scale, standardised=self._standardised)

    def _scored_as_distributions(
        self,
        columns: Mapping[str, Column],
        targets: Targets,
        truth: torch.Tensor,
        criterion: DistributionLoss,
        scale: Scale,
    ) -> Iterator[Found]:
        compare = partial(predictions_of_distribution, scale=scale, standardised=self._standardised)
        if self._marginal is not None:
            everywhere = self._marginal.expand(len(truth), -1)
            yield MARGINAL, compare(criterion, everywhere, truth)
            if self._rates is not None:
                yield from self._rates.scored(columns, targets, truth)
            return
        for (name, predicted), residuals in zip(self.predictions(columns, targets), self._residuals, strict=True):
            quantiles = (predicted[..., None] + residuals).reshape(-1, len(LEVELS)).astype(np.float32)
            parameters = criterion.distribution.from_quantiles(torch.from_numpy(quantiles))
            assert parameters is not None
            yield name, compare(criterion, parameters, truth)

    def predictions(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[tuple[str, Floats]]:
        """Yield the name and the predicted values of each baseline, (M, H)."""
        yield MEAN, np.tile(self._mean, (len(targets), 1))
        if self._groups is not None:
            yield GROUP, self._groups(columns, targets)
        if self._linear is not None:
            yield RIDGE, self._linear(columns, targets)
        if self._autoregression is None:
            return
        column = columns[self.target]
        last = read(column, targets.rows - 1).astype(np.float64)
        yield LAST, np.tile(last[:, None], targets.n_steps)
        yield AUTOREGRESSION, _continued(last, *self._autoregression, targets.n_steps)
        if self.period is not None:
            for mean in seasonal_means(column, targets, last, self.period, self._n_periods):
                yield SEASON, mean
        if self._ridge is not None:
            yield RIDGE, self._ridge(column, targets)


def _continued(last: Floats, intercept: float, slope: float, n_steps: int) -> Floats:
    """Return the steps of an autoregression after a last value, (M, H)."""
    found = np.empty((len(last), n_steps))
    for step in range(n_steps):
        last = intercept + slope * last
        found[:, step] = last
    return found


def seasonal_means(column: Column, targets: Targets, last: Floats, period: int, n_periods: int) -> Iterator[Floats]:
    """Yield the means of 1 to n_periods earlier values of the same season, (M, H); without any, `last`.

    The earlier values are those that may be read: of a step more than a period ahead, the first is further back.
    """
    n_seasons = min(targets.n_steps, period)  # steps a period apart have the same prediction
    total, count = np.zeros((len(targets), n_seasons)), np.zeros((len(targets), n_seasons))
    for number in range(1, n_periods + 1):
        for season in range(n_seasons):
            lag = number * period - season
            readable = np.flatnonzero(targets.n_readable >= lag)
            total[readable, season] += read(column, targets.rows[readable] - lag)
            count[readable, season] += 1
        mean = np.where(count > 0, total / np.maximum(count, 1), last[:, None])
        yield mean[:, np.arange(targets.n_steps) % period]


class _LastEventRidge:
    """Ridge regression on the last event's real inputs, for a target that is not an input."""

    def __init__(self, events: Events | MappedEvents, inputs: Sequence[str], targets: Targets, truth: Floats) -> None:
        self._inputs = inputs
        products, begin = Products(len(inputs), targets.n_steps), 0
        for part in parts(targets, len(inputs) + targets.n_steps):
            products.add(self._features(events.columns, part), truth[begin : begin + len(part)])
            begin += len(part)
        self._weights, self._intercept = products.solve(len(inputs))

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        prediction: Floats = self._features(columns, targets) @ self._weights + self._intercept
        return prediction

    def _features(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        return np.column_stack([read(columns[name], targets.rows - 1).astype(np.float64) for name in self._inputs])


class _GroupMeans:
    """The mean after each category of the last event, shrunk towards the overall mean where events are few.

    The weight of the overall mean, in events, is the ratio of the variance within to the variance between categories
    (Buehlmann and Straub 1970, credibility), of each step.
    """

    def __init__(self, column: str, ids: NDArray[Any], truth: Floats, n_classes: int) -> None:
        self.column = column
        count = np.bincount(ids, minlength=n_classes).astype(np.float64)
        n_groups = int((count > 0).sum())
        free = max(len(truth) - float((count**2).sum()) / len(truth), 1e-9)
        means = np.empty((n_classes, truth.shape[1]))
        self.explained = 0.0
        for step, of_step in enumerate(truth.T):
            mean = np.bincount(ids, weights=of_step, minlength=n_classes) / np.maximum(count, 1)
            overall = of_step.mean()
            within = float(((of_step - mean[ids]) ** 2).sum()) / max(len(truth) - n_groups, 1)
            between = (float((count * (mean - overall) ** 2).sum()) - within * (n_groups - 1)) / free
            few = within / between if between > 0 else np.inf
            # A category without events has no share, also where the others determine the value, and few is 0.
            share = count / np.where(count > 0, count + few, 1) if np.isfinite(few) else np.zeros(n_classes)
            means[:, step] = overall + share * (mean - overall)
            self.explained += between
        self._means: Floats = means

    @classmethod
    def best(cls, train: TrainingData, targets: Targets, truth: Floats) -> "_GroupMeans":
        """Return the means by the column that explains most of the variance."""
        found = (
            cls(name, read(train.columns[name], targets.rows - 1), truth, train.n_classes[name])
            for name in train.categorical
        )
        return max(found, key=lambda groups: groups.explained)

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        prediction: Floats = self._means[read(columns[self.column], targets.rows - 1)]
        return prediction


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return intercept and slope of the least squares line; for a constant x the mean and 0."""
    deviation = x - x.mean()
    variance = float(deviation @ deviation)
    slope = float(deviation @ (y - y.mean())) / variance if variance > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope
