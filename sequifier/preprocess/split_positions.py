"""Splits by position: when sequences start and end, and how many of their events are before an instant.

An instant is a position as an integer: the position itself, days since 1970 for dates, or micro- or nanoseconds.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION
from sequifier.preprocess.check import Part


def starts_and_ends(parts: Sequence[Part]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (S,) the instants of the first and of the last event of each sequence."""
    starts, ends = [], []
    for part in parts:
        instants = _instants(part)
        starts.append(instants[part.offsets[:-1]])
        ends.append(instants[part.offsets[1:] - 1])
    return np.concatenate(starts), np.concatenate(ends)


def rows_before(parts: Sequence[Part], instant: int) -> NDArray[np.int64]:
    """Return (S,) the number of events of each sequence that are before an instant."""
    found = []
    for part in parts:
        is_before = (_instants(part) < instant).astype(np.int64)
        found.append(np.add.reduceat(is_before, part.offsets[:-1]))
    return np.concatenate(found)


def shown(instant: int, parts: Sequence[Part]) -> str:
    """Return an instant as a position in a message."""
    value = pl.Series([instant]).cast(_type(parts)).item()
    return f"{value}".removesuffix(" 00:00:00")


def _instants(part: Part) -> NDArray[np.int64]:
    return part.rows.select(POSITION).collect().to_series().to_physical().cast(pl.Int64).to_numpy()


def _type(parts: Sequence[Part]) -> pl.DataType:
    return parts[0].rows.collect_schema()[POSITION]
