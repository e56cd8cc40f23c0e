"""Events in memory, and splits of them, without files."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sequifier.artifacts.column_hashes import ColumnHashes
from sequifier.artifacts.events import Events
from sequifier.artifacts.mapped import MappedEvents
from sequifier.dataset.batches import Split
from sequifier.dataset.windows import WindowIndex, evaluation_windows, training_windows

Columns = dict[str, NDArray[Any]]


def make_events(
    sizes: Sequence[int],
    columns: Columns,
    *,
    n_context: ArrayLike = 0,
    sequence_ids: NDArray[Any] | None = None,
    positions: NDArray[Any] | None = None,
) -> Events:
    """Return sequences of `sizes` events, one after the other in `columns`.

    Args:
        sizes: events of each sequence.
        columns: values of all events.
        n_context: context events of each sequence, or of all; the last event of a sequence never is one.
        sequence_ids: 0, 1, ... if None.
        positions: 0, 1, ..., counted over all sequences, if None.
    """
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Events(
        sequence_ids=np.arange(len(sizes)) if sequence_ids is None else sequence_ids,
        offsets=offsets,
        n_context=np.minimum(n_context, np.array(sizes, np.int64) - 1),
        positions=np.arange(offsets[-1]) if positions is None else positions,
        columns=columns,
    )


def take_sequences(events: Events, begin: int, end: int) -> Events:
    """Return some of the sequences with everything that belongs to them."""
    rows = slice(events.offsets[begin], events.offsets[end])
    return Events(
        events.sequence_ids[begin:end],
        events.offsets[begin : end + 1] - events.offsets[begin],
        events.n_context[begin:end],
        events.positions[rows],
        {column: values[rows] for column, values in events.columns.items()},
    )


def parts_of(events: Events, at: Sequence[int]) -> Iterator[Events]:
    """Yield the sequences in parts, cut before the sequences `at`."""
    for begin, end in pairwise([0, *at, len(events.sequence_ids)]):
        yield take_sequences(events, begin, end)


def kinds_and_sizes(n_events: int, *, n_classes: int = 5, seed: int = 0) -> Columns:
    """Return random values of a categorical column `kind`, 0 (unknown) among them, and of a real column `size`."""
    generator = np.random.default_rng(seed)
    return {
        "kind": generator.integers(0, n_classes, n_events).astype(np.int32),
        "size": generator.normal(size=n_events).astype(np.float32),
    }


def make_windows(
    events: Events, seq_length: int, stride: int, *, evaluation: bool, only_last: bool = False, horizon: int = 1
) -> WindowIndex:
    windows = evaluation_windows if evaluation else training_windows
    return windows(
        events.offsets, events.n_context, seq_length=seq_length, stride=stride, only_last=only_last, horizon=horizon
    )


def make_split(
    events: Events | MappedEvents,
    windows: WindowIndex,
    seq_length: int,
    *,
    categorical: Sequence[str] = ("kind",),
    real: Sequence[str] = ("size",),
    targets: Sequence[str] = ("kind", "size"),
    picks: bool = True,
    known_future: Sequence[str] = (),
) -> Split:
    return Split(
        events,
        windows,
        categorical=categorical,
        real=real,
        targets=targets,
        seq_length=seq_length,
        device=torch.device("cpu"),
        picks=picks,
        known_future=known_future,
    )


def hashes(events: Events) -> dict[str, str]:
    """Return the hash of each column."""
    result = ColumnHashes()
    result.update(events)
    return result.digests()


def continued_at_levels(*levels: float) -> list[NDArray[np.float64]]:
    """Return series that follow x(t) = x(t-1) - 0.5 (x(t-1) - x(t-3)) exactly, one about each level, (63,) each."""
    found = []
    for level in levels:
        values = [level, level + 1, level - 1]
        for _ in range(60):
            values.append(values[-1] - 0.5 * (values[-1] - values[-3]))
        found.append(np.array(values))
    return found
