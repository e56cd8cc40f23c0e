"""The predictions of a model at each target of a split, and the rows of these targets, in memory.

Shapes: M targets of one column, at all H steps of a horizon.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import By
from sequifier.dataset.batches import Split, in_batches
from sequifier.metrics.predictions import AtPositions, at_positions
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import compared
from sequifier.training.objective import Objective

Rows = NDArray[np.int64]


class _Compared(NamedTuple):
    """The predictions of a batch; attributes as of `Positions`, in which `found` has the last ones."""

    read: Rows
    step: Rows
    parts: dict[str, AtPositions]
    found: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Positions:
    """The predictions of one target.

    Attributes:
        rows: (M,) row of each target in the events of the split.
        read: (M,) row of the last event that the model read.
        sequence: (M,) number of its sequence.
        history: (M,) number of events of the sequence that it could read.
        owner: (M,) sampling unit, over which standard errors are computed.
        by: kind of these units.
        parts: name of a sum -> its values at each target, as the metrics take them.
        unit: of errors.
        step: (M,) step of the horizon, from 0; None without one.
        level: (M,) number of quantiles of the distribution below the true value; None without a distribution.
        truth: (M,) true class, from 0; None for a real target.
        predicted: (M,) predicted class.
        confidence: (M,) probability of the predicted class.
    """

    rows: Rows
    read: Rows
    sequence: Rows
    history: Rows
    owner: Rows
    by: By
    parts: Mapping[str, AtPositions]
    unit: float
    step: Rows | None = None
    level: Rows | None = None
    truth: Rows | None = None
    predicted: Rows | None = None
    confidence: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)


def predict(
    model: Transformer, split: Split, objective: Objective, *, batch_size: int, limit: int
) -> dict[str, Positions]:
    """Predict the targets of a split on the CPU; of a large split those of some windows, evenly spaced.

    Args:
        model: its mode is restored.
        split: an evaluation index.
        objective: criteria and rules.
        batch_size: windows per forward pass.
        limit: largest number of targets of a column.
    """
    was_training = model.training
    model.eval()
    found: dict[str, Positions] = {}
    try:
        with torch.inference_mode():
            for part in split.parts:
                found |= _of_part(model, part, objective, batch_size, limit)
    finally:
        model.train(was_training)
    return {target: found[target] for target in objective.losses}


def _of_part(
    model: Transformer, split: Split, objective: Objective, batch_size: int, limit: int
) -> Iterator[tuple[str, Positions]]:
    numbers = np.arange(len(split))[:: max(-(-split.windows.n_targets // limit), 1)]
    batches: dict[str, list[_Compared]] = {}
    for chosen in in_batches(split.choose(numbers), batch_size):
        origins = split.target_rows(chosen.numbers, split.seq_length) - split.windows.ahead
        steps = np.tile(np.arange(split.horizon), len(origins))
        origins = np.repeat(origins, split.horizon)
        for each in compared(model, split, chosen, objective):
            known = split.are_known(each.target, origins + split.windows.ahead + steps)
            parts = {
                name: AtPositions(part.value.numpy(), None if part.cell is None else part.cell.numpy(), part.n_cells)
                for name, part in at_positions(each.found).items()
            }
            values = {name: getattr(each.found, name, None) for name in ("truth", "predicted", "confidence", "level")}
            found = {name: value.numpy() for name, value in values.items() if value is not None}
            batches.setdefault(each.target, []).append(_Compared(origins[known], steps[known], parts, found))
    starts, ahead = np.asarray(split.events.offsets), split.windows.ahead
    for target, of_target in batches.items():
        read, step = (np.concatenate([getattr(each, name) for each in of_target]) for name in ("read", "step"))
        sequence = np.searchsorted(starts, read, side="right") - 1
        found = {name: np.concatenate([each.found[name] for each in of_target]) for name in of_target[0].found}
        yield (
            target,
            Positions(
                rows=read + ahead + step,
                read=read,
                sequence=sequence,
                history=read - starts[sequence] + 1,
                owner=split.units.of(read + ahead),
                by=split.units.by,
                parts={name: _joined([each.parts[name] for each in of_target]) for name in of_target[0].parts},
                unit=objective.scale(target).error_unit,
                step=None if objective.n_steps is None else step,
                **found,
            ),
        )


def _joined(parts: list[AtPositions]) -> AtPositions:
    first = parts[0]
    cell = None if first.cell is None else np.concatenate([part.cell for part in parts if part.cell is not None])
    return AtPositions(np.concatenate([part.value for part in parts]), cell, first.n_cells)
