"""N-gram counts with interpolated absolute discounting, in tables of the n-grams that occur, not of all classes.

p(c | h) = max(n(h, c) - D, 0) / n(h) + D u(h) / n(h) * p(c | h'), with n the counts of the training targets, u(h) the
number of distinct classes after h, and h' the history h without its oldest event; the unigram backs off to the uniform
distribution, and a history that never occurred to h'. Source: Ney, Essen and Kneser 1994, "On structuring probabilistic
dependences in stochastic language modelling", section 4; interpolated as in Chen and Goodman 1999, "An empirical study
of smoothing techniques for language modeling", section 2.7. D of each order maximises the leaving-one-out likelihood of
the training targets itself, of which the papers' n1 / (n1 + 2 n2) is an approximation.
Shapes: M targets, C contexts and E entries (context, class) of one order, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.dataset.windows import rows_from
from sequifier.training.predictions import CategoricalScores

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

_DISCOUNTS = (0.05, 1.0)
"""Range of D. Without singletons the likelihood is largest at 0, which makes n-grams that never occurred impossible."""
_LIKELIHOOD_ENTRIES = 1 << 20
"""Entries on which D is fitted; of more entries, as many spread evenly."""


@dataclass(frozen=True)
class Order:
    """The counts of one length of history.

    Attributes:
        context_keys: number of the shorter context * base + oldest symbol, (C,), ascending.
        parent: number of the shorter context, (C,).
        begin: first entry of each context, (C + 1,).
        entry_keys: number of the context * base + class, (E,), ascending.
        probability: p(c | h), (E,).
        lower: p(c | h'), (E,).
        backoff: D u(h) / n(h), the weight of p(c | h'), (C,).
        sorted_probability: `probability`, ascending within each context, (E,).
        sorted_lower: `lower`, ascending within each context, (E,).
        best: the most probable class, (C,).
        best_probability: its probability, (C,).
        discount: D.
        log_likelihood: leaving-one-out log-likelihood of the training targets.
    """

    context_keys: Rows
    parent: Rows
    begin: Rows
    entry_keys: Rows
    probability: Floats
    lower: Floats
    backoff: Floats
    sorted_probability: Floats
    sorted_lower: Floats
    best: Rows
    best_probability: Floats
    discount: float
    log_likelihood: float


class NGrams:
    """Counts of a categorical target after the 0 to `max_order` last symbols of a column.

    Args:
        truth: class of each training target, 1 to K, (M,), without unknown ones.
        history: `max_order` arrays of symbols 0 to n_symbols - 1, (M,) each, the latest first.
        n_classes: K.
        n_symbols: number of symbols of the history.

    Attributes:
        base: of the keys: an entry's is the number of its context * base + class.
    """

    def __init__(self, truth: NDArray[Any], history: Sequence[NDArray[Any]], n_classes: int, n_symbols: int) -> None:
        self.n_classes, self.max_order = n_classes, len(history)
        self.base = np.int64(max(n_classes + 1, n_symbols))
        self.orders: list[Order] = []
        context, n_contexts = np.zeros(len(truth), dtype=np.int64), 1
        context_keys, parent = np.zeros(1, np.int64), np.zeros(1, np.int64)
        # Below the unigram: the uniform distribution, of one context and no counts.
        none = np.zeros(0)
        below = _Below(np.zeros(0, np.int64), none, none, np.ones(1, np.int64), np.full(1, 1.0 / n_classes))
        for order in range(self.max_order + 1):
            if order:
                context_keys, context = np.unique(context * self.base + history[order - 1], return_inverse=True)
                parent, n_contexts = context_keys // self.base, len(context_keys)
            entry_keys, counts = np.unique(context * self.base + truth, return_counts=True)
            found, below = self._order(context_keys, parent, n_contexts, entry_keys, counts.astype(np.float64), below)
            self.orders.append(found)

    def _order(
        self, context_keys: Rows, parent: Rows, n_contexts: int, entry_keys: Rows, counts: Floats, below: "_Below"
    ) -> tuple[Order, "_Below"]:
        owner, class_id = np.divmod(entry_keys, self.base)
        distinct: Floats = np.bincount(owner, minlength=n_contexts).astype(np.float64)
        total: Floats = np.bincount(owner, weights=counts, minlength=n_contexts).astype(np.float64)
        begin = np.concatenate([[0], np.cumsum(distinct)]).astype(np.int64)
        if len(below.keys):
            place = np.searchsorted(below.keys, parent[owner] * self.base + class_id)
            lower, lower_loo = below.probability[place], below.loo[place]
        else:
            lower = lower_loo = np.full(len(entry_keys), 1.0 / self.n_classes)
        discount = _discount(counts, total[owner], distinct[owner], lower_loo)
        loo = _left_out(discount, counts, total[owner], distinct[owner], lower_loo)
        backoff = discount * distinct / total
        probability = np.maximum(counts - discount, 0.0) / total[owner] + backoff[owner] * lower
        by_probability = _sorted_within(probability, owner, begin)
        sorted_probability = probability[by_probability]
        top = begin[1:] - 1
        best, best_probability = class_id[by_probability[top]], sorted_probability[top]
        # A class without an entry is at most as probable as the best one of the shorter history, scaled.
        unlisted = backoff * below.best_probability[parent]
        better = unlisted > best_probability
        best = np.where(better, below.best[parent], best)
        best_probability = np.where(better, unlisted, best_probability)
        order = Order(
            context_keys,
            parent,
            begin,
            entry_keys,
            probability,
            lower,
            backoff,
            sorted_probability,
            lower[_sorted_within(lower, owner, begin)],
            best,
            best_probability,
            discount,
            float((counts * np.log(loo)).sum()),
        )
        return order, _Below(entry_keys, probability, loo, best, best_probability)

    def look_up(self, history: Sequence[NDArray[Any]], n_known: Rows) -> list[Rows]:
        """Return the context of each target at each order, (M,) each; -1 if the history never occurred or is unknown.

        Args:
            history: as in training, (M,) each.
            n_known: number of symbols of the history that may be read, (M,).
        """
        found = [np.zeros(len(n_known), dtype=np.int64)]
        for number, order in enumerate(self.orders[1:], start=1):
            shorter = found[-1]
            keys = shorter * self.base + history[number - 1]
            place = np.minimum(np.searchsorted(order.context_keys, keys), len(order.context_keys) - 1)
            known = (shorter >= 0) & (n_known >= number) & (order.context_keys[place] == keys)
            found.append(np.where(known, place, -1))
        return found

    def probabilities(self, contexts: Sequence[Rows], truth: Rows) -> list[Floats]:
        """Return p(truth | history) for the uniform distribution, then for each order of `contexts`, (M,) each."""
        found = [np.full(len(truth), 1.0 / self.n_classes)]
        for order, context in zip(self.orders, contexts, strict=False):
            keys = context * self.base + truth
            place = np.minimum(np.searchsorted(order.entry_keys, keys), len(order.entry_keys) - 1)
            listed = (context >= 0) & (order.entry_keys[place] == keys)
            probability = np.where(context >= 0, order.backoff[context], 1.0) * found[-1]
            found.append(np.where(listed, order.probability[place], probability))
        return found

    def scores(self, contexts: Sequence[Rows], truth: Rows) -> Iterator[CategoricalScores]:
        """Yield the exact scores of each order, from the unigram on, without a row of K probabilities.

        Args:
            contexts: as `look_up` returns them.
            truth: class ids 1 to K, (M,).
        """
        for number in range(self.max_order + 1):
            longest, n_before = contexts[0], 0  # contexts of all orders with distinct numbers
            for order, context in zip(self.orders[:number], contexts[1 : number + 1], strict=True):
                n_before += len(order.backoff)
                longest = np.where(context >= 0, context + n_before, longest)
            # Targets with equal class and history are scored once.
            _, chosen, place = np.unique(longest * self.base + truth, return_index=True, return_inverse=True)
            here, class_id = [context[chosen] for context in contexts[: number + 1]], truth[chosen]
            probabilities = self.probabilities(here, class_id)
            best, confidence = self._best(here)
            rank = self._n_at_least(here, class_id, probabilities) - 1
            found = (class_id - 1, -np.log(probabilities[-1]), best - 1, confidence, rank)
            yield CategoricalScores(self.n_classes, *(torch.from_numpy(values[place]) for values in found))

    def log_sums(self, contexts: Sequence[Rows], weights: Floats) -> Iterator[Floats]:
        """Yield for each order the sum over classes of weights[c - 1] * log p(c | history), (M,)."""
        below = np.full(1, float(weights.sum()) * np.log(1.0 / self.n_classes))
        targets = below[np.zeros(len(contexts[0]), dtype=np.int64)]
        for order, context in zip(self.orders, contexts, strict=True):
            owner, class_id = np.divmod(order.entry_keys, self.base)
            more = weights[class_id - 1] * np.log(order.probability / (order.backoff[owner] * order.lower))
            below = (
                np.bincount(owner, weights=more, minlength=len(order.backoff))
                + weights.sum() * np.log(order.backoff)
                + below[order.parent]
            )
            targets = np.where(context >= 0, below[context], targets)
            yield targets

    def dense(self, contexts: Sequence[Rows]) -> Floats:
        """Return all probabilities, (M, K), of the last order of `contexts`; for few targets at a time."""
        table = np.full((len(contexts[0]), self.n_classes), 1.0 / self.n_classes)
        for order, context in zip(self.orders, contexts, strict=False):
            found = np.flatnonzero(context >= 0)
            table[found] *= order.backoff[context[found], None]
            first, last = order.begin[context[found]], order.begin[context[found] + 1]
            row = np.repeat(found, last - first)
            entry = rows_from(first, last - first)
            table[row, order.entry_keys[entry] % self.base - 1] = order.probability[entry]
        return table

    def _best(self, contexts: Sequence[Rows]) -> tuple[Rows, Floats]:
        best = np.zeros(len(contexts[0]), dtype=np.int64)
        probability = np.zeros(len(best))
        for order, context in zip(self.orders, contexts, strict=False):
            best = np.where(context >= 0, order.best[context], best)
            probability = np.where(context >= 0, order.best_probability[context], probability)
        return best, probability

    def _n_at_least(self, contexts: Sequence[Rows], truth: Rows, probabilities: Sequence[Floats]) -> Rows:
        """Return the number of classes that are at least as probable as the true one, itself included, (M,).

        Counted are the classes with an entry at the longest history, then those with an entry at shorter ones only: a
        class without an entry keeps its rank among the classes of the shorter history.
        """
        count = np.zeros(len(truth), dtype=np.int64)
        least = probabilities[len(contexts)].copy()
        for number in range(len(contexts) - 1, -1, -1):
            order, chosen = self.orders[number], np.flatnonzero(contexts[number] >= 0)
            context = contexts[number][chosen]
            first, last = order.begin[context], order.begin[context + 1]
            count[chosen] += last - _first_at_least(order.sorted_probability, first, last, least[chosen])
            # The value of a true class without an entry is known; the quotient may exceed it by rounding, which would
            # lose ties.
            keys = context * self.base + truth[chosen]
            place = np.minimum(np.searchsorted(order.entry_keys, keys), len(order.entry_keys) - 1)
            is_known = (order.entry_keys[place] != keys) & (least[chosen] == probabilities[number + 1][chosen])
            quotient = least[chosen] / order.backoff[context] * (1.0 - 4.0 * np.finfo(np.float64).eps)
            lower = np.where(is_known, probabilities[number][chosen], quotient)
            count[chosen] -= last - _first_at_least(order.sorted_lower, first, last, lower)
            least[chosen] = lower
        count += np.where(least <= 1.0 / self.n_classes, self.n_classes, 0)
        return count


@dataclass(frozen=True)
class _Below:
    """The part of an order that the next longer one needs."""

    keys: Rows
    probability: Floats
    loo: Floats
    best: Rows
    best_probability: Floats


def _left_out(discount: float, counts: Floats, total: Floats, distinct: Floats, lower: Floats) -> Floats:
    """Return the probability of an event of each entry, counted without that event, (E,)."""
    constant, slope = _affine(counts, distinct, lower)
    alone = total == 1.0
    return np.where(alone, lower, (constant + discount * slope) / np.where(alone, 1.0, total - 1.0))


def _affine(counts: Floats, distinct: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """Return constant and slope of the leaving-one-out probability times n(h) - 1, which is constant + D * slope."""
    repeated = counts > 1.0
    return counts - 1.0, (distinct - ~repeated) * lower - repeated


def _discount(counts: Floats, total: Floats, distinct: Floats, lower: Floats) -> float:
    """Return the D with the largest leaving-one-out likelihood, a sum of logs of lines in D, which has one maximum.

    Where no history occurs twice, there is no evidence for the counts, and D is the largest of its range.
    """
    step = max(len(counts) // _LIKELIHOOD_ENTRIES, 1)
    here = np.flatnonzero(total[::step] > 1.0) * step
    counts = counts[here]
    constant, slope = _affine(counts, distinct[here], lower[here])
    low, high = _DISCOUNTS
    for _ in range(16):
        middle = (low + high) / 2
        if (counts * slope / (constant + middle * slope)).sum() >= 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _sorted_within(values: Floats, owner: Rows, begin: Rows) -> Rows:
    """Return the entries in ascending order of `values` within each context, (E,); most long contexts have one."""
    found = np.arange(len(values))
    several = np.flatnonzero((np.diff(begin) > 1)[owner])
    by_value = np.argsort(values[several])
    place = np.empty_like(by_value)
    place[by_value] = np.arange(len(by_value))
    found[several] = several[np.argsort(owner[several] * len(several) + place)]
    return found


def _first_at_least(values: Floats, first: Rows, last: Rows, least: Floats) -> Rows:
    """Return the first index in [first, last) at which the ascending `values` are at least `least`, else `last`."""
    low, high = first.copy(), last.copy()
    searched = np.flatnonzero(low < high)
    while len(searched):
        middle = (low[searched] + high[searched]) // 2
        below = values[middle] < least[searched]
        low[searched[below]] = middle[below] + 1
        high[searched[~below]] = middle[~below]
        searched = searched[low[searched] < high[searched]]
    return low
