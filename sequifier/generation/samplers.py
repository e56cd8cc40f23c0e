"""Sampling a class from logits.

The temperature divides the logits. Then each filter acts on the classes that the filters before it left, renormalised,
in the order of `FILTERS` (the order of Hugging Face's generation, which has no top_n_sigma). The most likely class is
always left. Of equally likely classes the one with the smaller id comes first.
Sources: top_k: Fan et al. 2018, https://arxiv.org/abs/1805.04833; top_p: Holtzman et al. 2020,
https://arxiv.org/abs/1904.09751; min_p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; top_n_sigma: Tang et al.
2024, https://arxiv.org/abs/2411.07641.

To add a filter: a field of `Rules`, a function and an entry in `FILTERS` here, and a field of `Sampler` in its schema,
config/samplers.py.
Shapes: B rows, K known classes. Class 0 is not one of them, so it is never sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]


def _exponential(below: Logits, temperature: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):  # a tiny temperature leaves the most likely class alone
        weights: NDArray[np.float64] = np.exp(below / temperature)
    return weights


def _top_n_sigma(below: Logits, n: float, temperature: float) -> None:
    # Dividing by a temperature scales distance and deviation alike, so either may be compared.
    below[below < -n * below.std(axis=1, keepdims=True)] = -np.inf


def _top_k(below: Logits, k: int, temperature: float) -> None:
    if k < below.shape[1]:
        threshold = np.partition(below, -k, axis=1)[:, -k]
        _keep_largest(below, threshold, np.full(len(below), k))


def _top_p(below: Logits, p: float, temperature: float) -> None:
    if p == 1:
        return
    falling = -np.sort(-below, axis=1)
    cumulative = _exponential(falling, temperature).cumsum(axis=1)
    is_below_p = cumulative < p * cumulative[:, -1:]
    count = is_below_p.sum(axis=1) + 1
    _keep_largest(below, falling[np.arange(len(falling)), count - 1], count)


def _min_p(below: Logits, p: float, temperature: float) -> None:
    below[_exponential(below, temperature) < p] = -np.inf


def _keep_largest(below: Logits, threshold: NDArray[np.float64], count: NDArray[Any]) -> None:
    """Set all but the `count` largest logits of each row to -inf, in place; `threshold` is the smallest kept one."""
    above = below > threshold[:, None]
    equal = below == threshold[:, None]
    first_equal = equal & (equal.cumsum(axis=1) <= (count - above.sum(axis=1))[:, None])
    below[~(above | first_equal)] = -np.inf


@dataclass(frozen=True)
class Filter:
    """A rule that leaves out unlikely classes.

    Attributes:
        apply: (logits minus the largest of the row (B, K), the rule's value, temperature): sets the logits of classes
            that are left out to -inf.
        low: smallest value of the rule.
        high: largest value.
    """

    apply: Callable[[Logits, Any, float], None]
    low: float = 0
    high: float = np.inf


FILTERS = {
    "top_n_sigma": Filter(_top_n_sigma),
    "top_k": Filter(_top_k, low=1),
    "top_p": Filter(_top_p, high=1),
    "min_p": Filter(_min_p, high=1),
}
"""By the field of `Rules`, in the order in which they act."""


@dataclass(frozen=True)
class Rules:
    """How a class is sampled; None is off.

    Attributes:
        temperature: divides the logits; 0 takes the most likely class.
        top_n_sigma: keeps logits at least the largest logit minus this many standard deviations of all K logits (the
            deviation of a population, divided by K; some programs divide by K - 1).
        top_k: keeps this number of the most likely classes.
        top_p: keeps the smallest set of most likely classes that reaches this probability.
        min_p: keeps classes at least this fraction as likely as the most likely one.
    """

    temperature: float = 1.0
    top_n_sigma: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature {self.temperature} is negative or not finite")
        for name, rule in FILTERS.items():
            value = getattr(self, name)
            if value is not None and not rule.low <= value <= rule.high:
                raise ValueError(f"{name} {value} is not between {rule.low} and {rule.high}")


GREEDY = Rules(temperature=0.0)


def logits_of(probabilities: NDArray[np.float32]) -> Logits:
    """Return logits of the known classes, up to a constant that changes no result here.

    Args:
        probabilities: (B, K + 1) as an exported model returns them, id 0 first.

    Returns:
        (B, K). A probability that float32 rounds to 0 counts as its smallest normal number, about 1e-38.
    """
    known = np.maximum(probabilities[:, 1:], np.finfo(np.float32).tiny)
    logits: Logits = np.log(known.astype(np.float64))
    return logits


def draw(logits: Logits, uniform: NDArray[np.float64], rules: Rules) -> NDArray[np.int64]:
    """Sample a class for each row, by the inverse of the cumulative distribution in id order.

    Args:
        logits: (B, K) finite, of the classes 1 to K.
        uniform: (B,) in [0, 1).
        rules: which classes may be sampled.

    Returns:
        (B,) class ids, 1 to K.
    """
    if rules.temperature == 0:
        index = logits.argmax(axis=1)
    else:
        cumulative = _weights(logits, rules).cumsum(axis=1)
        # A class without weight adds nothing to the sum, so its end is that of the class before it: it is skipped.
        index = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)
    ids: NDArray[np.int64] = index + 1
    return ids


def distribution(logits: Logits, rules: Rules) -> NDArray[np.float64]:
    """Return the probabilities with which `draw` samples, (B, K)."""
    if rules.temperature == 0:
        certain: NDArray[np.float64] = np.eye(logits.shape[1])[logits.argmax(axis=1)]
        return certain
    weights = _weights(logits, rules)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _weights(logits: Logits, rules: Rules) -> NDArray[np.float64]:
    """Return unnormalised probabilities, (B, K): 1 for the most likely class, 0 for one that is left out."""
    below = logits - logits.max(axis=1, keepdims=True)  # 0 for the most likely class, else negative
    for name, rule in FILTERS.items():
        value = getattr(rules, name)
        if value is not None:
            rule.apply(below, value, rules.temperature)
    return _exponential(below, rules.temperature)
