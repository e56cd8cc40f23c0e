"""Sampled candidates: other classes that do not occur in the history of a target, without replacement.

They depend on the data fingerprint, the sequence and the position alone: each target has a stream of random numbers of
its own, so runs, epochs, batches and threads make no difference.
Shapes: M targets, m negatives of each, K known classes.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sequifier.dataset.random_bits import COUNTER, Bits, mixed, uniform
from sequifier.dataset.ranking.history import PAIRS, History, Rows, parts_of

Classes = NDArray[np.int32]

_KEPT = 1 << 26
"""Sampled classes that are kept between evaluations; more are sampled again in each."""
_MOST_DRAWS = 64
"""Draws per negative after which the rest is chosen by a random key of each class. Draws from very uneven counts repeat
the same classes."""


class Negatives:
    """The sampled candidates of a split's targets.

    Args:
        history: of the split.
        n: number of negatives of each target (m); each target has as many unseen classes.
        weights: by which classes are sampled, (K,) above 0; None: all alike.
        fingerprint: of the data.
    """

    def __init__(self, history: History, n: int, weights: NDArray[np.float64] | None, fingerprint: str) -> None:
        self._history, self._n, self._weights = history, n, weights
        self._cumulative = None if weights is None else np.cumsum(weights) / weights.sum()
        events = history.events
        names = [
            hashlib.blake2b(f"{fingerprint} {name}".encode(), digest_size=8) for name in events.sequence_ids.tolist()
        ]
        self._sequences = np.frombuffer(b"".join(name.digest() for name in names), dtype="<u8").astype(np.uint64)
        self._rows = history.targets()
        self._kept: Classes | None = None

    def pairs(self, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Yield each target but END with each of its negatives.

        Yields:
            Places in `rows` and classes, (pairs,) each.
        """
        ranked = np.flatnonzero(self._history.truth[rows])  # an END is no class of an event, and has no rank
        for part in self._parts(len(ranked)):
            places = ranked[part]
            yield np.repeat(places, self._n), self.of(rows[places]).reshape(-1).astype(np.int64)

    def of(self, rows: Rows) -> Classes:
        """Return the negatives of some targets, (M, m), in the order in which they were sampled."""
        if len(self._rows) * self._n > _KEPT:
            return self._sampled(rows)
        if self._kept is None:
            parts = [self._sampled(self._rows[part]) for part in self._parts(len(self._rows))]
            self._kept = np.concatenate(parts) if parts else np.zeros((0, self._n), np.int32)
        return self._kept[np.searchsorted(self._rows, rows)]

    def _parts(self, n_targets: int) -> Iterator[slice]:
        return parts_of(np.full(n_targets, self._n), PAIRS)

    def _sampled(self, rows: Rows) -> Classes:
        """Draw with replacement, and leave out seen and repeated classes: the same as drawing without replacement."""
        found: Classes = np.zeros((len(rows), self._n), dtype=np.int32)
        open_rows = np.arange(len(rows))
        n_draws = 2 * self._n
        while len(open_rows) and n_draws <= _MOST_DRAWS * self._n:
            for part in parts_of(np.full(len(open_rows), n_draws), PAIRS):
                found[open_rows[part]] = self._draw(rows[open_rows[part]], n_draws)
            open_rows = open_rows[found[open_rows, -1] == 0]
            n_draws *= 2
        for place in open_rows.tolist():
            n_found = int(np.count_nonzero(found[place]))
            found[place, n_found:] = self._rest(rows[place], found[place, :n_found])
        return found

    def _draw(self, rows: Rows, n_draws: int) -> Classes:
        """Return the first m distinct unseen classes of each target's draws, (M, m), and 0 behind them."""
        draws = uniform(self._seeds(rows)[:, None] + COUNTER * np.arange(1, n_draws + 1, dtype=np.uint64))
        if self._cumulative is None:
            classes = (draws * self._history.n_classes).astype(np.int64) + 1
        else:
            classes = np.searchsorted(self._cumulative, draws, side="right") + 1
            classes = np.minimum(classes, self._history.n_classes)
        usable = (classes != self._history.truth[rows][:, None]) & ~self._history.is_seen(rows, classes)
        order = np.argsort(classes, axis=1, kind="stable")
        in_order = np.take_along_axis(classes, order, axis=1)
        repeats = np.zeros(classes.shape, dtype=bool)
        np.put_along_axis(repeats, order[:, 1:], in_order[:, 1:] == in_order[:, :-1], axis=1)
        usable &= ~repeats
        place = np.cumsum(usable, axis=1) - 1
        usable &= place < self._n
        found: Classes = np.zeros((len(rows), self._n), dtype=np.int32)
        target, draw = np.nonzero(usable)
        found[target, place[target, draw]] = classes[target, draw]
        return found

    def _rest(self, row: np.int64, chosen: Classes) -> Classes:
        """Return the negatives of one target after `chosen`.

        The classes of the smallest exponential variables, divided by the weights, are a sample without replacement
        (Efraimidis and Spirakis 2006).
        """
        one, classes = np.array([row]), np.arange(1, self._history.n_classes + 1)
        draws = uniform(~self._seeds(one) + COUNTER * classes.astype(np.uint64))
        keys = -np.log1p(-draws) / (1.0 if self._weights is None else self._weights)
        left_out = self._history.is_seen(one, classes[None])[0]
        left_out[chosen - 1] = True
        left_out[self._history.truth[row] - 1] = True
        order = np.argsort(np.where(left_out, np.inf, keys), kind="stable")
        return classes[order[: self._n - len(chosen)]].astype(np.int32)

    def _seeds(self, rows: Rows) -> Bits:
        positions = np.ascontiguousarray(self._history.events.positions[rows]).view(np.uint64)
        return mixed(self._sequences[self._history.sequence_of(rows)] ^ mixed(positions))
