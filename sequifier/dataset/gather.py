"""Gathering windows into batches: on the host, from memory or mapped files, or on the device that holds the columns.

Both return the same numbers in the same memory layout, so results are equal bit for bit.
Shapes: N rows of the split, B windows of a batch, T input steps, C categorical and R real input columns, M target
positions of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedColumn, MappedEvents, Runs

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of a split, on its device."""

    categories: Tensor  # (B, T, C) int32 ids; each column of it is contiguous
    reals: Tensor  # (B, T, R) float32; each column of it is contiguous
    is_event: Tensor | None  # (B, T) bool, False on padding; None without padding
    positions: Tensor | None  # (M,) int64, the steps of the flattened (B * T) that have a target; None for all
    targets: dict[str, Tensor]  # (M,) int64 ids or float32 z
    all_known: dict[str, bool]  # whether no target is unknown (id 0)


@dataclass(frozen=True)
class BatchColumns:
    """Columns of a batch: inputs in the order of the model, targets, and the number T of steps."""

    categorical: Sequence[str]
    real: Sequence[str]
    targets: Sequence[str]
    seq_length: int


class Gather(Protocol):
    """Gathers windows, (B,) each, into a batch.

    Args:
        last: row of the last target.
        first: first row of the sequence; None when no window has padding.
        counted: row of the first target that counts; None when all targets count.
        all_known: see `Batch`.
    """

    def __call__(self, last: Rows, first: Rows | None, counted: Rows | None, all_known: dict[str, bool]) -> Batch: ...


class HostGather:
    """Gathers in the memory of the host, then copies to the device.

    A window is a run of rows, which NumPy copies in one piece: several times faster than row by row, and without
    threads, for which a busy machine would have to wait.
    """

    def __init__(self, events: Events | MappedEvents, columns: BatchColumns, device: torch.device) -> None:
        self._spec, self._device = columns, device
        self._steps = np.arange(-columns.seq_length, 1)
        names = dict.fromkeys((*columns.categorical, *columns.real, *columns.targets))
        self._columns: dict[str, NDArray[Any] | MappedColumn] = {name: events.columns[name] for name in names}
        self._runs = {name: _runs(column, columns.seq_length + 1) for name, column in self._columns.items()}
        self._used = events.file.used if isinstance(events, MappedEvents) else lambda: None

    def __call__(self, last: Rows, first: Rows | None, counted: Rows | None, all_known: dict[str, bool]) -> Batch:
        columns, size = self._spec, (len(last), self._spec.seq_length)
        rows = is_event = positions = None
        if first is not None:
            rows = last[:, None] + self._steps  # (B, T + 1)
            is_event = rows[:, :-1] >= first[:, None]
            rows = np.maximum(rows, first[:, None])
        if counted is not None:
            positions = np.flatnonzero(self._steps[1:] >= (counted - last)[:, None])
        categories = np.empty((len(columns.categorical), *size), np.int32)
        reals = np.empty((len(columns.real), *size), np.float32)
        inputs = dict(zip((*columns.categorical, *columns.real), (*categories, *reals), strict=True))
        targets: dict[str, NDArray[Any]] = dict.fromkeys(columns.targets, np.empty(0))
        for name, column in self._columns.items():
            values = self._runs[name](last - columns.seq_length) if rows is None else column[rows]
            if name in inputs:
                inputs[name][...] = values[:, :-1] if is_event is None else values[:, :-1] * is_event
            if name in targets:
                truth = values[:, 1:].astype(np.int64 if column.dtype.kind == "i" else np.float32).reshape(-1)
                targets[name] = truth if positions is None else truth[positions]
        self._used()
        return Batch(
            categories=self._on_device(categories).permute(1, 2, 0),
            reals=self._on_device(reals).permute(1, 2, 0),
            is_event=None if is_event is None else self._on_device(is_event),
            positions=None if positions is None else self._on_device(positions),
            targets={name: self._on_device(values) for name, values in targets.items()},
            all_known=all_known,
        )

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(values)
        if self._device.type == "cuda":
            # A copy from pinned memory is asynchronous: the host prepares the next batch meanwhile.
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


class DeviceGather:
    """Gathers on the device, which holds a copy of all columns."""

    def __init__(self, events: Events, columns: BatchColumns, device: torch.device) -> None:
        self._spec, self._device = columns, device
        self._steps = torch.arange(-columns.seq_length, 1, device=device)
        n_rows = len(events.positions)
        self._categories = _stacked(events, columns.categorical, n_rows, torch.int32).to(device)  # (C, N)
        self._reals = _stacked(events, columns.real, n_rows, torch.float32).to(device)  # (R, N)
        self._targets = {name: torch.tensor(events.columns[name], device=device) for name in columns.targets}

    def __call__(self, last: Rows, first: Rows | None, counted: Rows | None, all_known: dict[str, bool]) -> Batch:
        size = (len(last), self._spec.seq_length)
        rows = torch.from_numpy(last).to(self._device)[:, None] + self._steps  # (B, T + 1)
        is_event = positions = None
        if first is not None:
            first_rows = torch.from_numpy(first).to(self._device)[:, None]
            is_event = rows[:, :-1] >= first_rows
            rows = torch.maximum(rows, first_rows)
        inputs, target_rows = rows[:, :-1].reshape(-1), rows[:, 1:].reshape(-1)
        categories = self._categories.index_select(1, inputs).view(len(self._categories), *size)
        reals = self._reals.index_select(1, inputs).view(len(self._reals), *size)
        if is_event is not None:
            categories, reals = categories * is_event, reals * is_event
        if counted is not None:
            steps = np.arange(1 - size[1], 1)
            positions = torch.from_numpy(np.flatnonzero(steps >= (counted - last)[:, None])).to(self._device)
            target_rows = target_rows[positions]
        truths = {name: values[target_rows] for name, values in self._targets.items()}
        return Batch(
            categories=categories.permute(1, 2, 0),
            reals=reals.permute(1, 2, 0),
            is_event=is_event,
            positions=positions,
            targets={name: truth if truth.is_floating_point() else truth.long() for name, truth in truths.items()},
            all_known=all_known,
        )


def gather_for(events: Events | MappedEvents, columns: BatchColumns, device: torch.device) -> Gather:
    """Choose where to gather: on the device when the columns are in memory and fit on it, else on the host."""
    if device.type == "cpu" or isinstance(events, MappedEvents):
        return HostGather(events, columns, device)
    n_columns = len(columns.categorical) + len(columns.real) + len(columns.targets)
    if device.type == "cuda" and 4 * n_columns * len(events.positions) > torch.cuda.mem_get_info(device)[0] // 2:
        return HostGather(events, columns, device)
    return DeviceGather(events, columns, device)


def _runs(column: NDArray[Any] | MappedColumn, length: int) -> Runs:
    """Return a function that reads runs of `length` rows by their first rows."""
    if isinstance(column, MappedColumn):
        return column.runs(length)
    # A shorter column has no whole run: its windows are padded, and read row by row.
    view = sliding_window_view(column, min(length, len(column)))
    return lambda starts: view[starts]


def _stacked(events: Events, columns: Sequence[str], n_rows: int, dtype: torch.dtype) -> Tensor:
    if not columns:
        return torch.zeros(0, n_rows, dtype=dtype)
    return torch.from_numpy(np.stack([events.columns[column] for column in columns]))
