"""The rules by which columns are computed from dates: stored in metadata and models, and repeated on new rows."""

from collections.abc import Container
from dataclasses import dataclass

from pydantic import Field

from sequifier.artifacts.events import POSITION
from sequifier.config.base import StrictModel
from sequifier.config.time_features import CALENDAR, SECONDS, SPANS, TimeFeature, TimeFeatures, TimeUnit

NAME_OF_POSITION = "time"
"""The first part of the names of columns that are computed from positions: time_gap."""


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
    def is_target_only(self) -> bool:
        """Whether it is unknown when its event is, so that it may be a target but not an input."""
        return self.feature == "remaining"


class TimeRules(StrictModel):
    """The rules; the defaults apply to data without time features."""

    time_features: dict[str, TimeFeatures] = Field(default_factory=dict)  # by date column; positions: itemPosition
    time_zone: str | None = None  # of the calendar, and of dates without an offset from UTC; null: UTC
    time_unit: TimeUnit = "seconds"  # of times in outputs and errors; the columns are in seconds
    date_formats: dict[str, str] = Field(default_factory=dict)  # of other date columns that are text but not ISO 8601

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
    def target_only_columns(self) -> list[str]:
        """The columns that may be targets but not inputs."""
        return [name for name, column in self.derived.items() if column.is_target_only]

    def seconds_per_unit(self, column: str) -> int:
        """Return what values of a column are divided by for outputs: 1 for a column that is no number of seconds."""
        found = self.derived.get(column)
        return SECONDS[self.time_unit] if found is not None and found.is_span else 1

    def only(self, columns: Container[str]) -> "TimeRules":
        """Return the rules of some of the columns."""
        kept: dict[str, list[TimeFeature]] = {}
        for name, column in self.derived.items():
            if name in columns:
                kept.setdefault(column.date_column, []).append(column.feature)
        return self.model_copy(update={"time_features": kept})


NO_TIMES = TimeRules()
"""The rules where no column is computed."""
