"""benchmarks/games_like.py: the shop that it draws, and the rank by its true probabilities."""

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def games() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import games_like
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return games_like


@pytest.fixture(scope="module")
def small(games: ModuleType) -> Any:
    return games.shop(300, 200, 4)


def test_nobody_has_an_item_twice_and_the_same_seed_draws_the_same(games: ModuleType, small: Any) -> None:
    start = 0
    for length in small.lengths:
        assert len({*small.items[start : start + length]}) == length
        start += length
    again = games.shop(300, 200, 4)
    assert (again.items == small.items).all() and again.best_ndcg == small.best_ndcg
    assert (games.shop(300, 200, 4, seed=2).items[:50] != small.items[:50]).any()


def test_the_rank_is_that_among_all_items(games: ModuleType) -> None:
    draw = np.random.default_rng(0)
    of_genre = draw.dirichlet(np.ones(6))
    item_weights = 1 / np.arange(1, 31) ** 0.6
    taken = {2: item_weights.copy(), 4: item_weights.copy(), 5: np.zeros(30)}
    taken[2][[0, 3]] = 0.0
    taken[4][1] = 0.0
    every = [taken.get(genre, item_weights) for genre in range(6)]
    probable = np.array([of_genre[g] * w / max(w.sum(), 1e-300) for g, w in enumerate(every)])
    for true in np.sort(probable.ravel())[::-1][: 2 * games.K]:
        rank = 1 + int((probable > true * (1 + 1e-9)).sum())
        found = games._rank(float(true), of_genre, taken, item_weights)
        assert found == rank if rank <= games.K else found > games.K


def test_the_table_has_a_row_for_each_event(small: Any, tmp_path: Path) -> None:
    small.write(tmp_path / "shop.csv")
    with (tmp_path / "shop.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(small.items) == small.lengths.sum()
    assert rows[-1] == {"user": "u299", "visit": str(small.lengths[-1] - 1), "item": f"i{small.items[-1]}"}
