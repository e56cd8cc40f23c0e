"""CSV files as programs export them: quoted empty cells, CR line ends, quotes in the header.

Files that cannot be read are refused with a clear message before they are read.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from sequifier.errors import DataError

_START_BYTES = 1 << 16
_LONGEST_HEADER = 1 << 25
_BLOCKS, _BLOCK_BYTES = 64, 1 << 16


def scan_csv(
    file: Path,
    *,
    separator: str = ",",
    types: Mapping[str, pl.DataType] | None = None,
    sample_rows: int | None = 0,
) -> pl.LazyFrame:
    """Return the rows of a CSV file with a header. An empty cell is missing, quoted or not.

    Args:
        file: its path.
        separator: the separator of columns.
        types: column -> type, for columns whose type is known.
        sample_rows: number of rows to infer other types from; None: all rows; 0: other columns are text.
    """
    status = file.stat()
    end, names = _layout(file, status.st_mtime_ns, status.st_size, separator)
    as_found = {name: found for found, name in names.items()}
    types = {as_found.get(name, name): dtype for name, dtype in (types or {}).items()}
    rows = pl.scan_csv(
        file,
        glob=False,
        separator=separator,
        eol_char=end,
        null_values=[""],
        schema_overrides=types,
        infer_schema=sample_rows != 0,
        infer_schema_length=sample_rows or None,
    )
    return rows.rename(names) if names else rows


def check_csv(file: Path, *, shown: Path) -> None:
    """Refuse files that polars would read wrongly, or with an unhelpful message, which names the file `shown`.

    Raises:
        DataError: the header is not separated by commas, or has a name twice.
    """
    names = header(file)
    check_names(shown, names)
    if len(names) == 1 and (separator := next((found for found in ";\t|" if found in (names[0] or "")), None)):
        mark = "a tab" if separator == "\t" else f"`{separator}`"
        raise DataError(
            f"the header has one column, `{names[0]}`: it is separated by {mark}, not by commas",
            where=str(shown),
            fix="write the file with commas between its columns",
        )


def check_names(file: Path, names: Sequence[str | None]) -> None:
    """Refuse a name that occurs twice, or that polars takes for a pattern of names.

    Raises:
        DataError: there is one.
    """
    for name in names:
        if name and (name == "*" or (name.startswith("^") and name.endswith("$"))):
            raise DataError(
                f"a column is called `{name}`, which stands for several columns", where=str(file), fix="rename it"
            )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        shown = " and ".join(f"`{name}`" if name else "a column without a name" for name in repeated)
        raise DataError(
            f"the header has {shown} more than once",
            where=str(file),
            fix="give each column another name",
        )


def header(file: Path, separator: str = ",") -> tuple[str | None, ...]:
    """Return the names in the first line that is not empty.

    No other line is read: with another separator than its own, a file may be no valid CSV.
    """
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        try:
            names = next((row for row in csv.reader(lines, delimiter=separator) if row), None)
        except csv.Error as error:
            raise pl.exceptions.ComputeError(str(error)) from error
    if names is None:
        raise pl.exceptions.NoDataError("empty CSV")
    return tuple(name or None for name in names)


def may_have_leading_zeros(file: Path) -> bool:
    """Whether a value starts with a zero and another digit, like 007, in blocks spread over the file.

    A file of up to 4 MB is read whole. Checking all of a larger one would add a tenth to the time of reading it.
    """
    size = file.stat().st_size
    step = max(_BLOCK_BYTES, size // _BLOCKS)
    with file.open("rb") as opened:
        for start in [*range(0, size, step), max(0, size - _BLOCK_BYTES)]:
            opened.seek(max(0, start - 1))
            read = opened.read(_BLOCK_BYTES + 2)  # with the bytes before and after the block
            block = np.frombuffer(read if start else b"\n" + read, dtype=np.uint8)
            before, byte, after = block[:-2], block[1:-1], block[2:]
            begins = (before <= ord(",")) & (before != ord("+"))  # after a comma, a quote, a space or a line end
            if (begins & (byte == ord("0")) & (after - ord("0") < 10)).any():
                return True
    return False


@lru_cache(maxsize=1024)
def _layout(file: Path, modified: int, size: int, separator: str) -> tuple[str, dict[str, str]]:
    """Return the line end, and the names of columns that polars would return with doubled quotes."""
    end = line_end(file)
    first = b""
    with file.open("rb") as opened:
        while end.encode() not in first and len(first) < _LONGEST_HEADER and (more := opened.read(_START_BYTES)):
            first += more
    first = first.split(end.encode(), 1)[0]
    if b'""' not in first:
        return end, {}
    # Polars undoubles quotes in values, but not in the header.
    named = [name for name in header(file, separator) if name]
    return end, {name.replace('"', '""'): name for name in named if '"' in name}


def line_end(file: Path) -> str:
    """Return the line end: a line feed, or the carriage return alone that old Macintosh programs write."""
    with file.open("rb") as opened:
        start = opened.read(_START_BYTES)
    return "\r" if b"\r" in start and b"\n" not in start else "\n"
