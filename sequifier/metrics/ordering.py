"""Metrics of how well probabilities order the sequences by their label: the areas under the ROC and the PR curve.

They compare all sequences with each other, so they are computed from all probabilities of a split at once. `auc` is
one-vs-rest: its mean over the classes. With labels that are predicted from every prefix, both are computed among the
prefixes of each length, and averaged with the numbers of prefixes as weights (Teinemaa et al. 2019,
https://doi.org/10.1145/3301300, section 4.3.1). A length at which one class is left has no value, and no weight.
Shapes: M predictions, K known classes, G lengths.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.config.catalogue.metric_names import ORDERING_METRICS

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
ByLength = dict[str, list[float | None]]
"""Metric -> its value at each number of events from 1; None: it has none."""

LONGEST_SHOWN = 20
"""Largest number of events of a prefix whose metrics are stored."""


@dataclass(frozen=True, eq=False)
class Ordering:
    """The predictions of a label.

    Attributes:
        probabilities: (M, K), of any float type.
        truth: (M,) true class, 0 to K - 1.
        positive: the class of `average_precision`.
        length: (M,) number of events of each prefix, whose lengths are compared separately; None: all together.
    """

    probabilities: NDArray[np.floating[Any]]
    truth: Integers
    positive: int
    length: Integers | None = None

    def metrics(self, kept: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Return the metrics of the predictions `kept`, (M,), or of all; one that has no value is left out."""
        found = {}
        for name in ORDERING_METRICS:
            value, count = self.by_length(name, kept)
            has_value = ~np.isnan(value)
            if has_value.any():
                found[name] = float((value[has_value] * count[has_value]).sum() / count[has_value].sum())
        return found

    def by_length(self, name: str, kept: NDArray[np.bool_] | None = None) -> tuple[Floats, Floats]:
        """Return a metric at each length, NaN where it has no value, and the number of predictions, (G,) each."""
        count = _total(self._group, self.n_groups, kept)
        if name == "average_precision":
            return self._sorted(self.positive).average_precision(kept), count
        n_classes = self.probabilities.shape[1]
        # The curves of two classes mirror each other.
        classes = range(n_classes) if n_classes > 2 else [self.positive]
        areas = np.stack([self._sorted(each).auc(kept) for each in classes])  # (K, G)
        has_value = ~np.isnan(areas)
        n_values = has_value.sum(axis=0)
        total = np.where(has_value, areas, 0.0).sum(axis=0)
        return np.where(n_values > 0, total / np.maximum(n_values, 1), np.nan), count

    @property
    def n_left_out(self) -> int:
        """Number of lengths at which one class is left, so that the areas have no value."""
        return int(np.isnan(self.by_length("auc")[0]).sum())

    def table(self, longest: int = LONGEST_SHOWN) -> ByLength:
        """Return metrics at each length from 1 to `longest`, as far as there are predictions; None: no value.

        `n` is the number of predictions.
        """
        of_truth = np.take_along_axis(self.probabilities, self.truth[:, None], axis=1)[:, 0].astype(np.float64)
        rank = (self.probabilities >= of_truth[:, None]).sum(axis=1)  # a tie counts against the truth
        tiny = np.finfo(np.float32).tiny
        n = _total(self._group, self.n_groups, None)
        found = {
            "n": n,
            "log_loss": _total(self._group, self.n_groups, None, -np.log(np.maximum(of_truth, tiny))) / n,
            "accuracy": _total(self._group, self.n_groups, None, (rank == 1).astype(np.float64)) / n,
            **{name: self.by_length(name)[0] for name in ORDERING_METRICS},
        }
        places = {int(length): place for place, length in enumerate(self.lengths) if length <= longest}
        return {
            name: [
                _or_none(values[places[length]]) if length in places else None for length in range(1, max(places) + 1)
            ]
            for name, values in found.items()
            if places
        }

    @cached_property
    def lengths(self) -> Integers:
        """The lengths that occur, ascending, (G,); a single 0 where they are not compared separately."""
        return np.zeros(1, np.int64) if self.length is None else np.unique(self.length)

    @property
    def n_groups(self) -> int:
        """G."""
        return len(self.lengths)

    @cached_property
    def _group(self) -> Integers:
        if self.length is None:
            return np.zeros(len(self.truth), np.int64)
        return np.searchsorted(self.lengths, self.length)

    @cached_property
    def _by_class(self) -> dict[int, "_Sorted"]:
        return {}

    def _sorted(self, of_class: int) -> "_Sorted":
        if of_class not in self._by_class:
            score = self.probabilities[:, of_class].astype(np.float64)
            if self.probabilities.shape[1] == 2:
                # The odds have the same order, and close to 1, where a float32 has few values, they still differ.
                with np.errstate(divide="ignore"):
                    score = score / self.probabilities[:, 1 - of_class]
            self._by_class[of_class] = _Sorted.of(score, self.truth == of_class, self._group, self.n_groups)
        return self._by_class[of_class]


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Predictions in ascending order of their score, within each group.

    Attributes:
        order: (M,) their numbers.
        is_positive: (M,) in that order.
        tie: (M,) number of the run of equal scores, over all groups.
        group: group of each run, (ties,).
        n_groups: G.
    """

    order: Integers
    is_positive: NDArray[np.bool_]
    tie: Integers
    group: Integers
    n_groups: int

    @classmethod
    def of(cls, score: Floats, is_positive: NDArray[np.bool_], group: Integers, n_groups: int) -> "_Sorted":
        order = np.lexsort((score, group))
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (np.diff(group[order]) != 0) | (score[order[1:]] != score[order[:-1]])
        return cls(order, is_positive[order], np.cumsum(is_first) - 1, group[order][is_first], n_groups)

    def auc(self, kept: NDArray[np.bool_] | None) -> Floats:
        """Return the area under the ROC curve of each group, (G,): the fraction of pairs in order, ties counting half.

        Source: Mann and Whitney 1947; Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
        """
        positives, negatives = self._counts(kept)
        below = np.cumsum(negatives) - negatives
        of_group = _total(self.group, self.n_groups, None, negatives)
        below -= (np.cumsum(of_group) - of_group)[self.group]
        in_order = _total(self.group, self.n_groups, None, positives * (below + negatives / 2))
        n_pairs = _total(self.group, self.n_groups, None, positives) * of_group
        return _ratio(in_order, n_pairs)

    def average_precision(self, kept: NDArray[np.bool_] | None) -> Floats:
        """Return the mean precision at the thresholds of the positives of each group, (G,), without interpolation.

        As scikit-learn's `average_precision_score`; NaN for a group of one class.
        """
        positives, negatives = self._counts(kept)
        all_positives, all_negatives = (
            _total(self.group, self.n_groups, None, counts) for counts in (positives, negatives)
        )
        at_least = [  # with this score or a larger one
            np.cumsum(totals)[self.group] - (np.cumsum(counts) - counts)
            for totals, counts in ((all_positives, positives), (all_negatives, negatives))
        ]
        precision = at_least[0] / np.maximum(at_least[0] + at_least[1], 1)
        found = _ratio(_total(self.group, self.n_groups, None, positives * precision), all_positives)
        return np.where(all_negatives > 0, found, np.nan)

    def _counts(self, kept: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
        """Return the numbers of positives and negatives in each run of equal scores, (ties,) each."""
        here = np.ones(len(self.order), dtype=bool) if kept is None else kept[self.order]
        of_positives, of_negatives = (
            np.bincount(self.tie, weights=here & is_such, minlength=len(self.group)).astype(np.float64)
            for is_such in (self.is_positive, ~self.is_positive)
        )
        return of_positives, of_negatives


def _total(group: Integers, n_groups: int, kept: NDArray[np.bool_] | None, values: Floats | None = None) -> Floats:
    """Sum values, or count the entries `kept`, by group, (G,)."""
    found: Floats = np.bincount(group, weights=kept if values is None else values, minlength=n_groups).astype(float)
    return found


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, with NaN where there is nothing to divide by."""
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)
