"""Columns of dates: the instant of each value in UTC, from typed columns and from text.

Dates without a time of day stay dates. A time without an offset from UTC is local time of `time_zone`, or UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sequifier.errors import DataError
from sequifier.preprocess.agree_columns import NO_FORMATS, NeedsAllValues, Schema, StoredFormats
from sequifier.preprocess.column_counts import count_columns, first_where
from sequifier.preprocess.column_types import PositionType, RawKind, raw_kind
from sequifier.preprocess.dates import (
    DateFindings,
    DateStyle,
    date,
    date_counts,
    decide_dates,
    in_utc,
    iso_style,
    why_not,
)
from sequifier.preprocess.numbers import is_mark

Files = Mapping[Path, pl.LazyFrame]

DATE_TYPES: Mapping[RawKind, PositionType] = {
    "date": "Date",
    "datetime us": "Datetime(us)",
    "datetime ns": "Datetime(ns)",
}
_OFFSET = r"(?i):[0-9]{2}(?:[.,][0-9]+)?\s*(?:[ap]\.?m\.?)?\s*([+-][0-9]{2}(?::?[0-9]{2})?|z)"


@dataclass(frozen=True)
class Position:
    """The positions, or the values of another column of dates.

    Attributes:
        value: expression for them, from the raw column.
        type: their type; only positions may be integers.
        format: their format, where they are text other than ISO 8601.
        note: note for the user.
    """

    value: pl.Expr
    type: PositionType
    format: str = ""
    note: str = ""


@dataclass(frozen=True)
class RawRows:
    """The unchanged rows of a table, and how their dates are read.

    Attributes:
        files: the rows of each file.
        path: the path of all files, for messages.
        zone: the time zone of times without an offset from UTC; None: UTC.
        aware: typed columns that have instants, not local times.
        known: stored formats, which decide where the values alone leave a doubt.
        is_sample: whether types come from the first rows, so that not all values have been inspected.
    """

    files: Files
    path: Path
    zone: str | None = None
    aware: frozenset[str] = frozenset()
    known: StoredFormats = NO_FORMATS
    is_sample: bool = False

    def zone_of(self, column: str) -> str | None:
        """Return the time zone of a typed column; None where it has instants already."""
        return None if column in self.aware else self.zone


def date_column(column: str, dtype: pl.DataType, rows: RawRows) -> Position:
    """Return a column of dates other than the positions; missing values are null.

    Args:
        column: its name.
        dtype: the type with which it is read.
        rows: the unchanged rows.

    Raises:
        DataError: the values are not dates of one format.
        NeedsAllValues: the first rows do not determine the format.
    """
    kind, files, zone = raw_kind(dtype), rows.files, rows.zone
    if kind in DATE_TYPES:
        return Position(local_times(column, pl.col(column), kind, files, rows.zone_of(column)), DATE_TYPES[kind])
    if kind not in ("text", "nothing but nulls"):
        raise DataError(
            f"column `{column}` of time_features has the type {dtype}, not dates",
            where=", ".join(str(path) for path in files),
            fix="name a column of dates, or write dates like 2013-01-31 or datetimes like 2013-01-31T17:05:00",
        )
    example = first_known(files, column)
    if not example:
        return Position(pl.lit(None, dtype=pl.Datetime("us")), "Datetime(us)")
    found = iso_dates(files, column, example, zone, every_value=True)
    if found is not None:
        return found
    if rows.is_sample:
        raise NeedsAllValues
    findings = inspected_dates(files, column, rows.known.date_columns.get(column, ""), zone)
    if findings.style is None or findings.n_odd:
        raise _no_dates(column, files, findings, zone)
    dates = in_style(column, files, column, findings.style, findings.note, zone)
    text = pl.col(column).cast(pl.String)
    shown, where = first_where(files, column, text.is_not_null() & is_mark(text).not_() & dates.value.is_null())
    if shown:
        raise DataError(
            f"column `{column}` of time_features has the value `{shown}`, which is not a date: "
            + (why_not(shown) or "there is no such day or time"),
            where=where,
            fix="correct it, or clear the cell and set fill_null of the computed columns",
        )
    return dates


def first_known(files: Files, name: str) -> str:
    """Return the first value of a column of text that does not mark a missing one; empty where there is none."""
    text = pl.col(name).cast(pl.String)
    return first_where(files, name, text.is_not_null() & is_mark(text).not_())[0]


def iso_dates(files: Files, name: str, example: str, zone: str | None, *, every_value: bool) -> Position | None:
    """Return a column of text as ISO 8601 dates of the format of one value; None where that is not its format.

    Args:
        files: the unchanged rows.
        name: the column.
        example: its first value.
        zone: the time zone of times without an offset.
        every_value: whether all values must fit; the others are null.
    """
    style = iso_style(example)
    if style is None or (every_value and not _fits(files, name, style)):
        return None
    return Position(_read(files, name, style, zone), DATE_TYPES[style.kind])


def inspected_dates(files: Files, name: str, known: str, zone: str | None) -> DateFindings:
    """Return what all values of a column of text are as dates."""
    rows = pl.concat(file.select(pl.col(name).cast(pl.String)) for file in files.values())
    return decide_dates(count_columns(rows, [name], date_counts)[name], known, zone)


def in_style(column: str, files: Files, name: str, style: DateStyle, why: str, zone: str | None) -> Position:
    """Return a column of text as dates of a format, with a note where the format is unusual.

    Args:
        column: its name in the note.
        files: the unchanged rows.
        name: its name in them.
        style: the format.
        why: how the order of day and month was decided.
        zone: the time zone of times without an offset.
    """
    shown = "" if style.shown == "YYYY-MM-DD" else style.shown
    note = ""
    if shown:
        note = f"column `{column}`: its dates are read as {shown}" + (f", because {why}" if why else "")
    return Position(_read(files, name, style, zone), DATE_TYPES[style.kind], shown, note)


def local_times(name: str, values: pl.Expr, kind: RawKind, files: Files, zone: str | None) -> pl.Expr:
    """Return typed dates in UTC.

    Raises:
        DataError: clocks in the zone skip one of the local times.
    """
    if zone is None or kind == "date":
        return values
    instants = in_utc(values, zone)
    _check_clocks(files, name, values.is_not_null() & instants.is_null(), zone)
    return instants


def aware_columns(columns: Iterable[str], schemas: Sequence[Schema], *, path: Path) -> frozenset[str]:
    """Return the typed columns that have instants, and not local times.

    Raises:
        DataError: one has instants in one file and local times in another.
    """
    aware = set()
    for column in columns:
        found = {schema[column] for schema in schemas}
        zones = {dtype.time_zone is not None for dtype in found if isinstance(dtype, pl.Datetime)}
        if len(zones) > 1:
            raise DataError(
                f"column `{column}` has a time zone in one file and none in another",
                where=str(path),
                fix="write it with one type in all files",
            )
        if True in zones:
            aware.add(column)
    return frozenset(aware)


def check_one_offset(columns: Sequence[tuple[str, str]], files: Files) -> None:
    """Check that the dates of columns of text have one offset from UTC, so that their hours are of one place.

    Args:
        columns: name in the files and name in messages of each.
        files: the unchanged rows.

    Raises:
        DataError: a column has several offsets.
    """
    for name, column in columns:
        offset = pl.col(name).cast(pl.String).str.extract(_OFFSET)
        rows = pl.concat(file.select(offset.alias("offset")) for file in files.values())
        offsets = rows.drop_nulls().unique().head(20).collect(engine="streaming")["offset"].sort()
        if len(offsets) > 1:
            _, where = first_where(files, name, offset == offsets[-1])
            raise DataError(
                f"the dates of column `{column}` have several offsets from UTC ({', '.join(offsets.head(4))}), so that "
                "their local hours and days are not known",
                where=where,
                fix="write them with one offset, or set time_zone, for example to Europe/Berlin",
            )


def _read(files: Files, name: str, style: DateStyle, zone: str | None) -> pl.Expr:
    """Return text as dates of a format; other values are null.

    Raises:
        DataError: clocks in the zone skip one of the local times.
    """
    text = pl.col(name).cast(pl.String)
    values = date(text, style, zone)
    if zone is not None and style.kind != "date":
        _check_clocks(files, name, date(text, style).is_not_null() & values.is_null(), zone)
    return values


def _check_clocks(files: Files, name: str, is_skipped: pl.Expr, zone: str) -> None:
    skipped, where = first_where(files, name, is_skipped)
    if skipped:
        raise DataError(
            f"the local time `{skipped}` does not exist in {zone}: clocks were set forward",
            where=where,
            fix="correct it, or set time_zone to the zone of these times (null: UTC)",
        )


def _fits(files: Files, name: str, style: DateStyle) -> bool:
    text = pl.col(name).cast(pl.String)
    odd = text.is_not_null() & is_mark(text).not_() & date(text, style).is_null()
    return not any(bool(rows.select(odd.any()).collect(engine="streaming").item()) for rows in files.values())


def _no_dates(column: str, files: Files, findings: DateFindings, zone: str | None) -> DataError:
    text = pl.col(column).cast(pl.String)
    odd = text.is_not_null() & is_mark(text).not_()
    if findings.style is not None:
        odd &= date(text, findings.style, zone).is_null()
    shown, where = first_where(files, column, odd)
    why = findings.why or why_not(shown)
    if not why and findings.style is not None:
        why = f"{findings.n_values - findings.n_odd:,} values have the format {findings.style.shown}"
    return DataError(
        f"column `{column}` of time_features has the value `{shown}`, which is not a date of the format of the column"
        + (f": {why}" if why else ""),
        where=where,
        fix="write dates like 2013-01-31 or datetimes like 2013-01-31T17:05:00, in one format",
    )
