"""The rules by which columns are computed from dates: stored in metadata and models, and repeated on new rows."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from sequifier.artifacts.events import POSITION
from sequifier.config.base import StrictModel
from sequifier.config.observation import Observation, Observed
from sequifier.config.time_features import CALENDAR, SECONDS, SPANS, TimeFeature, TimeFeatures, TimeUnit

NAME_OF_POSITION = "time"
"""The first part of the names of columns that are computed from positions: time_gap."""

OPEN = "_open"
"""The last part of the name of the column with the time from a sequence's last event to the end of its observation. It
is stored beside the features, and has a value in the last row of a sequence alone."""


@dataclass(frozen=True)
class DerivedColumn:
    """A column that is computed from dates.

    Attributes:
        date_column: the column of dates; itemPosition for the positions, whatever their name in the raw data.
        feature: what is computed.
    """

    date_column: str
    feature: TimeFeature

    @property
    def name(self) -> str:
        """The name of the column."""
        return f"{NAME_OF_POSITION if self.date_column == POSITION else self.date_column}_{self.feature}"

    @property
    def is_span(self) -> bool:
        """Whether it is a number of seconds; otherwise it is a part of the local calendar."""
        return self.feature in SPANS

    @property
    def categories(self) -> range | None:
        """All its categories; None for a number of seconds."""
        return CALENDAR.get(self.feature)

    @property
    def is_elapsed(self) -> bool:
        """Whether it is the time since the beginning of the sequence."""
        return self.feature in ("since_first", "since_start")

    @property
    def is_target_only(self) -> bool:
        """Whether it is unknown when its event is, so that it may be a target but not an input."""
        return self.feature == "remaining"


class TimeRules(Observed, StrictModel):
    """The rules; the defaults apply to data without time features."""

    time_features: dict[str, TimeFeatures] = Field(default_factory=dict)  # by date column; positions: itemPosition
    time_zone: str | None = None  # of the calendar, and of dates without an offset from UTC; null: UTC
    time_unit: TimeUnit = "seconds"  # of times in outputs and errors; the columns are in seconds
    date_formats: dict[str, str] = Field(default_factory=dict)  # of other date columns that are text but not ISO 8601
    positions_are: Literal["dates", "numbers"] = "dates"  # numbers: multiples of time_unit; columns are in seconds
    observation: Observation | None = None  # from when and until when sequences are observed
    time_resolution: float | None = None  # in time_unit: a gap of 0 is a gap below it

    @property
    def derived(self) -> dict[str, DerivedColumn]:
        """The computed columns by name, in stored order."""
        columns = [DerivedColumn(date, feature) for date, some in self.time_features.items() for feature in some]
        return {column.name: column for column in columns}

    @property
    def date_columns(self) -> list[str]:
        """The columns of dates besides the positions."""
        return [column for column in self.time_features if column != POSITION]

    @property
    def calendar_columns(self) -> list[str]:
        """The columns that are parts of the local calendar of the positions."""
        of_positions = ((name, column) for name, column in self.derived.items() if column.date_column == POSITION)
        return [name for name, column in of_positions if not column.is_span]

    @property
    def target_only_columns(self) -> list[str]:
        """The columns that may be targets but not inputs."""
        return [name for name, column in self.derived.items() if column.is_target_only]

    @property
    def unused_keys(self) -> set[str]:
        """The keys that are left out of model files, which have the others with their defaults too."""
        keys = ("positions_are", "observation", "time_resolution")
        return {key for key in keys if getattr(self, key) == getattr(NO_TIMES, key)}

    @property
    def open_columns(self) -> dict[str, str]:
        """The column of times between events, and the one with the time from the last event to the end, if any."""
        gap = DerivedColumn(POSITION, "gap").name
        return {gap: gap + OPEN} if self.has_end and gap in self.derived else {}

    @property
    def seconds_per_position(self) -> int:
        """Return by what positions that are numbers are multiplied: the columns are in seconds."""
        return SECONDS[self.time_unit]

    def seconds_per_unit(self, column: str) -> int:
        """Return what values of a column are divided by for outputs: 1 for a column that is no number of seconds."""
        found = self.derived.get(column)
        return SECONDS[self.time_unit] if found is not None and found.is_span else 1

    @property
    def of_new_events(self) -> "TimeRules":
        """The rules of events that are still observed: they have a start, but no end, and nothing to predict."""
        start = Observation(start=self.observation.start) if self.observation and self.has_start else None
        return self.model_copy(update={"observation": start, "time_resolution": None})

    def only(self, columns: Container[str]) -> "TimeRules":
        """Return the rules of some of the columns."""
        kept: dict[str, list[TimeFeature]] = {}
        for name, column in self.derived.items():
            if name in columns:
                kept.setdefault(column.date_column, []).append(column.feature)
        return self.model_copy(update={"time_features": kept})


NO_TIMES = TimeRules()
"""The rules where no column is computed."""
