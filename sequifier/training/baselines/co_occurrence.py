"""The co-occurrence baseline of a ranked target: which classes follow its last ten events, however far behind them.

p(c | h) is the mean over the last ten events i of p(c | i), counted over all pairs of a class and one of the ten events
before it, with the discounting of `counts`. It is the item-based neighbourhood method of recommenders, as a
distribution: Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms"; ItemKNN of RecBole.
Each event has its 50 most frequent followers; the others are as probable as without it.
Shapes: M targets, L last events, E pairs (target, class) of which a class follows one of the target's last events, K
classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.dataset.windows import rows_from
from sequifier.training.baselines.counts import NGrams
from sequifier.training.baselines.history import Column, Rows, Targets, read
from sequifier.training.predictions import CategoricalScores

Floats = NDArray[np.float64]

LAST = 10
"""Number of last events."""
NEIGHBOURS = 50
"""Followers of an event that are kept."""
_PAIRS = 1 << 23
"""Pairs that are counted; of more, those of evenly spread targets are used."""
_ENTRIES = 1 << 22
"""Followers of targets that are in memory together."""
_ROUNDING = 1.0 - 8.0 * np.finfo(np.float64).eps
"""Sums of equal terms in another order still count as equal: ties count against the true class."""


class CoOccurrence:
    """Counts of a target after each of the last events.

    Args:
        columns: of the training events, with target and source.
        target: a categorical column.
        source: the categorical input whose events count.
        training: training targets with a known class.
        n_classes: K.
        n_symbols: number of ids of the source.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        target: str,
        source: str,
        training: Targets,
        n_classes: int,
        n_symbols: int,
    ) -> None:
        self._source, self.n_classes = source, n_classes
        training = training[:: max(-(-len(training) * LAST // _PAIRS), 1)]
        truth = read(columns[target], training.truth_rows).astype(np.int64)
        owner, symbols = self._last(columns, training)
        counts = NGrams(truth[owner], [symbols], n_classes, n_symbols)
        self._unigram: Floats = counts.dense([np.zeros(1, dtype=np.int64)])[0]
        self._ascending = np.sort(self._unigram)
        order = counts.orders[1]
        self._symbols = order.context_keys
        of, class_id = np.divmod(order.entry_keys, counts.base)
        gain = order.probability - order.backoff[of] * order.lower
        best_first = np.lexsort((-gain, of))
        place = np.arange(len(of)) - order.begin[of]
        kept = np.zeros(len(of), dtype=bool)
        kept[best_first] = place < NEIGHBOURS
        self._backoff = order.backoff + np.bincount(of[~kept], weights=gain[~kept], minlength=len(order.backoff))
        self._gain, self._class = gain[kept], class_id[kept]
        self._begin = np.concatenate([[0], np.cumsum(np.bincount(of[kept], minlength=len(order.backoff)))])

    def parts(self, columns: Mapping[str, Column], targets: Targets) -> Iterator[tuple[slice, "Scores"]]:
        """Yield the scores of targets, in parts that fit into memory."""
        size = max(_ENTRIES // (LAST * NEIGHBOURS), 1)
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            yield part, self._scores(columns, targets[part])

    def _last(self, columns: Mapping[str, Column], targets: Targets) -> tuple[Rows, NDArray[Any]]:
        """Return the last events of targets: places in `targets`, and symbols."""
        n_events = np.minimum(targets.n_readable, LAST)
        rows = rows_from(targets.rows - n_events, n_events)
        return np.repeat(np.arange(len(targets)), n_events), read(columns[self._source], rows)

    def _scores(self, columns: Mapping[str, Column], targets: Targets) -> "Scores":
        owner, symbols = self._last(columns, targets)
        weight = 1.0 / np.bincount(owner, minlength=len(targets))[owner]
        context = np.minimum(np.searchsorted(self._symbols, symbols), len(self._symbols) - 1)
        is_known = self._symbols[context] == symbols
        backoff = np.where(is_known, self._backoff[context], 1.0)
        unlisted: Floats = np.bincount(owner, weights=backoff * weight, minlength=len(targets)).astype(np.float64)
        owner, context, weight = owner[is_known], context[is_known], weight[is_known]
        first = self._begin[context]
        n_followers = self._begin[context + 1] - first
        entry = rows_from(first, n_followers)
        keys = np.repeat(owner, n_followers) * np.int64(self.n_classes + 1) + self._class[entry]
        order = np.argsort(keys, kind="stable")
        keys, gain = keys[order], (self._gain[entry] * np.repeat(weight, n_followers))[order]
        begin = np.flatnonzero(np.diff(keys, prepend=-1))
        gain = np.add.reduceat(gain, begin) if len(begin) else gain
        return Scores(self.n_classes, self._unigram, self._ascending, unlisted, keys[begin], gain)


@dataclass(frozen=True)
class Scores:
    """The probabilities of some targets: those of unigrams times `unlisted`, plus the gains of followers.

    Attributes:
        n_classes: K.
        unigram, ascending: probabilities, (K,), by class and sorted.
        unlisted: (M,).
        keys: target * (K + 1) + class of each follower, (E,), ascending.
        gain: of each follower, (E,).
    """

    n_classes: int
    unigram: Floats
    ascending: Floats
    unlisted: Floats
    keys: Rows
    gain: Floats

    def of(self, owner: Rows, classes: Rows) -> Floats:
        """Return the probabilities of classes, 1 to K, of some targets."""
        found: Floats = self.unlisted[owner] * self.unigram[classes - 1]
        if len(self.keys):
            wanted = owner * np.int64(self.n_classes + 1) + classes
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            found += np.where(self.keys[place] == wanted, self.gain[place], 0.0)
        return found

    def log_sums(self, weights: Floats) -> Floats:
        """Return the sum over classes of weights[c - 1] * log p(c), (M,)."""
        owner, classes = np.divmod(self.keys, self.n_classes + 1)
        base = self.unlisted[owner] * self.unigram[classes - 1]
        more = np.bincount(
            owner, weights=weights[classes - 1] * np.log1p(self.gain / base), minlength=len(self.unlisted)
        )
        found: Floats = weights @ np.log(self.unigram) + weights.sum() * np.log(self.unlisted) + more
        return found

    def is_ahead(self, truth: Rows) -> Callable[[Rows, Rows], Sequence[NDArray[np.bool_]]]:
        """Return whether classes are at least as probable as the true ones, (M,), as `Candidates.ahead` asks."""
        own = self.of(np.arange(len(truth)), truth) * _ROUNDING
        return lambda owner, classes: [self.of(owner, classes) >= own[owner]]

    def compared(self, truth: Rows) -> CategoricalScores:
        """Compare with the true classes, 1 to K, (M,)."""
        n_targets, every = len(truth), np.arange(len(truth))
        own = self.of(every, truth)
        owner, classes = np.divmod(self.keys, self.n_classes + 1)
        unigram = self.unigram[classes - 1]
        score = self.unlisted[owner] * unigram + self.gain
        # A class without a gain is at most as probable as the most frequent class.
        best = np.full(n_targets, int(self.unigram.argmax()) + 1)
        confidence = self.of(every, best)
        begin = np.flatnonzero(np.diff(owner, prepend=-1))
        highest = np.zeros(n_targets)
        highest[owner[begin]] = np.maximum.reduceat(score, begin) if len(begin) else 0.0
        better = np.flatnonzero((score == highest[owner]) & (score > confidence[owner]))
        best[owner[better]], confidence[owner[better]] = classes[better], score[better]
        # Classes without a gain are in the order of their unigrams.
        has_gain = own > self.unlisted * self.unigram[truth - 1]
        least = np.where(has_gain, own / self.unlisted * _ROUNDING, self.unigram[truth - 1])
        n_at_least = self.n_classes - np.searchsorted(self.ascending, least, side="left")
        more = (score >= own[owner] * _ROUNDING).astype(np.float64) - (unigram >= least[owner])
        n_at_least = n_at_least + np.bincount(owner, weights=more, minlength=n_targets).astype(np.int64)
        found = (truth - 1, -np.log(own), best - 1, confidence, n_at_least - 1)
        return CategoricalScores(self.n_classes, *map(torch.from_numpy, found))
