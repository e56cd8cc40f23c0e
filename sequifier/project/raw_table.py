"""A user's table: a CSV, Parquet or XES file, or a folder of them, as lazy rows.

CSV files are read as text; `inspect_columns.py` decides on the types of their columns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.table_form import PLAIN_TABLE, TableForm
from sequifier.config.preprocess_fields import RawFormat
from sequifier.errors import DataError
from sequifier.regular_file import kind_of_stream

if TYPE_CHECKING:
    import polars as pl

    from sequifier.preprocess.table_formats import KnownColumns

_WIDE = 100  # columns
_HELD_BYTES = 128 << 20
"""Size of the largest table with many columns that is read into memory."""


@dataclass(frozen=True)
class RawTable:
    """The rows of the files.

    Attributes:
        path: the file or folder.
        files: the files, sorted.
        format: format of all files.
        form: how the files are written.
        rows: the rows; text for CSV, otherwise with the types of the files.
        notes: notes for the user on the conversion of the files.
    """

    path: Path
    files: tuple[Path, ...]
    format: RawFormat
    form: TableForm
    rows: "pl.LazyFrame"
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the files hold text, so that the types of columns follow from the values."""
        from sequifier.preprocess.table_formats import TABLE_FORMATS

        return TABLE_FORMATS[self.format].is_text

    @property
    def known(self) -> "KnownColumns | None":
        """The columns with a fixed meaning, where the format has them."""
        from sequifier.preprocess.table_formats import TABLE_FORMATS
        from sequifier.preprocess.user_items import known_columns

        return TABLE_FORMATS[self.format].known or known_columns(self.form)

    @property
    def attributes(self) -> list[str]:
        """The columns that belong to whole sequences, where the format says so."""
        known = self.known
        if known is None or not known.of_sequences:
            return []
        return [column for column in self.columns if column.startswith(known.of_sequences)]

    @property
    def n_bytes(self) -> int:
        """Size on disk, in bytes."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.rows.collect_schema())


def open_raw(path: Path, folder: Path, names: Sequence[str] = ()) -> RawTable:
    """Open a file or a folder.

    Args:
        path: its path.
        names: names of the columns of CSV files without a header.
        folder: an empty folder for files that polars cannot read; they are converted, and must remain while the rows
            are used.

    Raises:
        DataError: the path does not exist, has another format, or has no usable header.
    """
    import polars as pl

    from sequifier.preprocess.csv_file import check_csv
    from sequifier.preprocess.source import Source
    from sequifier.preprocess.table_formats import TABLE_FORMATS
    from sequifier.preprocess.user_items import recognise

    path = path.expanduser()
    if not path.exists():
        raise DataError(
            f"the file `{path}` does not exist", where="--data", fix="give the path of a CSV, Parquet or XES file"
        )
    if kind := kind_of_stream(path):
        raise DataError(
            f"`{path}` is {kind}, not a file or folder, and can be read only once",
            where="--data",
            fix="write the data to a file, and give its path",
        )
    files = _files(path)
    format = _format(files[0])
    form = TableForm(column_names=list(names) or None)
    if is_text := TABLE_FORMATS[format].is_text:
        for file in files:
            _check_text(file)
        if not names and (recognised := recognise(files[0])):
            form = recognised
            format = "item_lists" if form.lists_items else format
    elif names:
        raise DataError(
            f"{files[0].name} has names of its columns", where=f"{path}, --columns", fix="leave --columns out"
        )
    source = Source(path, files, format, form=form).readable(folder)
    for file in files if is_text and not names and format != "item_lists" else ():
        check_csv(source.stored(file), shown=file)
    try:
        scans = [source.scan(file) for file in files]
        schemas = [scan.collect_schema() for scan in scans]
        _check_columns(path, dict(zip(files, schemas, strict=True)))
        rows = pl.concat(scans, how="vertical_relaxed")
        columns = list(rows.collect_schema())
        if len(columns) > _WIDE and sum(file.stat().st_size for file in files) <= _HELD_BYTES:
            rows = rows.collect().lazy()  # many columns take several passes
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(path, error) from error
    if is_text:
        _check_header(path, columns, has_names=source.form.column_names is not None)
    return RawTable(path, files, format, source.form, rows, source.notes)


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error for files that polars cannot read."""
    from sequifier.preprocess.damaged_csv import damage
    from sequifier.preprocess.table_formats import TABLE_FORMATS, format_of_files

    reason = str(error).strip().split("\n")[0]
    files = [path] if path.is_file() else sorted(path.rglob("*.csv"))
    is_text = TABLE_FORMATS[format_of_files(files) or "csv"].is_text
    for file in files if is_text else ():
        if found := damage(file, PLAIN_TABLE.separator, shown=file, reason=reason):
            return found
    return DataError(
        f"cannot read the table: {reason}",
        where=str(path),
        fix="check the file: each row needs as many values as the header has names"
        if is_text
        else "write the file again, or copy it again: it is damaged",
    )


