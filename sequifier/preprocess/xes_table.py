"""The table of an XES log: its events with the attributes of their traces, written in batches.

The columns: `case:concept:name`, the name of the event's trace; `eventNumber`, its number in the trace in the order of
the file, from 0; the event's attributes by their keys; and those of its trace with the prefix that pm4py gives them,
`case:`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.errors import DataError
from sequifier.preprocess.xes_columns import Columns, Kind
from sequifier.printable import shown_text

NAME = "concept:name"
"""The attribute that names a trace, or the activity of an event."""
TRACE_PREFIX = "case:"
TRACE_NAME = TRACE_PREFIX + NAME
EVENT_NUMBER = "eventNumber"

BATCH_EVENTS = 50_000


@dataclass
class _Faults:
    """Faults of one kind: their number, and the first of them."""

    what: str
    fix: str
    n: int = 0
    line: int = 0
    first: str = ""

    def add(self, line: int, first: str, *, n: int = 1) -> None:
        if not self.n:
            self.line, self.first = line, first
        self.n += n


@dataclass
class _Trace:
    """The trace that is being read."""

    line: int
    n_events: int = 0
    n_written: int = 0  # events in earlier batches


@dataclass
class _Batch:
    """Traces and events since the last batch."""

    trace_lines: list[int] = field(default_factory=list)
    event_lines: list[int] = field(default_factory=list)
    n_events: list[int] = field(default_factory=list)  # of each complete trace
    first_number: int = 0  # of the first event


class EventTable:
    """Traces and events in the order of the file. Only the names of traces stay in memory."""

    def __init__(self, file: Path, folder: Path, line: Callable[[], int]) -> None:
        """Begin without traces.

        Args:
            file: the log, for messages.
            folder: folder for the batches.
            line: returns the line that is being read.
        """
        self.file = file
        self.traces = Columns("trace", file, line)
        self.events = Columns("event", file, line)
        self.n_events = self.n_traces = self.n_empty = 0
        self._folder, self._line = folder, line
        self._trace: _Trace | None = None
        self._batch = _Batch()
        self._pieces: list[tuple[Path, frozenset[str]]] = []
        self._line_of_name: dict[str, int] = {}
        self._unnamed = _Faults(f"traces without `{NAME}`", "give each trace a name, which identifies its sequence")
        self._repeated = _Faults("traces with the name of an earlier one", f"give each trace a `{NAME}` of its own")
        self._no_activity = _Faults(f"events without `{NAME}`", "name their activity, or remove those events")

    def begin_trace(self) -> None:
        """Begin a trace."""
        self._trace = _Trace(self._line())
        self._batch.trace_lines.append(self._trace.line)

    def add_to_trace(self, kind: Kind, key: str, text: str) -> None:
        """Add an attribute of the trace.

        Raises:
            DataError: events of the trace are in an earlier batch, which cannot be changed.
        """
        if self._trace is not None and self._trace.n_written:
            raise self.traces.error(
                f"an attribute of a trace is after {self._trace.n_events:,} of its events",
                "write the attributes of a trace before its events",
            )
        self.traces.add(kind, key, text)

    def begin_event(self) -> None:
        """Begin an event of the trace; `events.add` adds its attributes."""
        self._batch.event_lines.append(self._line())

    def end_event(self) -> None:
        """End the event."""
        assert self._trace is not None, "an event is in a trace"
        self.n_events += 1
        self._trace.n_events += 1
        self.events.n_rows += 1
        if self.events.n_rows >= BATCH_EVENTS:
            self._write_batch()

    def end_trace(self) -> None:
        """End the trace."""
        assert self._trace is not None, "it has begun"
        self._check_name(self._trace)
        self.n_traces += 1
        self.n_empty += not self._trace.n_events
        self.traces.n_rows += 1
        self._batch.n_events.append(self._trace.n_events - self._trace.n_written)
        self._trace = None

    def write(self, table: Path) -> None:
        """Write all events as one Parquet file.

        Raises:
            DataError: there are no events, a trace or an event has no name, or two traces have one name.
        """
        self._write_batch()
        for faults in (self._unnamed, self._repeated, self._no_activity):
            if faults.n:
                n_all = self.n_events if faults is self._no_activity else self.n_traces
                what = f"{faults.what}: {faults.n:,} of {n_all:,}, first {faults.first}"
                raise self.events.error(what, faults.fix, faults.line)
        if not self.n_events:
            raise DataError("the log has no events", where=str(self.file), fix="give a log of traces with events")
        names = sorted(self.events.by_key, key=lambda key: (key != NAME, key))
        of_traces = sorted(self.traces.by_key, key=lambda key: (key != NAME, key))
        rows = []
        for piece, stored in self._pieces:
            name, *others = (_value(TRACE_PREFIX + key, self.traces, key, stored) for key in of_traces)
            values = (_value(key, self.events, key, stored) for key in names)
            rows.append(pl.scan_ipc(piece, glob=False).select(name, EVENT_NUMBER, *values, *others))
        pl.concat(rows).sink_parquet(table)

    def notes(self) -> Iterator[str]:
        """Yield what is left out or filled in."""
        if self.n_empty:
            yield f"{self.n_empty:,} traces without events are left out"
        for columns, prefix, n_rows in ((self.events, "", self.n_events), (self.traces, TRACE_PREFIX, self.n_traces)):
            for key, column in columns.by_key.items():
                if column.has_offset is False:
                    yield f"the dates of `{prefix}{key}` have no offset from UTC and are read as UTC"
                if column.default is not None and prefix + key != TRACE_NAME and column.n_known < n_rows:
                    rows = f"{n_rows - column.n_known:,} of {n_rows:,} {'traces' if prefix else 'events'}"
                    default = f"the log's default `{shown_text(column.default)}` is used"
                    yield f"`{prefix}{key}` is missing in {rows}; {default}"

    def _write_batch(self) -> None:
        """Write the events since the last batch; those of an unfinished trace have all of its attributes."""
        batch, trace = self._batch, self._trace
        unfinished = []
        if trace is not None:
            self._check_name(trace)
            unfinished = [trace.n_events - trace.n_written]
        counts = np.array([*batch.n_events, *unfinished], dtype=np.int64)
        self._check_keys()
        events = self.events.take(batch.event_lines)
        traces = self.traces.take(batch.trace_lines, keep_last=trace is not None)
        of_trace = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(of_trace)) - (np.cumsum(counts) - counts)[of_trace]
        number[of_trace == 0] += batch.first_number
        self._check_activities(events, traces, of_trace, number)
        if len(of_trace) and not (self._unnamed.n or self._repeated.n or self._no_activity.n):
            rows = traces.rename(lambda key: TRACE_PREFIX + key)[of_trace]
            rows = rows.hstack(events).with_columns(pl.Series(EVENT_NUMBER, number))
            piece = self._folder / f"{len(self._pieces):06}.arrow"
            rows.write_ipc(piece)
            self._pieces.append((piece, frozenset(rows.columns)))
        self._batch = _Batch()
        if trace is not None:
            trace.n_written = trace.n_events
            self._batch = _Batch([trace.line], first_number=trace.n_events)

    def _check_name(self, trace: _Trace) -> None:
        """Count a trace without a name of its own; without effect where it has no events, or was checked before."""
        if not trace.n_events or trace.n_written:
            return
        name = self.traces.current(NAME)
        if name is None:
            self._unnamed.add(trace.line, f"trace number {self.n_traces + 1:,}")
        elif name in self._line_of_name:
            first = f"`{shown_text(name)}`, which the trace in line {self._line_of_name[name]:,} has too"
            self._repeated.add(trace.line, first)
        else:
            self._line_of_name[name] = trace.line

    def _check_activities(
        self, events: pl.DataFrame, traces: pl.DataFrame, of_trace: NDArray[np.int64], number: NDArray[np.int64]
    ) -> None:
        """Count the events without a name, for which there is no default either."""
        column = self.events.by_key.get(NAME)
        if column is not None and column.default is not None:
            return
        missing = np.ones(len(of_trace), bool) if column is None else events[NAME].is_null().to_numpy()
        if missing.any() and NAME in traces:
            row = int(missing.argmax())
            name = traces[NAME][int(of_trace[row])]
            first = f"`{EVENT_NUMBER}` {number[row]:,} of trace `{shown_text(str(name))}`"
            self._no_activity.add(self._batch.event_lines[row], first, n=int(missing.sum()))

    def _check_keys(self) -> None:
        """Refuse attributes of events whose names are those of other columns."""
        for key, column in self.events.by_key.items():
            is_of_trace = key.startswith(TRACE_PREFIX) and key.removeprefix(TRACE_PREFIX) in (NAME, *self.traces.by_key)
            if key == EVENT_NUMBER or is_of_trace:
                other = "the number of an event" if key == EVENT_NUMBER else "an attribute of traces"
                raise self.events.error(
                    f"the event attribute `{key}` has the name of the column of {other}",
                    "rename the attribute, or remove it from the log",
                    column.line,
                )


def _value(name: str, columns: Columns, key: str, stored: frozenset[str]) -> pl.Expr:
    """Return a column of a batch with its type in the whole log, and with the log's default."""
    column = columns.by_key[key]
    value = (pl.col(name) if name in stored else pl.lit(None)).cast(column.type)
    default = columns.default_of(key)
    return (value if default is None else value.fill_null(pl.lit(default, dtype=column.type))).alias(name)
