"""The time features of a user's table: from the dates that order its events, or that each event has."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from sequifier.artifacts.instants import FIRST_YEAR, LAST_YEAR
from sequifier.artifacts.time_rules import NAME_OF_POSITION
from sequifier.config.time_features import SECONDS, TimeFeature, TimeUnit
from sequifier.project.column_facts import Facts
from sequifier.project.inspect_columns import InspectedColumn
from sequifier.project.keys import Keys

if TYPE_CHECKING:
    import polars as pl

OF_KIND: Mapping[str, tuple[TimeFeature, ...]] = {
    "datetime": ("gap", "hour", "weekday"),
    "date": ("gap", "weekday"),
}
"""The features of dates with and without a time of day."""

UNIX_SECONDS = (946_684_800, 4_102_444_800)
"""Seconds since 1970 of the years 2000 to 2100, in which integers that order events are taken for them."""

SORTED_ROWS = 20_000_000
"""Rows up to which dates that do not order the events are compared with their order, which takes a sort in memory."""


@dataclass(frozen=True)
class TimeChoice:
    """The time features.

    Attributes:
        features: by column of dates; empty: none.
        unit: the unit in which times are predicted.
        is_position: whether the only column of dates orders the events.
        why: the reason, for the config and the user.
    """

    features: dict[str, tuple[TimeFeature, ...]] = field(default_factory=dict)
    unit: TimeUnit = "seconds"
    is_position: bool = False
    why: str = ""

    def beside(self, columns: Collection[str]) -> "TimeChoice":
        """Return the choice without features whose columns would have the names of columns of the table."""
        features: dict[str, tuple[TimeFeature, ...]] = {}
        taken: list[str] = []
        for of_dates, each in self.features.items():
            names = {feature: f"{NAME_OF_POSITION if self.is_position else of_dates}_{feature}" for feature in each}
            taken += [name for name in names.values() if name in columns]
            if kept := tuple(feature for feature, name in names.items() if name not in columns):
                features[of_dates] = kept
        if not taken:
            return self
        why = f"{self.why}; {', '.join(taken)}: already in the table"
        return replace(self, features=features, why=why)


def choose_time_features(
    rows: "pl.LazyFrame", facts: Mapping[str, Facts], inspected: Mapping[str, InspectedColumn], keys: Keys
) -> TimeChoice:
    """Choose the time features.

    Dates that order the events have features. Where a number orders them, or the rows are in order, the first column of
    dates that never goes back within a sequence is the time of the events. Seconds since 1970 have gaps.

    Args:
        rows: the rows with the types of their values.
        facts: statistics of each column.
        inspected: the kind of each column.
        keys: the sequence and the order column.
    """
    is_position = keys.order is not None and facts[keys.order].kind in OF_KIND
    candidates = (
        [keys.order]
        if keys.order is not None and is_position
        else [column for column in facts if facts[column].kind in OF_KIND]
    )
    for column in candidates:
        found = facts[column]
        if not isinstance(found.lowest, date):  # text that looks like dates, but cannot be read as dates
            continue
        if found.n_missing or not has_usual_years(found):
            continue
        if column != keys.order and not _follows_order(rows, column, keys, found.n_rows):
            continue
        unit = "days" if found.kind == "date" else _unit(rows, column, keys)
        what = "orders the events" if column == keys.order else "is the time of the events: it never goes back"
        why = f"`{column}` {what}"
        if inspected[column].is_instant:
            why += "; hours are those of UTC (time_zone makes them local)"
        return TimeChoice({column: OF_KIND[found.kind]}, unit, is_position, why)
    if keys.order is not None and are_unix_seconds(facts[keys.order]):
        why = f"`{keys.order}` has seconds since 1970; write them as dates to use hours and weekdays too"
        return TimeChoice({keys.order: ("gap",)}, "none", is_position=True, why=why)
    return TimeChoice()


def has_usual_years(found: Facts) -> bool:
    """Whether all dates of a column are in the years for which time features are computed."""
    return bool(found.lowest.year >= FIRST_YEAR and found.highest.year <= LAST_YEAR)


def are_unix_seconds(found: Facts) -> bool:
    """Whether the values of a column are integers that look like seconds since 1970."""
    return found.kind == "integer" and UNIX_SECONDS[0] <= found.lowest and found.highest < UNIX_SECONDS[1]


def _follows_order(rows: "pl.LazyFrame", column: str, keys: Keys, n_rows: int) -> bool:
    """Whether dates change within sequences, and never go back."""
    import polars as pl

    if n_rows > SORTED_ROWS:
        return False
    sequence = pl.lit(1) if keys.sequence is None else pl.col(keys.sequence)
    order = pl.lit(1) if keys.order is None else pl.col(keys.order)
    table = rows.select(sequence=sequence, order=order, date=pl.col(column))
    table = table.sort("sequence", "order", maintain_order=True)
    step = table.select(pl.col("date").to_physical().cast(pl.Int64).diff().over("sequence").alias("step"))
    found = step.select(goes_back=(pl.col("step") < 0).any(), changes=(pl.col("step") > 0).any()).collect()
    goes_back, changes = found.row(0)
    return bool(changes) and not goes_back


def _unit(rows: "pl.LazyFrame", column: str, keys: Keys) -> TimeUnit:
    """Return the largest unit of which the mean gap has one or more."""
    import polars as pl

    sequence = pl.lit(1) if keys.sequence is None else pl.col(keys.sequence)
    date = pl.col("date").cast(pl.Datetime("us")).to_physical()
    spans = rows.select(sequence=sequence, date=pl.col(column)).group_by("sequence")
    found = spans.agg(span=date.max() - date.min(), n=pl.len().cast(pl.Int64) - 1).sum().collect(engine="streaming")
    seconds = found["span"].item() / max(found["n"].item(), 1) / 1e6
    return max((unit for unit in SECONDS if seconds >= SECONDS[unit]), key=SECONDS.__getitem__, default="seconds")
