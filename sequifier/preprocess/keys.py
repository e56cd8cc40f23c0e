"""The key columns sequenceId and itemPosition, from the raw columns.

Sequences are named by integers or text; positions are numbers, dates or datetimes. Floats without a fraction count as
integers, unless they are times. Values that cannot be a key become null, which the caller reports.
"""

from typing import Literal

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.errors import DataError
from sequifier.preprocess.agree_columns import NeedsAllValues
from sequifier.preprocess.column_counts import first_where
from sequifier.preprocess.column_types import LARGEST_WHOLE, raw_kind
from sequifier.preprocess.date_columns import (
    DATE_TYPES,
    Files,
    Position,
    RawRows,
    first_known,
    in_style,
    inspected_dates,
    iso_dates,
    local_times,
)
from sequifier.preprocess.dates import FIRST_YEAR, is_like_a_date, why_not, year_last
from sequifier.preprocess.numbers import integer, is_mark
from sequifier.preprocess.parsed_column import ParsedColumn

ONE_SERIES: tuple[pl.Expr, Literal["Int64", "String"]] = pl.lit(1, pl.Int64), "Int64"
"""sequenceId and its type where the table is a single series."""

IN_ORDER = Position(pl.lit(0, pl.Int64), "Int64")
"""Positions of rows that are in order; they are numbered once their sequences are whole (`check.prepare`)."""


def sequence(column: str, raw: ParsedColumn, rows: RawRows) -> tuple[pl.Expr, Literal["Int64", "String"]]:
    """Return an expression for sequenceId, and its stored type.

    Raises:
        DataError: the values are neither integers nor text.
    """
    values = raw.value(pl.col(SEQUENCE))
    match raw_kind(raw.dtype):
        case "integer":
            return values.cast(pl.Int64), "Int64"
        case "text" | "nothing but nulls":
            return values.cast(pl.String), "String"
        case "number":
            fraction, where = _fraction(rows.files, SEQUENCE, values)
            if fraction:
                raise _wrong_sequence(column, f"Float64 that is not whole, or above 2^53 (`{fraction}`)", where)
            return values.cast(pl.Int64, strict=False), "Int64"
        case "boolean" | "date" | "datetime us" | "datetime ns":
            return values.cast(pl.String), "String"
        case _:
            raise _wrong_sequence(column, str(raw.dtype), str(rows.path))


def position(column: str, raw: ParsedColumn, rows: RawRows, *, are_times: bool = False) -> Position:
    """Return the position column.

    Args:
        column: its name in the files.
        raw: the column in the files.
        rows: the unchanged rows, where it is named itemPosition.
        are_times: whether numbers are times, and not numbers of events.

    Raises:
        DataError: the values are neither numbers nor dates, or are dates that fit several formats.
        NeedsAllValues: the first rows do not determine the type.
    """
    values, files = raw.value(pl.col(POSITION)), rows.files
    match raw_kind(raw.dtype):
        case "integer":
            _check_no_dates(column, files)
            return Position(values.cast(pl.Float64), "Float64") if are_times else Position(values, "Int64")
        case "date" | "datetime us" | "datetime ns" as kind:
            _check_years(column, files)
            return Position(local_times(POSITION, values, kind, files, rows.zone_of(column)), DATE_TYPES[kind])
        case "nothing but nulls":
            return Position(values.cast(pl.Int64), "Int64")
        case "text":
            return _from_text(column, rows)
        case "number":
            if are_times or _fraction(files, POSITION, values)[0]:
                number = values.cast(pl.Float64)
                return Position(pl.when(number.is_finite()).then(number), "Float64")
            return Position(values.cast(pl.Int64, strict=False), "Int64")
        case _:
            raise _wrong_position(column, str(raw.dtype), str(rows.path))


def _fraction(files: Files, key: str, values: pl.Expr) -> tuple[str, str]:
    """Return the first number with a fraction, or too large for one integer, and its file and row."""
    values = values.cast(pl.Float64)
    is_whole = (values == values.floor()) & (values.abs() <= LARGEST_WHOLE)
    return first_where(files, key, values.is_not_null() & values.is_not_nan() & is_whole.not_())


def _check_years(column: str, files: Files) -> None:
    """Raise DataError for years below 1000: the program that wrote the dates read 28-03-24 as the year 24."""
    found, where = first_where(files, POSITION, pl.col(POSITION).dt.year() < FIRST_YEAR)
    if found:
        raise DataError(
            f"the position column `{column}` has the value {found}: the year is below {FIRST_YEAR}",
            where=where,
            fix="correct the year",
        )


def _check_no_dates(column: str, files: Files) -> None:
    """Raise DataError for integers that are dates like 28032024, whose order is not the order of time."""
    rows = pl.concat(file.select(pl.col(POSITION).cast(pl.String)) for file in files.values())
    if written := year_last(rows, POSITION):
        example, where = first_where(files, POSITION, pl.col(POSITION).is_not_null())
        raise DataError(
            f"the position column `{column}` has the value `{example}`: its integers are dates in the format "
            f"{written}, whose order is not the order of time",
            where=where,
            fix="write dates like 2013-01-31 (year, month, day)",
        )


def _from_text(column: str, rows: RawRows) -> Position:
    text, files, zone = pl.col(POSITION).cast(pl.String), rows.files, rows.zone
    example = first_known(files, POSITION)
    if not example:
        return Position(integer(text), "Int64")
    if rows.is_sample and pl.Series([example]).cast(pl.Int64, strict=False).null_count() == 0:
        _check_no_dates(column, files)
        return Position(text.cast(pl.Int64, strict=False), "Int64")
    dates = iso_dates(files, POSITION, example, zone, every_value=not rows.is_sample)
    if dates is not None:
        return dates
    if rows.is_sample:
        raise NeedsAllValues
    found = inspected_dates(files, POSITION, rows.known.dates, zone)
    every = pl.concat(file.select(pl.col(POSITION).cast(pl.String)) for file in files.values())
    n_integers = int(every.select(integer(pl.col(POSITION)).count()).collect(engine="streaming").item())
    if 2 * n_integers >= found.n_values:
        _check_no_dates(column, files)
        return Position(integer(text), "Int64")
    if found.style is not None:
        return in_style(column, files, POSITION, found.style, found.note, zone)
    text_shown, where = first_where(files, POSITION, text.is_not_null() & is_mark(text).not_())
    if found.why and not found.n_odd:
        raise DataError(
            f"the position column `{column}` has the value `{text_shown}`, but {found.why}",
            where=where,
            fix="write them like 2013-01-31 (year, month, day)",
        )
    why = found.why or why_not(text_shown)
    raise DataError(
        f"the position column `{column}` has the value `{text_shown}`, which is neither a number like 12.5 nor a "
        f"date with one meaning{': ' + why if why else ''}",
        where=where,
        fix="write numbers like 12 or 12.5, dates like 2013-01-31 or datetimes like 2013-01-31T17:05:00",
    )


def _wrong_sequence(column: str, what: str, where: str) -> DataError:
    return DataError(
        f"the sequence column `{column}` has {what}; sequences are named by integers or text",
        where=where,
        fix="write it as one of these",
    )


def _wrong_position(column: str, what: str, where: str) -> DataError:
    return DataError(
        f"the position column `{column}` has {what}; positions are numbers, dates or datetimes",
        where=where,
        fix="write it as one of these, for example as the number of the event in its sequence",
    )


def why_not_a_position(text: str) -> str:
    """Return why a text is not a valid date; empty where the reason is unknown."""
    return why_not(text) if is_like_a_date(text) else ""
