"""What `sequifier make` proposes for a shop of 20,000 items, searched, beside the best that any model could reach.

    python benchmarks/games_like.py [FOLDER] [--users 30000] [--items 20000]

The table is like Video Games of Amazon (24,303 users, 10,672 items in 5-core): sequences of a few events, most items
rare, no item twice. Users stay in the genre of their last item, return to the one before, follow a fixed path of
genres, or go anywhere. So an item tells little of the next one, and its genre, which the table does not have, much.

Each probability is known, and so is the best possible ranking. Printed are the scores on the test split of that
ranking, of the best model of the search, and of the baselines; and the time of each command.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_USERS, N_ITEMS, N_GENRES = 30_000, 20_000, 400
STAYS, RETURNS, FOLLOWS = 0.45, 0.25, 0.15
"""Probabilities that the next genre is that of the last item, of the one before, or the successor of the last one."""
K = 10


@dataclass(frozen=True)
class Shop:
    """Events of users, and the best ranking of the last event of each.

    Attributes:
        items: item of each event, user by user, the oldest first.
        lengths: number of events of each user.
        best_ndcg: NDCG at 10 of the last events, ranked by their true probabilities.
        best_accuracy: accuracy of the most probable item.
    """

    items: NDArray[np.int64]
    lengths: NDArray[np.int64]
    best_ndcg: float
    best_accuracy: float

    def write(self, path: Path) -> None:
        """Write a CSV file with a row for each event."""
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["user", "visit", "item"])
            start = 0
            for user, length in enumerate(self.lengths):
                for visit, item in enumerate(self.items[start : start + length]):
                    rows.writerow([f"u{user}", visit, f"i{item}"])
                start += length


def shop(n_users: int = N_USERS, n_items: int = N_ITEMS, n_genres: int = N_GENRES, seed: int = 1) -> Shop:
    """Draw the events.

    Args:
        n_users: number of users.
        n_items: number of items, a multiple of `n_genres`.
        n_genres: number of genres, which the table does not name.
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    in_genre = n_items // n_genres
    genre_weights = 1 / np.arange(1, n_genres + 1) ** 0.7
    genre_weights /= genre_weights.sum()
    item_weights = 1 / np.arange(1, in_genre + 1) ** 0.6
    names = draw.permutation(n_items).reshape(n_genres, in_genre)
    successor = draw.permutation(n_genres)
    lengths = 5 + draw.geometric(1 / 5, n_users).clip(max=min(60, n_items // 4)) - 1
    items: list[int] = []
    gains, hits = [], []
    for length in lengths:
        taken: dict[int, NDArray[np.float64]] = {}
        last = before = int(draw.choice(n_genres, p=genre_weights))
        for event in range(length):
            of_genre = (1 - STAYS - RETURNS - FOLLOWS) * genre_weights
            np.add.at(of_genre, [last, before, successor[last]], [STAYS, RETURNS, FOLLOWS])
            for genre, weights in taken.items():  # an exhausted genre has nothing to offer
                of_genre[genre] *= weights.sum() > 0
            of_genre /= of_genre.sum()
            genre = int(draw.choice(n_genres, p=of_genre))
            weights = taken.setdefault(genre, item_weights.copy())
            place = int(draw.choice(in_genre, p=weights / weights.sum()))
            if event == length - 1:
                true = of_genre[genre] * weights[place] / weights.sum()
                rank = _rank(true, of_genre, taken, item_weights)
                gains.append(1 / np.log2(rank + 1) if rank <= K else 0.0)
                hits.append(rank == 1)
            weights[place] = 0.0
            items.append(int(names[genre, place]))
            last, before = genre, last
    return Shop(np.asarray(items), lengths, float(np.mean(gains)), float(np.mean(hits)))


def _rank(
    true: float, of_genre: NDArray[np.float64], taken: dict[int, NDArray[np.float64]], item_weights: NDArray[np.float64]
) -> int:
    """Return 1 + the number of items that are more probable than one with probability `true`."""
    is_new = np.ones(len(of_genre), dtype=bool)
    is_new[list(taken)] = False
    share = item_weights[:K] / item_weights.sum()  # further items of a genre cannot be among the first K
    n_before = int((of_genre[is_new, None] * share > true * (1 + 1e-9)).sum())
    for genre, weights in taken.items():
        if weights.any():
            n_before += int((of_genre[genre] * weights / weights.sum() > true * (1 + 1e-9)).sum())
    return n_before + 1


def run(folder: Path, made: Shop) -> None:
    """Make a project, search, and print."""
    made.write(folder / "shop.csv")
    commands = (
        ("make", "shop", "--data", "shop.csv", "--sequence", "user", "--order", "visit", "--target", "item"),
        ("preprocess",),
        ("hyperparameter-search", "--yes"),
    )
    for command in commands:
        began = time.perf_counter()
        where = folder if command[0] == "make" else folder / "shop"
        subprocess.run([sys.executable, "-m", "sequifier", *command], cwd=where, check=True)
        print(f"{command[0]}: {time.perf_counter() - began:.0f} s", flush=True)
    scores = json.loads(next((folder / "shop" / "logs").glob("*/test.json")).read_text())
    print(json.dumps(scores, indent=1))
    print(f"best possible: NDCG@{K} {made.best_ndcg:.4f}, accuracy {made.best_accuracy:.4f}")


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--users", type=int, default=N_USERS)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    given = parser.parse_args()
    made = shop(given.users, given.items, min(N_GENRES, given.items // 50))
    with tempfile.TemporaryDirectory() as temporary:
        run(given.folder or Path(temporary), made)


if __name__ == "__main__":
    main()
