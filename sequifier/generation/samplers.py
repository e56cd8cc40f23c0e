"""From logits to a class: which classes may be drawn, how likely each is, and the draw itself.

Temperature divides the logits first. Then each rule acts on what the one before it left, renormalised, in the order
top_n_sigma, top_k, top_p, min_p (that of Hugging Face's generation, which has no top_n_sigma). The most likely class is
always left. Between equally likely classes the one with the smaller id comes first.
Sources: top_k: Fan et al. 2018, https://arxiv.org/abs/1805.04833; top_p: Holtzman et al. 2020,
https://arxiv.org/abs/1904.09751; min_p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; top_n_sigma: Tang et al.
2024, https://arxiv.org/abs/2411.07641.
Shapes: B rows, K known classes: class 0 is none of them, so it cannot be drawn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """How a class is chosen; None is off.

    Attributes:
        temperature: divides the logits; 0 takes the most likely class.
        top_k: how many of the most likely classes are kept.
        top_p: the smallest set of most likely classes that reaches this probability is kept.
        min_p: classes at least this many times as likely as the most likely one are kept.
        top_n_sigma: logits at least the largest one less this many standard deviations of all K logits are kept (the
            deviation of a population, divided by K; some programs divide by K - 1).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_n_sigma: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature {self.temperature} is negative or not finite")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k {self.top_k} is less than 1")
        for name, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} {value} is not between 0 and 1")
        if self.top_n_sigma is not None and not self.top_n_sigma >= 0:
            raise ValueError(f"top_n_sigma {self.top_n_sigma} is negative")


GREEDY = Rules(temperature=0.0)


def logits_of(probabilities: NDArray[np.float32]) -> Logits:
    """Logits of the known classes, up to a constant that no rule notices.

    Args:
        probabilities: (B, K + 1) as an exported model gives them, id 0 first.

    Returns:
        (B, K). A probability that float32 rounds to 0 counts as its smallest normal number, about 1e-38.
    """
    known = np.maximum(probabilities[:, 1:], np.finfo(np.float32).tiny)
    logits: Logits = np.log(known.astype(np.float64))
    return logits


def draw(logits: Logits, uniform: NDArray[np.float64], rules: Rules) -> NDArray[np.int64]:
    """Draw a class for each row, by its cumulative distribution in id order.

    Args:
        logits: (B, K) finite, of the classes 1 to K.
        uniform: (B,) in [0, 1).
        rules: what may be drawn.

    Returns:
        (B,) class ids, 1 to K.
    """
    if rules.temperature == 0:
        index = logits.argmax(axis=1)
    else:
        cumulative = _weights(logits, rules).cumsum(axis=1)
        # A class without weight adds nothing to the sum: it ends where the one before it does, and is stepped over.
        index = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)
    ids: NDArray[np.int64] = index + 1
    return ids


def distribution(logits: Logits, rules: Rules) -> NDArray[np.float64]:
    """(B, K) the probabilities that `draw` draws with."""
    if rules.temperature == 0:
        certain: NDArray[np.float64] = np.eye(logits.shape[1])[logits.argmax(axis=1)]
        return certain
    weights = _weights(logits, rules)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _weights(logits: Logits, rules: Rules) -> NDArray[np.float64]:
    """(B, K) unnormalised probabilities: 1 for the most likely class, 0 for one that is left out."""
    below = logits - logits.max(axis=1, keepdims=True)  # 0 for the most likely class, else negative
    if rules.top_n_sigma is not None:
        # Dividing by a temperature scales distance and deviation alike, so either may be compared.
        below[below < -rules.top_n_sigma * logits.std(axis=1, keepdims=True)] = -np.inf
    if rules.top_k is not None and rules.top_k < below.shape[1]:
        threshold = np.partition(below, -rules.top_k, axis=1)[:, -rules.top_k]
        _keep_largest(below, threshold, np.full(len(below), rules.top_k))
    if rules.top_p is not None and rules.top_p < 1:
        falling = -np.sort(-below, axis=1)
        cumulative = _exponential(falling, rules.temperature).cumsum(axis=1)
        reached = cumulative < rules.top_p * cumulative[:, -1:]  # True before the set reaches p
        count = reached.sum(axis=1) + 1
        _keep_largest(below, falling[np.arange(len(falling)), count - 1], count)
    weights = _exponential(below, rules.temperature)
    if rules.min_p is not None:
        weights[weights < rules.min_p] = 0
    return weights


def _exponential(below: Logits, temperature: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):  # a tiny temperature leaves the most likely class alone
        weights: NDArray[np.float64] = np.exp(below / temperature)
    return weights


def _keep_largest(below: Logits, threshold: NDArray[np.float64], count: NDArray[Any]) -> None:
    """Set all but the `count` largest logits of each row to -inf, in place; `threshold` is the smallest of these."""
    above = below > threshold[:, None]
    equal = below == threshold[:, None]
    first_equal = equal & (equal.cumsum(axis=1) <= (count - above.sum(axis=1))[:, None])
    below[~(above | first_equal)] = -np.inf
