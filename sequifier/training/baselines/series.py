"""Baselines of real targets.

A target that is an input is predicted from its own past: the last value, AR(1), the mean of the same season over
earlier periods (SeasonalWindowAverage of statsforecast; SeasonalNaive for one period), and a linear map of the window
(`window_ridge`). Another target is predicted from the last event's real inputs, and any target from the last event's
category, by means or, where the loss is least at the median, by medians. Each predicts all steps of a horizon. What is
known of these steps beforehand is a category of its own, and the effect of a dynamic regression (`known_steps`).
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
from sequifier.config.base import Named
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.dataset.seasons import find_period
from sequifier.model.distributions.forms import stored_values
from sequifier.training.baselines.by_category import ByCategory, Means, Medians
from sequifier.training.baselines.history import Column, Found, Targets, TrainingData, read
from sequifier.training.baselines.known_steps import DynamicRegression, Effects
from sequifier.training.baselines.ridge import Products
from sequifier.training.baselines.time_to_event import NAMES as RATE_NAMES
from sequifier.training.baselines.time_to_event import RateBaselines
from sequifier.training.baselines.window_ridge import LONGEST_WINDOW, REGRESSED, WindowRidge, parts
from sequifier.training.losses import DistributionLoss, TargetLoss
from sequifier.training.predictions import predictions_of_distribution, value_predictions

Floats = NDArray[np.float64]

MARGINAL, LAST, AUTOREGRESSION, SEASON, RIDGE = "marginal distribution", "last value", "AR(1)", "seasonal mean", "ridge"
MEAN, MEAN_BY_CATEGORY = "mean", "mean by last category"
MEDIAN, MEDIAN_BY_CATEGORY = "median", "median by last category"
MEAN_BY_KNOWN, MEDIAN_BY_KNOWN = "mean by known category", "median by known category"
DYNAMIC = "dynamic regression"
OF_DISTRIBUTIONS = (MARGINAL, *RATE_NAMES)
CENTERS = (MEAN, MEAN_BY_CATEGORY, MEAN_BY_KNOWN, MEDIAN, MEDIAN_BY_CATEGORY, MEDIAN_BY_KNOWN)
NAMES = (*OF_DISTRIBUTIONS, *CENTERS, LAST, AUTOREGRESSION, SEASON, RIDGE, DYNAMIC)
_SQUARED = TargetLoss(Named(name="MSELoss"))
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
        dynamic: the dynamic regression of these targets; None: nothing is known of the steps to come.
        scale: of the target.
        loss: of the target.
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
        dynamic: DynamicRegression | None = None,
        scale: Scale = Scale(),  # noqa: B008 - it cannot change
        loss: TargetLoss = _SQUARED,
        rates: RateBaselines | None = None,
        standardised: bool = False,
    ) -> None:
        events, real, seq_length = train.events, train.real, train.seq_length
        self.target, self._ridge, self._scale = target, ridge if target in real else None, scale
        self._rates, self._standardised = rates, standardised
        truth = read(events.columns[target], training.truth_rows).astype(np.float64)
        truth = truth.reshape(len(training), training.n_steps)  # (M, H)
        self._is_median = loss.is_least_at_median
        self._center: Floats = np.median(truth, axis=0) if self._is_median else truth.mean(axis=0)
        self.period: int | None = None
        self._autoregression: tuple[float, float] | None = None
        self._linear: _LastEventRidge | None = None
        self._groups: list[tuple[str, ByCategory]] = []
        self._dynamic = dynamic if target in real else None
        self._effects: Effects | None = None
        if target in real:
            previous = read(events.columns[target], training.rows - 1).astype(np.float64)
            self._autoregression = _line(previous, truth[:, 0])
            self.period = find_period(events, target, seq_length)
            self._n_periods = 0 if self.period is None else min(seq_length // self.period, SEASONS)
        few = slice(0, None, max(len(training) // REGRESSED, 1))
        by_category: type[ByCategory] = Medians if self._is_median else Means
        if train.categorical:
            name = MEDIAN_BY_CATEGORY if self._is_median else MEAN_BY_CATEGORY
            self._groups.append((name, by_category(train, training[few], truth[few])))
        if train.known_categorical:
            name = MEDIAN_BY_KNOWN if self._is_median else MEAN_BY_KNOWN
            self._groups.append((name, by_category(train, training[few], truth[few], at_step=True)))
        if real and target not in real:
            self._linear = _LastEventRidge(events, real[:LONGEST_WINDOW], training[few], truth[few])
        if train.known_future and target not in real:
            self._effects = Effects(train, target, training)
            at_steps = self._effects.at(events.columns, training[few].truth_rows)
            self._rest = _LastEventRidge(
                events, real[:LONGEST_WINDOW], training[few], truth[few] - at_steps.reshape(truth[few].shape)
            )
        self._residuals: list[Floats] = []
        self._marginal: torch.Tensor | None = None
        if isinstance(loss, DistributionLoss):
            self._fit_errors(loss, events.columns, training, truth)

    def _fit_errors(
        self, loss: DistributionLoss, columns: Mapping[str, Column], training: Targets, truth: Floats
    ) -> None:
        """Fit the quantiles of the errors of each baseline, or where these are no distribution one without input."""
        distribution = loss.distribution
        if distribution.from_quantiles(torch.zeros(len(LEVELS))) is None:
            fitted = distribution.form.constant(stored_values(truth.ravel(), self._scale), self._scale)
            self._marginal = torch.from_numpy(fitted.astype(np.float32))
            return
        few = slice(0, None, max(len(training) * training.n_steps // _RESIDUALS, 1))
        self._residuals = [
            np.quantile(truth[few] - predicted, LEVELS, axis=0).T
            for _, predicted in self.predictions(columns, training[few])
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
        yield MEDIAN if self._is_median else MEAN, np.tile(self._center, (len(targets), 1))
        for name, group in self._groups:
            yield name, group(columns, targets)
        if self._linear is not None:
            yield RIDGE, self._linear(columns, targets)
        if self._dynamic is not None:
            yield DYNAMIC, self._dynamic(self.target, columns, targets)
        if self._effects is not None:
            at_steps = self._effects.at(columns, targets.truth_rows)
            yield DYNAMIC, self._rest(columns, targets) + at_steps.reshape(len(targets), -1)
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
        found = [read(columns[name], targets.rows - 1).astype(np.float64) for name in self._inputs]
        return np.column_stack([np.zeros((len(targets), 0)), *found])  # also without inputs: then an intercept alone


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return intercept and slope of the least squares line; for a constant x the mean and 0."""
    deviation = x - x.mean()
    variance = float(deviation @ deviation)
    slope = float(deviation @ (y - y.mean())) / variance if variance > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope
