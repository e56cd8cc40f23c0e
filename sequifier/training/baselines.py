"""What a model must beat: predictions that anybody can make from counts.

The first ignores the history (the most frequent class, the mean); the second looks at the last event alone (what
follows what, the last value). Both are fitted on the training events and scored on exactly the targets, with exactly
the criterion, of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.dataset.batches import Split
from sequifier.metrics import categorical_sums, real_sums
from sequifier.training.evaluate import Evaluation, Objective, summarise

FREQUENT, FOLLOWS = "baseline: most frequent, mean", "baseline: what follows what, last value"
MIXED = "baseline: the better of both"
_ROWS = 1 << 16
"""Positions scored at a time, so that a large vocabulary does not need a table of all of them."""


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
    def of(cls, events: Events, target: str, n_classes: int) -> "Counts":
        """Count the own events of a split; pairs do not cross from one sequence to the next."""
        ids = events.columns[target].astype(np.int64)
        frequency = np.bincount(ids, minlength=n_classes)[1:] + 1.0
        follows = np.ones(len(ids), dtype=bool)
        follows[events.offsets[:-1]] = False
        rows = np.flatnonzero(follows & (ids != 0))
        pairs, counts = np.unique(ids[rows - 1] * n_classes + ids[rows], return_counts=True)
        previous = np.bincount(ids[rows - 1], minlength=n_classes)
        return cls(
            torch.from_numpy(frequency / frequency.sum()),
            torch.from_numpy(pairs),
            torch.from_numpy(counts.astype(np.float64)),
            torch.from_numpy(previous.astype(np.float64)),
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


def baselines(train: Events, split: Split, objective: Objective, n_classes: Mapping[str, int]) -> dict[str, Evaluation]:
    """Score both baselines on the targets of `split`.

    Args:
        train: training events with the target columns.
        split: the evaluation split; its targets are scored, its events give the history.
        objective: criteria and weights of the run.
        n_classes: of categorical targets, the unknown class included.

    Returns:
        Baseline name -> what `evaluate` would say of it. With several targets also the better of both for each.
    """
    windows = split.windows
    counts = windows.last - windows.counted + 1
    rows = np.repeat(windows.counted - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    owner = np.repeat(np.arange(len(windows)), counts)
    every_sum: dict[str, dict[str, dict[str, Tensor]]] = {}
    every_window: dict[str, dict[str, Tensor]] = {}
    for name in (FREQUENT, FOLLOWS):
        sums = every_sum[name] = {}
        by_window = every_window[name] = {}
        for target, loss_of in objective.losses.items():
            column = split.events.columns[target]
            categorical = target in n_classes
            table = Counts.of(train, target, n_classes[target]) if categorical else None
            keep = column[rows] != 0 if categorical else np.ones(len(rows), dtype=bool)
            kept_rows, kept_owner = rows[keep], torch.from_numpy(owner[keep])
            sums[target] = {}
            by_window[target] = torch.zeros(len(windows), dtype=torch.float64)
            for start in range(0, len(kept_rows), _ROWS):
                here = kept_rows[start : start + _ROWS]
                truth = torch.from_numpy(column[here])
                previous = torch.from_numpy(column[here - 1])
                if table is not None:
                    truth, previous = truth.long(), previous.long()
                    flat = table.frequency.log().float().expand(len(here), -1)
                    prediction = flat if name == FREQUENT else table.after(previous)
                    found = categorical_sums(prediction, truth)
                else:
                    # The training mean is 0 by construction: columns are standardised with it.
                    prediction = torch.zeros_like(truth) if name == FREQUENT else previous
                    found = real_sums(prediction, truth)
                loss = loss_of.per_position(prediction, truth).double()
                for metric, value in {"loss": loss.sum(), **found}.items():
                    sums[target][metric] = sums[target].get(metric, torch.zeros_like(value)) + value
                by_window[target].index_add_(0, kept_owner[start : start + _ROWS], loss)
    better = {
        target: min((FREQUENT, FOLLOWS), key=lambda name: float(every_sum[name][target]["loss"]))
        for target in objective.losses
    }
    if len(set(better.values())) > 1:
        every_sum[MIXED] = {target: every_sum[name][target] for target, name in better.items()}
        every_window[MIXED] = {target: every_window[name][target] for target, name in better.items()}
    return {name: summarise(every_sum[name], every_window[name], split, objective) for name in every_sum}
