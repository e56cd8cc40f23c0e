"""Time features: columns computed from the dates of whole sequences in order."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.instants import FIRST_YEAR, LAST_YEAR, are_in_range, derive, instants
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import Transform
from sequifier.config.time_features import SPANS
from sequifier.errors import DataError
from sequifier.preprocess.column_counts import event_text
from sequifier.preprocess.column_types import NUMBERS, PositionType, StoredType

_IN_ORDER = ("gap", "since_first", "since_start", "remaining")
"""Features of dates that never go back within a sequence."""
_ALWAYS_DATES = "they are computed from dates"


def time_rules(config: PreprocessConfig) -> TimeRules:
    """Return the rules of a config, where positions are named itemPosition."""
    features = config.time_features
    if not isinstance(features, dict):
        features = {POSITION: features} if features else {}
    named = {POSITION if column == config.position_name else column: some for column, some in features.items()}
    return TimeRules(
        time_features=named,
        time_zone=config.time_zone,
        time_unit=config.time_unit,
        observation=config.observation,
        time_resolution=config.time_resolution,
    )


def time_fields(rules: TimeRules, position_column: str) -> dict[str, Any]:
    """Return stored rules as fields of a config, the opposite of `time_rules`."""
    features = {position_column if name == POSITION else name: some for name, some in rules.time_features.items()}
    return {
        "time_features": features,
        "time_zone": rules.time_zone,
        "time_unit": rules.time_unit,
        "observation": rules.observation,
        "time_resolution": rules.time_resolution,
    }


def are_times(rules: TimeRules, *, is_integer: bool) -> bool:
    """Return whether positions that are numbers are times; integers may also be numbers of events."""
    is_unit_given = rules.time_unit != TimeRules().time_unit
    return rules.observation is not None or (POSITION in rules.time_features and (is_unit_given or not is_integer))


def stored_types(rules: TimeRules) -> dict[str, StoredType]:
    """Return the type of each computed column."""
    return {name: "Float64" if column.is_span else "Int64" for name, column in rules.derived.items()}


def transforms_of(rules: TimeRules, config: PreprocessConfig) -> dict[str, Transform]:
    """Return the transform of each feature that has one: those of the config, and of spans of time by default."""
    chosen = {name: SPANS[column.feature] for name, column in rules.derived.items() if column.is_span}
    return {column: name for column, name in (chosen | config.transforms).items() if name != "none"}


def check_dates(rules: TimeRules, position_type: PositionType, config: PreprocessConfig) -> None:
    """Check that the positions are dates where the rules need them, or times where these are enough.

    Raises:
        DataError: they are numbers, or dates without a time of day under a time zone, or the unit is not theirs.
    """
    position = f"`{config.position_name}`"

    def refused(field: str, what: str, fix: str) -> DataError:
        if config.metadata_config_path is None:
            return DataError(what, where=field, fix=fix)
        # The rules of a model or of stored metadata are not the user's to change.
        return DataError(what, where=config.data_path, fix=f"write {position} as in the training data")

    is_number, kind = position_type in NUMBERS, "integers" if position_type == "Int64" else "numbers"
    if is_number and (why := _why_dates(rules, are_integers=position_type == "Int64")):
        fix = "set position_column to a column of dates, or name one in time_features: {COLUMN: [gap, hour]}"
        if why == _ALWAYS_DATES:
            fix += "; if the integers are times, set time_unit: none, or another unit that they are in"
        raise refused("time_features", f"time_features: {why}, but the positions ({position}) are {kind}", fix)
    if rules.time_unit == "none" and (not is_number or rules.date_columns):
        dated = "the positions" if not is_number else ", ".join(rules.date_columns)
        what = f"time_unit is none, which is for positions that are numbers, but {dated} are dates"
        raise refused("time_unit", what, "write seconds, minutes, hours or days")
    has_no_dates = is_number and not rules.date_columns
    if rules.time_zone is not None and (has_no_dates or position_type == "Date"):
        kind = kind if is_number else "dates without a time of day"
        what = f"time_zone is {rules.time_zone}, but the positions ({position}) are {kind}"
        raise refused("time_zone", what, "leave it out, or set position_column to a column of datetimes")


def _why_dates(rules: TimeRules, *, are_integers: bool) -> str:
    """Return why positions must be dates; empty where numbers will do."""
    of_positions = rules.time_features.get(POSITION, ())
    if calendar := [feature for feature in of_positions if feature not in SPANS]:
        return f"the calendar ({', '.join(calendar)}) is computed from dates"
    if POSITION in rules.time_features and are_integers:
        return _ALWAYS_DATES
    if any("until" in features for features in rules.time_features.values()):
        return "until is the time from the event to another date"
    return ""


def with_time_features(
    rows: pl.DataFrame, starts: NDArray[np.int64], rules: TimeRules, keys: tuple[str, str]
) -> pl.DataFrame:
    """Add the computed columns to sorted rows, and remove the dates that they are computed from.

    >>> rows = pl.DataFrame({"sequenceId": [7, 7], "itemPosition": [1, 61]}).with_columns(
    ...     pl.from_epoch("itemPosition", time_unit="s"))
    >>> rules = TimeRules(time_features={"itemPosition": ["gap", "hour"]})
    >>> with_time_features(rows, np.array([0]), rules, ("id", "time")).rows()[1][2:]
    (60.0, 0)

    Args:
        rows: N rows of whole sequences in order.
        starts: (S,) first row of each sequence.
        rules: what to compute.
        keys: names of the sequence and the position column in messages.

    Raises:
        DataError: a date is outside of the years of time features, or goes back within a sequence.
    """
    if not rules.time_features:
        return rows
    offsets = np.append(starts, rows.height)
    dates = {name: times_of(rows[name], rules) for name in rules.time_features}
    positions = None
    if any(column.feature == "until" for column in rules.derived.values()):
        positions = dates.get(POSITION, instants(rows[POSITION], rules.time_zone))
    for name, values in dates.items():
        if values.dtype == pl.Float64:
            continue
        shown = keys[1] if name == POSITION else name
        outside = are_in_range(values).not_().fill_null(False)
        if outside.any():
            row = int(outside.arg_max() or 0)
            utc = "" if rules.time_zone is None or rows[name].dtype == pl.Date else " UTC"
            raise DataError(
                f"time_features: column `{shown}` has the value {rows[name][row]}{utc}, which is not in the years "
                f"{FIRST_YEAR} to {LAST_YEAR}",
                where=event_text(keys, rows[SEQUENCE][row], rows[POSITION][row], rules.time_zone),
                fix="correct it, or clear the cell and set fill_null of the computed columns",
            )
        if name != POSITION and set(rules.time_features[name]) & set(_IN_ORDER):
            _check_order(rows, values, starts, shown, keys, rules.time_zone)
    derived = [
        derive(column, dates[column.date_column], positions, offsets, rules.time_zone)
        for column in rules.derived.values()
    ]
    return rows.drop(rules.date_columns).with_columns(derived)


def times_of(values: pl.Series, rules: TimeRules) -> pl.Series:
    """Return dates as instants, (N,) Int64, or numbers as seconds, (N,) Float64."""
    if values.dtype == pl.Float64:
        return values * float(rules.seconds_per_position)
    return instants(values, rules.time_zone)


def _check_order(
    rows: pl.DataFrame,
    dates: pl.Series,
    starts: NDArray[np.int64],
    column: str,
    keys: tuple[str, str],
    time_zone: str | None,
) -> None:
    """Raise DataError where a date is before that of an earlier event of its sequence."""
    sequence = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, rows.height)))
    table = pl.DataFrame({"date": dates, "sequence": sequence})
    before = table.select(pl.col("date").cum_max().forward_fill().shift(1).over("sequence")).to_series()
    goes_back = (dates < before).fill_null(False)
    if goes_back.any():
        row = int(goes_back.arg_max() or 0)
        raise DataError(
            f"time_features: the date {rows[column][row]} in column `{column}` is before that of an earlier event",
            where=event_text(keys, rows[SEQUENCE][row], rows[POSITION][row], time_zone),
            fix=f"set position_column: {column}, or leave {', '.join(_IN_ORDER)} of `{column}` out",
        )
