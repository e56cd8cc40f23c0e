"""The file formats of raw tables, by name.

To add a format, write its entry in `TABLE_FORMATS` and its name in `RawFormat` of
`config/preprocess.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from sequifier.config.preprocess import RawFormat
from sequifier.preprocess.csv_file import scan_csv


@dataclass(frozen=True)
class TableFormat:
    """One file format.

    Attributes:
        suffixes: the endings of its files, in lower case.
        scan: file -> its rows as stored.
        begins_with: the first bytes of every file; empty: any.
        is_text: whether values are stored as text, so that the types of columns follow from the values.
    """

    suffixes: tuple[str, ...]
    scan: Callable[[Path], pl.LazyFrame]
    begins_with: bytes = b""
    is_text: bool = False


TABLE_FORMATS: dict[RawFormat, TableFormat] = {
    "csv": TableFormat((".csv",), scan_csv, is_text=True),
    "parquet": TableFormat((".parquet", ".pq"), partial(pl.scan_parquet, glob=False), begins_with=b"PAR1"),
}


def format_of_files(files: Iterable[Path]) -> RawFormat | None:
    """Return the name of the format that the ending of a file names, typed formats first; None where none does."""
    endings = {file.suffix.lower() for file in files}
    named = [name for name, table_format in TABLE_FORMATS.items() if endings & {*table_format.suffixes}]
    return min(named, key=lambda name: TABLE_FORMATS[name].is_text, default=None)
