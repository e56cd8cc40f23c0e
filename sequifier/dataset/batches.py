"""A split on a device, and the gathering of windows into batches; no Python runs per window.

Shapes: N rows of the split, W windows, B windows of a batch, T input steps, C categorical and R real input columns,
M target positions of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.dataset.windows import WindowIndex


@dataclass(frozen=True)
class Batch:
    """Windows of a split, gathered on its device."""

    categories: Tensor  # (B, T, C) int32 ids
    reals: Tensor  # (B, T, R) float32
    is_event: Tensor | None  # (B, T) bool, False on padding; None without padding
    positions: Tensor | None  # (M,) int64, the steps of the flattened (B * T) that have a target; None for all
    targets: dict[str, Tensor]  # (M,) int64 ids or float32 z
    all_known: dict[str, bool]  # whether no target is unknown (id 0)


class Split:
    """The events of a split on a device, seen through an index of windows.

    Args:
        events: the encoded events; inputs and targets are among its columns.
        windows: the windows.
        categorical: categorical input columns, in the order of the model.
        real: real input columns, in the order of the model.
        targets: target columns.
        seq_length: inputs of a window (T).
        device: where the columns are held and batches are made.
    """

    def __init__(
        self,
        events: Events,
        windows: WindowIndex,
        *,
        categorical: Sequence[str],
        real: Sequence[str],
        targets: Sequence[str],
        seq_length: int,
        device: torch.device,
    ) -> None:
        self.windows, self.seq_length, self.device = windows, seq_length, device
        self.events = events
        n_rows = len(events.positions)
        self._categories = _stacked(events, categorical, n_rows, torch.int32).to(device)  # (N, C)
        self._reals = _stacked(events, real, n_rows, torch.float32).to(device)  # (N, R)
        self._targets: dict[str, Tensor] = {}
        self._known_before: dict[str, NDArray[np.int64]] = {}
        for target in targets:
            values = events.columns[target]
            self._targets[target] = torch.tensor(values, device=device)
            if values.dtype == np.int32:
                self._targets[target] = self._targets[target].long()
                self._known_before[target] = np.concatenate([[0], np.cumsum(values != 0)])
        self._steps = torch.arange(-seq_length, 1, device=device)

    def __len__(self) -> int:
        return len(self.windows)

    def n_known_targets(self, target: str, chosen: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """How many known targets each window has: the divisor of its loss. From the index, without a batch."""
        last, counted = self.windows.last[chosen], self.windows.counted[chosen]
        if target not in self._known_before:
            return last - counted + 1
        known = self._known_before[target]
        return known[last + 1] - known[counted]

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        """Gather windows by their numbers, (B,)."""
        last, first = self.windows.last[chosen], self.windows.first[chosen]
        counted = self.windows.counted[chosen]
        length = self.seq_length
        rows = torch.from_numpy(last).to(self.device)[:, None] + self._steps  # (B, T + 1)
        is_event = None
        if (last - length < first).any():
            first_rows = torch.from_numpy(first).to(self.device)[:, None]
            is_event = rows[:, :-1] >= first_rows
            rows = torch.maximum(rows, first_rows)
        inputs = rows[:, :-1].reshape(-1)
        categories = self._categories[inputs].view(len(chosen), length, -1)
        reals = self._reals[inputs].view(len(chosen), length, -1)
        if is_event is not None:
            categories = categories * is_event[..., None]
            reals = reals * is_event[..., None]
        target_rows = rows[:, 1:].reshape(-1)
        positions = None
        if (counted > last - length + 1).any():
            is_counted = np.arange(-length + 1, 1) >= (counted - last)[:, None]  # (B, T)
            positions = torch.from_numpy(np.flatnonzero(is_counted)).to(self.device)
            target_rows = target_rows[positions]
        n_targets = last - counted + 1
        return Batch(
            categories=categories,
            reals=reals,
            is_event=is_event,
            positions=positions,
            targets={target: values[target_rows] for target, values in self._targets.items()},
            all_known={
                target: bool((self.n_known_targets(target, chosen) == n_targets).all()) for target in self._targets
            },
        )

    def target_window(self, chosen: NDArray[np.int64]) -> Tensor:
        """(M,) the place in `chosen` of the window that each target position of its batch belongs to."""
        counts = self.windows.last[chosen] - self.windows.counted[chosen] + 1
        return torch.from_numpy(np.repeat(np.arange(len(chosen)), counts)).to(self.device)


def in_batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut an order of windows into batches; the last one may be smaller."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _stacked(events: Events, columns: Sequence[str], n_rows: int, dtype: torch.dtype) -> Tensor:
    if not columns:
        return torch.zeros(n_rows, 0, dtype=dtype)
    return torch.from_numpy(np.stack([events.columns[column] for column in columns], axis=1))
