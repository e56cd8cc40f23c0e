"""Steps to come whose dates follow from the frequency of a regular series, and from these hour, weekday and so on."""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.instants import are_in_range, instants, local_calendar, shown_twice
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.time_rules import DerivedColumn
from sequifier.errors import DataError
from sequifier.inference.forecast_dates import FEWEST, Array, continued


def not_of_dates(file: ModelFile) -> list[str]:
    """Return the known columns of the steps to come that do not follow from the dates of the steps alone."""
    return [name for name in file.architecture.known_future if name not in file.time.calendar_columns]


def with_steps_to_come(events: Events, file: ModelFile) -> Events:
    """Return raw events with rows for the steps to come behind each sequence, which have a calendar and no other value.

    Raises:
        DataError: a sequence has no regular frequency.
    """
    horizon, zone = file.architecture.horizon, file.time.time_zone
    found = []
    for number, (begin, end) in enumerate(zip(events.offsets, events.offsets[1:], strict=False)):
        positions = continued(events.positions[begin:end], horizon, zone)
        if positions is None:
            known = ", ".join(file.architecture.known_future)
            raise DataError(
                f"sequence `{events.sequence_ids[number]}` has no regular frequency, so the dates of the {horizon:,} "
                f"steps to come, from which {known} follow, are not known",
                fix=f"give these dates in future_data_path (a regular series has {FEWEST} events or more)",
            )
        found.append(positions)
    ahead = np.concatenate(found)
    behind = np.repeat(events.offsets[1:], horizon)
    columns = {name: np.insert(values, behind, 0) for name, values in events.columns.items()}
    times, rows = instants(pl.Series(ahead), zone), behind + np.arange(len(behind))
    for name in file.architecture.known_future:
        columns[name][rows] = calendar_ids(times, file.time.derived[name], zone)
    return replace(
        events,
        offsets=events.offsets + horizon * np.arange(len(events.offsets)),
        positions=np.insert(events.positions, behind, ahead),
        columns=columns,
    )


def planned_elsewhere(events: Events, file: ModelFile) -> list[tuple[str, str]]:
    """Return the regular sequences whose last rows, the planned steps to come, have other positions than follow.

    A row of the plan is probably missing there: a model cannot see how far away a step is.

    Returns:
        The name of each, and what to do where clocks show the time of its last event twice; otherwise empty.
    """
    horizon, zone = file.architecture.horizon, file.time.time_zone
    found = []
    for number, (begin, end) in enumerate(zip(events.offsets, events.offsets[1:] - horizon, strict=False)):
        expected = continued(events.positions[begin:end], horizon, zone)
        if expected is not None and not _are_close(expected, events.positions[end : end + horizon]):
            found.append(
                (str(events.sequence_ids[number]), shown_twice(pl.Series(events.positions[end - 1 : end])[0], zone))
            )
    return found


def _are_close(expected: Array, found: Array) -> bool:
    if expected.dtype.kind == "f":
        return bool(np.allclose(expected, found, rtol=1e-9, atol=0.0))
    return bool((expected == found).all())


def calendar_ids(times: pl.Series, column: DerivedColumn, zone: str | None) -> NDArray[np.int64]:
    """Return the ids of a part of the calendar at some instants; 0 where it is unknown."""
    assert column.categories is not None
    known = are_in_range(times).fill_null(False)
    parts = local_calendar(times.set(~known, 0), column.feature, zone).to_numpy()
    found: NDArray[np.int64] = np.where(known.to_numpy(), parts - column.categories.start + 1, 0)
    return found
