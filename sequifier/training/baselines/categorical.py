"""Baselines of a categorical target: popularity, and back-off counts of the last one to three events.

Of a step to come they also count after the category that is known of it, before its last events. A target that is
ranked among candidates has co-occurrence with its last ten events (`co_occurrence`).

Shapes: M targets, K known classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import is_known
from sequifier.dataset.ranking.candidates import Candidates
from sequifier.metrics.predictions import ClassPredictions, Predictions
from sequifier.model.device import in_double
from sequifier.training.baselines.co_occurrence import CoOccurrence
from sequifier.training.baselines.counts import NGrams
from sequifier.training.baselines.history import Column, Found, Rows, Targets, TrainingData, read
from sequifier.training.losses import TargetLoss
from sequifier.training.predictions import CategoricalScores, joined
from sequifier.training.ranked import ranked

BY_ORDER = ("unigram", "bigram back-off", "trigram back-off", "4-gram back-off")
"""By order: the number of previous events that are used."""
MAX_ORDER = len(BY_ORDER) - 1
KNOWN, TOGETHER = "known future back-off", "co-occurrence"
NAMES = (*BY_ORDER, KNOWN, TOGETHER)
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
        self.target, self._candidates = target, candidates
        inputs, known = train.categorical, train.known_categorical
        few = training[:: max(len(training) // _CHOSEN_ON, 1)]
        self.source = target if target in inputs else None
        if self.source is None and inputs:
            self.source = max(inputs, key=lambda name: _Counts(train, target, few, name, most=1).worth)
        self._counts = _Counts(train, target, training, self.source)
        self._together: CoOccurrence | None = None
        if candidates is not None and self.source is not None:
            is_class = np.flatnonzero(is_known(read(train.columns[target], training.truth_rows)))
            sizes = train.n_classes[target] - 1, train.n_classes[self.source]
            self._together = CoOccurrence(train.columns, target, self.source, training[is_class], *sizes)
        self._after_known: _Counts | None = None
        if known:
            best = max(known, key=lambda name: _Counts(train, target, few, None, name, most=1).worth)
            self._after_known = _Counts(train, target, training, self.source, best)

    def scored(
        self,
        columns: Mapping[str, Column],
        targets: Targets,
        truth: NDArray[Any],
        criterion: TargetLoss,
    ) -> Iterator[Found]:
        """Yield the name and predictions of each baseline at some targets, whose classes `truth` (M,) are known."""
        yield from zip(BY_ORDER, self._scored(self._counts, columns, targets, truth, criterion), strict=False)
        if self._after_known is not None:  # without a symbol it is the unigram; of the other orders the best one counts
            for found in islice(self._scored(self._after_known, columns, targets, truth, criterion), 1, None):
                yield KNOWN, found
        if self._together is not None and criterion.label_smoothing is not None:
            yield TOGETHER, self._counted_together(self._together, columns, targets, truth.astype(np.int64), criterion)

    def dense(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[NDArray[np.float64]]:
        """Yield the probabilities of all classes by each baseline, (M, K)."""
        contexts = self._counts.contexts(columns, targets)
        for order in range(len(contexts)):
            yield self._counts.ngrams.dense(contexts[: order + 1])

    def _scored(
        self,
        counts: "_Counts",
        columns: Mapping[str, Column],
        targets: Targets,
        truth: NDArray[Any],
        criterion: TargetLoss,
    ) -> Iterator[ClassPredictions]:
        """Yield the predictions of each order."""
        classes, contexts = truth.astype(np.int64), counts.contexts(columns, targets)
        ahead = None
        if self._candidates is not None:
            ahead = _ahead(counts.ngrams, self._candidates, contexts, classes, targets.truth_rows)
        for number, (scores, loss) in enumerate(_loss(counts.ngrams, contexts, classes, criterion)):
            found = scores.predictions(loss)
            if self._candidates is not None:
                of_order = None if ahead is None else in_double(torch.from_numpy(ahead[number]))
                found = ranked(self._candidates, found, of_order)
            yield found

    def _counted_together(
        self,
        together: CoOccurrence,
        columns: Mapping[str, Column],
        targets: Targets,
        truth: Rows,
        criterion: TargetLoss,
    ) -> Predictions:
        candidates, needed = self._candidates, _Needed(criterion, together.n_classes)
        assert candidates is not None
        parts = []
        for part, here in together.parts(columns, targets):
            scores = here.compared(truth[part])
            spread = here.log_sums(needed.weights) if needed.smoothing else None
            ahead = None
            if not candidates.are_all_classes:
                (counted,) = candidates.ahead(targets[part].truth_rows, here.is_ahead(truth[part]))
                ahead = in_double(torch.from_numpy(counted))
            parts.append(ranked(candidates, scores.predictions(needed.loss(scores, truth[part], spread)), ahead))
        return joined(parts)


class _Counts:
    """Counts of a target after the latest symbols: what is known of its step, then the previous events of a column.

    Args:
        train: the training data.
        target: the target column.
        training: the training targets.
        source: the column of the previous events; None: they are not read.
        known: the column that is known of the step; None: none is read.
        most: largest number of symbols.
    """

    def __init__(
        self,
        train: TrainingData,
        target: str,
        training: Targets,
        source: str | None,
        known: str | None = None,
        most: int = MAX_ORDER,
    ) -> None:
        columns, n_classes = train.columns, train.n_classes
        self._source, self._known = source, known
        self._boundary = 0 if source is None else n_classes[source]  # marks rows before the sequence
        n_events = 0 if source is None else train.seq_length
        self._order = min(most, n_events + (known is not None))
        truth = read(columns[target], training.truth_rows)
        is_class = np.flatnonzero(is_known(truth))
        n_symbols = max(self._boundary + 1, 0 if known is None else n_classes[known])
        history = self._history(columns, training[is_class])
        self.ngrams = NGrams(truth[is_class].astype(np.int64), history, n_classes[target] - 1, n_symbols)

    @property
    def worth(self) -> float:
        """How well the longest history predicts; comparable between columns."""
        return self.ngrams.orders[-1].log_likelihood

    def contexts(self, columns: Mapping[str, Column], targets: Targets) -> list[Rows]:
        """Return the contexts of targets, as `NGrams.look_up` does."""
        n_symbols = targets.rows - targets.begin + (self._known is not None)
        return self.ngrams.look_up(self._history(columns, targets), n_symbols)

    def _history(self, columns: Mapping[str, Column], targets: Targets) -> list[NDArray[Any]]:
        """Return the symbols of each target, the latest first."""
        found = [] if self._known is None else [read(columns[self._known], targets.truth_rows)]
        for lag in range(1, self._order - len(found) + 1):
            assert self._source is not None
            rows = targets.rows - lag
            values = read(columns[self._source], np.maximum(rows, targets.first))
            found.append(np.where(rows >= targets.first, values, values.dtype.type(self._boundary)))
        return found


def _ahead(counts: NGrams, candidates: Candidates, contexts: Sequence[Rows], truth: Rows, rows: Rows) -> Rows | None:
    """Return what `Candidates.ahead` counts by each order, (orders, M); None: there is nothing to count."""
    if candidates.are_all_classes:
        return None
    _, *least = counts.probabilities(contexts, truth)

    def is_ahead(owner: Rows, classes: Rows) -> list[NDArray[np.bool_]]:
        _, *found = counts.probabilities([context[owner] for context in contexts], classes)
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
        yield scores, needed.loss(scores, truth, None if spread is None else next(spread))


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

    def loss(self, scores: CategoricalScores, truth: Rows, log_sums: NDArray[np.float64] | None) -> Tensor:
        """Return the criterion at each target, (M,); `log_sums` where labels are smoothed."""
        loss = scores.log_loss * torch.from_numpy(self.weights[truth - 1])
        if log_sums is None:
            return loss
        share = self.smoothing / len(self.weights)
        return (1 - self.smoothing) * loss - share * torch.from_numpy(log_sums)


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
