"""A stranger's table, opened: a CSV or Parquet file, or a folder of them, as lazy rows with the types of their values.

Everything in a CSV file is read as text first, and all of its values are looked at: a column is a number when each of
them is. Nothing is held in memory but counts, so the size of the file does not matter.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sequifier.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["text", "integer", "number", "boolean", "date", "datetime", "empty", "other"]

MARKS = ("NA", "N/A", "n/a", "na", "NULL", "null", "None", "none", "-", "--", "?", "missing", "#N/A", "(null)")
"""Words that stand for a missing value in a column of numbers."""

_SEPARATORS = ",;\t|"
_HEADER_BYTES = 1 << 16
_CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y"),
)
OTHER_DATES = tuple(day + clock for day in _DAYS for clock in _CLOCKS)
"""Ways to write a date that `preprocess` does not read, because 03/04/2013 is in March or in April."""


@dataclass(frozen=True)
class Reading:
    """How the values of one column are to be read.

    Attributes:
        kind: what all of its values are.
        expression: gives them with that type; what marks a missing value becomes null.
        is_iso: a date as `preprocess` reads it.
        is_as_text: digits that are to stay text: 007, or more than 64 bits hold.
        repair: what must be changed before `preprocess` reads it so; empty: nothing.
        dates: ways to write a date that fit all values equally well, where that is more than one.
    """

    kind: Kind
    expression: "pl.Expr"
    is_iso: bool = False
    is_as_text: bool = False
    repair: str = ""
    dates: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawTable:
    """The rows as they stand in the files.

    Attributes:
        path: the file or folder.
        files: sorted.
        format: of all of them.
        separator: between the columns of a CSV file.
        rows: text throughout for CSV, else with the types of the files.
        repairs: what `preprocess` cannot read of the files themselves.
        is_spaced: there are spaces behind the separators: they belong to no value.
    """

    path: Path
    files: tuple[Path, ...]
    format: Literal["csv", "parquet"]
    separator: str
    rows: "pl.LazyFrame"
    repairs: tuple[str, ...]
    is_spaced: bool = False

    @property
    def n_bytes(self) -> int:
        """Size on disk."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.rows.collect_schema())


