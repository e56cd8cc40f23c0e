"""Baselines of real targets.

A target that is an input is predicted from its own past: the last value, AR(1), the mean of the same season over
earlier periods (SeasonalWindowAverage of statsforecast; SeasonalNaive for one period), and a linear map of the window
minus its last value, shared by columns (NLinear of Zeng et al. 2023, "Are transformers effective for time series
forecasting?", https://arxiv.org/abs/2205.13504). Another target is predicted from the last event's real inputs, and any
target from the last event's category.
Shapes: M targets, T steps of the window, F features.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.transforms import Scale
from sequifier.training.baselines.history import Column, Found, Rows, Targets, read
from sequifier.training.baselines.ridge import Products
from sequifier.training.baselines.seasons import find_period
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import value_predictions

Floats = NDArray[np.float64]

MEAN, LAST, AUTOREGRESSION, SEASON, RIDGE, GROUP = (
    "mean",
    "last value",
    "AR(1)",
    "seasonal mean",
    "ridge",
    "mean by last category",
)
NAMES = (MEAN, GROUP, LAST, AUTOREGRESSION, SEASON, RIDGE)
LONGEST_WINDOW = 336
"""Largest number of values that the ridge map reads: the look-back of the published DLinear and NLinear."""
_PERIODS = 8
"""Largest number of earlier periods in a seasonal mean."""
_REGRESSED = 1 << 17
"""Training targets of a ridge map, in all columns together."""
_GATHERED = 1 << 22
"""Values of windows that are gathered together."""
_IN_CACHE = 1 << 16
"""Of these, how many are computed together: their intermediate results stay in the processor's cache."""


