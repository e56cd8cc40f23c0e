"""Files that are no text in UTF-8, or no table, recognised by their first bytes: workbooks, archives, JSON, UTF-16."""

import codecs
import re
from pathlib import Path

from sequifier.errors import DataError

_START_BYTES = 256
_AS_CSV = "save it as CSV (UTF-8) or Parquet"
_UNPACK = "unpack it, or compress it with gzip and give it the ending .csv.gz"
# With the bytes behind a mark that is a word: a column of a table may be called PAR1.
_BINARY: tuple[tuple[bytes | tuple[bytes, ...], str, str], ...] = (
    (b"PK\x03\x04", "a spreadsheet or a zip archive", "save the sheet as CSV (UTF-8), or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old Excel", "save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed by gzip", "give it the ending .csv.gz, or unpack it"),
    (tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"PAR1\x15", "a Parquet file", "set read_format: parquet"),
    (b"ARROW1\0\0", "an Arrow (Feather) file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", _AS_CSV),
    (b"SQLite format 3\0", "a SQLite database", "export its table as CSV"),
    (b"%PDF-", "a PDF", _AS_CSV),
)
_LFS = b"version https://git-lfs."
_JSON = re.compile(rb'\{\s*["}]|\{\r?\n|\[\s*[\[{"]|\[\r?\n')
_XML = re.compile(rb"<(\?xml|!|html|table|log)\b", re.IGNORECASE)  # and not <DATE>,<OPEN>, which is a header


def check_is_text_table(file: Path, *, shown: Path) -> None:
    """Refuse a file that is no text in UTF-8, or that is text of another kind than a table.

    Args:
        file: the file, not compressed.
        shown: its name for the user.

    Raises:
        DataError: it is one of the kinds that are known.
    """
    start = _start(file)
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if other := other_encoding(start):
        raise DataError(f"the file is {other}, not UTF-8", where=str(shown), fix="save it as UTF-8")
    for mark, what, fix in _BINARY:
        if start.startswith(mark):
            raise DataError(f"the file is {what}, not CSV", where=str(shown), fix=fix)
    if _XML.match(text):
        what, fix = "XML or HTML", "if it is an XES log, give it the ending .xes"
    elif _JSON.match(text):
        what, fix = "JSON", _AS_CSV
    else:
        return
    raise DataError(f"the file looks like {what}, not like CSV or Parquet", where=str(shown), fix=fix)


def check_is_content(file: Path) -> None:
    """Refuse the small file by which Git LFS stands for a large one that was not fetched.

    Raises:
        DataError: it is one.
    """
    if _start(file).startswith(_LFS):
        raise DataError(
            "the file is a pointer of Git LFS, not the data themselves", where=str(file), fix="run: git lfs pull"
        )


def other_encoding(start: bytes) -> str:
    """Return the encoding that the first bytes of a file show, UTF-16 or UTF-32; empty for any other."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    has_mark = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    start = start[:64]
    # Without a byte order mark, every other byte of English text is 0.
    is_utf16 = has_mark or (len(start) >= 4 and not (any(start[::2]) and any(start[1::2])))
    return "UTF-16" if is_utf16 else ""


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_START_BYTES)
