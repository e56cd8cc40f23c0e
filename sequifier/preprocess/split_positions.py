"""Splits by position: when sequences start and end, and how many of their events are before an instant.

An instant is a position as a number: the position itself, days since 1970 for dates, or micro- or nanoseconds.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.instants import instants
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.column_types import NUMBERS, POSITION_TYPES, PositionType
from sequifier.preprocess.dates import date, date_counts, decide_dates, is_like_a_date, iso_style


def starts_and_ends(parts: Sequence[Part]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (S,) the instants of the first and of the last event of each sequence."""
    starts, ends = [], []
    for part in parts:
        instants = _instants(part)
        starts.append(instants[part.offsets[:-1]])
        ends.append(instants[part.offsets[1:] - 1])
    return np.concatenate(starts), np.concatenate(ends)


def rows_before(parts: Sequence[Part], instant: float) -> NDArray[np.int64]:
    """Return (S,) the number of events of each sequence that are before an instant."""
    found = []
    for part in parts:
        is_before = (_instants(part) < instant).astype(np.int64)
        found.append(np.add.reduceat(is_before, part.offsets[:-1]))
    return np.concatenate(found)


def cutoff_instants(config: PreprocessConfig, position_type: PositionType, dates: str) -> list[float]:
    """Return `split_at` as instants.

    Args:
        config: split_at.
        position_type: the type of positions.
        dates: the format of dates in the position column, where it is not ISO 8601; values may have it too.

    Raises:
        DataError: a value is no position of this type, or is not after the one before it.
    """
    values = config.split_at or []
    found: list[float] = []
    for number, value in enumerate(values):
        instant = value if position_type in NUMBERS else _instant(value, position_type, dates, config.time_zone)
        if not isinstance(instant, int | float if position_type == "Float64" else int):
            zone = config.time_zone
            if zone is not None and _instant(value, position_type, dates, None) is not None:
                raise DataError(
                    f"split_at has {value!r}, a local time that does not exist in {zone}: clocks were set forward",
                    where=f"split_at[{number}]",
                    fix="write another time, or one with its offset from UTC",
                )
            kinds = {"Int64": "an integer", "Float64": "a number", "Date": "a date"}
            kind = kinds.get(position_type, "a date or time")
            raise DataError(
                f"split_at has {value!r}, but positions are {position_type}: `{config.position_name}` needs {kind}",
                where=f"split_at[{number}]",
                fix=f"write {kind}" if position_type in NUMBERS else "write a date like 2013-01-31",
            )
        if found and instant <= found[-1]:
            raise DataError(
                f"split_at has {value!r} after {values[number - 1]!r}, which is not earlier",
                where=f"split_at[{number}]",
                fix="write positions in order",
            )
        found.append(instant)
    return found


def _instant(value: float | str, position_type: PositionType, dates: str, zone: str | None) -> int | None:
    """Return a date in text as an instant; None where it is no date, or a time of day among dates."""
    if not isinstance(value, str):
        return None
    text = pl.DataFrame({"value": [value]})
    style = iso_style(value)
    if style is None and is_like_a_date(value):
        style = decide_dates(text.select(**date_counts(pl.col("value"))).row(0, named=True), dates, zone).style
    if style is None or (position_type == "Date" and style.kind != "date"):
        return None
    found = text.select(date(pl.col("value"), style, zone)).to_series()
    if position_type != "Date" and style.kind == "date":
        found = instants(found, zone).cast(POSITION_TYPES["Datetime(us)"])
    instant = found.cast(POSITION_TYPES[position_type]).to_physical().item()
    return None if instant is None else int(instant)


def shown(instant: float, position_type: PositionType) -> str:
    """Return an instant as a position in a message."""
    value = pl.Series([instant]).cast(POSITION_TYPES[position_type])
    return re.sub(r"( 00:00:00)?\.0+$", "", str(value.cast(pl.String).item()))


def _instants(part: Part) -> NDArray[Any]:
    values = part.rows.select(POSITION).collect().to_series().to_physical()
    return (values if values.dtype == pl.Float64 else values.cast(pl.Int64)).to_numpy()
