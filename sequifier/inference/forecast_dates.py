"""The positions of forecasts: those of the events where they are known, and beyond them by the series' own frequency.

A sequence has a frequency where all its events are equally far apart: in its positions, in months, or in the local time
of its time zone, where a day may have 23 or 25 hours. It takes three events to see one.
Shapes: n events of a sequence, H steps, M rows of forecasts.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import Events

ORIGIN, STEP = "originPosition", "forecastStep"
"""Columns of a table of forecasts: position of the event that is forecast from, and number of events ahead."""

FEWEST = 3
"""Smallest number of events from which a frequency is taken."""

Array = NDArray[Any]


def positions_of(events: Events, sequence: Array, row: Array, zone: str | None) -> tuple[pl.Series, int]:
    """Return the positions of forecasts, and the number of sequences where some are unknown, for want of a frequency.

    Args:
        events: of the sequences.
        sequence: of each forecast, (M,).
        row: of the event that is forecast, (M,); beyond the end of its sequence for an unknown event.
        zone: the time zone of the data; None: UTC.

    Returns:
        (M,), null where unknown.
    """
    last = events.offsets[sequence + 1] - 1
    found, beyond = events.positions[np.minimum(row, last)], np.flatnonzero(row > last)
    is_known, n_irregular = np.ones(len(row), dtype=bool), 0
    order = beyond[np.argsort(sequence[beyond], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(sequence[order])) + 1) if len(order) else ():
        begin, end = events.offsets[sequence[rows[0]] :][:2]
        ahead = row[rows] - end
        following = continued(events.positions[begin:end], int(ahead.max()) + 1, zone)
        if following is None:
            is_known[rows] = False
            n_irregular += 1
        else:
            found[rows] = following[ahead]
    return pl.Series(found).set(pl.Series(~is_known), None), n_irregular


def continued(positions: Array, n_steps: int, zone: str | None = None) -> Array | None:
    """Return the next positions of a sequence, (n_steps,); None where it has no frequency.

    >>> continued(np.array(["2024-01-31", "2024-02-29", "2024-03-31"], "datetime64[D]"), 2).astype(str).tolist()
    ['2024-04-30', '2024-05-31']
    """
    if len(positions) < FEWEST:
        return None
    found = _following(positions, n_steps)
    if found is None and zone is not None and positions.dtype.kind == "M" and positions.dtype != "datetime64[D]":
        local = _following(_local(positions, zone), n_steps)
        found = None if local is None else _in_utc(local, zone)
    return None if found is None else found.astype(positions.dtype)


def _following(positions: Array, n_steps: int) -> Array | None:
    # Months first: three of them may have 31 days each.
    found = _by_months(positions, n_steps) if positions.dtype.kind == "M" else None
    return _by_equal_steps(positions, n_steps) if found is None else found


def _by_equal_steps(positions: Array, n_steps: int) -> Array | None:
    """Continue positions that are equally far apart; floats may differ by their rounding."""
    steps = np.diff(positions)
    step = steps[0]
    rounding = 0 * step
    if positions.dtype.kind == "f":
        step = (positions[-1] - positions[0]) / len(steps)
        rounding = 4 * np.finfo(positions.dtype).eps * np.abs(positions).max()
    if not (step > 0 * step and (np.abs(steps - step) <= rounding).all()):
        return None
    following: Array = positions[-1] + step * np.arange(1, n_steps + 1)
    return following


def _by_months(positions: Array, n_steps: int) -> Array | None:
    """Continue dates that are equally many months apart, at the same time of the month, or before its end."""
    months = positions.astype("datetime64[M]")
    steps = np.diff(months).astype(np.int64)
    if steps[0] < 1 or (steps != steps[0]).any():
        return None
    following = months[-1] + steps[0] * np.arange(1, n_steps + 1)
    since_start, until_end = positions - months, (months + 1) - positions
    if (until_end == until_end[0]).all() and until_end[0] <= np.timedelta64(1, "D"):
        at_end: Array = (following + 1) - until_end[0]
        return at_end
    # A 30th has no place in every month.
    if (since_start == since_start[0]).all() and since_start[0] < np.timedelta64(28, "D"):
        at_start: Array = following + since_start[0]
        return at_start
    return None


def _local(positions: Array, zone: str) -> Array:
    times = pl.Series(positions).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    local: Array = times.dt.replace_time_zone(None).to_numpy()
    return local


def _in_utc(local: Array, zone: str) -> Array:
    """Return local times as UTC: the earlier one where there are two, and an hour later where a time is skipped."""
    times = pl.Series(local)
    found, later = (
        each.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
        for each in (times, times.dt.offset_by("1h"))
    )
    utc: Array = found.fill_null(later).dt.replace_time_zone(None).to_numpy()
    return utc
