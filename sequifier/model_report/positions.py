"""The predictions of a model at each target of a split, and the rows of these targets, in memory.

Shapes: M targets of one column.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.events import is_known
from sequifier.dataset.batches import Split, in_batches
from sequifier.metrics.predictions import AtPositions, ClassPredictions, at_positions
from sequifier.model.transformer import Transformer
from sequifier.training.evaluate import compared
from sequifier.training.objective import Objective

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Positions:
    """The predictions of one target.

    Attributes:
        rows: (M,) row of each target in the events of the split.
        ahead: number of rows from the last event that the model read to the target: 1, or 0 for labels of sequences.
        sequence: (M,) number of its sequence.
        history: (M,) number of events of the sequence before the target; for a label those that were read.
        parts: name of a sum -> its values at each target, as the metrics take them.
        unit: of errors.
        truth: (M,) true class, from 0; None for a real target.
        predicted: (M,) predicted class.
        confidence: (M,) probability of the predicted class.
    """

    rows: Rows
    ahead: int
    sequence: Rows
    history: Rows
    parts: Mapping[str, AtPositions]
    unit: float
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
    batches: dict[str, list[tuple[Rows, dict[str, AtPositions], dict[str, NDArray[np.float64]]]]] = {}
    for chosen in in_batches(split.choose(numbers), batch_size):
        rows = split.target_rows(chosen.numbers, split.seq_length)
        for each in compared(model, split, chosen, objective):
            known = rows[is_known(split.events.columns[each.target][rows])]
            parts = {
                name: AtPositions(part.value.numpy(), None if part.cell is None else part.cell.numpy(), part.n_cells)
                for name, part in at_positions(each.found).items()
            }
            classes = {}
            if isinstance(each.found, ClassPredictions):
                names = ("truth", "predicted", "confidence")
                classes = {name: getattr(each.found, name).numpy() for name in names}
            batches.setdefault(each.target, []).append((known, parts, classes))
    starts, ahead = np.asarray(split.events.offsets), split.windows.ahead
    for target, of_target in batches.items():
        rows = np.concatenate([known for known, _, _ in of_target])
        sequence = np.searchsorted(starts, rows, side="right") - 1
        joined = {name: _joined([parts[name] for _, parts, _ in of_target]) for name in of_target[0][1]}
        classes = {name: np.concatenate([values[name] for _, _, values in of_target]) for name in of_target[0][2]}
        history = rows - starts[sequence] + 1 - ahead
        unit = objective.scale(target).error_unit
        yield target, Positions(rows, ahead, sequence, history, joined, unit, **classes)


def _joined(parts: list[AtPositions]) -> AtPositions:
    first = parts[0]
    cell = None if first.cell is None else np.concatenate([part.cell for part in parts if part.cell is not None])
    return AtPositions(np.concatenate([part.value for part in parts]), cell, first.n_cells)
