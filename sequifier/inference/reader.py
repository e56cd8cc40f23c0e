"""Reading the events of a source in parts, and checking that the model can take them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.column_hashes import ColumnHashes, check_hashes
from sequifier.artifacts.event_parts import read_event_parts
from sequifier.artifacts.events import Events, ends_with_end, without_ends, without_observed_ends
from sequifier.artifacts.model_file import ModelFile
from sequifier.config.inference import InferConfig
from sequifier.errors import DataError
from sequifier.inference.source import ENCODE_AGAIN, Source
from sequifier.inference.v1_windows import read_windows

EncodeRaw = Callable[[Path, ModelFile, Path | None], Iterator[Events]]
"""Raw file -> parts of whole sequences, encoded as in a model's training, with the steps to come of a second file."""


@dataclass
class Reader:
    """Reads a source once, in parts of whole sequences, and counts what it reads.

    Attributes:
        n_rows: events so far, and the steps to come behind them.
        n_own: events so far that are not context.
        n_windows: windows of v1 so far, unless they are joined to sequences.
        unknown: categorical column -> number of values so far whose category the model does not know.
    """

    source: Source
    file: ModelFile
    config: InferConfig
    encode_raw: EncodeRaw
    rows_per_part: int
    n_rows: int = 0
    n_own: int = 0
    n_windows: int = 0
    unknown: dict[str, int] = field(default_factory=dict)

    @cached_property
    def still_open(self) -> dict[str, str]:
        """See `Source.still_open`."""
        return self.source.still_open(self.config)

    def parts(self) -> Iterator[tuple[int, Events]]:
        """Yield the number of a file and a part of it, without the ends of observation.

        The columns of `still_open` have, in the row of the last event of each sequence, the time from it to the end.

        The content is compared with the hashes of the metadata before the last part is yielded.

        Raises:
            DataError: a file is damaged, lacks a column, or has ids that the model does not know.
        """
        hashes = ColumnHashes() if self.source.hashes is not None else None
        waiting: tuple[int, Events] | None = None
        observes_ends = self.source.observes_ends(self.file)
        for number, events in self._read():
            if hashes is not None:
                hashes.update(events)
            whole = events
            events = without_observed_ends(events) if observes_ends else events
            self._check_ids(events, self.source.files[number])
            for column in self.still_open.values():
                events.columns[column][events.offsets[1:] - 1] = whole.columns[column][whole.offsets[1:] - 1]
            if waiting is not None:
                yield self._counted(*waiting)
            waiting = number, events
        if hashes is not None and self.source.hashes is not None:
            check_hashes(self.source.path, hashes, self.source.hashes)
        assert waiting is not None, "an empty file is an error"
        yield self._counted(*waiting)

    def _read(self) -> Iterator[tuple[int, Events]]:
        if self.source.is_raw:
            for events in self.encode_raw(self.source.path, self.file, self.source.future):
                yield 0, events
            return
        format = self.config.read_format
        assert format != "raw"
        for number, path in enumerate(self.source.files):
            if self.source.holds_windows:
                windows = read_windows(
                    path,
                    self.source.columns,
                    list(self.file.vocabularies),
                    format=format,
                    recoding=self.source.recoding,
                    as_sequences=self.config.autoregression,
                    rows_per_part=self.rows_per_part,
                )
                yield from ((number, events) for events in windows)
                continue
            columns = [*self.source.columns, *self.still_open.values()]
            parts = read_event_parts(path, columns, format=format, rows_per_part=self.rows_per_part)
            yield from ((number, events) for events in parts)

    def _counted(self, number: int, events: Events) -> tuple[int, Events]:
        is_event = self._are_events(events)
        n_ends, n_ahead = int(ends_with_end(events, self.source.end_ids).sum()), self._n_ahead * len(events.n_context)
        n_events = int(np.count_nonzero(is_event)) - n_ends
        self.n_rows += n_events + n_ahead
        self.n_own += n_events - int(events.n_context.sum())
        if self.source.holds_windows and not self.config.autoregression:
            self.n_windows += len(events.sequence_ids)
        for column, values in events.columns.items():
            if values.dtype.kind == "i":
                is_value = is_event | (column in self.file.architecture.known_future)
                self.unknown[column] = self.unknown.get(column, 0) + int(np.count_nonzero((values == 0) & is_value))
        return number, events

    def _are_events(self, events: Events) -> NDArray[np.bool_]:
        """Return which rows are events, and neither START nor steps to come, (N,)."""
        found = np.ones(len(events.positions), dtype=np.bool_)
        if self.source.has_start(self.file):
            found[events.offsets[:-1]] = False
        found[(events.offsets[1:, None] - 1 - np.arange(self._n_ahead)).ravel()] = False
        return found

    @property
    def _n_ahead(self) -> int:
        """Number of steps to come behind the events of each sequence."""
        return 0 if self.source.future is None else self.file.architecture.horizon

    def _check_ids(self, events: Events, path: Path) -> None:
        events = without_ends(events, ends_with_end(events, self.source.end_ids))
        n_classes = dict(self.file.architecture.categorical) | {
            target.name: target.n_classes for target in self.source.evaluated if target.kind == "categorical"
        }
        for column, values in events.columns.items():
            if column in self.still_open.values():
                continue
            is_categorical = column in n_classes
            if is_categorical != (values.dtype.kind == "i"):
                raise DataError(
                    f"column `{column}` has {'floats' if is_categorical else 'integers'}, but it is "
                    f"{'categorical' if is_categorical else 'real'} for the model",
                    where=str(path),
                    fix=ENCODE_AGAIN,
                )
            # Windows of v1 mark steps to generate in this way.
            if not is_categorical and not self.source.holds_windows and not np.isfinite(values).all():
                raise DataError(
                    f"encoded column `{column}` has {values[~np.isfinite(values)][0]}, which is not a finite number",
                    where=str(path),
                    fix=ENCODE_AGAIN,
                )
            if is_categorical and len(values) and (values.min() < 0 or values.max() >= n_classes[column]):
                wrong = values.max() if values.max() >= n_classes[column] else values.min()
                raise DataError(
                    f"column `{column}` has id {wrong}; the model has ids 0 to {n_classes[column] - 1}",
                    where=str(path),
                    fix=ENCODE_AGAIN,
                )
