"""The errors of the seasonal naive forecast, by which `mase` scales the errors of a model.

Source: Hyndman and Koehler 2006, "Another look at measures of forecast accuracy". The scale of a sequence is the mean
absolute error of its own training events, each forecast by the event one period before; the period is that of all
training events, 1 where they have no season. So a mase of 1 is as good as this forecast was in training, whatever the
unit and size of the sequence. A sequence without such errors takes the mean over all.
Shapes: N rows of the training split, S its sequences, V sequences of the evaluated split.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, scale_at
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.transforms import Scale
from sequifier.dataset.seasons import find_period

LONGEST_PERIOD = 400
"""The longest season that is looked for, whatever a model sees of the past: all runs are measured on one scale."""
_ROWS = 1 << 20
"""Rows that are read together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NaiveErrors:
    """The errors of the seasonal naive forecast of one target.

    Attributes:
        ids: ids of the training sequences, (S,), in ascending order.
        errors: mean error in each, in the unit of `Scale.error`, (S,).
        overall: mean error in all of them.
    """

    ids: NDArray[Any]
    errors: Floats
    overall: float

    def of(self, ids: NDArray[Any]) -> Floats:
        """Return the errors in sequences of an evaluated split, (V,); one that training does not have has `overall`."""
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found: Floats = np.where(self.ids[place] == ids, self.errors[place], self.overall)
        return found


def naive_errors(
    train: Events | MappedEvents, target: str, scale: Scale, ids: NDArray[Any], *, has_start: bool = False
) -> NaiveErrors | None:
    """Return the errors in the training events; None where their values do not change, or no sequence has two events.

    Args:
        train: the training events.
        target: a real target.
        scale: of the target.
        ids: ids of the training sequences, (S,), in ascending order.
        has_start: whether the first row of each training sequence is its START, which has no value.
    """
    period = find_period(train, target, LONGEST_PERIOD) or 1
    sums, counts = _summed(train, target, scale, period, train.offsets[:-1] + np.maximum(train.n_context, has_start))
    if not sums.sum() > 0:
        return None
    overall = float(sums.sum() / counts.sum())
    return NaiveErrors(ids, np.where(sums > 0, sums / np.maximum(counts, 1), overall), overall)


def _summed(
    train: Events | MappedEvents, target: str, scale: Scale, period: int, begins: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the sum of the errors in each training sequence, and their number, (S,) each.

    Args:
        train, target, scale: as of `naive_errors`.
        period: in events.
        begins: first own event of each sequence, (S,).
    """
    offsets = np.asarray(train.offsets)
    n_sequences, n_rows = len(begins), int(offsets[-1])
    sums, counts = np.zeros(n_sequences), np.zeros(n_sequences)
    for start in range(0, n_rows - period, _ROWS):
        rows = np.arange(start, min(start + _ROWS, n_rows - period))
        owner = np.searchsorted(offsets, rows, side="right") - 1
        rows, owner = (each[(rows >= begins[owner]) & (rows + period < offsets[owner + 1])] for each in (rows, owner))
        before, after = (train.columns[target][rows + ahead].astype(np.float64) for ahead in (0, period))
        error = np.abs(scale_at(scale, target, train.columns, offsets[owner]).error(before, after))
        known = ~np.isnan(error)  # END has no value
        sums += np.bincount(owner[known], weights=error[known], minlength=n_sequences)
        counts += np.bincount(owner[known], minlength=n_sequences)
    return sums, counts
