"""Reading and writing a split: a file, or a folder of shards."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.column_hashes import ColumnHashes, check_hashes
from sequifier.artifacts.events import (
    CONTEXT,
    POSITION,
    SEQUENCE,
    SUFFIXES,
    Events,
    FileFormat,
    Format,
    events_of,
    frame_of,
)
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.artifacts.shard_folder import StoredFiles, read_index, shards_of
from sequifier.artifacts.tensor_shards import scan_tensors
from sequifier.errors import DataError, did_you_mean
from sequifier.regular_file import check_is_file

if TYPE_CHECKING:
    import polars as pl

ROWS_PER_GROUP = 1 << 18
"""Rows of a Parquet row group and of an Arrow batch. Fixed, so that a file's bytes do not depend on threads."""

_WINDOW_FILE_COLUMNS = ("subsequenceId", "inputCol")


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
    """Write one split to a path from `atomic_path`; use `write_events` for a single file.

    Args:
        path: a temporary file.
        parts: at least one part of whole sequences, in order of sequenceId. One part is in memory at a time.
        format: `csv` quotes only text, so that the text id `7` differs from the number; `arrow` is uncompressed, so
            that it can be memory-mapped.

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
    """Write rows of a split to a path from `atomic_path`, see `sink_events`."""
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
        # For some formats, polars wraps the error of a full disk in its own, with its number in the text.
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
    """Read some features of one split.

    Args:
        path: a file of `write_events`, or a folder of shards of `sink_shards`.
        columns: the features, in this order.
        expected_hashes: `column_hashes` of this split in the metadata; None skips the comparison.
        format: None: by the file's suffix.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or its content differs from the metadata.
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
    """Return the format of a file by its suffix, or of the shards in a folder.

    Raises:
        DataError: the suffix is unknown.
    """
    if path.is_dir():
        return read_index(path).format
    if path.suffix not in SUFFIXES:
        raise DataError(f"unknown format of {path.name}", fix="its name must end in " + ", ".join(SUFFIXES))
    return SUFFIXES[path.suffix]


def no_rows(path: Path) -> DataError:
    """Return the error for a split without rows."""
    return DataError(f"{path.name} has no rows", where=str(path), fix="run `sequifier preprocess` again")


def read_sequence_ids(path: Path, format: Format | None = None) -> NDArray[Any]:
    """Return the ids of the sequences of a split, in its order, without reading its columns into memory."""
    import polars as pl

    format = format or format_of(path)
    with wrap_split_errors(path, format):
        rows = scan_events(path, [], format).select(pl.col(SEQUENCE).unique(maintain_order=True))
        ids = rows.collect(engine="streaming")[SEQUENCE]
    return np.array(ids.to_list(), dtype=object) if ids.dtype == pl.String else ids.to_numpy()


@contextmanager
def wrap_split_errors(path: Path, format: Format) -> Iterator[None]:
    """Turn any exception of reading a split into one error for the user.

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
    """Return all columns of a split, lazily; checks that `columns` are encoded features.

    Raises:
        DataError: the file is not a split, or a column is missing or not encoded.
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
    # The type of positions of a .pt shard is in the index of its folder.
    return StoredFiles((path,), format, read_index(path.parent) if format == "pt" else None)


def n_rows_of(path: Path, format: Format | None = None) -> int:
    """Return the number of rows of a split without reading them.

    Raises:
        DataError: the file is missing, damaged or not a split.
    """
    import polars as pl

    format = format or format_of(path)
    if path.is_dir():
        return read_index(path).rows
    with wrap_split_errors(path, format):
        return int(scan_events(path, [], format).select(pl.len()).collect().item())


def _typed_csv(paths: list[Path], schema: Mapping[str, Any]) -> "pl.LazyFrame":
    """Return a CSV split with the types with which it was written, from the types that polars infers."""
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
    """Parse dates and datetimes in the format of `write_events`; the number of decimals gives the unit."""
    import polars as pl

    text = pl.col(POSITION)
    if len(example) == len("2013-01-01"):
        return text.str.to_date("%Y-%m-%d")
    unit: Literal["ns", "us"] = "ns" if len(example) == len("2013-01-01T00:00:00.000000000") else "us"
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit=unit)


def _check_is_split(path: Path, schema: Mapping[str, Any]) -> None:
    if all(column in schema for column in _WINDOW_FILE_COLUMNS):
        raise DataError(
            f"{path.name} has windows of Sequifier v1, not events",
            where=str(path),
            fix="run `sequifier preprocess` on the raw data again",
        )
    missing = [column for column in (SEQUENCE, POSITION, CONTEXT) if column not in schema]
    if missing:
        raise DataError(
            f"{path.name} is not encoded: it has no column `{missing[0]}`, which every split has",
            where=str(path),
            fix="to predict from raw events: sequifier infer -D read_format=raw; to train on them, run `sequifier "
            "preprocess` (with `metadata_config_path` for the encoding of an earlier model)",
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
                f"column `{column}` has the type {schema[column]}, which is not encoded (Int32 ids or Float32 numbers)",
                where=str(path),
                fix="run `sequifier preprocess`, and use its splits",
            )
