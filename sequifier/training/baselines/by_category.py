"""Baselines of real targets that look at one category alone: of the last event, or one that is known at the step.

Shapes: M targets, H steps of the horizon, C classes of the categorical input.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sequifier.dataset.random_bits import COUNTER, mixed
from sequifier.training.baselines.history import Column, Targets, TrainingData, read

Floats = NDArray[np.float64]
Ids = NDArray[np.integer]

_FEWEST = 5
"""A category of fewer events has the median of all events: its own would be mostly chance."""


class ByCategory(ABC):
    """One value for each category, of the categorical input that predicts the target best.

    Of the last event's category there is a value for each step; of the category at the step, the same one at all steps.
    """

    def __init__(self, train: TrainingData, targets: Targets, truth: Floats, *, at_step: bool = False) -> None:
        """Fit to the training targets.

        Args:
            train: the training data.
            targets: training targets.
            truth: their values, (M, H).
            at_step: by a category that is known at the step; otherwise by one of the last event.
        """
        self._at_step = at_step
        truth = truth.reshape(-1, 1) if at_step else truth
        names = train.known_categorical if at_step else train.categorical
        ids = {name: self._ids(train.columns, name, targets) for name in names}
        self.column = max(ids, key=lambda name: self._worth(ids[name], truth, train.n_classes[name]))
        self._values = self._fit(ids[self.column], truth, train.n_classes[self.column])

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        """Return the predictions, (M, H)."""
        prediction: Floats = self._values[self._ids(columns, self.column, targets)]
        return prediction.reshape(len(targets), targets.n_steps)

    def _ids(self, columns: Mapping[str, Column], name: str, targets: Targets) -> Ids:
        return read(columns[name], targets.truth_rows if self._at_step else targets.rows - 1)

    @abstractmethod
    def _worth(self, ids: Ids, truth: Floats, n_classes: int) -> float:
        """Return how well the categories `ids`, (M,), predict the target; comparable between columns."""

    @abstractmethod
    def _fit(self, ids: Ids, truth: Floats, n_classes: int) -> Floats:
        """Return the value of each category, (C, H)."""


class Means(ByCategory):
    """The mean after each category, shrunk towards the overall mean where events are few.

    The weight of the overall mean, in events, is the ratio of the variance within to the variance between categories
    (Buehlmann and Straub 1970, credibility), of each step.
    """

    def _worth(self, ids: Ids, truth: Floats, n_classes: int) -> float:
        return sum(_variances(ids, of_step, n_classes)[1] for of_step in truth.T)

    def _fit(self, ids: Ids, truth: Floats, n_classes: int) -> Floats:
        count = np.bincount(ids, minlength=n_classes).astype(np.float64)
        means = np.empty((n_classes, truth.shape[1]))
        for step, of_step in enumerate(truth.T):
            within, between = _variances(ids, of_step, n_classes)
            mean = np.bincount(ids, weights=of_step, minlength=n_classes) / np.maximum(count, 1)
            few = within / between if between > 0 else np.inf
            # A category without events has the weight 0, also where the others determine the value, and few is 0.
            weight = count / np.where(count > 0, count + few, 1) if np.isfinite(few) else np.zeros(n_classes)
            means[:, step] = of_step.mean() + weight * (mean - of_step.mean())
        return means


def _variances(ids: Ids, truth: Floats, n_classes: int) -> tuple[float, float]:
    """Return the variances of one step, (M,), within and between categories."""
    count = np.bincount(ids, minlength=n_classes).astype(np.float64)
    mean, overall = np.bincount(ids, weights=truth, minlength=n_classes) / np.maximum(count, 1), truth.mean()
    n_groups = int((count > 0).sum())
    within = float(((truth - mean[ids]) ** 2).sum()) / max(len(truth) - n_groups, 1)
    free = max(len(truth) - float((count**2).sum()) / len(truth), 1e-9)
    return within, (float((count * (mean - overall) ** 2).sum()) - within * (n_groups - 1)) / free


class Medians(ByCategory):
    """The median after each category, which has the least absolute error."""

    def _worth(self, ids: Ids, truth: Floats, n_classes: int) -> float:
        # Judged by events that were not fitted: a column of many categories would fit best otherwise. A random half, as
        # every other event may always have the same categories.
        is_fitted = (mixed(np.arange(1, len(ids) + 1, dtype=np.uint64) * COUNTER) & np.uint64(1)).astype(bool)
        if not is_fitted.any():
            return 0.0
        values = self._fit(ids[is_fitted], truth[is_fitted], n_classes)
        return -float(np.abs(truth[~is_fitted] - values[ids[~is_fitted]]).sum())

    def _fit(self, ids: Ids, truth: Floats, n_classes: int) -> Floats:
        medians = np.tile(np.median(truth, axis=0), (n_classes, 1))
        count = np.bincount(ids, minlength=n_classes)
        enough = np.flatnonzero(count >= _FEWEST)
        middle = (np.cumsum(count) - count + (count - 1) / 2)[enough]
        for step, of_step in enumerate(truth.T):
            ordered = of_step[np.lexsort((of_step, ids))]  # by category, then by value
            medians[enough, step] = (ordered[np.floor(middle).astype(int)] + ordered[np.ceil(middle).astype(int)]) / 2
        return medians
