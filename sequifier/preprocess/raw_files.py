"""The raw files of a table: the types of their columns, their rows, and their size in memory."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from sequifier.artifacts.table_form import PLAIN_TABLE
from sequifier.errors import DataError
from sequifier.preprocess.agree_columns import NeedsAllValues, Schema, file_schema
from sequifier.preprocess.csv_file import scan_csv
from sequifier.preprocess.damaged_csv import damage
from sequifier.preprocess.duplicates import ROW, row_hash
from sequifier.preprocess.source import Source
from sequifier.preprocess.table_formats import TABLE_FORMATS


def schema_of(source: Source, file: Path, *, sample_rows: int | None) -> Schema:
    """Return the type of each column of one file.

    Raises:
        DataError: the file is empty or cannot be read.
        NeedsAllValues: the first rows do not determine a type.
    """
    try:
        return file_schema(source, file, sample_rows=sample_rows)
    except pl.exceptions.NoDataError as error:
        raise DataError("the file is empty", where=str(file), fix="remove it, or write the events again") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        if sample_rows is not None:
            raise NeedsAllValues from error
        raise unreadable(source, error, file) from error


def unreadable(source: Source, error: Exception, file: Path | None = None) -> DataError:
    """Return the error for a file that is damaged or has another format."""
    reason = str(error).strip().split("\n")[0]
    files = source.files if file is None else [file]
    for each in files if TABLE_FORMATS[source.format].is_text else ():
        if found := damage(source.stored(each), PLAIN_TABLE.separator, shown=each, reason=reason):
            return found
    return DataError(
        f"cannot read the events as {source.format}: {reason}",
        where=str(file or source.path),
        fix="save the file as UTF-8" if "utf-8" in reason.lower() else "check the file and read_format",
    )


def scan_raw(
    source: Source, file: Path, raw_types: Mapping[str, pl.DataType], *, with_hash: bool = False
) -> pl.LazyFrame:
    """Return the columns of one file, unchanged but for the agreed types; and if `with_hash` the hash of each row."""
    if TABLE_FORMATS[source.format].is_text:
        types = {column: dtype for column, dtype in raw_types.items() if dtype != pl.Null()}
        rows = scan_csv(source.stored(file), types=types)
        return rows.select(*raw_types, *([row_hash(rows)] if with_hash else []))
    rows = source.scan(file)
    schema = rows.collect_schema()
    values = [_plain(column, schema[column], dtype) for column, dtype in raw_types.items()]
    return rows.select(*values, *([row_hash(rows)] if with_hash else []))


def _plain(column: str, found: pl.DataType, dtype: pl.DataType) -> pl.Expr:
    if isinstance(found, pl.Datetime) and found.time_zone is not None:
        return pl.col(column).dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(dtype)
    return pl.col(column) if found == dtype else pl.col(column).cast(dtype)


def is_empty(rows: pl.LazyFrame) -> pl.Expr:
    """Return whether a row has no value, in any of the columns that are read."""
    return pl.all_horizontal(pl.col(name).is_null() for name in rows.collect_schema() if name != ROW)


def decoded_bytes(source: Source, raw_types: Mapping[str, pl.DataType], max_rows: int | None) -> int:
    """Estimate the size in memory: 32 bytes for a text (polars needs 16 and the letters), otherwise 8."""
    per_row = sum(32 if dtype == pl.String else 8 for dtype in raw_types.values())
    if not TABLE_FORMATS[source.format].is_text:
        scans = [source.scan(file) for file in source.files]
        rows = sum(int(scan.select(pl.len()).collect().item()) for scan in scans)
        return per_row * min(rows, max_rows or rows)
    in_files = 2 * sum(source.stored(file).stat().st_size for file in source.files)
    return in_files if max_rows is None else min(in_files, per_row * max_rows)
