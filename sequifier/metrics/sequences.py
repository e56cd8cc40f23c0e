"""Measures of generated sequences of ids or words, each a function of plain arrays.

`config/catalogue/metric_names.py` declares the scores that are made of them.
Shapes: T events of a continuation, M positions, K classes, S sequences.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[Hashable]

SMOOTHING = 0.01
"""Probability that `likelihood` spreads over all classes, so that a true class which the sampler cut off counts as
unlikely and not as impossible."""

REPEATED = 4
"""Length of the n-grams whose repetition counts, as in Welleck et al."""


def token_accuracy(generated: Tokens, truth: Tokens) -> float:
    """Return the fraction of positions of the truth at which the generated token is the true one; (T,) each.

    A continuation that ended early is wrong at the positions that it lacks.

    >>> token_accuracy("abcd", "abxd")
    0.75
    """
    if not truth:
        raise ValueError("there is no truth to compare with")
    return sum(one == other for one, other in zip(generated, truth, strict=False)) / len(truth)


def edit_similarity(generated: Tokens, truth: Tokens) -> float:
    """Return 1 - edit distance / longer length: 1 for equal sequences, 0 for sequences with nothing in common.

    Source: Levenshtein 1966, "Binary codes capable of correcting deletions, insertions, and reversals"; insertions,
    deletions and substitutions cost 1. Unlike accuracy it tolerates a shift.

    >>> edit_similarity("kitten", "sitting")  # 3 edits of 7
    0.5714285714285714
    """
    longest = max(len(generated), len(truth))
    return 1.0 if longest == 0 else 1 - edit_distance(generated, truth) / longest


def edit_distance(one: Tokens, other: Tokens) -> int:
    """Return the smallest number of insertions, deletions and substitutions between two sequences.

    Rows are computed one after another, each by NumPy: the running minimum of row - position covers insertions.
    """
    codes: dict[Hashable, int] = {}
    columns = np.array([codes.setdefault(token, len(codes)) for token in other], dtype=np.int64)
    places = np.arange(len(other) + 1)
    row = places.copy()  # distances of the empty sequence
    for number, token in enumerate(one, start=1):
        differs = columns != codes.get(token, -1)
        following = np.empty_like(row)
        following[0] = number
        following[1:] = np.minimum(row[1:] + 1, row[:-1] + differs)
        row = np.minimum.accumulate(following - places) + places
    return int(row[-1])


def likelihood(truth: NDArray[np.float64], n_classes: int) -> float:
    """Return the smoothed geometric mean of a sampler's probabilities of the truth: the inverse of ε-perplexity.

    Source: Martins et al. 2020, "Sparse Text Generation", section 4, https://arxiv.org/abs/2004.02644: a truncated
    distribution gives some true classes probability 0, for which perplexity is infinite; (p + ε) / (1 + ε K) avoids it.
    Here ε = `SMOOTHING` / K, so that it has the same meaning for any number of classes.

    Args:
        truth: probabilities of the true classes, 0 for those that were cut off, (M,).
        n_classes: K, at least 1.

    Returns:
        From ε / (1 + ε K) to (1 + ε) / (1 + ε K).
    """
    if not len(truth):
        raise ValueError("there is no truth to compare with")
    smoothed = (truth + SMOOTHING / n_classes) / (1 + SMOOTHING)
    return float(np.exp(np.log(smoothed).mean()))


def ngrams(sequence: Tokens, n: int) -> Iterable[tuple[Hashable, ...]]:
    """Return the n-grams of a sequence in order; none if it is shorter than n."""
    return zip(*(sequence[start:] for start in range(n)), strict=False)


def divergence(generated: Iterable[Tokens], held_out: Iterable[Tokens], n: int) -> float | None:
    """Return the Jensen-Shannon divergence in bits between the n-gram frequencies of two sets of sequences, 0 to 1.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy", https://doi.org/10.1109/18.61115. 0 for equal
    frequencies, 1 if no n-gram is in both. None if one set has no n-grams.

    >>> divergence(["aab"], ["aab"], 1)
    0.0
    >>> divergence(["aaa"], ["bbb"], 1)
    1.0
    """
    ours = Counter(gram for sequence in generated for gram in ngrams(sequence, n))
    theirs = Counter(gram for sequence in held_out for gram in ngrams(sequence, n))
    if not ours or not theirs:
        return None
    every = [*(ours | theirs)]
    p = np.array([ours[gram] for gram in every]) / ours.total()
    q = np.array([theirs[gram] for gram in every]) / theirs.total()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(each > 0, each * np.log2(each / middle), 0.0).sum() for each in (p, q)]
    return float(min(max(sum(terms) / 2, 0.0), 1.0))


def mean_divergence(generated: Sequence[Tokens], held_out: Sequence[Tokens], longest: int) -> float | None:
    """Return the mean of `divergence` over those n from 1 to `longest` for which there are n-grams."""
    found = [divergence(generated, held_out, n) for n in range(1, longest + 1)]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def distinct(sequences: Sequence[Tokens], longest: int) -> float | None:
    """Return the fraction of distinct n-grams in all sequences together, averaged over n = 1 to `longest`.

    Source: distinct-n of Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models",
    section 5.1, https://arxiv.org/abs/1510.03055. None if there are no n-grams.

    >>> distinct(["abab"], 1), distinct(["abab"], 2)
    (0.5, 0.5833333333333333)
    """
    shares = []
    for n in range(1, longest + 1):
        grams = [gram for sequence in sequences for gram in ngrams(sequence, n)]
        if grams:
            shares.append(len(set(grams)) / len(grams))
    return sum(shares) / len(shares) if shares else None


def pseudo_values(generated: Sequence[Tokens], held_out: Sequence[Tokens] | None, longest: int) -> NDArray[np.float64]:
    """Return the contribution of each sequence to a measure of the set: jackknife pseudo-values, shifted to its value.

    Source: Tukey 1958; Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 11.5: of S sequences,
    S theta - (S - 1) theta without this one. Their spread gives the error of the measure, as for a mean.

    Args:
        generated: S sequences.
        held_out: their true sequences, for `mean_divergence`; None for `distinct`.
        longest: length of the longest n-gram.

    Returns:
        Pseudo-values whose mean is the measure, (S,); 0 if there are no n-grams.
    """
    count = len(generated)
    without, whole, known = np.zeros(count), 0.0, 0
    for n in range(1, longest + 1):
        ours, theirs = _Counts(generated, n), _Counts(held_out or (), n)
        if ours.total == 0 or (held_out is not None and theirs.total == 0):
            continue
        known += 1
        if held_out is None:
            whole += len(ours.all) / ours.total
            without += [ours.distinct_without(index) for index in range(count)]
        else:
            value = divergence(generated, held_out, n)
            assert value is not None
            whole += value
            without += _divergences_without(ours, theirs, value)
    if not known:
        return np.zeros(count)
    pseudo = (count * whole - (count - 1) * without) / known
    moved: NDArray[np.float64] = pseudo - pseudo.mean() + whole / known
    return moved


class _Counts:
    """The number of times that each n-gram is in all sequences, and in each."""

    def __init__(self, sequences: Sequence[Tokens], n: int) -> None:
        self.each = [Counter(ngrams(sequence, n)) for sequence in sequences]
        self.all: Counter[tuple[Hashable, ...]] = Counter()
        for each in self.each:
            self.all.update(each)
        self.total = self.all.total()

    def distinct_without(self, index: int) -> float:
        """Return the fraction of distinct n-grams in the other sequences."""
        own = self.each[index]
        left = self.total - own.total()
        if left == 0:
            return len(self.all) / self.total
        return (len(self.all) - sum(self.all[gram] == times for gram, times in own.items())) / left


def _divergences_without(ours: _Counts, theirs: _Counts, whole: float) -> list[float]:
    """Return the divergence without each sequence and its truth, or of all sequences if no n-grams are left.

    With h(p) = p log2 p it is 1 + (sum h(p) + sum h(q) - sum h(p + q)) / 2.
    """
    places = {gram: place for place, gram in enumerate(ours.all | theirs.all)}
    sums = [np.zeros(len(places)), np.zeros(len(places))]
    for total, counts in zip(sums, (ours, theirs), strict=True):
        total[[places[gram] for gram in counts.all]] = list(counts.all.values())
    found = []
    for pair in zip(ours.each, theirs.each, strict=True):
        shares = []
        for total, own in zip(sums, pair, strict=True):
            left = total.copy()
            left[[places[gram] for gram in own]] -= list(own.values())
            shares.append(left / max(left.sum(), 1.0))
        p, q = shares
        if not p.any() or not q.any():
            found.append(whole)
            continue
        found.append(float(min(max(1 + (_entropic(p) + _entropic(q) - _entropic(p + q)) / 2, 0.0), 1.0)))
    return found


def _entropic(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float((positive * np.log2(positive)).sum())


def repetition(sequence: Tokens, n: int = REPEATED) -> float:
    """Return the fraction of a sequence's n-grams that occurred in it before; 0 if it is too short to repeat one.

    Source: seq-rep-n of Welleck et al. 2019, "Neural Text Generation with Unlikelihood Training", section 6,
    https://arxiv.org/abs/1908.04319, with their n = 4.

    >>> repetition("abcabc", 2)  # of ab bc ca ab bc, two occurred before
    0.4
    """
    grams = list(ngrams(sequence, n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def closeness(value: float, reference: float) -> float:
    """Return 1 - the difference between a fraction in generated sequences and the one in held-out sequences.

    Neither few nor many repetitions are good by themselves: human text has some (Holtzman et al. 2020, section 5,
    https://arxiv.org/abs/1904.09751), and so has every kind of sequence.
    """
    return 1 - abs(value - reference)


def nearness(error: float) -> float:
    """Return 1 / (1 + error) of a mean absolute error in standard deviations of its column: 1 for no error."""
    return 1 / (1 + error)
