"""Stored splits: one encoded row per event, written and read here only.

Columns in order: sequenceId, itemPosition, isContext, then the features: categories as Int32 ids (0 is unknown),
reals as Float32 z = (x - mean) / std. Rows are sorted by (sequenceId, itemPosition). A sequence of a later split
begins with events of earlier splits, flagged as context.
Shapes: N rows of a split, S its sequences.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.artifacts.shard_folder import StoredFiles, read_index, shards_of
from sequifier.artifacts.tensor_shards import scan_tensors
from sequifier.config.train import EventFormat
from sequifier.errors import DataError, did_you_mean
from sequifier.regular_file import check_is_file

if TYPE_CHECKING:
    import polars as pl

SEQUENCE, POSITION, CONTEXT = "sequenceId", "itemPosition", "isContext"
Format = EventFormat
FileFormat = Literal["parquet", "csv", "arrow"]
"""Of a split that is one file."""
SUFFIXES: Mapping[str, Format] = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow", ".pt": "pt"}
ROWS_PER_GROUP = 1 << 18
"""Rows of a Parquet row group and of an Arrow batch. Fixed, so that a file's bytes do not depend on threads."""

_WINDOW_FILE_COLUMNS = ("subsequenceId", "inputCol")


@dataclass(frozen=True)
class Events:
    """Whole sequences of one split, in memory.

    Attributes:
        sequence_ids: (S,) int64, or object holding str.
        offsets: (S + 1,) int64; the rows of sequence s are offsets[s] : offsets[s + 1].
        n_context: (S,) int64, how many rows at the start of each sequence are context.
        positions: (N,) int64 or datetime64.
        columns: feature -> (N,) int32 ids or float32 z.
    """

    sequence_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    n_context: NDArray[np.int64]
    positions: NDArray[Any]
    columns: dict[str, NDArray[Any]]


