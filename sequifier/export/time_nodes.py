"""Time features as ONNX nodes: instants -> seconds between events, and parts of the local calendar.

As `raw_times.py` computes them. All arithmetic on dates is in int64, so it is exact.
Shapes: N batch, T steps of the window, K offsets of a time zone.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from onnx import TensorProto

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.instants import FIRST_INSTANT, INSTANTS_END, MICROSECONDS, offsets_from_utc
from sequifier.artifacts.time_rules import DerivedColumn, TimeRules
from sequifier.config.time_features import TimeFeature
from sequifier.export.graph import GraphWriter
from sequifier.export.raw_columns import NO_INTEGER
from sequifier.export.raw_times import are_numbers, date_input, date_inputs, first_input, previous_input
from sequifier.model.graph import Value

_HOUR = 3600 * MICROSECONDS
_DAY = 24 * _HOUR
_CELL = 32 * _DAY
"""Width of the cells that an offset is looked up in: clocks change once or twice in a cell."""


def write_dates(writer: GraphWriter, rules: TimeRules, steps: int) -> dict[str, Value]:
    """Declare the inputs with dates; returns them by name."""
    kinds = date_kinds(rules)
    return {
        name: writer.input(name, kinds[name], *([steps] if is_of_window else []))
        for name, is_of_window in date_inputs(rules).items()
    }


def date_kinds(rules: TimeRules) -> dict[str, type[np.generic]]:
    """Return the type of each input with dates."""
    of_numbers = {f(POSITION) for f in (date_input, previous_input, first_input) if are_numbers(POSITION, rules)}
    return {name: np.float64 if name in of_numbers else np.int64 for name in date_inputs(rules)}


def write_computed_columns(
    writer: GraphWriter, rules: TimeRules, dates: Mapping[str, Value], n_events: Value, steps: int
) -> dict[str, Value]:
    """Add the columns that are computed from dates, raw: (N, T) double seconds or int64 parts of the calendar.

    A value that is not known, as in other years than those of the table of offsets, is NaN or -2^63.

    Args:
        writer: the graph.
        rules: the columns.
        dates: from `write_dates`.
        n_events: (N,) how many of the last steps are events.
        steps: T.
    """
    nodes = _TimeNodes(writer, n_events, steps)
    local: dict[str, Value] = {}  # by column of dates
    found = {}
    for name, column in rules.derived.items():
        if are_numbers(column.date_column, rules):
            here, other = dates[date_input(column.date_column)], nodes.other(column, dates)
            found[name] = nodes.scaled(here, other, rules.seconds_per_position)
            continue
        here, is_known = nodes.instants(dates[date_input(column.date_column)])
        if column.is_span:
            found[name] = nodes.seconds((here, is_known), nodes.instants(nodes.other(column, dates)))
            continue
        if column.date_column not in local:
            local[column.date_column] = nodes.local(here, rules.time_zone)
        part = nodes.part(local[column.date_column], column.feature)
        found[name] = writer.add("Where", is_known, part, nodes.number(NO_INTEGER))
    return found


Instants = tuple[Value, Value]
"""Instants within the years of time features, and whether a date was in these years."""


class _TimeNodes:
    """Writes nodes for one window length; none that is not needed, because onnxruntime warns of those."""

    def __init__(self, writer: GraphWriter, n_events: Value, steps: int) -> None:
        self._writer, self._steps, self._given = writer, steps, n_events

    @cached_property
    def _n_events(self) -> Value:
        return self._of_sequence(self._given)

    def _of_sequence(self, values: Value) -> Value:
        """Add (N,) as (N, 1)."""
        return self._writer.add("Unsqueeze", values, self._writer.integers([1]))

    def number(self, value: int) -> Value:
        return self._writer.constant(np.array(value, np.int64))

    def instants(self, dates: Value) -> Instants:
        """Add the instants of dates; other years become the first instant, so that no sum exceeds 64 bits."""
        add = self._writer.add
        first, end = self.number(FIRST_INSTANT), self.number(INSTANTS_END)
        is_known = add("And", add("GreaterOrEqual", dates, first), add("Less", dates, end))
        return add("Where", is_known, dates, first), is_known

    def other(self, column: DerivedColumn, dates: Mapping[str, Value]) -> Value:
        """Add the dates that a span is measured from, (N, T) or (N, 1)."""
        date = column.date_column
        match column.feature:
            case "gap":
                return self._previous(dates[date_input(date)], self._of_sequence(dates[previous_input(date)]))
            case "since_first" | "since_start":
                return self._first(dates[date_input(date)], self._of_sequence(dates[first_input(date)]))
            case "until":
                return dates[date_input(POSITION)]
        raise AssertionError(f"{column.feature} is never an input")

    def _previous(self, values: Value, before: Value) -> Value:
        """Add the values of the step before each, (N, T); of the sequence's first event its own."""
        writer, steps = self._writer, self._steps
        earlier = writer.add("Slice", values, *(writer.integers([n]) for n in (0, steps - 1, 1)))
        shifted = writer.add("Concat", before, earlier, axis=1)
        # How many steps are left at each; the 0 is no number of events, so the first step of a full window is no match.
        left = writer.integers([0, *range(steps - 1, 0, -1)])
        return writer.add("Where", writer.add("Equal", left, self._n_events), values, shifted)

    def _first(self, values: Value, given: Value) -> Value:
        """Add the values of the sequence's first event, (N, 1)."""
        add = self._writer.add
        place = add("Max", add("Sub", self.number(self._steps), self._n_events), self.number(0))
        found = add("GatherElements", values, add("Min", place, self.number(self._steps - 1)), axis=1)
        return add("Where", add("Less", self._n_events, self.number(self._steps)), found, given)

    def seconds(self, here: Instants, other: Instants) -> Value:
        """Add the seconds between instants, (N, T) double."""
        add = self._writer.add
        span = add("Cast", add("Sub", here[0], other[0]), to=TensorProto.DOUBLE)
        seconds = add("Div", span, self._writer.constant(np.array(MICROSECONDS, np.float64)))
        unknown = self._writer.constant(np.array(np.nan, np.float64))
        return add("Where", add("And", here[1], other[1]), seconds, unknown)

    def scaled(self, here: Value, other: Value, seconds: int) -> Value:
        """Add the seconds between positions that are numbers, (N, T) double; NaN where one is not finite."""
        add = self._writer.add
        # Infinity less infinity is NaN, and a number less infinity is infinite.
        span = add("Mul", add("Sub", here, other), self._writer.constant(np.array(seconds, np.float64)))
        unknown = self._writer.constant(np.array(np.nan, np.float64))
        return add("Where", add("IsInf", span), unknown, span)

    def local(self, instants: Value, zone: str | None) -> Value:
        """Add the local times of instants, as microseconds since 1970 on a clock of the zone."""
        if zone is None:
            return instants
        writer, (starts, offsets) = self._writer, offsets_from_utc(zone)
        cells = np.arange(FIRST_INSTANT, INSTANTS_END + _CELL, _CELL)
        in_cell = np.searchsorted(starts, cells, side="right") - 1  # number of the offset at the start of each cell
        place = writer.add("Div", writer.add("Sub", instants, self.number(FIRST_INSTANT)), self.number(_CELL))
        number = writer.add("Gather", writer.constant(in_cell), place)
        ends = writer.constant(np.append(starts[1:], np.iinfo(np.int64).max))
        for _ in range(int(np.diff(in_cell).max())):  # step over the changes within a cell
            has_ended = writer.add("GreaterOrEqual", instants, writer.add("Gather", ends, number))
            number = writer.add("Add", number, writer.add("Cast", has_ended, to=TensorProto.INT64))
        return writer.add("Add", instants, writer.add("Gather", writer.constant(offsets), number))

    def part(self, local: Value, feature: TimeFeature) -> Value:
        """Add a part of the calendar of local times, (N, T) int64."""
        add, number = self._writer.add, self.number
        of_day = add("Mod", local, number(_DAY))
        if feature == "hour":
            return add("Div", of_day, number(_HOUR))
        day = add("Div", add("Sub", local, of_day), number(_DAY))  # since 1970, a Thursday
        if feature == "weekday":
            return add("Mod", add("Add", day, number(3)), number(7))
        # The calendar from a count of days: Howard Hinnant, "chrono-compatible low-level date algorithms",
        # civil_from_days. Years begin in March, so that a leap day is the last one; none of these days is negative.
        of_era = add("Mod", add("Add", day, number(719_468)), number(146_097))
        corrected = of_era
        for sign, days in (("Sub", 1_460), ("Add", 36_524), ("Sub", 146_096)):
            corrected = add(sign, corrected, add("Div", of_era, number(days)))
        year = add("Div", corrected, number(365))
        before = add("Mul", year, number(365))
        before = add("Sub", add("Add", before, add("Div", year, number(4))), add("Div", year, number(100)))
        of_year = add("Sub", of_era, before)
        month = add("Div", add("Add", add("Mul", of_year, number(5)), number(2)), number(153))  # March is 0
        if feature == "month":
            return add("Add", add("Mod", add("Add", month, number(2)), number(12)), number(1))
        before = add("Div", add("Add", add("Mul", month, number(153)), number(2)), number(5))
        return add("Add", add("Sub", of_year, before), number(1))
