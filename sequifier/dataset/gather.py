"""Gathering windows into batches: on the host, from memory or mapped files, or on the device that holds the columns.

Both return the same numbers in the same memory layout, so results are equal bit for bit.

A batch has targets at some of its steps only: not on padding, and in evaluation not where an earlier window has the
same target. On a CPU these positions are picked out. On other devices the shape of a batch must not depend on its
numbers, for which the host would have to wait: there the last steps of all windows are positions, and a mask has those
that count.
Shapes: N rows of the split, B windows of a batch, T input steps, S of them with a target position, C categorical and R
real input columns, M target positions of a batch, H rows that are predicted at each of them (1 without a horizon), K
and L categorical and real columns that are known at these rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedColumn, MappedEvents, Runs
from sequifier.dataset.windows import Ahead, WindowIndex

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of a split, on its device."""

    categories: Tensor  # (B, T, C) int32 ids; each column of it is contiguous
    reals: Tensor  # (B, T, R) float32; each column of it is contiguous
    is_event: Tensor | None  # (B, T) bool, False on padding; None without padding
    n_steps: int  # S
    positions: Tensor | None  # (M,) int64, the steps of the flattened (B * T) that have a target; None: the last S of T
    targets: dict[str, Tensor]  # (M * H,) int64 ids or float32 z, position by position; (M, 2) of `still_open`
    known: dict[str, Tensor | None]  # (M * H,) bool, False where a target is not known or does not count; None: all
    picks: bool  # whether positions are picked out, instead of masked
    horizon: int = 1  # H
    future: tuple[Tensor, Tensor] | None = None  # (M, H, K) int32 and (M, H, L) float32; None: no column is known there

    def at_targets(self, hidden: Tensor) -> Tensor:
        """Return the vectors of the target positions: (B, T, D) -> (M, D)."""
        if self.positions is not None:
            return hidden.flatten(0, 1)[self.positions]
        return hidden[:, -self.n_steps :].flatten(0, 1)

    def at_steps(self, values: Tensor) -> Tensor:
        """Repeat what belongs to a target position for each step that it predicts: (M,) -> (M * H,)."""
        return values if self.horizon == 1 else values[:, None].expand(-1, self.horizon).reshape(-1)

    def flat(self, predictions: Tensor) -> Tensor:
        """Return predictions as those of plain positions: (M, H, ...) -> (M * H, ...)."""
        return predictions if self.horizon == 1 else predictions.flatten(0, 1)

    def at_known(self, target: str, *values: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Return which positions of a target are known, and its true values and `values` there, (M * H, ...) each.

        None: all of them are known, or the others were left out.
        """
        known, there = self.known[target], [self.targets[target], *values]
        if known is None or not self.picks:
            return known, there
        return None, [each[known] for each in there]


@dataclass(frozen=True)
class Chosen:
    """Numbers of windows of a split, (B,); `Split.choose` makes it."""

    numbers: NDArray[np.int64]
    on_device: Tensor | None  # the same on the device of the split; None where nothing there needs them

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: slice) -> "Chosen":
        return Chosen(self.numbers[which], None if self.on_device is None else self.on_device[which])


@dataclass(frozen=True)
class BatchWindows:
    """The windows of a batch, (B,) each, and what they need."""

    chosen: Chosen
    last: Rows  # row of the last target
    first: Rows | None  # first row of the sequence; None when no window has padding
    counted: Rows | None  # row of the first target that counts; None when the last S all count
    n_steps: int  # S
    all_known: dict[str, bool]  # by target: whether the category of each target that counts is known


@dataclass(frozen=True)
class BatchColumns:
    """Columns of a batch: inputs in the order of the model, targets, and the number T of steps.

    The truth of a target in `still_open` is a pair: its z, and whether this is only a lower bound, which the column
    named there has. The input columns in `known_future` are also read at the rows of the targets.
    """

    categorical: Sequence[str]
    real: Sequence[str]
    targets: Sequence[str]
    seq_length: int
    still_open: Mapping[str, str] = field(default_factory=dict)
    known_future: Sequence[str] = ()

    @property
    def known_categorical(self) -> list[str]:
        """The categorical columns that are known at the rows of the targets, in the order of the model."""
        return [name for name in self.categorical if name in self.known_future]

    @property
    def known_real(self) -> list[str]:
        """The real columns that are known at the rows of the targets, in the order of the model."""
        return [name for name in self.real if name in self.known_future]

    @property
    def truths(self) -> Sequence[str]:
        """The columns with true values."""
        return (*self.targets, *self.still_open.values())


class HostGather:
    """Gathers in the memory of the host, then copies to the device.

    A window is a run of rows, which NumPy copies in one piece: several times faster than row by row, and without
    threads, for which a busy machine would have to wait.
    """

    def __init__(
        self,
        events: Events | MappedEvents,
        columns: BatchColumns,
        ahead: Ahead,
        horizon: int,
        device: torch.device,
        *,
        picks: bool,
    ) -> None:
        self._spec, self._device, self._picks, self._horizon = columns, device, picks, horizon
        self._steps = np.arange(1 - ahead - columns.seq_length, horizon)  # rows relative to the last target
        names = dict.fromkeys((*columns.categorical, *columns.real, *columns.truths))
        self._columns: dict[str, NDArray[Any] | MappedColumn] = {name: events.columns[name] for name in names}
        self._runs = {name: _runs(column, len(self._steps)) for name, column in self._columns.items()}
        self._used = events.file.used if isinstance(events, MappedEvents) else lambda: None

    def __call__(self, windows: BatchWindows) -> Batch:
        columns, last, n_steps, H = self._spec, windows.last, windows.n_steps, self._horizon
        size = (len(last), columns.seq_length)
        rows = is_event = positions = counts = None
        if windows.first is not None:
            rows = last[:, None] + self._steps  # (B, T + ahead + H - 1)
            is_event = rows[:, : columns.seq_length] >= windows.first[:, None]
            rows = np.maximum(rows, windows.first[:, None])
        if windows.counted is not None:
            counts = np.arange(1 - n_steps, 1) >= (windows.counted - last)[:, None]  # (B, S)
            if self._picks:
                positions = np.flatnonzero(counts)
        categories = np.empty((len(columns.categorical), *size), np.int32)
        reals = np.empty((len(columns.real), *size), np.float32)
        inputs = dict(zip((*columns.categorical, *columns.real), (*categories, *reals), strict=True))
        truths: dict[str, NDArray[Any]] = dict.fromkeys(columns.truths, np.empty(0))
        future: dict[str, NDArray[Any]] = {}
        for name, column in self._columns.items():
            values = self._runs[name](last + self._steps[0]) if rows is None else column[rows]
            if name in inputs:
                shown = values[:, : columns.seq_length]
                inputs[name][...] = shown if is_event is None else shown * is_event
            if name in truths or name in columns.known_future:
                ahead = values[:, -(n_steps + H - 1) :]
                if H > 1:
                    ahead = ahead[:, np.arange(n_steps)[:, None] + np.arange(H)]  # (B, S, H)
                ahead = ahead.reshape(-1, H)  # (B * S, H)
                ahead = ahead if positions is None else ahead[positions]  # (M, H)
                if name in truths:
                    truths[name] = ahead.reshape(-1).astype(np.int64 if column.dtype.kind == "i" else np.float32)
                if name in columns.known_future:
                    future[name] = ahead
        self._used()
        counts_there = None if counts is None or self._picks else self._on_device(counts.reshape(-1).repeat(H))
        found = {name: self._on_device(values) for name, values in truths.items()}
        targets, known = _targets(found, counts_there, windows.all_known, columns.still_open)
        return Batch(
            categories=self._on_device(categories).permute(1, 2, 0),
            reals=self._on_device(reals).permute(1, 2, 0),
            is_event=None if is_event is None else self._on_device(is_event),
            n_steps=n_steps,
            positions=None if positions is None else self._on_device(positions),
            targets=targets,
            known=known,
            picks=self._picks,
            horizon=H,
            future=stacked_future(future, columns, self._device) if future else None,
        )

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        return to_device(values, self._device)


class DeviceGather:
    """Gathers on the device, which holds a copy of all columns and of the windows: nothing is copied for a batch.

    Attributes:
        windows: the windows.
    """

    def __init__(self, events: Events, columns: BatchColumns, windows: WindowIndex, device: torch.device) -> None:
        self._spec, self.windows = columns, DeviceWindows(windows, columns.seq_length, device)
        self._horizon = torch.arange(windows.horizon, device=device)
        n_rows = len(events.positions)
        self._categories = _stacked(events, columns.categorical, n_rows, torch.int32).to(device)  # (C, N)
        self._reals = _stacked(events, columns.real, n_rows, torch.float32).to(device)  # (R, N)
        self._targets = {name: torch.tensor(events.columns[name], device=device) for name in columns.truths}
        self._known = (
            _stacked(events, columns.known_categorical, n_rows, torch.int32).to(device),  # (K, N)
            _stacked(events, columns.known_real, n_rows, torch.float32).to(device),  # (L, N)
        )

    def __call__(self, windows: BatchWindows) -> Batch:
        size, n_steps = (len(windows.chosen), self._spec.seq_length), windows.n_steps
        last, first, counted = self.windows.of(windows.chosen)
        inputs, truths = last + self.windows.inputs, last + self.windows.targets[-n_steps:]  # (B, T), (B, S)
        is_event = counts = None
        H = len(self._horizon)
        if windows.counted is not None:
            counts = (truths >= counted).view(-1)
            counts = counts if H == 1 else counts[:, None].expand(-1, H).reshape(-1)
        if windows.first is not None:
            is_event = inputs >= first
            inputs, truths = torch.maximum(inputs, first), torch.maximum(truths, first)
        if H > 1:
            truths = truths.unsqueeze(-1) + self._horizon  # (B, S, H)
        categories = self._categories.index_select(1, inputs.view(-1)).view(len(self._categories), *size)
        reals = self._reals.index_select(1, inputs.view(-1)).view(len(self._reals), *size)
        if is_event is not None:
            categories, reals = categories * is_event, reals * is_event
        rows = truths.reshape(-1)
        found = {name: values.index_select(0, rows) for name, values in self._targets.items()}
        targets, known = _targets(found, counts, windows.all_known, self._spec.still_open)
        return Batch(
            categories=categories.permute(1, 2, 0),
            reals=reals.permute(1, 2, 0),
            is_event=is_event,
            n_steps=n_steps,
            positions=None,
            targets=targets,
            known=known,
            picks=False,
            horizon=H,
            future=self._future(rows) if self._spec.known_future else None,
        )

    def _future(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the known columns of some rows, (M * H,)."""
        H = len(self._horizon)
        categories, reals = (
            values.index_select(1, rows).view(len(values), len(rows) // H, H).permute(1, 2, 0) for values in self._known
        )
        return categories, reals


class DeviceWindows:
    """The windows of a split on its device.

    Attributes:
        inputs: rows of the inputs of a window relative to its last target, (T,).
        targets: rows of what is predicted from each of them, (T,).
    """

    def __init__(self, windows: WindowIndex, seq_length: int, device: torch.device) -> None:
        rows = np.stack([windows.last, windows.first, windows.counted])
        self._rows = torch.from_numpy(rows).to(device)  # (3, W)
        self.inputs = torch.arange(1 - windows.ahead - seq_length, 1 - windows.ahead, device=device)
        self.targets = torch.arange(1 - seq_length, 1, device=device)

    def of(self, chosen: Chosen) -> tuple[Tensor, Tensor, Tensor]:
        """Return last, first and counted of some windows, (B, 1) each."""
        assert chosen.on_device is not None
        last, first, counted = self._rows.index_select(1, chosen.on_device).unsqueeze(-1).unbind()
        return last, first, counted


def gather_for(
    events: Events | MappedEvents, columns: BatchColumns, windows: WindowIndex, device: torch.device, *, picks: bool
) -> HostGather | DeviceGather:
    """Choose where to gather: on the device when the columns are in memory and fit on it, else on the host.

    Args:
        events: the events of a split.
        columns: of its batches.
        windows: its windows.
        device: of the batches.
        picks: whether target positions are picked out, as on a CPU, which only the host can do.
    """
    if picks or isinstance(events, MappedEvents):
        return HostGather(events, columns, windows.ahead, windows.horizon, device, picks=picks)
    n_columns = len(columns.categorical) + len(columns.real) + len(columns.truths) + len(columns.known_future)
    needed = 4 * n_columns * len(events.positions) + 3 * windows.last.nbytes
    if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] // 2:
        return HostGather(events, columns, windows.ahead, windows.horizon, device, picks=False)
    return DeviceGather(events, columns, windows, device)


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copy to a device, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        # A copy from pinned memory is asynchronous: the host prepares the next batch meanwhile.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def stacked_future(
    known: Mapping[str, NDArray[Any]], columns: BatchColumns, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return known columns, (M, H) each, as `Batch.future`."""
    size = next(iter(known.values())).shape
    categories, reals = (
        np.stack([known[name] for name in names]) if names else np.zeros((0, *size), kind)
        for names, kind in ((columns.known_categorical, np.int32), (columns.known_real, np.float32))
    )
    return to_device(categories, device).permute(1, 2, 0), to_device(reals, device).permute(1, 2, 0)


def _targets(
    truths: dict[str, Tensor], counts: Tensor | None, all_known: dict[str, bool], still_open: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    """Return the targets and which of them are known.

    Args:
        truths: target -> true values, (M,), and the columns named in `still_open`.
        counts: (M,) bool, False where targets do not count; None when all count.
        all_known: as in `BatchWindows`.
        still_open: as in `BatchColumns`.
    """
    targets, known = {}, {}
    bounds = {name: truths.pop(column) for name, column in still_open.items()}
    for name, truth in truths.items():
        if name in bounds:
            is_bound = ~bounds[name].isnan()
            truth = torch.where(is_bound, bounds[name], truth)
        is_real = truth.is_floating_point()
        targets[name] = truth if is_real else truth.long()
        known[name] = counts
        if not all_known[name]:
            here = ~truth.isnan() if is_real else truth > 0
            known[name] = here if counts is None else counts & here
            if is_real:
                targets[name] = truth.nan_to_num(0.0)  # masked, and then it must not be NaN
        if name in bounds:
            targets[name] = torch.stack([targets[name], is_bound.to(truth.dtype)], dim=1)
    return targets, known


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