class ColumnHashes:
    """SHA-256 of each column's content, fed with whole sequences in order.

    The buffers hashed are little-endian and contiguous, so the digests are the same whatever the file format, the
    number of parts or the machine. `sequenceId` hashes each sequence as its number of rows and its id (text: the
    number of bytes, then UTF-8), `isContext` the number of context rows of each sequence.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {key: hashlib.sha256() for key in (SEQUENCE, POSITION, CONTEXT)}

    def update(self, events: Events) -> None:
        """Add the sequences that come next."""
        self.add_sequences(np.diff(events.offsets), events.sequence_ids, events.n_context)
        self.add_rows(POSITION, events.positions)
        for column, values in events.columns.items():
            self.add_rows(column, values)

    def add_sequences(self, n_rows: NDArray[np.int64], ids: NDArray[Any], n_context: NDArray[np.int64]) -> None:
        """Add what `sequenceId` and `isContext` hash of the sequences that come next, (S,) each."""
        if ids.dtype == object:
            texts = (str(text).encode() for text in ids)
            pairs = zip(n_rows.tolist(), texts, strict=True)
            self._add(SEQUENCE, b"".join(b"%d %d " % (rows, len(text)) + text for rows, text in pairs))
        else:
            self._add(SEQUENCE, np.stack([n_rows, ids], axis=1))
        self._add(CONTEXT, n_context)

    def add_rows(self, column: str, values: NDArray[Any]) -> None:
        """Add the rows that come next of `itemPosition` or of a feature."""
        self._add(column, values.view(np.int64) if values.dtype.kind == "M" else values)

    def digests(self) -> dict[str, str]:
        """Column -> the first 16 hexadecimal digits."""
        return {column: content.hexdigest()[:16] for column, content in self._hashes.items()}

    def _add(self, column: str, content: bytes | NDArray[Any]) -> None:
        if isinstance(content, np.ndarray):
            little_endian = content.dtype.newbyteorder("<")
            content = np.ascontiguousarray(content, dtype=little_endian).data  # type: ignore[assignment]
        self._hashes.setdefault(column, hashlib.sha256()).update(content)


def write_events(path: Path, parts: Iterable[Events], format: FileFormat) -> None:
    """Write one split atomically.

    Args:
        path: the file, replaced when it exists.
        parts: see `sink_events`.
        format: see `sink_events`.

    Raises:
        RunError: the folder cannot be written to, or the disk is full. Nothing is left behind.
    """
    with atomic_path(path) as temporary:
        sink_events(temporary, parts, format)


def sink_events(path: Path, parts: Iterable[Events], format: FileFormat) -> None:
    """Write one split to a path that `atomic_path` gave; use `write_events` for a single file.

    Args:
        path: a temporary file.
        parts: at least one, in order of sequenceId; no sequence is spread over two. They are taken one at a time,
            so they need not fit in memory together.
        format: `csv` quotes text and nothing else, so that a text id `7` is told from the number; `arrow` is
            uncompressed, so that it can be memory-mapped.

    Raises:
        OSError: the disk is full.
    """
    from polars.io.plugins import register_io_source

    frames = (frame_of(part) for part in parts)
    first = next(frames)

    def source(*_pushed_down: object) -> Iterator["pl.DataFrame"]:
        return chain([first], frames)

    sink_rows(path, register_io_source(source, schema=first.schema), format)


def sink_rows(path: Path, rows: "pl.LazyFrame", format: FileFormat) -> None:
    """Write rows as they are stored to a path that `atomic_path` gave, see `sink_events`."""
    from polars.exceptions import ComputeError

    try:
        match format:
            case "parquet":
                rows.sink_parquet(path, compression="lz4", row_group_size=ROWS_PER_GROUP)
            case "arrow":
                rows.sink_ipc(path, compression="uncompressed", record_batch_size=ROWS_PER_GROUP)
            case "csv":
                rows.sink_csv(path, quote_style="non_numeric")
    except ComputeError as error:
        # Polars wraps a full disk in its own error for some formats; the number is left in the text.
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def read_events(
    path: Path,
    columns: Sequence[str],
    *,
    expected_hashes: Mapping[str, str] | None,
    format: Format | None = None,
) -> Events:
    """Read one split, and of it only the features asked for.

    Args:
        path: a file that `write_events` wrote, or a folder of shards that `sink_shards` wrote.
        columns: features, in the order wanted.
        expected_hashes: the metadata's `column_hashes` of this split; None skips the comparison.
        format: by the file's suffix when None.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or holds other content than the metadata says.
    """
    format = format or format_of(path)
    with wrap_split_errors(path, format):
        frame = scan_events(path, columns, format).select(SEQUENCE, POSITION, CONTEXT, *columns).collect()
    if frame.is_empty():
        raise no_rows(path)
    events = events_of(frame, columns)
    if expected_hashes is not None:
        hashes = ColumnHashes()
        hashes.update(events)
        check_hashes(path, hashes, expected_hashes)
    return events


def format_of(path: Path) -> Format:
    """The format that a file's suffix names, or that of the shards of a folder.

    Raises:
        DataError: it names none.
    """
    if path.is_dir():
        return read_index(path).format
    if path.suffix not in SUFFIXES:
        raise DataError(f"unknown format of {path.name}", fix="its name must end in " + ", ".join(SUFFIXES))
    return SUFFIXES[path.suffix]


def check_hashes(path: Path, hashes: ColumnHashes, expected: Mapping[str, str]) -> None:
    """Compare the content of a file with what the metadata says of it.

    Raises:
        DataError: they differ.
    """
    for column, found in hashes.digests().items():
        if found != expected.get(column):
            raise DataError(
                f"column `{column}` is not what the metadata describes: this file and the metadata belong to "
                f"different data sets (content {found}, metadata {expected.get(column) or 'does not list it'})",
                where=str(path),
                fix="use the metadata written together with this file, or run `sequifier preprocess` again",
            )


def no_rows(path: Path) -> DataError:
    """What to say of a split without rows."""
    return DataError(f"{path.name} has no rows", where=str(path), fix="run `sequifier preprocess` again")


def frame_of(events: Events) -> "pl.DataFrame":
    """The rows as they are stored."""
    import polars as pl

    n_rows = np.diff(events.offsets)
    row_of_sequence = np.arange(events.offsets[-1]) - np.repeat(events.offsets[:-1], n_rows)
    if events.sequence_ids.dtype == object:
        ids = pl.Series(SEQUENCE, events.sequence_ids.tolist(), dtype=pl.String)
        sequence = ids.gather(pl.Series(np.repeat(np.arange(len(ids)), n_rows)))
    else:
        sequence = pl.Series(SEQUENCE, np.repeat(events.sequence_ids, n_rows))
    return pl.DataFrame(
        [
            sequence,
            pl.Series(POSITION, events.positions),
            pl.Series(CONTEXT, row_of_sequence < np.repeat(events.n_context, n_rows)),
            *(pl.Series(column, values) for column, values in events.columns.items()),
        ]
    )


@contextmanager
def wrap_split_errors(path: Path, format: Format) -> Iterator[None]:
    """What polars says of an unreadable file, as an error for the user.

    Raises:
        DataError: the file is missing or damaged.
    """
    if not path.exists():
        raise DataError(
            f"{path.name} does not exist", where=str(path.parent), fix="run `sequifier preprocess` to write it"
        )
    with wrap_read_errors(f"{path.name} as {format}", path, fix="run `sequifier preprocess` again"):
        if not path.is_dir():  # a folder of shards
            check_is_file(path)
        yield


def scan_events(path: Path, columns: Sequence[str], format: Format) -> "pl.LazyFrame":
    """All columns of a split, of which `columns` are known to be encoded features; nothing is read yet.

    Raises:
        DataError: this is no split, or a column is missing or not encoded.
    """
    import polars as pl

    files = _files(path, format)
    paths = list(files.paths)
    match format:
        case "parquet":
            rows = pl.scan_parquet(paths, glob=False)
        case "arrow":
            rows = pl.scan_ipc(paths, glob=False)
        case "csv":
            rows = pl.scan_csv(paths, glob=False)
        case "pt":
            assert files.index is not None
            rows = scan_tensors(paths, files.index)
    schema = rows.collect_schema()
    _check_is_split(path, schema)
    if format == "csv":
        rows = _typed_csv(paths, schema)
    _check_features(path, rows.collect_schema(), columns)
    return rows


def _files(path: Path, format: Format) -> StoredFiles:
    if path.is_dir():
        return shards_of(path, format)
    # A .pt shard alone does not say of what kind its positions are: its folder does.
    return StoredFiles((path,), format, read_index(path.parent) if format == "pt" else None)


def n_rows_of(path: Path, format: Format | None = None) -> int:
    """How many rows a split has, without reading them.

    Raises:
        DataError: the file is missing or damaged, or no split.
    """
    import polars as pl

    format = format or format_of(path)
    if path.is_dir():
        return read_index(path).rows
    with wrap_split_errors(path, format):
        return int(scan_events(path, [], format).select(pl.len()).collect().item())


def _typed_csv(paths: list[Path], schema: Mapping[str, Any]) -> "pl.LazyFrame":
    """A CSV split with the types it was written with, from those that its text looks like."""
    import polars as pl

    with paths[0].open("rb") as file:
        file.readline()
        has_text_ids = file.read(1) == b'"'
    narrow: Mapping[Any, Any] = {pl.Int64(): pl.Int32, pl.Float64(): pl.Float32}
    types: dict[str, Any] = {column: narrow.get(dtype, dtype) for column, dtype in schema.items()}
    types |= {SEQUENCE: pl.String if has_text_ids else pl.Int64, CONTEXT: pl.Boolean}
    types[POSITION] = schema[POSITION]
    rows = pl.scan_csv(paths, glob=False, schema_overrides=types)
    if types[POSITION] == pl.String:
        examples = rows.select(pl.col(POSITION).drop_nulls().head(1)).collect().to_series().to_list()
        rows = rows.with_columns(_parse_dates(example) for example in examples)
    return rows


def _parse_dates(example: str) -> "pl.Expr":
    """Dates and datetimes as `write_events` writes them; the number of decimals tells the unit."""
    import polars as pl

    text = pl.col(POSITION)
    if len(example) == len("2013-01-01"):
        return text.str.to_date("%Y-%m-%d")
    unit: Literal["ns", "us"] = "ns" if len(example) == len("2013-01-01T00:00:00.000000000") else "us"
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit=unit)


def _check_is_split(path: Path, schema: Mapping[str, Any]) -> None:
    if all(column in schema for column in _WINDOW_FILE_COLUMNS):
        raise DataError(
            f"{path.name} holds windows, as Sequifier v1 wrote them, not events",
            where=str(path),
            fix="run `sequifier preprocess` on the raw data again",
        )
    missing = [column for column in (SEQUENCE, POSITION, CONTEXT) if column not in schema]
    if missing:
        raise DataError(
            f"{path.name} is not encoded: it has no column `{missing[0]}`, which every split has",
            where=str(path),
            fix="run `sequifier preprocess` on it and use a split that it writes; new data for a trained model needs "
            "`metadata_config_path`, so that it is encoded alike",
        )


def _check_features(path: Path, schema: Mapping[str, Any], columns: Sequence[str]) -> None:
    import polars as pl

    features = [column for column in schema if column not in (SEQUENCE, POSITION, CONTEXT)]
    for column in columns:
        if column not in schema:
            raise DataError(
                f"column `{column}` is missing in {path.name}", where=str(path), fix=did_you_mean(column, features)
            )
    for column in columns:
        if schema[column] not in (pl.Int32, pl.Float32):
            raise DataError(
                f"column `{column}` holds {schema[column]}, which is not encoded (Int32 ids or Float32 numbers)",
                where=str(path),
                fix="run `sequifier preprocess`, and train on the split files that it writes",
            )


def events_of(frame: "pl.DataFrame", columns: Sequence[str]) -> Events:
    """Rows as they are stored, whole sequences, as events."""
    import polars as pl

    sequence = frame[SEQUENCE]
    first = sequence.ne_missing(sequence.shift(1))
    first[0] = True
    starts = np.flatnonzero(first.to_numpy())
    ids = sequence.gather(pl.Series(starts))
    is_context = frame[CONTEXT].to_numpy()
    return Events(
        sequence_ids=np.array(ids.to_list(), dtype=object) if ids.dtype == pl.String else ids.to_numpy(),
        offsets=np.append(starts, frame.height).astype(np.int64),
        n_context=np.add.reduceat(is_context.astype(np.int64), starts),
        positions=frame[POSITION].to_numpy(),
        columns={column: frame[column].to_numpy() for column in columns},
    )
