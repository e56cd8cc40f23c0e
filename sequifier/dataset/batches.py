"""The events of a split, gathered into batches by an index of windows; no Python loop runs over windows.

Shapes: N rows of the split, W windows, B windows of a batch, T input steps, M target positions of a batch, H rows that
are predicted at each of them (1 without a horizon), U sampling units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events, is_known
from sequifier.artifacts.mapped import MappedColumn, MappedEvents
from sequifier.dataset.gather import Batch, BatchColumns, BatchWindows, Chosen, DeviceGather, gather_for, to_device
from sequifier.dataset.units import UnitIndex, unit_index
from sequifier.dataset.windows import RowNumbers, WindowIndex, rows_from

__all__ = ["Batch", "Chosen", "Split", "in_batches", "in_steps"]

_AT_A_TIME = 1 << 20
"""Rows or windows that are examined together, which bounds the memory."""


class Split:
    """The events of a split and an index of windows over them.

    The targets of one split may have different windows: those that belong to whole sequences have their own. Then each
    index is a `Split`, and the first one holds the others.

    Args:
        events: the encoded events; inputs and targets are among its columns.
        windows: the windows.
        categorical: categorical input columns, in the order of the model.
        real: real input columns, in the order of the model.
        targets: target columns.
        seq_length: inputs of a window (T).
        device: of the batches; columns in memory are copied there once, when they fit.
        picks: whether the target positions of a batch are picked out, instead of masked; None: on a CPU.
        units: the sampling units of the targets; None: those of the windows.
        others: further windows over the same events, for other targets.
        still_open: target -> the column with the lower bounds of its values that are still open.
        known_future: input columns that are also read at the rows of the targets.

    Attributes:
        parts: this split and the others.
    """

    def __init__(
        self,
        events: Events | MappedEvents,
        windows: WindowIndex,
        *,
        categorical: Sequence[str],
        real: Sequence[str],
        targets: Sequence[str],
        seq_length: int,
        device: torch.device,
        picks: bool | None = None,
        units: UnitIndex | None = None,
        others: Sequence["Split"] = (),
        still_open: Mapping[str, str] = MappingProxyType({}),
        known_future: Sequence[str] = (),
    ) -> None:
        self.events, self.windows, self.seq_length, self.device = events, windows, seq_length, device
        self.targets, self.parts, self._given_units = tuple(targets), (self, *others), units
        self.columns = BatchColumns(
            tuple(categorical), tuple(real), self.targets, seq_length, still_open, tuple(known_future)
        )
        self.picks = device.type == "cpu" if picks is None else picks
        self._gather = gather_for(events, self.columns, windows, device, picks=self.picks)
        self._device_windows = self._gather.windows if isinstance(self._gather, DeviceGather) else None
        # Properties of the whole split need not be checked in each batch.
        self._before = seq_length - 1 + windows.ahead  # rows of a window before its last target
        self._none_padded = self._no_window(lambda last, first, counted: last - self._before < first)
        self._all_counted = self._no_window(lambda last, first, counted: counted > last - seq_length + 1)
        self._n_unknown: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._known_before = {
            target: _known_before([events.columns[name] for name in (target, still_open.get(target)) if name])
            for target in targets
        }
        self._known_sums: dict[str, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def horizon(self) -> int:
        """Number of rows that are predicted at each target position (H)."""
        return self.windows.horizon

    @property
    def n_windows(self) -> int:
        """Number of windows of all parts."""
        return sum(map(len, self.parts))

    def of(self, target: str) -> "Split":
        """Return the part that has a target."""
        return next(part for part in self.parts if target in part.targets)

    @property
    def rows_per_window(self) -> int:
        """Number of rows of a batch for each window, on average, rounded up."""
        return 1

    def in_epoch(self, epoch: int) -> Self:
        """Return the split as an epoch of training reads it, from 1; the same in each, unless it is random."""
        return self

    def choose(self, numbers: NDArray[np.int64]) -> Chosen:
        """Choose windows by their numbers, (B,): those of a batch, or all of an epoch, which are then cut into batches.

        They are copied to the device here, so that no batch needs a copy.
        """
        return Chosen(numbers, None if self._device_windows is None else to_device(numbers, self.device))

    def n_targets(self, numbers: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """Return the number of target positions of each window that count, (B,), with and without a known category."""
        last, counted = (rows[numbers].astype(np.int64) for rows in (self.windows.last, self.windows.counted))
        return last - counted + 1

    def n_events(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of events up to the last target of each window, this one included, (B,)."""
        last, first = (rows[numbers].astype(np.int64) for rows in (self.windows.last, self.windows.first))
        return last - first + 1

    def n_known_targets(self, target: str, numbers: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """Return the number of known targets of each window at all steps, (B,): the divisor of its loss.

        It follows from the index, without a batch.
        """
        known = self._known_before[target]
        if known is None and self._all_counted and not isinstance(numbers, slice):
            return np.full(len(numbers), self.seq_length * self.horizon)
        if known is None:
            return self.n_targets(numbers) * self.horizon
        last, counted = (rows[numbers].astype(np.int64) for rows in (self.windows.last, self.windows.counted))
        if self.horizon == 1:
            return self._n_known_steps(known, counted, last)
        if target not in self._known_sums:
            self._known_sums[target] = np.concatenate([[0], np.cumsum(known, dtype=np.int64)])
        sums, H = self._known_sums[target], self.horizon
        # A row counts once for each position that predicts it: the sum over positions of known[row + H] - known[row].
        n_known: NDArray[np.int64] = sums[last + H + 1] - sums[counted + H] - sums[last + 1] + sums[counted]
        return n_known

    def n_known_at_first_step(self, target: str) -> int:
        """Return the number of target positions whose first step is known: equal for runs with other horizons."""
        known, last, counted = self._known_before[target], self.windows.last, self.windows.counted
        if known is None:
            return self.windows.n_targets
        return int(self._n_known_steps(known, counted.astype(np.int64), last.astype(np.int64)).sum())

    def are_known(self, target: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether a target has a known value, or a lower bound of it, in each of some rows."""
        known = self._known_before[target]
        if known is None:
            return np.ones(len(rows), dtype=bool)
        found: NDArray[np.bool_] = known[rows + 1] > known[rows]
        return found

    @staticmethod
    def _n_known_steps(known: NDArray[Any], counted: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        n_known: NDArray[np.int64] = known[last + 1].astype(np.int64) - known[counted]
        return n_known

    def n_targets_of_class(self, target: str, n_classes: int) -> NDArray[np.int64]:
        """Return the number of events of each class that are targets of a window, (n_classes,); each counts once."""
        opens = np.zeros(len(self.events.columns[target]) + 1, dtype=np.int32)
        np.add.at(opens, self.windows.counted, 1)
        np.subtract.at(opens, self.windows.last.astype(np.int64) + self.horizon, 1)
        is_target = np.cumsum(opens[:-1], dtype=np.int32) > 0
        counts = np.zeros(n_classes, dtype=np.int64)
        for start in range(0, len(is_target), _AT_A_TIME):
            ids = np.asarray(self.events.columns[target][start : start + _AT_A_TIME])
            counts += np.bincount(ids[is_target[start : start + _AT_A_TIME] & (ids >= 0)], minlength=n_classes)
        return counts

    def batch(self, chosen: Chosen) -> Batch:
        """Gather windows."""
        numbers, n_steps = chosen.numbers, self.seq_length
        last = self.windows.last[numbers].astype(np.int64)
        first = counted = None
        if not self._none_padded:
            first = self.windows.first[numbers].astype(np.int64)
            if (last - self._before >= first).all():
                first = None
        n_targets = np.full(len(last), n_steps)
        if not self._all_counted:
            counted = self.windows.counted[numbers].astype(np.int64)
            n_targets = last - counted + 1
            if not self.picks or self.windows.only_last:
                n_steps = int(n_targets.max())
            if (n_targets >= n_steps).all():
                counted = None
        all_known = {
            target: known is None or bool((self.n_known_targets(target, numbers) == n_targets * self.horizon).all())
            for target, known in self._known_before.items()
        }
        return self._gather(BatchWindows(chosen, last, first, counted, n_steps, all_known))

    @cached_property
    def units(self) -> UnitIndex:
        """The sampling units of the targets."""
        return unit_index(self.windows) if self._given_units is None else self._given_units

    def target_unit(self, chosen: Chosen, batch: Batch) -> Tensor:
        """Return the sampling unit of each target position in the batch of `chosen`, (M,).

        A position that does not count has the unit of its row all the same, or that of another one before all units.
        """
        if self._device_windows is not None:
            last, first, _ = self._device_windows.of(chosen)
            rows = torch.maximum(last + self._device_windows.targets[-batch.n_steps :], first)
            return (torch.searchsorted(self._unit_starts, rows.view(-1), right=True) - 1).clamp(min=0)
        if self.picks:
            return to_device(self._target_unit(chosen.numbers), self.device)
        steps = np.arange(1 - batch.n_steps, 1)
        shown = np.maximum(self.windows.last[chosen.numbers, None] + steps, self.windows.first[chosen.numbers, None])
        return to_device(self.units.of(shown.reshape(-1)).clip(min=0), self.device)

    def target_sequence(self, chosen: Chosen, batch: Batch) -> NDArray[np.int64]:
        """Return the number of the sequence of each target position in the batch of `chosen`, (M,)."""
        first = self.windows.first[chosen.numbers]
        sequence = np.searchsorted(np.asarray(self.events.offsets), first, side="right") - 1
        return np.repeat(sequence, self.n_targets(chosen.numbers) if self.picks else batch.n_steps)

    def n_before(self, chosen: Chosen, batch: Batch) -> Tensor:
        """Return the number of events before each target position in the batch of `chosen`, (M,).

        They are the events of its sequence that windows may show. A position that does not count has any number.
        """
        if self._device_windows is not None:
            last, first, _ = self._device_windows.of(chosen)
            return (last + self._device_windows.targets[-batch.n_steps :] - first).view(-1)
        numbers = chosen.numbers
        if self.picks:
            counts = self.n_targets(numbers)
            rows = rows_from(self.windows.counted[numbers], counts)
            return to_device(rows - np.repeat(self.windows.first[numbers], counts), self.device)
        rows = self.windows.last[numbers, None] + np.arange(1 - batch.n_steps, 1) - self.windows.first[numbers, None]
        return to_device(rows.reshape(-1), self.device)

    def n_unknown_targets(self, target: str, min_events: int = 1) -> NDArray[np.int64]:
        """Return the number of targets of each sampling unit and step whose class is unknown (id 0), (U, H).

        Args:
            target: the column.
            min_events: smallest number of events before a target that counts here.
        """
        if (target, min_events) not in self._n_unknown:
            found = np.zeros((len(self.units), self.horizon), dtype=np.int64)
            column = self.events.columns[target]
            if self._known_before[target] is not None and column.dtype.kind == "i":
                for numbers in in_batches(np.arange(len(self)), max(1, _AT_A_TIME // self.seq_length)):
                    counts = self.n_targets(numbers)
                    rows = rows_from(self.windows.counted[numbers], counts)
                    has_enough = np.ones(len(rows), dtype=bool)
                    if min_events > 1:
                        has_enough = rows - np.repeat(self.windows.first[numbers], counts) >= min_events
                    for step in range(self.horizon):
                        is_unknown = (column[rows + step] == 0) & has_enough
                        found[:, step] += np.bincount(self.units.of(rows[is_unknown]), minlength=len(found))
            self._n_unknown[target, min_events] = found
        return self._n_unknown[target, min_events]

    def target_rows(self, numbers: NDArray[np.int64], n_steps: int) -> NDArray[np.int64]:
        """Return the row of each target position of some windows, (M,); -1 where it does not count.

        Args:
            numbers: of the windows.
            n_steps: as in their batch.
        """
        if self.picks:
            return rows_from(self.windows.counted[numbers], self.n_targets(numbers))
        rows = self.windows.last[numbers, None] + np.arange(1 - n_steps, 1)
        found: NDArray[np.int64] = np.where(rows >= self.windows.counted[numbers, None], rows, -1).reshape(-1)
        return found

    @cached_property
    def unit_targets(self) -> NDArray[np.int64]:
        """Number of targets of each sampling unit at all steps, (U,), including those with an unknown category."""
        found = np.zeros(len(self.units), dtype=np.int64)
        for numbers in in_batches(np.arange(len(self)), max(1, _AT_A_TIME // self.seq_length)):
            found += np.bincount(self._target_unit(numbers), minlength=len(found))
        return found * self.horizon

    def _target_unit(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sampling unit of each target that counts, joined over the windows."""
        counts = self.n_targets(numbers)
        if self.units.by == "sequences":
            return np.repeat(self._unit_of_window[numbers], counts)
        return self.units.of(rows_from(self.windows.counted[numbers], counts))

    @cached_property
    def _unit_starts(self) -> Tensor:
        """`UnitIndex.starts` on the device."""
        return to_device(self.units.starts, self.device)

    @cached_property
    def _unit_of_window(self) -> NDArray[np.int64]:
        """Sampling unit of each window, (W,); for units that are whole sequences."""
        return self.units.of(self.windows.first)

    def _no_window(self, condition: Callable[[RowNumbers, RowNumbers, RowNumbers], NDArray[np.bool_]]) -> bool:
        """Return whether `condition(last, first, counted)` holds for no window."""
        windows = self.windows
        for start in range(0, len(windows), _AT_A_TIME):
            here = slice(start, start + _AT_A_TIME)
            if condition(windows.last[here], windows.first[here], windows.counted[here]).any():
                return False
        return True


Order = TypeVar("Order", NDArray[np.int64], Chosen)


def in_batches(order: Order, size: int) -> Iterator[Order]:
    """Cut an order of windows into batches of `size`; the last one may be smaller."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


def in_steps(orders: Sequence[Chosen], size: int, *, done: int = 0) -> Iterator[list[Chosen]]:
    """Cut the orders of several parts into steps of `size` windows together; the last step may be smaller.

    A step takes the same fraction of each part.

    Args:
        orders: of an epoch, one for each part.
        size: windows of a step.
        done: number of first steps to leave out.
    """
    total = sum(map(len, orders))
    for start in range(done * size, total, size):
        end = min(start + size, total)
        yield [order[len(order) * start // total : len(order) * end // total] for order in orders]


def _known_before(columns: Sequence[NDArray[Any] | MappedColumn]) -> NDArray[Any] | None:
    """Return the number of rows before each one with a known value in a column, (N + 1,); None when all are known."""
    n_rows = len(columns[0])
    parts = range(0, n_rows, _AT_A_TIME)

    def are_known(start: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.logical_or.reduce(
            [is_known(each[start : start + _AT_A_TIME]) for each in columns]
        )
        return found

    if all(are_known(start).all() for start in parts):
        return None
    known = np.zeros(n_rows + 1, dtype=np.int32 if n_rows < np.iinfo(np.int32).max else np.int64)
    for start in parts:
        here = known[start + 1 : start + 1 + _AT_A_TIME]
        np.cumsum(are_known(start), out=here)
        np.add(here, known[start], out=here)
    return known
