"""Each measure against another way to the same number, cases worked out by hand, and what holds for all of them."""

import doctest
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.metrics import sequences as scores
from sequifier.metrics.sequences import (
    SMOOTHING,
    closeness,
    distinct,
    divergence,
    edit_distance,
    edit_similarity,
    likelihood,
    mean_divergence,
    nearness,
    pseudo_values,
    repetition,
    token_accuracy,
)

words = st.text("abc", max_size=7)
some = st.lists(st.text("abcd", min_size=3, max_size=8), min_size=2, max_size=5)


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(scores).failed == 0


@given(words, words)
def test_the_edit_distance_follows_its_recursive_definition(one: str, other: str) -> None:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        )

    assert edit_distance(one, other) == distance(len(one), len(other))


@given(words, words)
def test_edit_similarity_is_a_share_and_symmetric(one: str, other: str) -> None:
    assert 0 <= edit_similarity(one, other) <= 1
    assert edit_similarity(one, other) == edit_similarity(other, one)
    assert (edit_similarity(one, other) == 1) == (one == other)


def test_a_shifted_sequence_is_no_hit_and_yet_similar() -> None:
    assert token_accuracy("xabcdefg", "abcdefgh") == 0
    assert edit_similarity("xabcdefg", "abcdefgh") == 1 - 2 / 8


def test_a_continuation_that_ends_early_is_wrong_where_it_lacks_tokens() -> None:
    assert token_accuracy([1, 2], [1, 2, 3, 4]) == 0.5
    assert token_accuracy([1, 2, 3, 4, 5], [1, 2, 3, 4]) == 1


def test_the_likelihood_is_the_inverse_of_epsilon_perplexity() -> None:
    # By hand: (0.5 + e)(0 + e) of 4 classes, the root of the product, over 1 + 4 e.
    epsilon = SMOOTHING / 4
    expected = math.sqrt((0.5 + epsilon) * epsilon) / (1 + 4 * epsilon)
    assert likelihood(np.array([0.5, 0.0]), 4) == pytest.approx(expected, rel=1e-12)
    assert likelihood(np.array([1.0]), 1) == 1
    truth = np.array([0.2, 0.4, 0.1])
    assert likelihood(truth, 10) == pytest.approx(math.exp(np.log(truth).mean()), rel=0.02), "close to 1 / perplexity"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 1000))
def test_the_likelihood_is_between_impossible_and_certain(shares: list[float], k: int) -> None:
    lowest, highest = SMOOTHING / k / (1 + SMOOTHING), (1 + SMOOTHING / k) / (1 + SMOOTHING)
    assert lowest * (1 - 1e-9) <= likelihood(np.array(shares), k) <= highest * (1 + 1e-9)


def entropy(shares: dict[object, float]) -> float:
    return -sum(share * math.log2(share) for share in shares.values() if share)


def by_entropies(one: list[str], other: list[str], n: int) -> float:
    """Jensen-Shannon as the entropy of the mixture less the mean entropy: another formula for the same."""
    counts = [Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1)) for texts in (one, other)]
    p, q = ({gram: count / sum(each.values()) for gram, count in each.items()} for each in counts)
    mixture = {gram: (p.get(gram, 0) + q.get(gram, 0)) / 2 for gram in {**p, **q}}
    return entropy(mixture) - (entropy(p) + entropy(q)) / 2


@given(some, some, st.integers(1, 3))
def test_the_divergence_follows_from_the_entropies(one: list[str], other: list[str], n: int) -> None:
    assert divergence(one, other, n) == pytest.approx(by_entropies(one, other, n), abs=1e-9)


@given(some, some)
def test_the_divergence_is_symmetric_and_a_share(one: list[str], other: list[str]) -> None:
    value = mean_divergence(one, other, 3)
    assert value is not None and 0 <= value <= 1
    assert value == pytest.approx(mean_divergence(other, one, 3), abs=1e-12)
    assert mean_divergence(one, one, 3) == pytest.approx(0, abs=1e-12)


def test_sequences_without_ngrams_have_no_divergence_and_none_are_distinct() -> None:
    assert divergence(["a"], ["ab"], 2) is None
    assert mean_divergence(["a"], ["ab"], 3) == divergence(["a"], ["ab"], 1)
    assert mean_divergence([""], ["ab"], 3) is None
    assert distinct(["", ""], 2) is None


@given(some)
def test_distinct_is_the_share_of_different_ngrams(texts: list[str]) -> None:
    shares = []
    for n in (1, 2):
        grams = [text[i : i + n] for text in texts for i in range(len(text) - n + 1)]
        shares.append(len(set(grams)) / len(grams))
    assert distinct(texts, 2) == pytest.approx(sum(shares) / 2)


@given(st.text("ab", max_size=12))
def test_repetition_is_what_is_not_distinct_in_one_sequence(text: str) -> None:
    grams = [text[i : i + 4] for i in range(len(text) - 3)]
    assert repetition(text) == pytest.approx(1 - len(set(grams)) / len(grams) if grams else 0)


def test_repetition_counts_what_was_there_before() -> None:
    assert repetition("abababab") == 1 - 2 / 5
    assert repetition("abcdefgh") == 0
    assert repetition("abc") == 0


@given(some, some, st.booleans())
def test_pseudo_values_come_from_leaving_each_one_out(ours: list[str], theirs: list[str], compares: bool) -> None:
    count = min(len(ours), len(theirs))
    ours, theirs = ours[:count], theirs[:count]

    def value(one: list[str], other: list[str]) -> float:
        found = mean_divergence(one, other, 2) if compares else distinct(one, 2)
        assert found is not None
        return found

    whole = value(ours, theirs)
    brute = np.array(
        [
            count * whole - (count - 1) * value(ours[:i] + ours[i + 1 :], theirs[:i] + theirs[i + 1 :])
            for i in range(count)
        ]
    )
    found = pseudo_values(ours, theirs if compares else None, 2)
    np.testing.assert_allclose(found, brute - brute.mean() + whole, atol=1e-9)
    assert found.mean() == pytest.approx(whole)


def test_pseudo_values_of_a_mean_are_the_values_themselves() -> None:
    # Distinct-1 of sequences of equal length without a token in common is the mean of theirs.
    found = pseudo_values(["aa", "bc", "de"], None, 1)
    np.testing.assert_allclose(found, [0.5, 1.0, 1.0])


def test_scales_end_where_they_should() -> None:
    assert closeness(0.3, 0.3) == 1 and closeness(1.0, 0.0) == 0
    assert nearness(0.0) == 1 and nearness(1.0) == 0.5