def open_raw(path: Path) -> RawTable:
    """Open a file or a folder.

    Raises:
        DataError: it does not exist, is neither CSV nor Parquet, or has no usable header.
    """
    import polars as pl

    path = path.expanduser()
    if not path.exists():
        raise DataError(f"there is no file `{path}`", where="--data", fix="give the path of a CSV or Parquet file")
    files = _files(path)
    format: Literal["csv", "parquet"] = "parquet" if _begins_with(files[0], b"PAR1") else "csv"
    repairs = []
    try:
        if format == "parquet":
            separator, scans = ",", [pl.scan_parquet(file, glob=False) for file in files]
        else:
            for file in files:
                _check_text(file)
            separator = _separator(files[0])
            if separator != ",":
                shown = "tabs" if separator == "\t" else f"`{separator}`"
                repairs.append(f"its columns are separated by {shown}, not by commas")
            scans = [pl.scan_csv(file, glob=False, separator=separator, infer_schema=False) for file in files]
        schemas = [scan.collect_schema() for scan in scans]
        for file, schema in zip(files, schemas, strict=True):
            if list(schema) != list(schemas[0]):
                raise DataError(
                    f"{file.name} has the columns {', '.join(schema)}, {files[0].name} has {', '.join(schemas[0])}",
                    where=str(path),
                    fix="give a folder whose files are parts of one table, or a single file",
                )
        rows = pl.concat(scans, how="vertical_relaxed")
        names = list(rows.collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(path, error) from error
    is_spaced = False
    if format == "csv":
        _check_header(path, names)
        stripped = {name: name.strip() for name in names}
        if stripped != {name: name for name in names} and len(set(stripped.values())) == len(names):
            repairs.append("there are spaces around the names of its columns, and around values")
            is_spaced = True
            rows = rows.rename(stripped)
    return RawTable(path, files, format, separator, rows, tuple(repairs), is_spaced)


def readings(table: RawTable) -> dict[str, Reading]:
    """How each column is to be read, by all of its values."""
    import polars as pl

    schema = table.rows.collect_schema()
    texts = [column for column, dtype in schema.items() if dtype == pl.String]
    counted = _collect(table, [expr.alias(f"{i} {what}") for i, c in enumerate(texts) for what, expr in _counts(c)])
    found: dict[str, Reading] = {}
    for column, dtype in schema.items():
        if column in texts:
            number = texts.index(column)
            counts = {what: counted[f"{number} {what}"] for what, _ in _counts(column)}
            found[column] = _text_reading(table, column, counts)
        else:
            found[column] = _native_reading(column, dtype)
    return found


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for files that polars cannot read."""
    reason = str(error).strip().split("\n")[0]
    is_encoding = "utf-8" in reason.lower() or "utf8" in reason.lower()
    return DataError(
        f"cannot read the table: {reason}",
        where=str(path),
        fix="save it as UTF-8, for instance: iconv -f WINDOWS-1252 -t UTF-8 OLD.csv > NEW.csv"
        if is_encoding
        else "check the file: each row needs as many values as the header has names",
    )


def _files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        files = [path]
    else:
        files = sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
        files = [item for item in files if item.suffix.lower() in (".csv", ".parquet", ".pq")]
    suffixes = {file.suffix.lower() for file in files}
    if not files or (len(files) > 1 and ".csv" in suffixes and len(suffixes) > 1):
        raise DataError(
            "the folder holds CSV and Parquet files" if files else "the folder holds no .csv or .parquet file",
            where=str(path),
            fix="give a single file, or a folder of files of one kind",
        )
    return tuple(files)


def _begins_with(file: Path, *marks: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(8).startswith(marks)


def _check_text(file: Path) -> None:
    """What looks like no CSV at all is said in plain words.

    Raises:
        DataError: the file is empty, packed, a spreadsheet, JSON or UTF-16.
    """
    from sequifier.preprocess.read import is_utf16

    with file.open("rb") as opened:
        start = opened.read(64)
    what, fix = "", "save it as CSV (UTF-8) or Parquet"
    if not start.strip():
        what, fix = "the file is empty", "give a file with a header and one row for each event"
    elif start.startswith(b"PK"):
        what = "the file is a spreadsheet or a zip archive, not a CSV or Parquet file"
    elif start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh")):
        what, fix = "the file is compressed", "unpack it first, for instance with gunzip"
    elif start.lstrip().startswith((b"{", b"[")):
        what = "the file looks like JSON, not like CSV or Parquet"
    elif is_utf16(start):
        what, fix = "the file is UTF-16, not UTF-8", "save it as UTF-8"
    if what:
        raise DataError(what, where=str(file), fix=fix)


def _separator(file: Path) -> str:
    with file.open("rb") as opened:
        text = opened.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    header = re.sub(r'"[^"]*"', "", text.splitlines()[0])
    return max(_SEPARATORS, key=lambda mark: (header.count(mark), -_SEPARATORS.index(mark)))


def _check_header(path: Path, names: list[str]) -> None:
    """Raises DataError: one column, a name twice, or a first line that is data."""
    # Polars tells columns of the same name apart by `_duplicated_0` and so on.
    base = Counter(re.sub(r"_duplicated_\d+$", "", name) for name in names)
    if repeated := [name for name, count in base.items() if count > 1]:
        raise DataError(
            f"the header names `{repeated[0]}` more than once",
            where=str(path),
            fix="give each column a name of its own",
        )
    if len(names) == 1:
        raise DataError(
            f"the table has one column, `{names[0]}`",
            where=str(path),
            fix="separate the columns by commas, semicolons or tabs; for plain text see `make NAME --example text`",
        )
    numbers = [name for name in names if re.fullmatch(r"\s*[+-]?\d+([.,]\d+)?\s*", name)]
    if 2 * len(numbers) >= len(names):
        raise DataError(
            f"the first line looks like data, not like names of columns: {', '.join(names[:5])}",
            where=str(path),
            fix="put a line with a name for each column on top",
        )


def _collect(table: RawTable, expressions: "list[pl.Expr]") -> dict[str, Any]:
    import polars as pl

    if not expressions:
        return {}
    try:
        return table.rows.select(expressions).collect(engine="streaming").row(0, named=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error


def _counts(column: str) -> "list[tuple[str, pl.Expr]]":
    """What the values of a text column look like, as numbers of rows."""
    import polars as pl

    raw = pl.col(column)
    value = raw.str.strip_chars()
    is_number = value.cast(pl.Float64, strict=False).is_not_null()
    is_integer = value.cast(pl.Int64, strict=False).is_not_null()
    is_mark = value.is_in(list(MARKS)) | (value == "")
    return [
        ("known", raw.count()),
        ("example", value.max()),  # any would do, but a filter in here would hold the whole column in memory
        ("integers", is_integer.sum()),
        ("numbers", is_number.sum()),
        ("finite", value.cast(pl.Float64, strict=False).is_finite().sum()),
        ("digits", value.str.contains(r"^[+-]?\d+$").sum()),
        ("padded", value.str.contains(r"^[+-]?0\d+$").sum()),
        ("decorated", ((value != raw) | value.str.starts_with("+")).sum()),
        ("marks", (is_mark & is_number.not_()).sum()),
        ("commas", value.str.contains(r"^[+-]?\d*,\d+$").sum()),
        ("booleans", value.str.to_lowercase().is_in(["true", "false"]).sum()),
    ]


def _text_reading(table: RawTable, column: str, counts: dict[str, Any]) -> Reading:
    import polars as pl

    raw = pl.col(column)
    value = raw.str.strip_chars()
    text = value if table.is_spaced else raw
    known, marks = counts["known"], counts["marks"]
    if not known or known == marks:
        return Reading("empty", raw)
    if table.format == "parquet":
        return _dates(table, column, counts) or Reading("text", raw)
    number = value.cast(pl.Float64, strict=False)
    repair = f"{counts['decorated']:,} numbers have spaces or a + in front" if counts["decorated"] else ""
    if marks:
        repair = f"{marks:,} values like `{_first_mark(table, column)}` stand for missing numbers"
    if counts["booleans"] == known:
        return Reading("boolean", value.str.to_lowercase() == "true")
    if counts["digits"] + marks == known:
        if counts["padded"] or counts["integers"] < counts["digits"]:
            return Reading("text", text, is_as_text=True)
        return Reading("integer", value.cast(pl.Int64, strict=False), repair=repair)
    if counts["numbers"] + marks == known and counts["finite"]:
        return Reading("number", number, repair=repair)
    if table.separator != "," and counts["commas"] and counts["commas"] + counts["integers"] + marks == known:
        point = value.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        return Reading("number", point, repair="its numbers have a decimal comma")
    return _dates(table, column, counts) or Reading("text", text)


def _first_mark(table: RawTable, column: str) -> str:
    import polars as pl

    value = pl.col(column).str.strip_chars()
    marked = table.rows.select(value.alias("mark")).filter(pl.col("mark").is_in(list(MARKS))).head(1).collect()
    return str(marked.item()) if marked.height else ""


def _dates(table: RawTable, column: str, counts: dict[str, Any]) -> Reading | None:
    """The one way to write dates that fits every value, if any."""
    import polars as pl

    from sequifier.preprocess.types import DATE_FORMAT, DATETIME_FORMATS

    example = pl.Series([counts["example"]])
    value = pl.col(column).str.strip_chars()
    iso = [format for format in (DATE_FORMAT, *DATETIME_FORMATS) if not _parsed(example, format).null_count()]
    other = [format for format in OTHER_DATES if not _parsed(example, format).null_count()]
    tried = list(dict.fromkeys([*iso, *other]))
    if not tried:
        return None
    n_parsed = _collect(table, [_parsed(value, format).count().alias(format) for format in tried])
    fitting = [format for format in tried if n_parsed[format] == counts["known"]]
    if fitting and fitting[0] in iso:
        format = fitting[0]
        kind: Kind = "date" if format == DATE_FORMAT else "datetime"
        repair = "there are spaces around its dates" if counts["decorated"] else ""
        return Reading(kind, _parsed(value, format), is_iso=True, repair=repair)
    if iso:  # some with a time of day and some without, for instance
        every = (DATE_FORMAT, *DATETIME_FORMATS)
        parsed = pl.coalesce(_parsed(value, format).cast(pl.Datetime("us")) for format in every)
        if _collect(table, [parsed.count().alias("n")])["n"] == counts["known"]:
            return Reading("datetime", parsed, repair="its dates are not all written alike")
        return None
    if not fitting:
        return None
    kind = "datetime" if "%H" in fitting[0] or "%I" in fitting[0] else "date"
    several = tuple(map(_in_letters, fitting)) if len(fitting) > 1 else ()
    return Reading(
        kind,
        _parsed(value, fitting[0]),
        repair=f"its dates are not written like 2013-01-31 (but as {_in_letters(fitting[0])})",
        dates=several,
    )


def _in_letters(format: str) -> str:
    """A way to write dates, for people: DD.MM.YYYY."""
    letters = {"%d": "DD", "%m": "MM", "%Y": "YYYY", "%b": "Jan", "%B": "January", "%H": "hh", "%I": "hh", "%M": "mm"}
    letters |= {"%S": "ss", "%.f": "", "%p": "AM"}
    for mark, shown in letters.items():
        format = format.replace(mark, shown)
    return format


def _parsed(values: Any, format: str) -> Any:
    """A series or an expression of text, parsed; null where it is written otherwise. Zones become UTC."""
    if any(mark in format for mark in ("%H", "%I")):
        parsed = values.str.to_datetime(format, strict=False, time_unit="us")
        return parsed.dt.replace_time_zone(None)
    return values.str.to_date(format, strict=False)


def _native_reading(column: str, dtype: "pl.DataType") -> Reading:
    """Of a Parquet column."""
    import polars as pl

    raw = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Reading("datetime", raw, is_iso=True)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return Reading("text", raw.cast(pl.String))
    if dtype.is_integer():
        return Reading("integer", raw)
    if dtype.is_numeric():
        return Reading("number", raw.cast(pl.Float64))
    if dtype == pl.Date:
        return Reading("date", raw, is_iso=True)
    kinds: dict[Any, Kind] = {pl.Boolean: "boolean", pl.Null: "empty"}
    return Reading(kinds.get(dtype.base_type(), "other"), raw)
