"""The most probable classes of each prediction, the best first.

Shapes: M predictions, K known classes, N rows of the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_AT_A_TIME = 1 << 20
"""Probabilities that are looked at together, so that little is copied where there are many classes."""


@dataclass(frozen=True)
class TopClasses:
    """Up to k classes of each prediction, in order of predictions and ranks, (N,) each.

    Attributes:
        prediction: number of the prediction.
        rank: from 1.
        class_id: from 1.
        probability: of the class, as the model gives it.
    """

    prediction: Array
    rank: Array
    class_id: Array
    probability: Array


def top_classes(probabilities: Array, k: int, is_candidate: Array) -> TopClasses:
    """Return the k most probable candidates of each prediction; of equal ones the smaller ids.

    Args:
        probabilities: of ids 0 to K, (M, K + 1).
        k: at most K.
        is_candidate: (M, K + 1) bool; id 0, the unknown class, never is one.
    """
    rows = max(_AT_A_TIME // probabilities.shape[1], 1)
    parts = [
        _top(probabilities[start : start + rows], k, is_candidate[start : start + rows], start)
        for start in range(0, max(len(probabilities), 1), rows)
    ]
    return TopClasses(*map(np.concatenate, zip(*parts, strict=True)))


def _top(probabilities: Array, k: int, is_candidate: Array, first: int) -> tuple[Array, ...]:
    worth = np.where(is_candidate, probabilities, -1.0)
    worth[:, 0] = -1.0
    n_rows, n_classes = worth.shape
    # Of groups of classes, the k best each have a class as probable as the k-th best group, so k classes are: only few
    # are left to be sorted.
    n_groups = min(max(k, int(n_classes**0.5)), n_classes)
    in_groups = worth[:, : n_classes // n_groups * n_groups].reshape(n_rows, n_classes // n_groups, n_groups)
    least = np.partition(in_groups.max(axis=1), n_groups - k, axis=1)[:, n_groups - k]
    least = np.maximum(least, 0.0)  # what is no candidate is -1
    prediction, class_id = np.nonzero(worth >= least[:, None])
    probability = worth[prediction, class_id]
    order = np.lexsort((class_id, -probability, prediction))
    prediction, class_id, probability = prediction[order], class_id[order], probability[order]
    rank = np.arange(len(prediction)) - np.searchsorted(prediction, prediction)
    kept = rank < k
    return prediction[kept] + first, rank[kept] + 1, class_id[kept], probability[kept]


def unseen(
    classes: Array, offsets: Array, missing: Mapping[int, Array], sequence: Array, row: Array, n_classes: int
) -> Array:
    """Return which classes do not occur in the events before each prediction, (M, K + 1) bool.

    Args:
        classes: ids of all events.
        offsets: rows at which sequences begin and end, (S + 1,).
        missing: number of a sequence -> ids of its events before these.
        sequence: number of each prediction's sequence, (M,).
        row: row of the predicted event, (M,); beyond the end for the next, unknown one.
        n_classes: K + 1.
    """
    found = np.ones((len(row), n_classes), dtype=bool)
    for place, (number, end) in enumerate(zip(sequence.tolist(), row.tolist(), strict=True)):
        found[place, classes[offsets[number] : end]] = False
        if number in missing:
            found[place, missing[number]] = False
    return found
