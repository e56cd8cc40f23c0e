"""What `make` proposes where a table is a regular series of numbers: a horizon, and distributions of the targets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sequifier.config.time_features import TimeFeature
from sequifier.percent import counted
from sequifier.project.column_choice import Choice, words_of
from sequifier.project.column_facts import Facts
from sequifier.project.keys import Keys
from sequifier.project.sizes import FEWEST_EPOCHS, FORECAST_BATCH, STEPS
from sequifier.project.split_choice import SplitChoice
from sequifier.project.time_choice import TimeChoice

if TYPE_CHECKING:
    import polars as pl

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
"""In microseconds."""

REGULAR = 0.98
"""Fraction of gaps of the same length from which a series is regular; the others are gaps in the data."""

MOST_STEPS = 96
"""Longest horizon that is proposed: a day of quarters of an hour."""

LOOK_BACK = 4
"""Window length in horizons."""

LONGEST_WINDOW = 336

MOST_WINDOWS = STEPS // FEWEST_EPOCHS * FORECAST_BATCH
"""Training windows of an epoch. Each has one origin, and neighbours read almost the same events: longer series have a
stride, so that an epoch is a part of the steps of a model."""

_PLANNED_WORDS = {
    *("price", "prices", "promo", "promos", "promotion", "promotions", "discount", "campaign", "holiday", "holidays"),
    *("planned", "plan", "schedule", "scheduled", "tariff", "event", "open", "closed", "school"),
}
"""Words in the names of columns that may be known for the steps to come."""

_COARSE = ("week", "month", "quarter")
"""Steps without a weekday or an hour of their own."""

_CALENDAR = (("month", 28, 31, 12), ("quarter", 89, 92, 4))
"""Steps of unequal length: name, shortest and longest number of days, steps of a year."""


@dataclass(frozen=True)
class ForecastChoice:
    """The horizon of a forecast.

    Attributes:
        horizon: number of steps; 1: the table is no regular series, or too short.
        step: the distance of two events, in words.
        span: the time that the horizon covers, in words.
        seq_length: window length.
    """

    horizon: int = 1
    step: str = ""
    span: str = ""
    seq_length: int = 0

    @property
    def is_proposed(self) -> bool:
        """Whether the table calls for a forecast of several steps."""
        return self.horizon > 1

    @property
    def why(self) -> str:
        """The reason, for the config and the user."""
        return f"the table has an event every {self.step}, so {self.span} are forecast at once, as quantiles"

    def with_calendar(self, time: TimeChoice) -> TimeChoice:
        """Return the time features of a regular series, in which all gaps are alike: its season alone."""
        if not self.is_proposed:
            return time
        is_coarse = self.step in _COARSE
        features: dict[str, tuple[TimeFeature, ...]] = {
            column: ("month",) if is_coarse else tuple(each for each in of_column if each != "gap")
            for column, of_column in time.features.items()
        }
        return replace(time, features=features)

    def stride(self, counts: "pl.Series", split: SplitChoice) -> int:
        """Return the step between training windows, each of which has one origin.

        It has no divisor in common with the horizon, which is a season: origins at every third hour would never be at
        the other hours of the day.
        """
        stride = max(int(int(counts.sum()) * split.ratios[0]) // MOST_WINDOWS, 1)
        while math.gcd(stride, self.horizon) > 1:
            stride += 1
        return stride


def may_be_planned(columns: Sequence[str]) -> list[str]:
    """Return the columns that may be known for the steps to come, by their names; whether they are, no value shows."""
    return [column for column in columns if words_of(column) & _PLANNED_WORDS]


def known_text(planned: Sequence[str]) -> str:
    """Return what the forecast of a step may read of that step; `planned` are the names of columns that may be known.

    It is no proposal: a column that is measured later would make validation better than any later forecast. And in a
    regular series the hour of the last event determines the hour of each step.
    """
    examples = f"perhaps {', '.join(planned)}" if planned else "such as a price"
    return (
        "What is known of a step beforehand can be read at that step: `known_future: [calendar]` for its date, also "
        f"with columns that are planned ({examples}), which `infer` then needs of the steps to come."
    )


def choose_forecast(
    rows: "pl.LazyFrame", facts: Mapping[str, Facts], keys: Keys, targets: Sequence[Choice], split: SplitChoice
) -> ForecastChoice:
    """Choose the horizon of a regular series of numbers: the next day, week or year.

    Args:
        rows: the rows with the types of their values.
        facts: statistics of each column.
        keys: the sequence and the order column.
        targets: the use of each target.
        split: the split; each part must have a horizon.
    """
    order = keys.order
    if order is None or facts[order].kind not in ("date", "datetime") or keys.lengths.n_repeated:
        return ForecastChoice()
    if split.method != "within_sequence" or any(target.use != "real" for target in targets):
        return ForecastChoice()
    found = _season(*_gaps(rows, keys.sequence, order))
    if found is None:
        return ForecastChoice()
    step, horizon, span = found
    # A typical sequence must train on several horizons, and have some origins in each other part.
    typical = keys.lengths.quartiles[1]
    own = int(typical * split.ratios[0])
    if own < 2 * LOOK_BACK * horizon or typical * min(split.ratios[1:]) < 2 * horizon:
        return ForecastChoice()
    return ForecastChoice(horizon, step, span, min(LOOK_BACK * horizon, LONGEST_WINDOW))


def _gaps(rows: "pl.LazyFrame", sequence_column: str | None, order: str) -> tuple[int, float, tuple[int, int]]:
    """Return the most frequent gap in microseconds, its fraction of all, and the central 98 % of the gaps."""
    import polars as pl

    date = pl.col("date").cast(pl.Datetime("us")).to_physical()
    sequence = pl.lit(1) if sequence_column is None else pl.col(sequence_column)
    table = rows.select(sequence=sequence, date=pl.col(order)).sort("sequence", "date")
    gaps = table.select(gap=date.diff().over("sequence")).drop_nulls()
    counts = gaps.group_by("gap").len().sort("len", "gap", descending=[True, False]).collect(engine="streaming")
    if not len(counts):
        return 0, 0.0, (0, 0)
    total = int(counts["len"].sum())
    ordered = counts.sort("gap").with_columns(share=pl.col("len").cum_sum() / total)
    middle = ordered.filter((pl.col("share") > 0.01) & (pl.col("share") - pl.col("len") / total < 0.99))["gap"]
    return int(counts["gap"][0]), int(counts["len"][0]) / total, (int(middle[0]), int(middle[-1]))


def _season(gap: int, fraction: float, central: tuple[int, int]) -> tuple[str, int, str] | None:
    """Return the step of a regular series in words, a horizon of one season, and its span in words; None: irregular."""
    for name, least, most, per_year in _CALENDAR:
        if least * DAY <= central[0] and central[1] <= most * DAY:
            return name, per_year, f"the next {per_year} {name}s"
    if gap < MINUTE or fraction < REGULAR:
        return None
    if gap == 7 * DAY:
        return "week", 13, "the next 13 weeks"
    if gap == DAY:
        return "day", 7, "the next 7 days"
    for span, name in ((DAY, "day"), (HOUR, "hour")):
        if span % gap == 0 and 2 <= span // gap <= MOST_STEPS:
            horizon = span // gap
            return _in_words(gap), horizon, f"the next {horizon} events (a{'n' * (name == 'hour')} {name})"
    return None


def _in_words(gap: int) -> str:
    n_hours, rest = divmod(gap, HOUR)
    if not rest:
        return "hour" if n_hours == 1 else counted(n_hours, "hour")
    if gap % MINUTE == 0:
        return "minute" if gap == MINUTE else counted(gap // MINUTE, "minute")
    return counted(gap // 1_000_000, "second")
