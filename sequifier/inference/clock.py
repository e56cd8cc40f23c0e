"""The times of generated events, and the columns that follow from them.

A generated event is as long after the one before it as its `time_gap` says. Its hour, weekday and the like are those of
its time, and are not predicted on their own. Times are instants, or numbers where positions are numbers.
Shapes: S sequences, n of them that still need events.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, Events
from sequifier.artifacts.instants import MICROSECONDS, are_in_range, instants
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.time_rules import DerivedColumn
from sequifier.errors import DataError
from sequifier.generation.generate import Array
from sequifier.inference.steps_to_come import calendar_ids

_FAR = 1 << 61
"""An instant that is too far away to be a date; later ones are set to it, so that no sum exceeds 64 bits."""


@dataclass(frozen=True)
class TimeClock:
    """The clock of S sequences (`generation.generate.Clock`), and of the first n of them while events are generated.

    Attributes:
        file: the model.
        times: (S,) of their last events: int64 instants, or float64 positions.
        elapsed: (S,) seconds since the first event of each sequence; None where no column needs them.
    """

    file: ModelFile
    times: Array
    elapsed: NDArray[np.float64] | None

    @property
    def columns(self) -> Collection[str]:
        """The columns that follow from the times of events."""
        return self.file.clocked

    def start(self, chosen: NDArray[np.int64]) -> "RunningTimeClock":
        """Return the clock of some sequences, at their last known event."""
        return RunningTimeClock(self.of(chosen))

    def of(self, chosen: NDArray[np.int64] | slice) -> "TimeClock":
        """Return the clock of some of the sequences."""
        elapsed = None if self.elapsed is None else self.elapsed[chosen]
        return replace(self, times=self.times[chosen], elapsed=elapsed)


class RunningTimeClock:
    """See `generation.generate.RunningClock`."""

    def __init__(self, start: TimeClock) -> None:
        self._file, self._times, self._elapsed = start.file, start.times, start.elapsed

    def advance(self, values: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Move to the next event of the first sequences."""
        gap_column = DerivedColumn(POSITION, "gap").name
        scale, n = self._file.scale(gap_column), len(values[gap_column])
        gap = np.maximum(scale.original(values[gap_column].astype(np.float64)) * scale.unit, 0.0)
        if self._times.dtype.kind == "f":
            self._times = self._times[:n] + gap / self._file.time.seconds_per_position
        else:
            steps = np.rint(np.minimum(gap * MICROSECONDS, _FAR)).astype(np.int64)
            self._times = np.minimum(self._times[:n] + steps, _FAR)
        if self._elapsed is not None:
            self._elapsed = self._elapsed[:n] + gap
        return self._times, {name: self._following(name) for name in self._file.clocked}

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Continue with these sequences only."""
        self._times = self._times[kept]
        self._elapsed = None if self._elapsed is None else self._elapsed[kept]

    def _following(self, name: str) -> Array:
        """Return the encoded values of a column."""
        column = self._file.time.derived[name]
        if column.is_span:
            assert self._elapsed is not None
            encoded: Array = self._file.scale(name).standardised(self._elapsed).astype(np.float32)
            return encoded
        is_known = self._times < _FAR
        ids = calendar_ids(pl.Series(np.where(is_known, self._times, 0)), column, self._file.time.time_zone)
        return np.where(is_known, ids, 0)


def clock_of(file: ModelFile, events: Events, last: NDArray[np.int64]) -> TimeClock | None:
    """Return the clock of the sequences that are continued; None where the model does not predict times.

    Args:
        file: the model.
        events: the events.
        last: (S,) rows of the events after which generation starts.

    Raises:
        DataError: the positions are not times as in training, but the model reads columns that follow from times.
    """
    if not file.predicts_times:
        return None
    kind = events.positions.dtype.kind
    if kind != ("f" if file.time.positions_are == "numbers" else "M"):
        if not file.clocked:
            return None
        found, expected = {"i": "integers", "f": "numbers"}.get(kind, "dates"), file.data["position_type"]
        raise DataError(
            f"the positions are {found}, but in generated events {', '.join(file.clocked)} follow from their times, "
            f"which had the type {expected} in training",
            fix="give the events with positions as in training, for example with read_format: raw",
        )
    elapsed = None
    for name in file.clocked:
        if file.time.derived[name].is_elapsed:  # one at most: sequences have a start or not
            scale = file.scale(name)
            elapsed = scale.original(events.columns[name][last].astype(np.float64)) * scale.unit
    times = events.positions[last]
    return TimeClock(file, times if kind == "f" else instants(pl.Series(times), None).to_numpy(), elapsed)


def as_positions(times: Array, dtype: "np.dtype[Any]") -> NDArray[Any]:
    """Return the times of generated events as positions; unknown outside of the years of time features."""
    if dtype.kind == "f":
        return times
    known = are_in_range(pl.Series(np.where(times < _FAR, times, 0))).to_numpy() & (times < _FAR)
    positions: NDArray[Any] = np.where(known, times, 0).astype("datetime64[us]").astype(dtype)
    positions[~known] = np.datetime64("NaT")
    return positions
