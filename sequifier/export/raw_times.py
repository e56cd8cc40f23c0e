"""The dates that a model takes in place of the columns computed from them, and these columns, computed here from them.

Dates are int64 microseconds since 1970 in UTC; positions that are numbers are float64. Positions are the inputs
`position`, `previous_position` and `first_position`; another column of dates has its own name, and the other two where
a column needs them. The exported graph (`time_nodes.py`) is compared with this code, and tests compare both with
`preprocess`.
Shapes: N windows, T steps of the window.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.instants import FIRST_INSTANT, INSTANTS_END, MICROSECONDS, local_calendar
from sequifier.artifacts.time_rules import DerivedColumn, TimeRules
from sequifier.export.raw_columns import NO_INTEGER, Array

POSITION_INPUT = "position"
_DAY = 86_400 * MICROSECONDS


def date_input(column: str) -> str:
    """Return the name of the input with the dates of a window's events."""
    return POSITION_INPUT if column == POSITION else column


def previous_input(column: str) -> str:
    """Return the name of the input with the date of the event before the window."""
    return f"previous_{date_input(column)}"


def first_input(column: str) -> str:
    """Return the name of the input with the date of the sequence's first event, START where it has one."""
    return f"first_{date_input(column)}"


def date_columns(rules: TimeRules) -> dict[str, set[str]]:
    """Return each column of dates that is needed, with the features that are computed from it."""
    found: dict[str, set[str]] = {}
    for column in rules.derived.values():
        found.setdefault(column.date_column, set()).add(column.feature)
        if column.feature == "until":
            found.setdefault(POSITION, set())
    return found


def date_inputs(rules: TimeRules) -> dict[str, bool]:
    """Return the inputs by name: True for one with a date for each step, (N, T), False for one with one date, (N,)."""
    found: dict[str, bool] = {}
    for column, features in date_columns(rules).items():
        found[date_input(column)] = True
        if column == POSITION or "gap" in features:
            found[previous_input(column)] = False
        if column == POSITION or features & {"since_first", "since_start"}:
            found[first_input(column)] = False
    return found


def future_inputs(known: Iterable[str], rules: TimeRules) -> tuple[list[str], list[str]]:
    """Return what the model reads at the steps to come: raw columns, and inputs with dates (`date_input`).

    Args:
        known: the columns that are known there.
        rules: of the data.
    """
    known = [*known]
    ahead = rules.only(known)
    return [name for name in known if name not in ahead.derived], [*map(date_input, date_columns(ahead))]


def name_clash(columns: Iterable[str], rules: TimeRules) -> str | None:
    """Return a raw column that has the name of an input for positions or for a single date, if there is one."""
    dates = rules.date_columns
    taken = date_inputs(rules).keys() - {*dates}
    return next((name for name in (*columns, *dates) if name in taken), None)


def computed_columns(given: Mapping[str, Array], n_events: Array, rules: TimeRules) -> dict[str, Array]:
    """Return the raw values of the computed columns: (N, T) float64 seconds or int64 parts of the calendar.

    Values of padding carry no meaning. A value that is not known is NaN or -2^63.

    Args:
        given: the inputs.
        n_events: (N,) how many of the last steps are events.
        rules: the columns to compute.
    """
    return {name: _computed(column, given, n_events, rules) for name, column in rules.derived.items()}


def are_numbers(column: str, rules: TimeRules) -> bool:
    """Return whether a column of dates has numbers instead."""
    return column == POSITION and rules.positions_are == "numbers"


def _computed(column: DerivedColumn, given: Mapping[str, Array], n_events: Array, rules: TimeRules) -> Array:
    import polars as pl

    dates = given[date_input(column.date_column)]
    if not column.is_span:
        known = _are_known(dates)
        values = local_calendar(
            pl.Series(np.where(known, dates, 0).ravel()), column.feature, rules.time_zone
        ).to_numpy()
        return np.where(known, values.reshape(dates.shape), NO_INTEGER)
    match column.feature:
        case "gap":
            others = np.concatenate([dates[:, :1], dates[:, :-1]], axis=1)
        case "since_first" | "since_start":
            others = dates.copy()
        case _:
            others = given[date_input(POSITION)]
    for row, count in enumerate(n_events.tolist()):
        start = dates.shape[1] - count
        if column.feature == "gap":  # of the sequence's first event it is 0
            others[row, start] = dates[row, start] if start else given[previous_input(column.date_column)][row]
        if column.is_elapsed:
            others[row] = dates[row, start] if start else given[first_input(column.date_column)][row]
    known = _are_known(dates) & _are_known(others)
    span = np.where(known, dates, 0) - np.where(known, others, 0)
    is_number = are_numbers(column.date_column, rules)
    seconds = span * float(rules.seconds_per_position) if is_number else span / MICROSECONDS
    return np.where(known, seconds, np.nan)


def _are_known(dates: Array) -> Array:
    if dates.dtype.kind == "f":
        found: Array = np.isfinite(dates)
        return found
    found = (dates >= FIRST_INSTANT) & (dates < INSTANTS_END)
    return found


def random_dates(n_events: Array, steps: int, rules: TimeRules, draw: np.random.Generator) -> dict[str, Array]:
    """Return inputs for windows: dates from all years, some of them missing or of other years."""
    N = len(n_events)
    found: dict[str, Array] = {}
    for column in date_columns(rules):
        longest = 10.0 ** draw.integers(0, 9, (N, 1))  # seconds: from one to 30 years
        gaps = (draw.random((N, steps + 2)) * longest * MICROSECONDS).astype(np.int64)
        dates = draw.integers(FIRST_INSTANT - 400 * _DAY, INSTANTS_END, (N, 1)) + np.cumsum(gaps, axis=1)
        given: dict[str, Array] = {
            first_input(column): dates[:, 0],
            previous_input(column): dates[:, 1],
            date_input(column): dates[:, 2:].copy(),
        }
        if column != POSITION:
            given[date_input(column)][draw.random((N, steps)) < 0.2] = NO_INTEGER
        # Where a window holds the whole history, what was before it does not count.
        for name in (first_input(column), previous_input(column)):
            given[name] = np.where(n_events < steps, draw.integers(NO_INTEGER, -NO_INTEGER - 1, N), given[name])
        if are_numbers(column, rules):
            given = {name: values / MICROSECONDS for name, values in given.items()}
        found |= {name: given[name] for name in date_inputs(rules) if name in given}
    return found
