"""The most probable classes of each prediction, the best first.

Shapes: M predictions, K known classes, N rows of the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


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
    worth = np.where(is_candidate, probabilities, -1.0)
    worth[:, 0] = -1.0
    order = np.argsort(-worth, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(worth, order, axis=1)
    prediction, place = np.nonzero(found >= 0)
    return TopClasses(prediction, place + 1, order[prediction, place], found[prediction, place])


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
