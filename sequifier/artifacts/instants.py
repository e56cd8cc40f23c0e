"""Instants: microseconds since 1970 in UTC, and what follows from them: spans of time and the local calendar.

Shapes: N events in order, S sequences.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from sequifier.artifacts.time_rules import DerivedColumn
from sequifier.config.time_features import TimeFeature

if TYPE_CHECKING:
    import polars as pl

MICROSECONDS = 1_000_000
"""Instants in a second."""

FIRST_YEAR, LAST_YEAR = 1900, 2099
"""Years of dates with time features: polars knows changes of clocks up to 2099, and exported graphs have a table."""

FIRST_INSTANT, INSTANTS_END = -2_208_988_800 * MICROSECONDS, 4_102_444_800 * MICROSECONDS
"""The first instant of those years, and the first one after them."""

Array = np.ndarray[Any, Any]


def instants(dates: "pl.Series", zone: str | None) -> "pl.Series":
    """Return dates as instants.

    Args:
        dates: (N,) datetimes in UTC, or dates, which are their first instant in the zone.
        zone: the time zone; None: UTC.
    """
    import polars as pl

    local = dates.cast(pl.Datetime("us"))
    if dates.dtype == pl.Date and zone is not None:
        # In some places clocks are set forward at midnight.
        midnight, next_hour = (
            (local + timedelta(hours=hour)).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
            for hour in (0, 1)
        )
        local = midnight.fill_null(next_hour)
    return local.to_physical()


def are_in_range(instants: "pl.Series") -> "pl.Series":
    """Return whether instants are in the years that time features may have; null where they are null."""
    year = instants.cast(_utc()).dt.year()
    return year.is_between(FIRST_YEAR, LAST_YEAR)


def local_calendar(instants: "pl.Series", feature: TimeFeature, zone: str | None) -> "pl.Series":
    """Return the hour, weekday, day or month of instants in a time zone, (N,) Int64; None: UTC."""
    import polars as pl

    local = instants.cast(_utc()).dt
    if zone is not None:
        local = local.replace_time_zone("UTC").dt.convert_time_zone(zone).dt
    match feature:
        case "hour":
            found = local.hour()
        case "weekday":
            found = local.weekday() - 1
        case "day":
            found = local.day()
        case "month":
            found = local.month()
        case _:
            raise ValueError(f"{feature!r} is not of the calendar")
    return found.cast(pl.Int64)


def offsets_from_utc(zone: str) -> tuple[Array, Array]:
    """Return the instants from which each offset of a time zone applies, and the offsets in microseconds, (K,) each.

    The first instant is FIRST_INSTANT. Clocks change at a full second, and at most once in six hours.
    """
    import polars as pl

    def offset(instants: Array) -> Array:
        utc = pl.Series(instants).cast(_utc())
        local = utc.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
        return (local - utc).dt.total_microseconds().to_numpy()

    grid = np.arange(FIRST_INSTANT, INSTANTS_END, 6 * 3600 * MICROSECONDS)
    found = offset(grid)
    changes = np.flatnonzero(found[1:] != found[:-1])
    before, after = grid[changes] // MICROSECONDS, grid[changes + 1] // MICROSECONDS
    while (after - before > 1).any():
        middle = (before + after) // 2
        is_before = offset(middle * MICROSECONDS) == found[changes]
        before, after = np.where(is_before, middle, before), np.where(is_before, after, middle)
    starts = np.concatenate([[FIRST_INSTANT], after * MICROSECONDS])
    return starts, np.concatenate([found[:1], found[changes + 1]])


def shown_twice(position: Any, zone: str | None) -> str:
    """Return why two rows with one position may be two instants; empty where they are not.

    Args:
        position: a datetime in UTC, as it is stored; or a number.
        zone: the time zone of times without an offset from UTC; None: UTC.
    """
    import polars as pl

    if zone is None or not isinstance(position, datetime):
        return ""
    shown = pl.Series([position]).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    later = shown.dt.replace_time_zone(None).dt.replace_time_zone(zone, ambiguous="latest")
    if (later == shown).all():
        return ""
    return (
        f"clocks in {zone} show {later[0]:%H:%M} of {later[0]:%Y-%m-%d} twice, and a time without an offset is the "
        f"earlier one: write the later one with its offset, {later[0].isoformat()}"
    )


def spans(dates: "pl.Series", positions: "pl.Series | None", offsets: Array, feature: TimeFeature) -> "pl.Series":
    """Return the seconds from or to each date, (N,) Float64.

    Args:
        dates: (N,) instants of the column, Int64; or Float64 seconds.
        positions: (N,) instants of the events, for `until`; None: not needed.
        offsets: (S + 1,) sequence s has the rows offsets[s] : offsets[s + 1].
        feature: gap, since_first, since_start (where the first row is the start), remaining or until.
    """
    import polars as pl

    n_rows = np.diff(offsets)
    match feature:
        case "gap":
            rows = np.arange(offsets[-1]) - 1
            rows[offsets[:-1]] += 1  # a first event has no gap
            found = dates - dates.gather(pl.Series(rows))
        case "since_first" | "since_start":
            found = dates - dates.gather(pl.Series(np.repeat(offsets[:-1], n_rows)))
        case "remaining":
            found = dates.gather(pl.Series(np.repeat(offsets[1:] - 1, n_rows))) - dates
        case "until":
            assert positions is not None, "until is measured from the events"
            found = dates - positions
        case _:
            raise ValueError(f"{feature!r} is no span of time")
    if found.dtype == pl.Float64:
        return found
    # Polars would multiply by the rounded 1e-6.
    return pl.Series(found.to_numpy() / MICROSECONDS, nan_to_null=True)


def derive(
    column: DerivedColumn, dates: "pl.Series", positions: "pl.Series | None", offsets: Array, zone: str | None
) -> "pl.Series":
    """Return the values of a computed column; the arguments are those of `spans` and `local_calendar`."""
    if column.is_span:
        return spans(dates, positions, offsets, column.feature).alias(column.name)
    return local_calendar(dates, column.feature, zone).alias(column.name)


def _utc() -> "pl.Datetime":
    import polars as pl

    return pl.Datetime("us")
