"""What `make` proposes where the time to the next event is predicted: its distribution, and how events are observed.

A sequence may be observed from before its first event, and until after its last one. Columns that say so are recognised
by name and by values; then the likelihood counts that no event came in that time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sequifier.config.dump import inline
from sequifier.project.column_facts import Facts
from sequifier.project.keys import Keys
from sequifier.project.time_choice import TimeChoice, are_unix_seconds

if TYPE_CHECKING:
    import polars as pl

GAP = "time_gap"
"""The column of the time since the event before, which time_features computes."""

N_OUTPUTS = 48
"""Outputs of a model for it: weight, location and scale of 16 components."""

START_NAMES = ("tstart", "start", "starttime", "startdate", "observedfrom", "observationstart")
END_NAMES = ("tend", "end", "endtime", "enddate", "observeduntil", "observedto", "observationend", "tmax", "censoredat")


@dataclass(frozen=True)
class EventTimes:
    """The time to the next event as a target.

    Attributes:
        start: position at which sequences are observed first, or the column that has it; None: the first event.
        end: column of the positions until which sequences are observed; None: the last event.
    """

    start: int | str | None = None
    end: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that say from when and until when sequences are observed."""
        return [each for each in (self.start, self.end) if isinstance(each, str)]

    @property
    def is_observed(self) -> bool:
        """Whether sequences are observed for longer than from their first to their last event."""
        return self.start is not None or self.end is not None

    @property
    def observation(self) -> str:
        """The entry of preprocess.yaml."""
        given = {"start": self.start, "end": self.end}
        return f"observation: {inline({field: value for field, value in given.items() if value is not None})}"

    @property
    def why(self) -> str:
        """How sequences are observed, for the config and the user."""
        start = "their first event" if self.start is None else f"`{self.start}`"
        if self.start == 0:
            start = "0 (change it where the clock starts elsewhere)"
        end = "their last event" if self.end is None else f"`{self.end}`"
        return f"sequences are observed from {start} until {end}: that no event comes in this time counts too"

    def with_features(self, time: TimeChoice, keys: Keys) -> TimeChoice:
        """Return the time features with those of positions that are numbers, and with the time since the start."""
        order = keys.order
        assert order is not None, "events have times"
        features = time.features.get(order, ("gap",))
        if self.start is not None:
            features = (*features, "since_start")
        if order in time.features:
            return TimeChoice({**time.features, order: features}, time.unit, time.is_position, time.why)
        why = f"`{order}` is the time of the events; time_unit names its unit (seconds, minutes, hours, days)"
        return TimeChoice({order: features}, "none", is_position=True, why=why)


def has_times(facts: Mapping[str, Facts], keys: Keys) -> bool:
    """Whether positions are times: dates, seconds since 1970, or numbers with fractions.

    Other integers may only count the events.
    """
    if keys.order is None:
        return False
    order = facts[keys.order]
    is_fraction = order.kind == "number" and not order.is_whole
    return order.kind in ("date", "datetime") or is_fraction or are_unix_seconds(order)


def find_event_times(rows: "pl.LazyFrame", facts: Mapping[str, Facts], keys: Keys) -> EventTimes:
    """Find how sequences are observed, from columns that have one position for each sequence.

    Args:
        rows: the rows with the types of their values.
        facts: statistics of each column.
        keys: the sequence and the order column; positions are times.
    """
    import polars as pl

    if keys.sequence is None or keys.order is None:
        return EventTimes()
    is_number = facts[keys.order].kind in ("number", "integer")
    kinds = ("number", "integer") if is_number else ("date", "datetime")
    named = {
        column: role
        for role, names in (("start", START_NAMES), ("end", END_NAMES))
        for column, found in facts.items()
        if column not in (keys.sequence, keys.order)
        and "".join(letter for letter in column.lower() if letter.isalnum()) in names
        and found.kind in kinds
        and not found.n_missing
    }
    first, last = pl.col("position").min(), pl.col("position").max()
    checks = [
        (
            (pl.col(column).min() == pl.col(column).max())
            & (pl.col(column).min() <= first if role == "start" else pl.col(column).max() >= last)
        ).alias(column)
        for column, role in named.items()
    ]
    spans = rows.select(pl.col(keys.sequence).alias("sequence"), pl.col(keys.order).alias("position"), *named)
    answers: dict[str, Any] = (
        spans.group_by("sequence")
        .agg(*checks, first.alias("first event"))
        .select(*(pl.col(column).all() for column in named), pl.col("first event").min(), pl.len())
        .collect(engine="streaming")
        .row(0, named=True)
    )
    start, end = (
        next((column for column, each in named.items() if each == role and answers[column]), None)
        for role in ("start", "end")
    )
    counts_from_0 = facts[keys.order].kind == "number" and answers["first event"] > 0
    if end is not None and start is None and counts_from_0:
        return EventTimes(0, end)
    return EventTimes(start, end)
