"""The file formats of raw tables, by name.

To add a format, write its entry in `TABLE_FORMATS` and its name in `RawFormat` of
`config/preprocess_fields.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from sequifier.config.preprocess_fields import RawFormat
from sequifier.preprocess.csv_file import scan_csv
from sequifier.preprocess.xes import write_log
from sequifier.preprocess.xes_table import EVENT_NUMBER, NAME, TRACE_NAME, TRACE_PREFIX

_scan_parquet = partial(pl.scan_parquet, glob=False)


@dataclass(frozen=True)
class KnownColumns:
    """The columns with a fixed meaning in all files of a format.

    Attributes:
        sequence: the column that names the sequence of an event.
        order: the column that orders the events of a sequence; None: they are in order in the file.
        target: the column that is predicted by default.
        why: their meaning, in words.
        of_sequences: prefix of the columns that belong to the whole sequence; empty: none do.
    """

    sequence: str
    order: str | None
    target: str
    why: str
    of_sequences: str = ""


@dataclass(frozen=True)
class TableFormat:
    """One file format.

    Attributes:
        suffixes: the endings of its files, in lower case.
        scan: file -> its rows as stored.
        begins_with: the first bytes of every file, which no text has; empty: its files are recognised by their endings.
        is_text: whether values are stored as text, so that the types of columns follow from the values.
        convert: for files that polars cannot read: (file, Parquet file to write) -> notes for the user. `scan` reads
            the Parquet file. (Text in other forms than plain CSV: `plain_csv.py`.)
        known: the columns with a fixed meaning, where the format has them.
    """

    suffixes: tuple[str, ...]
    scan: Callable[[Path], pl.LazyFrame]
    begins_with: bytes = b""
    is_text: bool = False
    convert: Callable[[Path, Path], tuple[str, ...]] | None = None
    known: KnownColumns | None = None


TABLE_FORMATS: dict[RawFormat, TableFormat] = {
    "csv": TableFormat((".csv", ".csv.gz", ".tsv", ".tsv.gz"), scan_csv, is_text=True),
    "parquet": TableFormat((".parquet", ".pq"), _scan_parquet, begins_with=b"PAR1\x15"),
    "xes": TableFormat(
        (".xes", ".xes.gz"),
        _scan_parquet,
        convert=write_log,
        known=KnownColumns(
            TRACE_NAME,
            EVENT_NUMBER,
            NAME,
            "the name of the trace, the order in the file, and the activity",
            TRACE_PREFIX,
        ),
    ),
    # Their endings say nothing: a config or a model names this format.
    "item_lists": TableFormat((), scan_csv, is_text=True),
}


def ending(file: Path) -> str:
    """Return the ending of a file in lower case: that of a format, which may have two parts, or its suffix."""
    name = file.name.lower()
    endings = (suffix for table_format in TABLE_FORMATS.values() for suffix in table_format.suffixes)
    return next((suffix for suffix in endings if name.endswith(suffix) and name != suffix), file.suffix.lower())


def format_by_content(file: Path) -> RawFormat | None:
    """Return the format that the first bytes of a file show, whatever its name is; None where they show none."""
    marks = {name: found.begins_with for name, found in TABLE_FORMATS.items() if found.begins_with}
    with file.open("rb") as opened:
        start = opened.read(max(map(len, marks.values())))
    return next((name for name, mark in marks.items() if start.startswith(mark)), None)


def format_of_files(files: Iterable[Path]) -> RawFormat | None:
    """Return the name of the format that the ending of a file names, typed formats first; None where none does."""
    endings = {ending(file) for file in files}
    named = [name for name, table_format in TABLE_FORMATS.items() if endings & {*table_format.suffixes}]
    return min(named, key=lambda name: TABLE_FORMATS[name].is_text, default=None)
