"""Where held-out sequences are cut, and what texts become."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.errors import ConfigError
from sequifier.sampler_search.prompts import SHORTEST, as_text, choose_places, fitting_horizon, own_lengths, places_of

sequences = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)).filter(lambda pair: sum(pair) > 0), min_size=1)
"""(context events, own events) of each."""


def outline(pairs: list[tuple[int, int]]) -> tuple[Any, Any]:
    lengths = np.array([context + own for context, own in pairs])
    return np.concatenate([[0], np.cumsum(lengths)]), np.array([context for context, _ in pairs])


@given(sequences, st.integers(1, 6), st.integers(1, 6), st.integers(1, 10), st.integers(0, 99))
def test_places_are_in_their_sequences_and_no_event_is_truth_twice(
    pairs: list[tuple[int, int]], prompt_length: int, horizon: int, n_prompts: int, seed: int
) -> None:
    offsets, n_context = outline(pairs)
    places = choose_places(
        offsets, n_context, prompt_length=prompt_length, horizon=horizon, n_prompts=n_prompts, seed=seed
    )
    assert len(places.cut) <= n_prompts
    truths: list[int] = []
    for sequence, first, cut, end in zip(places.sequence, places.first, places.cut, places.end, strict=True):
        begin, own = offsets[sequence], offsets[sequence] + n_context[sequence]
        assert begin <= first < cut < end <= offsets[sequence + 1]
        assert cut >= own, "context is never truth"
        assert cut - first <= prompt_length and end - cut == horizon
        assert first in (begin, cut - prompt_length)
        truths += range(cut, end)
    assert len(truths) == len(set(truths))
    most = sum(max(0, sum(pair) - max(pair[0], 1)) // horizon for pair in pairs)
    fewest = sum(1 for pair in pairs if sum(pair) - max(pair[0], 1) >= horizon)
    assert min(n_prompts, fewest) <= len(places.cut) <= min(n_prompts, most)


@given(sequences, st.integers(0, 99))
def test_more_prompts_begin_with_the_fewer(pairs: list[tuple[int, int]], seed: int) -> None:
    offsets, n_context = outline(pairs)
    few, many = (choose_places(offsets, n_context, prompt_length=3, horizon=2, n_prompts=n, seed=seed) for n in (2, 5))
    assert many.cut[:2].tolist() == few.cut.tolist()


def test_a_prompt_is_whole_where_the_sequence_leaves_room() -> None:
    offsets, n_context = np.array([0, 10]), np.array([0])
    places = choose_places(offsets, n_context, prompt_length=4, horizon=3, n_prompts=9, seed=1)
    assert sorted(places.cut.tolist()) == [4, 7]
    places = choose_places(offsets, n_context, prompt_length=9, horizon=3, n_prompts=9, seed=1)
    assert places.cut.tolist() == [7] and places.first.tolist() == [0]


@given(sequences, st.integers(1, 12), st.integers(1, 8))
def test_the_default_horizon_leaves_enough_places_where_there_are_some(
    pairs: list[tuple[int, int]], wanted: int, n_prompts: int
) -> None:
    offsets, n_context = outline(pairs)
    horizon = fitting_horizon(offsets, n_context, wanted=wanted, n_prompts=n_prompts)
    own = own_lengths(offsets, n_context)
    assert 0 <= horizon <= min(wanted, own.max(initial=0))
    if horizon > min(SHORTEST, wanted, own.max(initial=0)):
        assert (own // horizon).sum() >= n_prompts
        larger = range(horizon + 1, wanted + 1)
        assert all((own // each).sum() < n_prompts for each in larger)


def test_sequences_that_are_named_are_cut_once_each() -> None:
    offsets, n_context, ids = np.array([0, 5, 7, 20]), np.array([2, 0, 4]), np.array(["a", "b", "c"], dtype=object)
    places = places_of(["c", "b"], ids, offsets, n_context, prompt_length=6, horizon=4)
    assert places.sequence.tolist() == [2, 1]
    assert places.cut.tolist() == [13, 6] and places.end.tolist() == [17, 7] and places.first.tolist() == [7, 5]


def test_a_sequence_that_is_not_there_or_too_short_is_an_error() -> None:
    offsets, n_context, ids = np.array([0, 5, 6]), np.array([0, 0]), np.array([10, 11])
    with pytest.raises(ConfigError, match=r"no sequence 12(.|\n)*sequence 11 has no event"):
        places_of([12, 11], ids, offsets, n_context, prompt_length=6, horizon=4)


def test_events_are_shown_as_in_the_table() -> None:
    assert as_text({"char": ["a", " ", "b", None]}, characters=True) == "a b?"
    assert as_text({"item": ["x", "y"], "price": [1.0, 2.34567]}, characters=False) == "x,1 y,2.346"
