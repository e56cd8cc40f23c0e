"""Each rule against plain Python on exact fractions, and properties that hold for all of them."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.generation.samplers import Rules, distribution, draw, logits_of

weights = st.lists(st.integers(1, 64), min_size=1, max_size=8)
"""Probabilities as whole numbers: shares of their sum, with many ties."""


def by_rank(numbers: list[int]) -> list[int]:
    """Classes from the most to the least likely, the smaller id first."""
    return sorted(range(len(numbers)), key=lambda index: (-numbers[index], index))


def kept(numbers: list[int], rules: Rules) -> set[int]:
    found = distribution(np.log(np.array([numbers], dtype=np.float64)), rules)[0]
    return {index for index, probability in enumerate(found) if probability > 0}


@given(weights, st.integers(1, 10))
def test_top_k_keeps_the_k_most_likely(numbers: list[int], k: int) -> None:
    assert kept(numbers, Rules(top_k=k)) == set(by_rank(numbers)[:k])


@given(weights, st.integers(1, 99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(numbers: list[int], percent: int) -> None:
    # A p between two sums of whole numbers, so that rounding decides nothing.
    p = (Fraction(percent, 100) * sum(numbers)).__floor__() + Fraction(1, 2)
    smallest: list[int] = []
    reached = Fraction(0)
    for index in by_rank(numbers):
        if reached >= p and smallest:
            break
        smallest.append(index)
        reached += numbers[index]
    assert kept(numbers, Rules(top_p=min(1.0, float(p / sum(numbers))))) == set(smallest)


@given(weights, st.integers(1, 63))
def test_min_p_keeps_what_is_at_least_that_share_of_the_most_likely(numbers: list[int], share: int) -> None:
    smallest = Fraction(2 * share + 1, 128) * max(numbers)
    expected = {index for index, number in enumerate(numbers) if number >= smallest}
    border = {index for index, number in enumerate(numbers) if number == smallest}  # rounding decides there
    assert kept(numbers, Rules(min_p=(2 * share + 1) / 128)) - border == expected - border


@given(weights, st.floats(0.01, 5))
def test_top_n_sigma_keeps_logits_near_the_largest(numbers: list[int], n: float) -> None:
    logits = [math.log(number) for number in numbers]
    mean = sum(logits) / len(logits)
    deviation = math.sqrt(sum((logit - mean) ** 2 for logit in logits) / len(logits))
    distance = {index: max(logits) - n * deviation - logit for index, logit in enumerate(logits)}
    found = kept(numbers, Rules(top_n_sigma=n))
    assert found >= {index for index, below in distance.items() if below < -1e-9}
    assert found <= {index for index, below in distance.items() if below < 1e-9}


@given(weights, st.floats(0.05, 20))
def test_temperature_divides_the_logits(numbers: list[int], temperature: float) -> None:
    powers = [number ** (1 / temperature) / max(numbers) ** (1 / temperature) for number in numbers]
    expected = [power / sum(powers) for power in powers]
    found = distribution(np.log(np.array([numbers], dtype=np.float64)), Rules(temperature=temperature))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_temperature_comes_before_top_p_and_min_p() -> None:
    logits = np.log([[0.6, 0.3, 0.1]])
    assert (distribution(logits, Rules(top_p=0.85)) > 0).sum() == 2
    assert (distribution(logits, Rules(temperature=0.5, top_p=0.85)) > 0).sum() == 2
    assert (distribution(logits, Rules(temperature=0.2, top_p=0.85)) > 0).sum() == 1
    assert (distribution(logits, Rules(temperature=3.0, min_p=0.5)) > 0).sum() == 3


def test_a_rule_acts_on_what_the_one_before_left() -> None:
    logits = np.log([[0.4, 0.3, 0.2, 0.1]])
    # Of the best two, 4/7 and 3/7, the first alone reaches a half; of all four it takes two.
    assert (distribution(logits, Rules(top_k=2, top_p=0.5)) > 0).sum() == 1
    assert (distribution(logits, Rules(top_p=0.5)) > 0).sum() == 2


some_rules = st.builds(
    Rules,
    temperature=st.sampled_from([0.0, 1e-308, 0.3, 1.0, 1e6]),
    top_k=st.none() | st.integers(1, 6),
    top_p=st.none() | st.floats(0, 1),
    min_p=st.none() | st.floats(0, 1),
    top_n_sigma=st.none() | st.floats(0, 5),
)
some_logits = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(st.floats(-200, 200), min_size=size, max_size=size), min_size=1, max_size=4)
)


@given(some_logits, some_rules, st.floats(0, 1, exclude_max=True))
def test_draws_are_among_the_kept_and_the_most_likely_is_always_kept(
    rows: list[list[float]], rules: Rules, u: float
) -> None:
    logits = np.array(rows)
    shares = distribution(logits, rules)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    best = logits.argmax(axis=1)
    assert (shares[np.arange(len(rows)), best] > 0).all()
    drawn = draw(logits, np.full(len(rows), u), rules)
    assert (drawn >= 1).all(), "class 0 is never drawn"
    assert (shares[np.arange(len(rows)), drawn - 1] > 0).all()


@pytest.mark.parametrize("u", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_unit_interval_draw_a_kept_class(u: float) -> None:
    logits = np.log(np.array([[1e-3, 0.4, 0.5, 1e-3], [0.1, 0.2, 0.3, 0.4]]))
    drawn = draw(logits, np.full(2, u), Rules(top_k=2))
    assert drawn.tolist() == ([2, 3] if u == 0 else [3, 4])


def test_temperature_zero_takes_the_most_likely_and_of_equals_the_first() -> None:
    assert draw(np.array([[1.0, 3.0, 3.0]]), np.array([0.99]), Rules(temperature=0)).tolist() == [2]


def test_many_draws_have_the_shares_of_the_distribution() -> None:
    rules = Rules(temperature=1.5, top_p=0.9)
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    n = 20_000
    drawn = draw(np.tile(logits, (n, 1)), (np.arange(n) + 0.5) / n, rules)
    counts = Counter(drawn.tolist())
    expected = distribution(logits[None], rules)[0]
    np.testing.assert_allclose([counts[id] / n for id in range(1, 5)], expected, atol=1e-4)


def test_logits_of_probabilities_leave_class_0_out_and_stay_finite() -> None:
    found = logits_of(np.array([[0.0, 0.75, 0.25, 0.0]], dtype=np.float32))
    assert found.shape == (1, 3)
    assert found[0, 0] - found[0, 1] == pytest.approx(math.log(3))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": 0}, {"top_p": 1.5}, {"min_p": -0.1}])
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)  # type: ignore[arg-type]
