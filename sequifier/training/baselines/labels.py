"""Baselines of a label: the classes' frequencies, counts after the last events, and logistic regression on summaries.

Logistic regression reads a window as numbers without order, except for its last event: how often each category occurs,
mean, standard deviation and last value of each real column, the last category, and the number of events.
Shapes: M targets, F features, K known classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sequifier.dataset.windows import rows_from
from sequifier.training.baselines.categorical import CategoricalBaselines
from sequifier.training.baselines.history import Column, Found, Targets, TrainingData, read
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import CategoricalScores

Floats = NDArray[np.float64]

NAMES = ("prior", "last event", "last 2 events", "last 3 events", "logistic regression")
_LOGISTIC = NAMES[-1]
_MOST_CLASSES = 50
"""Number of classes above which there is no logistic regression, which would take minutes."""
_CATEGORIES = 128
"""Categories of a column that have features of their own: the most frequent ones."""
_REGRESSED = 1 << 14
"""Training targets of the regression; of more, as many spread evenly are used."""
_EVENTS = 1 << 20
"""Events that are summarised together."""
_PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
"""Penalties of the squared weights that are tried, of standardised features."""
_STEPS = 200
"""Largest number of steps of L-BFGS."""


class LabelBaselines:
    """The baselines of one categorical target that belongs to whole sequences.

    Args:
        train: the training data.
        target: the target column.
        training: the training targets.
    """

    def __init__(self, train: TrainingData, target: str, training: Targets) -> None:
        self.target, n_classes = target, train.n_classes[target] - 1
        self._counts = CategoricalBaselines(train, target, training)
        self._regression: _Regression | None = None
        truth = read(train.columns[target], training.truth_rows)
        known = np.flatnonzero(truth)
        if n_classes <= _MOST_CLASSES and len(np.unique(truth[known])) > 1:
            few = known[:: max(-(-len(known) // _REGRESSED), 1)]
            summary = _Summary(train, training[few])
            classes = truth[few].astype(np.int64) - 1
            self._regression = _Regression(summary, train.columns, training[few], classes, n_classes)

    def scored(
        self, columns: Mapping[str, Column], targets: Targets, truth: NDArray[Any], criterion: TargetLoss
    ) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets, whose classes `truth` (M,) are known."""
        classes = torch.from_numpy(truth.astype(np.int64))
        for name, logits in self._logits(columns, targets):
            scores = torch.from_numpy(logits)
            found = CategoricalScores.of(scores, classes).predictions(criterion.per_position(scores, classes))
            yield name, replace(found, probabilities=scores.softmax(dim=1))

    def _logits(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[tuple[str, Floats]]:
        for name, probabilities in zip(NAMES, self._counts.dense(columns, targets), strict=False):
            yield name, np.log(probabilities)
        if self._regression is not None:
            yield _LOGISTIC, self._regression(columns, targets)


class _Summary:
    """The features of windows, (M, F).

    Args:
        train: the training data.
        training: targets, whose windows decide which categories have features.
    """

    def __init__(self, train: TrainingData, training: Targets) -> None:
        self._real, n_classes = train.real, train.n_classes
        self._places: dict[str, NDArray[np.int64]] = {}  # column -> place of each id among the features; 0: all others
        for column in train.categorical:
            counts = np.zeros(n_classes[column], dtype=np.int64)
            for part in _parts(training):
                counts += np.bincount(read(train.columns[column], _events_of(part)), minlength=n_classes[column])
            kept = np.argsort(-counts, kind="stable")[:_CATEGORIES]
            kept = kept[counts[kept] > 0]
            self._places[column] = np.zeros(n_classes[column], dtype=np.int64)
            self._places[column][kept] = np.arange(1, len(kept) + 1)

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        """Return the features of targets, (M, F)."""
        return np.concatenate([self._of(columns, part) for part in _parts(targets)])

    def _of(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        rows, n_events = _events_of(targets), targets.n_readable
        owner = np.repeat(np.arange(len(targets)), n_events)
        found = [np.log(n_events)[:, None]]
        for column, places in self._places.items():
            width = int(places.max(initial=0)) + 1
            place = places[read(columns[column], rows)]
            counts = np.bincount(owner * width + place, minlength=len(targets) * width).reshape(-1, width)
            last = np.zeros(counts.shape)
            last[np.arange(len(targets)), places[read(columns[column], targets.rows - 1)]] = 1
            found += [np.log1p(counts), last]
        for column in self._real:
            values = read(columns[column], rows).astype(np.float64)
            mean = np.bincount(owner, weights=values, minlength=len(targets)) / n_events
            square = np.bincount(owner, weights=(values - mean[owner]) ** 2, minlength=len(targets)) / n_events
            last_value = read(columns[column], targets.rows - 1).astype(np.float64)
            found.append(np.stack([mean, np.sqrt(square), last_value], axis=1))
        return np.concatenate(found, axis=1)


class _Regression:
    """Multinomial logistic regression with a penalty that is chosen on a fifth of the training sequences."""

    def __init__(
        self,
        summary: _Summary,
        columns: Mapping[str, Column],
        targets: Targets,
        truth: NDArray[np.int64],
        n_classes: int,
    ) -> None:
        self._summary, self._n_classes = summary, n_classes
        features = summary(columns, targets)
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        x, y = torch.from_numpy((features - self._mean) / self._scale), torch.from_numpy(truth)
        # Prefixes of one sequence are on one side.
        sequence = np.unique(targets.first, return_inverse=True)[1]
        is_held_out = torch.from_numpy(sequence % 5 == 4)
        penalty = _PENALTIES[len(_PENALTIES) // 2]
        if bool(is_held_out.any()):
            inside = ~is_held_out
            tried = [
                F.cross_entropy(x[is_held_out] @ weights + bias, y[is_held_out]).item()
                for weights, bias in (self._fit(x[inside], y[inside], each) for each in _PENALTIES)
            ]
            penalty = _PENALTIES[int(np.argmin(tried))]
        weights, bias = self._fit(x, y, penalty)
        self._weights, self._bias = weights.numpy(), bias.numpy()

    def __call__(self, columns: Mapping[str, Column], targets: Targets) -> Floats:
        """Return logits, (M, K)."""
        logits: Floats = ((self._summary(columns, targets) - self._mean) / self._scale) @ self._weights + self._bias
        return logits

    def _fit(self, x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        weights = torch.zeros(x.shape[1], self._n_classes, dtype=torch.float64, requires_grad=True)
        # A class that does not occur would have a bias of minus infinity.
        start = (torch.bincount(y, minlength=self._n_classes).double() + 0.5).log()
        bias = (start - start.logsumexp(0)).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weights, bias], max_iter=_STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(x @ weights + bias, y) + penalty / 2 * (weights**2).sum()
            value = value + 0.5 / len(y) * ((bias - start) ** 2).sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return weights.detach(), bias.detach()


def _events_of(targets: Targets) -> NDArray[np.int64]:
    """Return the rows of all events that may be read, target by target."""
    return rows_from(targets.rows - targets.n_readable, targets.n_readable)


def _parts(targets: Targets) -> Iterator[Targets]:
    """Yield targets in parts of about `_EVENTS` events."""
    number = np.cumsum(targets.n_readable) // _EVENTS
    for part in np.unique(number):
        yield targets[np.flatnonzero(number == part)]
