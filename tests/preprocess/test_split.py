"""Every row lands in exactly one split, whatever the ratios; context is what comes just before."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.events import Events
from sequifier.preprocess.split import between_sequences, cut_points, take_split, within_sequences, within_texts
from tests.support.events import make_events

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8)
weights = st.lists(st.integers(1, 50), min_size=1, max_size=5)


def all_rows(n_rows: list[int]) -> Events:
    """Sequences 0, 10, 20, ...; the feature is the number of the row in the table."""
    columns = {"row": np.arange(sum(n_rows), dtype=np.int32)}
    positions = np.concatenate([np.arange(n) for n in n_rows])
    return make_events(n_rows, columns, sequence_ids=np.arange(len(n_rows)) * 10, positions=positions)


@given(st.integers(0, 10**9), weights)
def test_cuts_are_the_ratios_rounded_half_up(n: int, weights: list[int]) -> None:
    ratios = [weight / sum(weights) for weight in weights]
    cuts = cut_points(np.array([n]), ratios)[:, 0].tolist()
    assert cuts[0] == 0
    assert cuts[-1] == n
    for i, cut in enumerate(cuts):
        exact = Fraction(n * sum(weights[:i]), sum(weights))
        # Half a row of rounding, and half a billionth of n for ratios that are no decimal fractions.
        assert abs(cut - exact) <= Fraction(1, 2) + Fraction(n, 10**9)


@pytest.mark.parametrize(
    ("n", "ratios", "expected"),
    [
        (10, [0.7, 0.2, 0.1], [0, 7, 9, 10]),
        (5, [0.7, 0.2, 0.1], [0, 4, 5, 5]),  # 3.5 -> 4, 4.5 -> 5
        (1, [0.5, 0.5], [0, 1, 1]),
        (3, [1 / 3, 1 / 3, 1 / 3], [0, 1, 2, 3]),
        (4_000_000_000, [0.8, 0.1, 0.1], [0, 3_200_000_000, 3_600_000_000, 4_000_000_000]),
    ],
)
def test_cuts_of_known_cases(n: int, ratios: list[float], expected: list[int]) -> None:
    assert cut_points(np.array([n]), ratios)[:, 0].tolist() == expected


@given(lengths, weights, st.integers(0, 50), st.booleans())
def test_every_row_is_in_exactly_one_split_with_what_precedes_it_as_context(
    n_rows: list[int], weights: list[int], context_events: int, within: bool
) -> None:
    events, counts = all_rows(n_rows), np.array(n_rows)
    ratios = [weight / sum(weights) for weight in weights]
    if within:
        bounds = within_sequences(counts, ratios)
    else:
        bounds = between_sequences(events.sequence_ids.tolist(), counts, ratios, seed=3)

    own: list[int] = []
    for number in range(len(ratios)):
        split = take_split(events, bounds, number, context_events)
        assert (np.diff(split.offsets) > split.n_context).all(), "a sequence without own rows is not in the split"
        for s, id in enumerate(split.sequence_ids):
            rows = split.columns["row"][split.offsets[s] : split.offsets[s + 1]]
            first_of_sequence = events.offsets[id // 10]
            assert (np.diff(rows) == 1).all()
            assert split.n_context[s] == min(context_events, rows[split.n_context[s]] - first_of_sequence)
            own += rows[split.n_context[s] :].tolist()
    assert sorted(own) == list(range(sum(n_rows)))


def test_between_sequences_follows_ids_and_seed_alone() -> None:
    ids = [f"s{i}" for i in range(30)]

    def split_of(ids: list[str], seed: int) -> dict[str, int]:
        bounds = between_sequences(ids, np.full(len(ids), 5), [0.5, 0.5], seed)
        return {id: int(bounds[1, s] == 0) for s, id in enumerate(ids)}

    expected = split_of(ids, 1)
    assert sorted(expected.values()) == [0] * 15 + [1] * 15
    assert split_of(ids[::-1], 1) == expected
    assert split_of(ids, 2) != expected
    grown = split_of([*ids, "one more"], 1)
    assert sum(grown[id] != expected[id] for id in ids) <= 1


@given(st.lists(lengths, min_size=1, max_size=4), weights)
def test_a_text_is_cut_as_if_it_were_one_sequence(texts: list[list[int]], weights: list[int]) -> None:
    ratios = [weight / sum(weights) for weight in weights]
    n_rows = np.array([n for text in texts for n in text])
    text_of = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    bounds = within_texts(n_rows, text_of, ratios)
    whole = within_sequences(np.array([sum(text) for text in texts]), ratios)
    first = 0
    for number, text in enumerate(texts):
        split_of_row = np.repeat(np.arange(len(ratios)), np.diff(whole[:, number]))
        for s, n in enumerate(text, start=first):
            expected = split_of_row[:n]
            assert np.array_equal(np.repeat(np.arange(len(ratios)), np.diff(bounds[:, s])), expected)
            split_of_row = split_of_row[n:]
        first += len(text)


def test_cuts_of_ten_billion_rows_are_exact() -> None:
    n = 10**10 + 7
    assert cut_points(np.array([n]), [0.9, 0.05, 0.05])[:, 0].tolist() == [0, 9_000_000_006, 9_500_000_007, n]
