"""Baselines of a categorical target: popularity, and back-off counts of the last one to three events.

Shapes: M targets, K known classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import is_known
from sequifier.dataset.ranking.candidates import Candidates
from sequifier.model.device import in_double
from sequifier.training.baselines.counts import NGrams
from sequifier.training.baselines.history import Column, Found, Rows, Targets, TrainingData, read
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import CategoricalScores
from sequifier.training.ranked import ranked

NAMES = ("unigram", "bigram back-off", "trigram back-off", "4-gram back-off")
"""By order: the number of previous events that are used."""
MAX_ORDER = len(NAMES) - 1
_CHOSEN_ON = 1 << 18
"""Approximate number of training targets on which the source column of a target that is not an input is chosen."""
_DENSE = 1 << 22
"""Probabilities that are computed together for a criterion that needs the probabilities of all classes."""


class CategoricalBaselines:
    """The baselines of one categorical target.

    Args:
        train: the training data. A target that is an input is counted after its own previous events, another target
            after the events of the input whose last event predicts it best.
        target: the target column.
        training: the training targets.
        candidates: among which the true class is ranked; None: it is not.
    """

    def __init__(
        self,
        train: TrainingData,
        target: str,
        training: Targets,
        candidates: Candidates | None = None,
    ) -> None:
        n_classes, inputs = train.n_classes, train.categorical
        self.target, self._n_classes, self._candidates = target, n_classes[target] - 1, candidates
        self.source = target if target in inputs else None
        if self.source is None and inputs:
            few = training[:: max(len(training) // _CHOSEN_ON, 1)]
            likelihood = {
                column: self._counted(train.columns, few, column, n_classes[column], 1).orders[-1].log_likelihood
                for column in inputs
            }
            self.source = max(likelihood, key=likelihood.__getitem__)
        self._boundary = 0 if self.source is None else n_classes[self.source]
        order = 0 if self.source is None else min(MAX_ORDER, train.seq_length)
        self._counts = self._counted(train.columns, training, self.source or target, self._boundary, order)

    def _counted(
        self, columns: Mapping[str, Column], targets: Targets, source: str, boundary: int, max_order: int
    ) -> NGrams:
        truth = read(columns[self.target], targets.truth_rows)
        known = np.flatnonzero(is_known(truth))
        history = _history(columns[source], targets[known], boundary, max_order)
        return NGrams(truth[known].astype(np.int64), history, self._n_classes, boundary + 1)

    def scored(
        self,
        columns: Mapping[str, Column],
        targets: Targets,
        truth: NDArray[Any],
        criterion: TargetLoss,
    ) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets, whose classes `truth` (M,) are known."""
        classes = truth.astype(np.int64)
        contexts = self._contexts(columns, targets)
        ahead = None if self._candidates is None else self._ahead(self._candidates, contexts, classes, targets.rows)
        for number, (scores, loss) in enumerate(_loss(self._counts, contexts, classes, criterion)):
            found = scores.predictions(loss)
            if self._candidates is not None:
                of_order = None if ahead is None else in_double(torch.from_numpy(ahead[number]))
                found = ranked(self._candidates, found, of_order)
            yield NAMES[number], found

    def dense(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[NDArray[np.float64]]:
        """Yield the probabilities of all classes by each baseline, (M, K)."""
        contexts = self._contexts(columns, targets)
        for order in range(len(contexts)):
            yield self._counts.dense(contexts[: order + 1])

    def _contexts(self, columns: Mapping[str, Column], targets: Targets) -> list[Rows]:
        order = self._counts.max_order
        history = [] if self.source is None else _history(columns[self.source], targets, self._boundary, order)
        return self._counts.look_up(history, targets.rows - targets.begin)

    def _ahead(self, candidates: Candidates, contexts: Sequence[Rows], truth: Rows, rows: Rows) -> Rows | None:
        """Return what `Candidates.ahead` counts by each order, (orders, M); None: there is nothing to count."""
        if not candidates.depends_on_history and candidates.end is None:
            return None
        _, *least = self._counts.probabilities(contexts, truth)

        def is_ahead(owner: Rows, classes: Rows) -> list[NDArray[np.bool_]]:
            _, *found = self._counts.probabilities([context[owner] for context in contexts], classes)
            return [of_order >= of_truth[owner] for of_order, of_truth in zip(found, least, strict=True)]

        return candidates.ahead(rows, is_ahead, len(contexts))


def _loss(
    counts: NGrams, contexts: Sequence[Rows], truth: Rows, criterion: TargetLoss
) -> Iterator[tuple[CategoricalScores, Tensor]]:
    """Yield the predictions of each order, and the criterion at each target, (M,)."""
    needed = _Needed(criterion, counts.n_classes)
    spread = counts.log_sums(contexts, needed.weights) if needed.smoothing else None
    for number, scores in enumerate(counts.scores(contexts, truth)):
        if needed.all_classes:
            yield scores, _dense_loss(counts, contexts[: number + 1], truth, criterion)
            continue
        loss = scores.log_loss * torch.from_numpy(needed.weights[truth - 1])
        if spread is not None:
            share = needed.smoothing / counts.n_classes
            loss = (1 - needed.smoothing) * loss - share * torch.from_numpy(next(spread))
        yield scores, loss


class _Needed:
    """What a criterion needs of a distribution besides the probability of the true class.

    Attributes:
        weights: of the classes, (K,) float64.
        smoothing: label smoothing, which needs the mean log-probability.
        all_classes: whether the criterion needs all probabilities.
    """

    def __init__(self, criterion: TargetLoss, n_classes: int) -> None:
        weights = criterion.class_weights
        self.weights = np.ones(n_classes) if weights is None else weights.cpu().double().numpy()
        self.smoothing = criterion.label_smoothing or 0.0
        self.all_classes = criterion.label_smoothing is None


def _dense_loss(counts: NGrams, contexts: Sequence[Rows], truth: Rows, criterion: TargetLoss) -> Tensor:
    step = max(_DENSE // counts.n_classes, 1)
    parts = [
        criterion.per_position(
            torch.from_numpy(counts.dense([context[start : start + step] for context in contexts])).log(),
            torch.from_numpy(truth[start : start + step]),
        )
        for start in range(0, len(truth), step)
    ]
    return torch.cat(parts).double()


def _history(column: Column, targets: Targets, boundary: int, order: int) -> list[NDArray[Any]]:
    """Return the previous symbols of each target, the latest first; `boundary` marks rows before the sequence."""
    found = []
    for lag in range(1, order + 1):
        rows = targets.rows - lag
        values = read(column, np.maximum(rows, targets.first))
        found.append(np.where(rows >= targets.first, values, values.dtype.type(boundary)))
    return found
