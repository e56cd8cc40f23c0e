"""A split whose targets are predicted from histories in random order.

A causal model predicts all targets of a window in one pass, in the order of the events. Here each target has its own
order of the events before it, so it has a row of its own in a batch: its history, the last event at the right end.
Which events that are is decided by the windows of the split, as without shuffling.
Shapes: W windows, M targets of some windows, T longest history among them, C categorical and R real input columns.
"""

from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.events import is_known
from sequifier.artifacts.mapped import MappedEvents
from sequifier.dataset.batches import Split
from sequifier.dataset.gather import Batch, Chosen, Rows, stacked_future, to_device
from sequifier.dataset.random_bits import COUNTER, Bits, mixed
from sequifier.dataset.windows import rows_from

_FIRST = np.uint64(1)


class ShuffledSplit(Split):
    """A split with histories in random order. Arguments beside `seed` and `keeps_last` as of `Split`.

    Args:
        seed: the orders in an epoch of training are a function of it, the epoch and the target. In evaluation they are
            the same for all seeds.
        keeps_last: whether the last event before a target keeps its place.
    """

    def __init__(self, *arguments: Any, seed: int, keeps_last: bool, **options: Any) -> None:
        # The rows of a batch are chosen on the host, so that is where they are gathered.
        super().__init__(*arguments, **options, picks=True)
        self._seed, self._keeps_last, self._epoch = seed, keeps_last, 0
        self._is_on_cpu = self.device.type == "cpu"

    @property
    def rows_per_window(self) -> int:
        """Number of targets of a window, on average, rounded up."""
        return -(-self.windows.n_targets // max(len(self), 1))

    def in_epoch(self, epoch: int) -> Self:
        """Return the split with the orders of an epoch."""
        found = copy(self)
        found._epoch, found.parts = epoch, (found, *(part.in_epoch(epoch) for part in self.parts[1:]))
        return found

    def batch(self, chosen: Chosen) -> Batch:
        """Gather the targets of some windows, in order, each with its own history."""
        numbers, columns = chosen.numbers, self.columns
        counts = self.n_targets(numbers)
        target = rows_from(self.windows.counted[numbers], counts)  # (M,)
        begin = np.maximum(self.windows.first[numbers], self.windows.last[numbers].astype(np.int64) - self._before)
        rows, is_event = self._histories(target, np.repeat(begin, counts))
        is_padded = not is_event.all()
        inputs = []
        for names, kind in ((columns.categorical, np.int32), (columns.real, np.float32)):
            values = np.empty((len(names), *rows.shape), kind)
            for place, name in enumerate(names):
                values[place] = self.events.columns[name][rows] * is_event
            inputs.append(to_device(values, self.device).permute(1, 2, 0))
        targets: dict[str, Tensor] = {}
        known: dict[str, Tensor | None] = {}
        at = target[:, None] + np.arange(self.horizon)  # (M, H)
        known_future = {name: self.events.columns[name][at] for name in columns.known_future}
        at = at.reshape(-1)
        for name in columns.targets:
            truth, is_bound = self.events.columns[name][at], None
            if name in columns.still_open:
                bounds = self.events.columns[columns.still_open[name]][at]
                is_bound = is_known(bounds)
                truth = np.where(is_bound, bounds, truth)
            has_value = is_known(truth)
            whole = truth.dtype.kind == "i"
            truth = np.where(has_value, truth, 0).astype(np.int64 if whole else np.float32)
            pair = truth if is_bound is None else np.stack([truth, is_bound], axis=1, dtype=np.float32)
            targets[name] = to_device(pair, self.device)
            known[name] = None if has_value.all() else to_device(has_value, self.device)
        if isinstance(self.events, MappedEvents):
            self.events.file.used()
        return Batch(
            categories=inputs[0],
            reals=inputs[1],
            is_event=to_device(is_event, self.device) if is_padded else None,
            n_steps=1,
            positions=None,
            targets=targets,
            known=known,
            picks=self._is_on_cpu,
            horizon=self.horizon,
            future=stacked_future(known_future, columns, self.device) if known_future else None,
        )

    def _histories(self, target: Rows, begin: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """Return the rows of the events before each target in their random order, and which of them are events.

        Args:
            target: rows of the targets, (M,).
            begin: first rows of their histories, (M,).

        Returns:
            (M, T) each; a shorter history is padded on the left.
        """
        end = target + 1 - self.windows.ahead
        steps = np.arange(-int((end - begin).max()), 0)
        rows = end[:, None] + steps
        is_event = rows >= begin[:, None]
        # The smallest keys come first: padding, and the largest one last.
        keys = np.where(is_event, np.maximum(self._keys(target, steps), _FIRST), np.uint64(0))
        if self._keeps_last:
            keys[:, -1] = np.iinfo(np.uint64).max
        order = np.argsort(keys, axis=1, kind="stable")
        return np.take_along_axis(np.maximum(rows, begin[:, None]), order, axis=1), is_event

    def _keys(self, target: Rows, steps: Rows) -> Bits:
        """Return a random number for each event of each history, (M, T)."""
        seed = self._seed if self._epoch else 0  # all runs are evaluated on the same orders
        run = mixed(np.array([seed, self._epoch]).astype(np.uint64) + COUNTER)
        states = mixed(target.astype(np.uint64) ^ run[0]) ^ run[1]
        return mixed(states[:, None] + COUNTER * (-steps).astype(np.uint64))
