"""Metrics written from their definitions, to compare ours with."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def macro_f1(truth: Sequence[T], predicted: Sequence[T]) -> float:
    """Return the mean F1 of the classes of either list, as scikit-learn defines it: 0 where it is undefined."""
    scores = []
    for label in {*truth, *predicted}:
        both = sum(1 for a, b in zip(truth, predicted, strict=True) if a == b == label)
        precision = both / predicted.count(label) if label in predicted else 0.0
        recall = both / truth.count(label) if label in truth else 0.0
        scores.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return sum(scores) / len(scores)
