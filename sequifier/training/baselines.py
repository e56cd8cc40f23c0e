"""What a model must beat: predictions that anybody can make from counts.

The first ignores the history (the most frequent class, the mean); the second looks at the last event alone (what
follows what, the last value). Both are fitted on the training events and scored on exactly the targets, with exactly
the criterion, of the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.dataset.batches import Split
from sequifier.metrics import CategoricalScores, real_errors
from sequifier.training.evaluate import Evaluation, Objective, Tally

FREQUENT, FOLLOWS = "baseline: most frequent, mean", "baseline: what follows what, last value"
MIXED = "baseline: the better of both"
_ROWS = 1 << 16
"""Positions scored at a time."""
_SCORES = 1 << 24
"""Predicted probabilities at a time, so that a large vocabulary does not need a table of all positions."""
_COUNTED = 1 << 22
"""Events counted at a time."""


@dataclass(frozen=True)
class Counts:
    """Counts of one categorical target in the training events.

    The first-order table is smoothed with one pseudo-event spread like the overall frequencies (Dirichlet smoothing,
    MacKay and Peto 1995), the overall frequencies with one event per class (Laplace), so that no event is impossible.
    """

    frequency: Tensor  # (K,) float64, of classes 1..K
    pairs: Tensor  # (P,) int64, sorted: previous * n_classes + next
    pair_counts: Tensor  # (P,) float64
    previous_counts: Tensor  # (n_classes,) float64

    @classmethod
    def of(cls, events: Events | MappedEvents, target: str, n_classes: int) -> "Counts":
        """Count the own events of a split; pairs do not cross from one sequence to the next."""
        column, begins = events.columns[target], events.offsets[:-1]
        frequency, previous = np.zeros(n_classes), np.zeros(n_classes)
        pairs: NDArray[Any] = np.zeros(0, dtype=np.int64)
        counts: NDArray[Any] = np.zeros(0)
        for start in range(0, len(column), _COUNTED):
            ids = column[start : start + _COUNTED + 1].astype(np.int64)  # the last one is counted with the next part
            frequency += np.bincount(ids[:_COUNTED], minlength=n_classes)
            follows = ids[1:] != 0
            first, last = np.searchsorted(begins, [start + 1, start + len(ids)])
            follows[begins[first:last] - start - 1] = False
            before, after = ids[:-1][follows], ids[1:][follows]
            previous += np.bincount(before, minlength=n_classes)
            found, n_found = np.unique(before * n_classes + after, return_counts=True)
            pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
            counts = np.bincount(place, weights=np.concatenate([counts, n_found]))
        if isinstance(events, MappedEvents):
            events.file.release()
        frequency = frequency[1:] + 1.0
        return cls(
            torch.from_numpy(frequency / frequency.sum()),
            torch.from_numpy(pairs),
            torch.from_numpy(counts.astype(np.float64)),  # of no pairs, NumPy counts integers
            torch.from_numpy(previous),
        )

    def after(self, previous: Tensor) -> Tensor:
        """Log-probabilities of classes 1..K after each of (M,) previous ids, (M, K) float32."""
        n_classes = len(self.previous_counts)
        distinct, place = torch.unique(previous, return_inverse=True)
        table = self.frequency.repeat(len(distinct), 1)
        begin = torch.searchsorted(self.pairs, distinct * n_classes)
        end = torch.searchsorted(self.pairs, (distinct + 1) * n_classes)
        for row, (first, last) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            table[row].index_add_(0, self.pairs[first:last] % n_classes - 1, self.pair_counts[first:last])
        table /= self.previous_counts[distinct][:, None] + 1.0
        return table.log().float()[place]


def baselines(
    train: Events | MappedEvents, split: Split, objective: Objective, n_classes: Mapping[str, int]
) -> dict[str, Evaluation]:
    """Score both baselines on the targets of `split`.

    Args:
        train: training events with the target columns.
        split: the evaluation split; its targets are scored, its events give the history.
        objective: criteria and weights of the run.
        n_classes: of categorical targets, the unknown class included.

    Returns:
        Baseline name -> what `evaluate` would say of it. With several targets also the better of both for each.
    """
    tallies = {name: Tally(split, objective) for name in (FREQUENT, FOLLOWS)}
    for target, loss_of in objective.losses.items():
        column = split.events.columns[target]
        table = Counts.of(train, target, n_classes[target]) if target in n_classes else None
        for name in (FREQUENT, FOLLOWS):
            for rows in _positions(split, _ROWS if table is None else max(_SCORES // n_classes[target], 1)):
                truth = torch.from_numpy(column[rows])
                previous = torch.from_numpy(column[rows - 1])
                unit = torch.from_numpy(split.units.of(rows))
                if table is not None:
                    known = truth != 0
                    truth, previous, unit = truth[known].long(), previous[known].long(), unit[known]
                    if not len(truth):
                        continue
                    flat = table.frequency.log().float().expand(len(truth), -1)
                    prediction = flat if name == FREQUENT else table.after(previous)
                    found = CategoricalScores.of(prediction, truth).at_positions()
                else:
                    # The training mean is 0 by construction: columns are standardised with it.
                    prediction = torch.zeros_like(truth) if name == FREQUENT else previous
                    found = real_errors(prediction, truth)
                tallies[name].add(target, loss_of.per_position(prediction, truth), found, unit)
    better = {
        target: min((FREQUENT, FOLLOWS), key=lambda name: tallies[name].loss(target)) for target in objective.losses
    }
    if len(set(better.values())) > 1:
        tallies[MIXED] = Tally.joined({target: tallies[name] for target, name in better.items()})
    return {name: tally.evaluation() for name, tally in tallies.items()}


def _positions(split: Split, size: int) -> Iterator[NDArray[np.int64]]:
    """Rows of the targets of `split`, about `size` at a time."""
    windows = split.windows
    at_a_time = max(min(size, _ROWS) // split.seq_length, 1)
    for start in range(0, len(windows), at_a_time):
        last, counted = (rows[start : start + at_a_time].astype(np.int64) for rows in (windows.last, windows.counted))
        counts = last - counted + 1
        yield np.repeat(counted - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
