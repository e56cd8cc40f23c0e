"""CSV files as people export them: quoted empty cells, CR line ends, quotes in the header.

What cannot be read is refused in plain words before anything is read.
"""

import codecs
from collections import Counter
from collections.abc import Mapping
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
    """The rows of a CSV file with a header. An empty cell is missing, quoted or not.

    Args:
        file: its path.
        separator: between the columns.
        types: column -> type, for those that are not to be guessed.
        sample_rows: rows that other types are guessed from; None looks at all rows, 0 takes them as text.
    """
    status = file.stat()
    end, names = _layout(file, status.st_mtime_ns, status.st_size, separator)
    types = types or {}
    if names:
        types = {found: types[name] for found, name in names.items() if name in types}
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


def check_csv(file: Path) -> None:
    """Refuse what polars would read without a word, or with one that does not help.

    Raises:
        DataError: the file is UTF-16, its header is not separated by commas, or names a column twice.
    """
    with file.open("rb") as opened:
        start = opened.read(64)
    if is_utf16(start):
        raise DataError("the file is UTF-16, not UTF-8", where=str(file), fix="save it as UTF-8")
    names = header(file)
    if len(names) == 1 and (separator := next((mark for mark in ";\t|" if mark in (names[0] or "")), None)):
        shown = "a tab" if separator == "\t" else f"`{separator}`"
        raise DataError(
            f"the header is one column, `{names[0]}`: it is separated by {shown}, not by commas",
            where=str(file),
            fix="write the file with commas between its columns",
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        shown = " and ".join(f"`{name}`" if name else "a column without a name" for name in repeated)
        raise DataError(
            f"the header names {shown} more than once",
            where=str(file),
            fix="give each column a name of its own",
        )


def header(file: Path, separator: str = ",") -> tuple[str | None, ...]:
    """The names in the first line."""
    rows = pl.scan_csv(
        file,
        glob=False,
        separator=separator,
        eol_char=_line_end(file),
        has_header=False,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    return tuple(rows.head(1).collect().row(0))


def may_have_zeros_in_front(file: Path) -> bool:
    """Whether some value begins with a zero and another digit, as 007 does, in blocks from everywhere in the file.

    A file of up to 4 MB is read whole. Looking at all of a larger one would take a tenth of the time of its reading.
    """
    size = file.stat().st_size
    step = max(_BLOCK_BYTES, size // _BLOCKS)
    with file.open("rb") as opened:
        for start in [*range(0, size, step), max(0, size - _BLOCK_BYTES)]:
            opened.seek(max(0, start - 1))
            read = opened.read(_BLOCK_BYTES + 2)  # with the byte before and the one behind
            block = np.frombuffer(read if start else b"\n" + read, dtype=np.uint8)
            before, byte, after = block[:-2], block[1:-1], block[2:]
            begins = (before <= ord(",")) & (before != ord("+"))  # behind a comma, a quote, a blank or a line end
            if (begins & (byte == ord("0")) & (after - ord("0") < 10)).any():
                return True
    return False


def is_utf16(start: bytes) -> bool:
    """Whether the first bytes of a file look like UTF-16."""
    has_mark = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Without a mark, every other byte of English text is 0.
    return has_mark or (len(start) >= 4 and not (any(start[::2]) and any(start[1::2])))


@lru_cache(maxsize=1024)
def _layout(file: Path, modified: int, size: int, separator: str) -> tuple[str, dict[str, str]]:
    """The byte that ends a line, and the names of columns that polars would show with doubled quotes."""
    end = _line_end(file)
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


def _line_end(file: Path) -> str:
    """A line feed, or the carriage return that old programs of the Macintosh write alone."""
    with file.open("rb") as opened:
        start = opened.read(_START_BYTES)
    return "\r" if b"\r" in start and b"\n" not in start else "\n"
