"""Why a CSV file cannot be read, with the line: it is not UTF-8, has too many values, or a quote that is not closed."""

import codecs
import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from sequifier.errors import DataError
from sequifier.printable import shown_text

if TYPE_CHECKING:
    import _csv

_BLOCK_BYTES = 1 << 20
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
    quotes = _first_bad_quotes(file, separator)
    return None if quotes is None else _of_quotes(*quotes, shown)


def check_quotes(file: Path, separator: str, *, shown: Path) -> None:
    """Refuse quotes within a quoted value that are not written twice, in which polars drops quotes or joins lines.

    Args:
        file: the file, not compressed.
        separator: the separator of its columns.
        shown: its name for the user.

    Raises:
        DataError: there is one.
    """
    if _may_have_bad_quotes(file, separator) and (found := _first_bad_quotes(file, separator)):
        raise _of_quotes(*found, shown)


def check_first_line(file: Path, names: Sequence[str | None], *, shown: Path) -> None:
    """Refuse names that are not UTF-8, and the line that a spreadsheet program writes before the header, `sep=;`.

    Args:
        file: the file.
        names: what would be its header.
        shown: its name for the user.

    Raises:
        DataError: it begins with such a line.
    """
    is_replaced = any("\ufffd" in (name or "") for name in names)
    if is_replaced and (found := damage(file, ",", shown=shown, reason="not UTF-8")):
        raise found
    if (names[0] or "").lower().startswith("sep="):
        raise DataError(
            f"the first line is `{names[0]}`, which only spreadsheet programs understand",
            where=str(shown),
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


def _may_have_bad_quotes(file: Path, separator: str) -> bool:
    """Whether a quote is not where CSV has them: around whole values, and twice within them.

    The first, third, ... quote begins a value or follows a quote; the others end one or are followed by a quote.
    Quotes within values that have none around them, which are valid, are found too.
    """
    is_around = np.zeros(256, dtype=bool)
    is_around[[*b'"\r\n', ord(separator)]] = True
    with file.open("rb") as opened:
        if opened.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            opened.seek(0)
        before, n_before = b"\n", 0
        while block := opened.read(_BLOCK_BYTES):
            codes = np.frombuffer(before + block + (opened.peek(1)[:1] or b"\n"), dtype=np.uint8)
            places = np.flatnonzero(codes[1:-1] == ord('"'))
            odd = n_before % 2
            if not (is_around[codes[places[odd::2]]].all() and is_around[codes[places[1 - odd :: 2] + 2]].all()):
                return True
            before, n_before = block[-1:], n_before + len(places)
    return False


def _first_bad_quotes(file: Path, separator: str) -> tuple[int, str] | None:
    """Return the line of the first quote that is not where CSV has them, and what is wrong; None where all are."""
    lines: list[str] = []
    number = 1
    with _rows(file, separator, strict=True, lines=lines) as rows:
        try:
            for _ in rows:
                if sum(line.count('"') for line in lines) % 2:
                    return number, "a quote in a value that is not quoted"
                number = rows.line_num + 1
                lines.clear()
        except csv.Error as error:
            if "expected after" in str(error):
                return rows.line_num, "a quote within a quoted value that is not written twice"
            if any(words in str(error) for words in ("end of data", "larger than field limit")):
                return number, "a value that begins with a quote and has none at its end"
    return None


def _of_quotes(number: int, what: str, shown: Path) -> DataError:
    fix = "correct that line; a value with a quote in it has quotes around it, and that quote twice"
    return DataError(f"line {number:,} has {what}", where=str(shown), fix=fix)


@contextmanager
def _rows(
    file: Path, separator: str, *, strict: bool = False, lines: list[str] | None = None
) -> "Iterator[_csv.Reader]":
    """Yield a reader of rows, whose values may be longer than the csv module allows by default.

    It appends the lines that it reads to `lines`.
    """
    before = csv.field_size_limit(_LONGEST_VALUE)
    try:
        with _opened(file) as content, TextIOWrapper(content, "utf-8-sig", errors="replace", newline="") as text:
            yield csv.reader(text if lines is None else _kept(text, lines), delimiter=separator, strict=strict)
    finally:
        csv.field_size_limit(before)


def _kept(text: Iterable[str], lines: list[str]) -> Iterator[str]:
    for line in text:
        lines.append(line)
        yield line
