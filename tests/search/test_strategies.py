"""What every strategy promises, and what is particular to each."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.search.build_space import build_space
from sequifier.search.space import Alternative as Choice
from sequifier.search.space import Cell, Dimension, Space
from sequifier.search.strategies import Grid, Observation, Sample, Strategy, permuted
from tests.support.searches import search


def proposals(strategy: Strategy, count: int) -> list[Cell]:
    return list(islice(strategy.candidates(0, ()), count))


def product_of(*sizes: int) -> Space:
    return Space(
        tuple(
            Dimension(str(number), tuple(Choice({f"d{number}": value}) for value in range(size)))
            for number, size in enumerate(sizes)
        )
    )


def endless(**training: Any) -> Space:
    return build_space(search(search_strategy="sample", n_samples=1, training=training))


def test_a_grid_proposes_every_cell_in_order_and_then_nothing() -> None:
    space = product_of(2, 3)
    assert proposals(Grid(space), 100) == list(space)


@settings(deadline=None)
@given(st.integers(1, 500), st.text(max_size=5))
def test_a_permutation_is_a_bijection(size: int, key: str) -> None:
    assert sorted(permuted(index, size, key=key) for index in range(size)) == list(range(size))


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=4), st.integers(0, 2**63))
def test_a_sample_proposes_every_cell_once_and_then_nothing(sizes: list[int], seed: int) -> None:
    space = product_of(*sizes)
    found = proposals(Sample(space, seed), space.size + 10)
    assert len(found) == space.size
    assert set(found) == set(space)


@settings(deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 30), st.integers(0, 30))
def test_a_longer_sample_begins_with_the_shorter_one(seed: int, short: int, more: int) -> None:
    for space in (product_of(7, 5), endless(learning_rate={"low": 1e-4, "high": 1e-2}, batch_size=[8, 16])):
        assert proposals(Sample(space, seed), short + more)[:short] == proposals(Sample(space, seed), short)


def test_a_proposal_is_a_function_of_seed_and_number() -> None:
    space = endless(learning_rate={"low": 1e-4, "high": 1e-2, "log": True}, batch_size=[8, 16, 32])
    asked = proposals(Sample(space, 3), 10)
    assert [Sample(space, 3).proposal(number) for number in reversed(range(10))] == asked[::-1]
    assert proposals(Sample(space, 4), 10) != asked


def test_results_move_neither_a_sample_nor_a_grid() -> None:
    space = product_of(4, 4)
    observations = [Observation(cell, "finished", value=float(score)) for score, cell in enumerate(space)]
    for strategy in (Grid(space), Sample(space, 1)):
        assert list(strategy.candidates(5, observations)) == list(strategy.candidates(5, ()))


def test_a_request_for_a_later_number_wraps_around_to_earlier_cells() -> None:
    sample = Sample(product_of(3, 3), 1)
    every = list(sample.candidates())
    assert list(sample.candidates(4)) == every[4:] + every[:4]
    assert list(sample.candidates(99)) == every


def test_alternatives_beside_a_range_get_equal_shares() -> None:
    space = endless(learning_rate={"low": 1e-4, "high": 1e-2}, batch_size=[8, 16, 32])
    found = [space.values(cell)["training_spec.batch_size"] for cell in proposals(Sample(space, 7), 30)]
    assert Counter(found) == {8: 10, 16: 10, 32: 10}
    rates = [space.values(cell)["training_spec.learning_rate"] for cell in proposals(Sample(space, 7), 30)]
    assert len(set(rates)) == 30


def test_a_sample_spreads_over_each_dimension() -> None:
    # 400 of 10^6 cells: each of ten values is drawn 40 times, give or take; 15 is over 4 standard deviations away.
    space = product_of(10, 10, 10, 10, 10, 10)
    cells = proposals(Sample(space, 1010), 400)
    for dimension in range(6):
        counts = Counter(cell.digits[dimension] for cell in cells)
        assert all(15 < counts[value] < 65 for value in range(10))


@pytest.mark.parametrize("size", [10**12, 10**30])
def test_a_huge_space_is_sampled_without_being_listed(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    space = product_of(*([10] * (len(str(size)) - 1)))
    assert space.size == size
    decoded: list[int] = []
    original = Space.__getitem__
    monkeypatch.setattr(Space, "__getitem__", lambda self, index: decoded.append(index) or original(self, index))
    found = proposals(Sample(space, 0), 50)
    assert len(set(found)) == len(decoded) == 50  # one cell is decoded for each proposal, no other


def test_proposals_stay_the_same_from_version_to_version() -> None:
    # A search that is resumed after an upgrade must find its own configurations again.
    assert [cell.digits for cell in islice(Sample(product_of(5, 7, 3), 1010).candidates(), 4)] == [
        (0, 3, 1),
        (1, 4, 1),
        (2, 2, 0),
        (1, 5, 2),
    ]
    drawn = endless(learning_rate={"low": 1e-4, "high": 1e-2, "log": True})
    rates = [drawn.values(cell)["training_spec.learning_rate"] for cell in proposals(Sample(drawn, 1010), 3)]
    assert rates == [0.000435972, 0.00372755, 0.0036239]
