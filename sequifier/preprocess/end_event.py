"""One more row after the last event of each sequence, in the split that has this last one: `end_event`, `observation`.

It is the last row of its sequence: the class END in the named columns, and no value in the others, which are no targets
there. It has the position of the event before it, because the time of an end is unknown. With an end of `observation`
no column has a value there, but the open time since the last event is in the column for it.
Shapes: S sequences, K splits.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import NO_ID, Events


def splits_of_ends(bounds: NDArray[np.int64], n_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (K, S) whether a split has the true last event of a sequence; no split does where events are left out.

    >>> splits_of_ends(np.array([[0, 0, 0], [3, 5, 2], [5, 5, 2]]), np.array([5, 5, 4])).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]

    Args:
        bounds: (K + 1, S) bounds of the splits.
        n_rows: (S,) rows of each sequence.
    """
    has_last: NDArray[np.bool_] = (bounds[:-1] < n_rows) & (bounds[1:] == n_rows)
    return has_last


def with_ends(
    events: Events, ends: NDArray[np.bool_], end_ids: Mapping[str, int], open_columns: Collection[str] = ()
) -> Events:
    """Return events with a last row after each sequence that ends.

    Args:
        events: whole sequences of a split.
        ends: (S,) whether a sequence ends here.
        end_ids: column -> id of END.
        open_columns: columns whose value in the last event is that of the last row instead.
    """
    after = events.offsets[1:][ends]

    def extended(values: NDArray[Any], end: Any) -> NDArray[Any]:
        return np.insert(values, after, end)

    def moved(values: NDArray[Any]) -> NDArray[Any]:
        return np.insert(np.full_like(values, np.nan), after, values[after - 1])

    return replace(
        events,
        offsets=events.offsets + np.concatenate([[0], np.cumsum(ends)]),
        positions=extended(events.positions, events.positions[after - 1]),
        columns={
            column: moved(values)
            if column in open_columns
            else extended(values, end_ids.get(column, NO_ID) if values.dtype.kind == "i" else np.nan)
            for column, values in events.columns.items()
        },
    )