def _files(path: Path) -> tuple[Path, ...]:
    from sequifier.preprocess.table_formats import format_of_files

    if path.is_file():
        files = [path]
    else:
        files = sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
        files = [item for item in files if format_of_files([item])]
    if not files or (len(files) > 1 and len({format_of_files([file]) for file in files}) > 1):
        raise DataError(
            "the folder has files of several formats" if files else "the folder has no .csv, .parquet or .xes file",
            where=str(path),
            fix="give a single file, or a folder of files of one format",
        )
    return tuple(files)


def _format(file: Path) -> RawFormat:
    """Return the format of a file, by its first bytes where they show it; `csv` if nothing shows another one."""
    from sequifier.preprocess.table_formats import TABLE_FORMATS, format_by_content, format_of_files

    if found := format_by_content(file):
        return found
    named = format_of_files([file]) or "csv"
    has_mark = bool(TABLE_FORMATS[named].begins_with)  # which this file does not have
    return "csv" if has_mark or TABLE_FORMATS[named].is_text else named


def _check_text(file: Path) -> None:
    """Raise DataError for a file that is empty, or not CSV."""
    from sequifier.preprocess.foreign_file import check_is_text_table

    with file.open("rb") as opened:
        if not opened.read(64).strip():
            raise DataError(
                "the file is empty", where=str(file), fix="give a file with a header and one row for each event"
            )
    if file.suffix.lower() != ".gz":  # the content is checked once it is unpacked
        check_is_text_table(file, shown=file)


def _check_columns(path: Path, schemas: "Mapping[Path, pl.Schema]") -> None:
    """Raise DataError for files that are not parts of one table, or not raw, and for names that cannot be used."""
    from sequifier.preprocess.csv_file import check_names
    from sequifier.preprocess.source import check_is_raw

    first = next(iter(schemas))
    for file, schema in schemas.items():
        if list(schema) != list(schemas[first]):
            raise DataError(
                f"{file.name} has the columns {', '.join(schema)}, {first.name} has {', '.join(schemas[first])}",
                where=str(path),
                fix="give a folder whose files are parts of one table, or a single file",
            )
        check_names(file, [*schema])
        check_is_raw(file, schema)


def _check_header(path: Path, names: list[str], *, has_names: bool) -> None:
    """Raise DataError for a single column, or a first line of data."""
    if len(names) == 1:
        raise DataError(
            f"the table has one column, `{names[0]}`",
            where=str(path),
            fix="remove the lines above the header"
            if names[0].startswith("#")
            else "separate the columns by commas, semicolons or tabs; a plain text needs the ending .txt",
        )
    if has_names:
        return
    numbers = [name for name in names if re.fullmatch(r"\s*[+-]?\d+([.,]\d+)?\s*", name)]
    if 2 * len(numbers) >= len(names):
        raise DataError(
            f"the first line looks like data, not like names of columns: {', '.join(names[:5])}",
            where=str(path),
            fix="name the columns: --columns NAME NAME ...",
        )
