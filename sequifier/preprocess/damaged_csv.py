"""Why a CSV file cannot be read, with the line: it is not UTF-8, has too many values, or a quote that is not closed."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from sequifier.errors import DataError
from sequifier.preprocess.csv_file import is_utf16
from sequifier.printable import shown_text

if TYPE_CHECKING:
    import _csv

_LONGEST_VALUE = 1 << 26  # characters: a value without an end has the rest of the file
AS_UTF8 = "save it as UTF-8, for instance: iconv -f WINDOWS-1252 -t UTF-8 OLD.csv > NEW.csv"


def damage(file: Path, separator: str, *, shown: Path, reason: str) -> DataError | None:
    """Return the error for a file that polars cannot read; None where it has none of these mistakes.

    Args:
        file: the file; compressed by gzip where its name says so.
        separator: the separator of its columns.
        shown: its name for the user.
        reason: what polars says.
    """
    with _opened(file) as content:
        if is_utf16(content.read(64)):
            return None
    if "utf-8" in reason.lower() or "utf8" in reason.lower():
        number = _first_not_utf8(file)
        return DataError(f"line {number:,} is not UTF-8", where=str(shown), fix=AS_UTF8) if number else None
    try:
        found = _first_ragged(file, separator)
    except csv.Error:  # a value without an end
        found = None
    if found is not None:
        number, n_values, n_names, values = found
        return DataError(
            f"line {number:,} has {n_values} values, but the header has {n_names} names: `{values}`",
            where=str(shown),
            fix="correct that line; a value with a separator in it needs quotes",
        )
    if number := _first_open_quote(file, separator):
        return DataError(
            f"line {number:,} has a value that begins with a quote and has none at its end",
            where=str(shown),
            fix="correct that line; a quote within a quoted value is written twice",
        )
    return None


def check_first_line(file: Path, names: Sequence[str | None]) -> None:
    """Refuse names that are not UTF-8, and the line that a spreadsheet program writes before the header, `sep=;`.

    Args:
        file: the file.
        names: what would be its header.

    Raises:
        DataError: it begins with such a line.
    """
    is_replaced = any("\ufffd" in (name or "") for name in names)
    if is_replaced and (found := damage(file, ",", shown=file, reason="not UTF-8")):
        raise found
    if (names[0] or "").lower().startswith("sep="):
        raise DataError(
            f"the first line is `{names[0]}`, which only spreadsheet programs understand",
            where=str(file),
            fix="remove that line, for instance: tail -n +2 OLD.csv > NEW.csv",
        )


def _opened(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def _first_not_utf8(file: Path) -> int | None:
    with _opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None


def _first_ragged(file: Path, separator: str) -> tuple[int, int, int, str] | None:
    """Return number, number of values, number of names and beginning of the first line with more values than names."""
    with _rows(file, separator) as rows:
        n_names = len(next(rows, []))
        for values in rows:
            if len(values) > n_names:
                return rows.line_num, len(values), n_names, shown_text(separator.join(values)[:60])
    return None


def _first_open_quote(file: Path, separator: str) -> int | None:
    """Return the number of the line from which a quoted value goes on to the end of the file, or for too long."""
    with _rows(file, separator, strict=True) as rows:
        number = 1
        try:
            for _ in rows:
                number = rows.line_num + 1
        except csv.Error as error:
            return number if any(words in str(error) for words in ("end of data", "larger than field limit")) else None
    return None


@contextmanager
def _rows(file: Path, separator: str, *, strict: bool = False) -> "Iterator[_csv.Reader]":
    """Yield a reader of rows, whose values may be longer than the csv module allows by default."""
    before = csv.field_size_limit(_LONGEST_VALUE)
    try:
        with _opened(file) as content, TextIOWrapper(content, "utf-8-sig", errors="replace", newline="") as lines:
            yield csv.reader(lines, delimiter=separator, strict=strict)
    finally:
        csv.field_size_limit(before)
