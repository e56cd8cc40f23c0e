"""Baselines of real targets.

An input is continued from its own past: the last value, AR(1), the mean of the same season over earlier periods
(SeasonalWindowAverage of statsforecast; SeasonalNaive for one period), and a linear map of the window about its last
value, shared by columns (NLinear of Zeng et al. 2023, "Are transformers effective for time series forecasting?",
https://arxiv.org/abs/2205.13504). A target that is not an
input is predicted from the last event's real inputs, and any target from the last event's category.
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
"""Values that the ridge map reads; DLinear and NLinear were published with this look-back."""
_PERIODS = 8
"""Earlier periods that the seasonal mean may average, at most."""
_REGRESSED = 1 << 17
"""Training targets of a ridge map, over all columns."""
_GATHERED = 1 << 22
"""Values of windows gathered at a time."""


class WindowRidge:
    """A ridge map from the window about its last value to the step that follows, one for all columns.

    A target may have fewer values before it in its window than another. So maps of several lengths are fitted, each on
    the training targets that have that many, and a target takes the longest map that it has the values for.
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
        """(M,) predictions."""
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
        n_classes: of the categorical columns, the unknown class included.
        training: the training targets.
        seq_length: how many events the model reads.
        ridge: the map that the targets among the inputs share.
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
    ) -> None:
        self.target, self._ridge = target, ridge if target in real else None
        truth = read(events.columns[target], training.rows).astype(np.float64)
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
        """What each baseline loses at some targets. A name that comes several times has as many variants."""
        for name, prediction in self._predictions(columns, targets):
            # Like a model's, predictions are float32.
            value, target = torch.from_numpy(prediction.astype(np.float32)), torch.from_numpy(truth)
            yield name, value_predictions(value, target, criterion.per_position(value, target))

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
    """The mean of 1, 2, ... n_periods earlier values of the same season, as far as they may be read; else `last`."""
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
    """The mean after each category of the last event, drawn towards the overall mean where events are few.

    The weight of the overall mean, in events, is the ratio of the variance within categories to that between them
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
        share = count / (count + few) if np.isfinite(few) else np.zeros(n_classes)
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
        """Of the column that explains most."""
        found = (cls(name, read(events.columns[name], targets.rows - 1), truth, n_classes[name]) for name in columns)
        return max(found, key=lambda groups: groups.explained)

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        prediction: Floats = self._means[read(columns[self.column], targets.rows - 1)]
        return prediction


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Intercept and slope of the least squares line; a constant x gives the mean."""
    deviation = x - x.mean()
    variance = float(deviation @ deviation)
    slope = float(deviation @ (y - y.mean())) / variance if variance > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope


def _sizes(longest: int) -> Rows:
    """Window lengths 1 to `longest` for which a map is fitted, each about 1.4 times the one before."""
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
    """(M, longest - 1) the values before the last one less the last one, the latest first; 0 where none may be read."""
    lags = np.arange(2, longest + 1)
    rows = targets.rows[:, None] - lags
    readable = lags <= targets.n_readable[:, None]
    values = column[np.maximum(rows, 0).ravel()].reshape(rows.shape) if rows.size else np.zeros(rows.shape)
    return np.where(readable, values - last[:, None], 0.0)