class WindowRidge:
    """A ridge map from the window minus its last value to the next step, one for all columns.

    Targets differ in the number of values before them in their window. So maps of several lengths are fitted, each on
    the training targets with that many values, and a target uses the longest map for which it has the values.
    """

    def __init__(
        self, events: Events | MappedEvents, columns: Sequence[str], training: Targets, seq_length: int
    ) -> None:
        longest = min(seq_length, LONGEST_WINDOW)
        sizes = _sizes(longest)
        by_size = [Products(longest - 1) for _ in sizes]
        targets = training[:: max(len(training) * len(columns) // _REGRESSED, 1)]
        for column in columns:
            values = events.columns[column]
            for part in _parts(targets, longest):
                last = read(values, part.rows - 1).astype(np.float64)
                features, target = _differences(values, part, last, longest), read(values, part.rows) - last
                size = np.searchsorted(sizes, part.n_readable, side="right") - 1
                for number in np.unique(size).tolist():
                    by_size[number].add(features[size == number], target[size == number])
        for longer, shorter in pairwise(reversed(by_size)):
            shorter.moments += longer.moments  # the longer windows show the shorter ones
        enough = [found.moments[0, 0] > 2 * size for found, size in zip(by_size, sizes.tolist(), strict=True)]
        enough[0] = True
        self._sizes = sizes[enough]
        self._maps = [
            found.solve(size - 1)
            for found, size, is_enough in zip(by_size, sizes.tolist(), enough, strict=True)
            if is_enough
        ]

    def __call__(self, column: Column, targets: Targets) -> Floats:
        """Return predictions, (M,)."""
        longest = int(self._sizes[-1])
        parts = [np.empty(0)]
        for part in _parts(targets, longest):
            last = read(column, part.rows - 1).astype(np.float64)
            features = _differences(column, part, last, longest)
            size = np.searchsorted(self._sizes, part.n_readable, side="right") - 1
            step = np.zeros(len(part))
            for number, (weights, intercept) in enumerate(self._maps):
                chosen = np.flatnonzero(size == number)
                step[chosen] = features[chosen, : len(weights)] @ weights + intercept
            parts.append(last + step)
        return np.concatenate(parts)


class RealBaselines:
    """The baselines of one real target.

    Args:
        events: the training events.
        target: the target column.
        real, categorical: the columns that the model reads.
        n_classes: of the categorical columns, including the unknown class.
        training: the training targets.
        seq_length: number of events that the model reads.
        ridge: the map shared by targets that are inputs.
        scale: of the target.
    """

    def __init__(
        self,
        events: Events | MappedEvents,
        target: str,
        real: Sequence[str],
        categorical: Sequence[str],
        n_classes: Mapping[str, int],
        training: Targets,
        seq_length: int,
        ridge: WindowRidge | None,
        scale: Scale,
    ) -> None:
        self.target, self._ridge, self._scale = target, ridge if target in real else None, scale
        truth = read(events.columns[target], training.truth_rows).astype(np.float64)
        self._mean = float(truth.mean())
        self.period: int | None = None
        self._autoregression: tuple[float, float] | None = None
        self._linear: _LastEventRidge | None = None
        self._groups: _GroupMeans | None = None
        if target in real:
            previous = read(events.columns[target], training.rows - 1).astype(np.float64)
            self._autoregression = _line(previous, truth)
            self.period = find_period(events, target, seq_length)
            self._n_periods = 0 if self.period is None else min(seq_length // self.period, _PERIODS)
        few = slice(0, None, max(len(training) // _REGRESSED, 1))
        if categorical:
            self._groups = _GroupMeans.best(events, categorical, n_classes, training[few], truth[few])
        if real and target not in real:
            self._linear = _LastEventRidge(events, real[:LONGEST_WINDOW], training[few], truth[few])

    def scored(
        self, columns: Mapping[str, Column], targets: Targets, truth: NDArray[Any], criterion: TargetLoss
    ) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets; a name may have several variants."""
        for name, prediction in self._predictions(columns, targets):
            # Predictions are float32, as a model's are.
            value, target = torch.from_numpy(prediction.astype(np.float32)), torch.from_numpy(truth)
            yield name, value_predictions(value, target, criterion.per_position(value, target), self._scale)

    def _predictions(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[tuple[str, Floats]]:
        yield MEAN, np.full(len(targets), self._mean)
        if self._groups is not None:
            yield GROUP, self._groups(columns, targets)
        if self._linear is not None:
            yield RIDGE, self._linear(columns, targets)
        if self._autoregression is None:
            return
        column = columns[self.target]
        last = read(column, targets.rows - 1).astype(np.float64)
        yield LAST, last
        intercept, slope = self._autoregression
        yield AUTOREGRESSION, intercept + slope * last
        if self.period is not None:
            for mean in _seasonal_means(column, targets, last, self.period, self._n_periods):
                yield SEASON, mean
        if self._ridge is not None:
            yield RIDGE, self._ridge(column, targets)


def _seasonal_means(column: Column, targets: Targets, last: Floats, period: int, n_periods: int) -> Iterator[Floats]:
    """Yield the means of 1 to n_periods earlier values of the same season that may be read; without any, `last`."""
    total, count = np.zeros(len(targets)), np.zeros(len(targets))
    for number in range(1, n_periods + 1):
        readable = np.flatnonzero(targets.n_readable >= number * period)
        total[readable] += read(column, targets.rows[readable] - number * period)
        count[readable] += 1
        yield np.where(count > 0, total / np.maximum(count, 1), last)


class _LastEventRidge:
    """Ridge regression on the last event's real inputs, for a target that is not an input."""

    def __init__(self, events: Events | MappedEvents, inputs: Sequence[str], targets: Targets, truth: Floats) -> None:
        self._inputs = inputs
        products = Products(len(inputs))
        step = max(_GATHERED // len(inputs), 1)
        for start in range(0, len(targets), step):
            here = slice(start, start + step)
            products.add(self._features(events.columns, targets[here]), truth[here])
        self._weights, self._intercept = products.solve(len(inputs))

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        prediction: Floats = self._features(columns, targets) @ self._weights + self._intercept
        return prediction

    def _features(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        return np.column_stack([read(columns[name], targets.rows - 1).astype(np.float64) for name in self._inputs])


class _GroupMeans:
    """The mean after each category of the last event, shrunk towards the overall mean where events are few.

    The weight of the overall mean, in events, is the ratio of the variance within to the variance between categories
    (Buehlmann and Straub 1970, credibility).
    """

    def __init__(self, column: str, ids: NDArray[Any], truth: Floats, n_classes: int) -> None:
        self.column = column
        count = np.bincount(ids, minlength=n_classes).astype(np.float64)
        mean = np.bincount(ids, weights=truth, minlength=n_classes) / np.maximum(count, 1)
        overall = truth.mean()
        within = float(((truth - mean[ids]) ** 2).sum()) / max(len(truth) - int((count > 0).sum()), 1)
        spread = float((count * (mean - overall) ** 2).sum()) - within * (int((count > 0).sum()) - 1)
        between = spread / max(len(truth) - float((count**2).sum()) / len(truth), 1e-9)
        few = within / between if between > 0 else np.inf
        # A category without events has no share, also where the others determine the value, and few is 0.
        share = count / np.where(count > 0, count + few, 1) if np.isfinite(few) else np.zeros(n_classes)
        self._means: Floats = overall + share * (mean - overall)
        self.explained = between

    @classmethod
    def best(
        cls,
        events: Events | MappedEvents,
        columns: Sequence[str],
        n_classes: Mapping[str, int],
        targets: Targets,
        truth: Floats,
    ) -> "_GroupMeans":
        """Return the means by the column that explains most of the variance."""
        found = (cls(name, read(events.columns[name], targets.rows - 1), truth, n_classes[name]) for name in columns)
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


def _sizes(longest: int) -> Rows:
    """Return the window lengths, 1 to `longest`, for which a map is fitted, each about 1.4 times the one before."""
    found, size = {1, longest}, 1.0
    while size < longest:
        found.add(int(size))
        size *= 2**0.5
    return np.array(sorted(found), dtype=np.int64)


def _parts(targets: Targets, width: int) -> Iterator[Targets]:
    step = max(_GATHERED // width, 1)
    for start in range(0, len(targets), step):
        yield targets[start : start + step]


def _differences(column: Column, targets: Targets, last: Floats, longest: int) -> Floats:
    """Return earlier values minus the last one, (M, longest - 1), the latest first; 0 where no value may be read."""
    lags = np.arange(2, longest + 1)
    found = np.zeros((len(targets), len(lags)))
    step = max(_IN_CACHE // longest, 1)
    for start in range(0, len(targets), step):
        part = slice(start, start + step)
        rows = targets.rows[part, None] - lags
        readable = lags <= targets.n_readable[part, None]
        values = column[np.maximum(rows, 0).ravel()].reshape(rows.shape) if rows.size else np.zeros(rows.shape)
        np.subtract(values, last[part, None], out=found[part], where=readable)
    return found
