"""What sequenceId and itemPosition are, and how they are obtained from the raw columns.

A sequence is named by an integer or a text; positions are integers, dates or datetimes. Whole numbers count as
integers, whatever type holds them. What cannot be a key becomes null, which the caller reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.errors import DataError
from sequifier.preprocess.dates import (
    FIRST_YEAR,
    DateStyle,
    date,
    decide_dates,
    is_like_a_date,
    iso_style,
    look_for_dates,
    why_not,
    year_last,
)
from sequifier.preprocess.look import count, first_where
from sequifier.preprocess.numbers import integer, is_mark
from sequifier.preprocess.parsed_columns import LookAgain, ParsedColumn
from sequifier.preprocess.types import PositionType, raw_kind

LARGEST_WHOLE = 2**53
"""Above this, a float is not one integer but several."""

Files = Mapping[Path, pl.LazyFrame]

_DATE_TYPES: Mapping[str, PositionType] = {
    "date": "Date",
    "datetime us": "Datetime(us)",
    "datetime ns": "Datetime(ns)",
}


@dataclass(frozen=True)
class Position:
    """How positions are obtained.

    Attributes:
        value: from the raw column, named itemPosition.
        type: what they are then.
        dates: how they are written, where they are text and not ISO 8601.
        note: for the user.
    """

    value: pl.Expr
    type: PositionType
    dates: str = ""
    note: str = ""


def sequence(column: str, raw: ParsedColumn, files: Files, *, path: Path) -> tuple[pl.Expr, Literal["Int64", "String"]]:
    """How sequenceId is obtained, and what it is stored as.

    Raises:
        DataError: neither integers nor text.
    """
    values = raw.value(pl.col(SEQUENCE))
    match raw_kind(raw.dtype):
        case "integer":
            return values.cast(pl.Int64), "Int64"
        case "text" | "nothing but nulls":
            return values.cast(pl.String), "String"
        case "number":
            fraction, where = _fraction(files, SEQUENCE, values)
            if fraction:
                raise _wrong_sequence(column, f"Float64 with fractions (`{fraction}`)", where)
            return values.cast(pl.Int64, strict=False), "Int64"
        case _:
            raise _wrong_sequence(column, str(raw.dtype), str(path))


def position(column: str, raw: ParsedColumn, files: Files, *, path: Path, is_sample: bool, known: str) -> Position:
    """How itemPosition is obtained.

    Args:
        column: its name in the files.
        raw: what it is there.
        files: the untouched rows, where it is named itemPosition.
        path: for messages.
        is_sample: the values have not been looked at yet.
        known: how a metadata file or a model says that dates are written.

    Raises:
        DataError: neither integers nor dates, or dates that can be read in several ways.
        LookAgain: only the values can tell.
    """
    values = raw.value(pl.col(POSITION))
    match raw_kind(raw.dtype):
        case "integer":
            _check_no_dates(column, files)
            return Position(values, "Int64")
        case "date" | "datetime us" | "datetime ns" as kind:
            _check_years(column, files)
            return Position(values, _DATE_TYPES[kind])
        case "nothing but nulls":
            return Position(values.cast(pl.Int64), "Int64")
        case "text":
            return _from_text(column, files, path, is_sample=is_sample, known=known)
        case "number":
            fraction, where = _fraction(files, POSITION, values)
            if fraction:
                raise _wrong_position(column, f"Float64 with fractions (`{fraction}`)", where)
            return Position(values.cast(pl.Int64, strict=False), "Int64")
        case _:
            raise _wrong_position(column, str(raw.dtype), str(path))


def _fraction(files: Files, key: str, values: pl.Expr) -> tuple[str, str]:
    """The first number that is not whole, or too large to be one integer, and where it is."""
    values = values.cast(pl.Float64)
    is_whole = (values == values.floor()) & (values.abs() <= LARGEST_WHOLE)
    return first_where(files, key, values.is_not_null() & values.is_not_nan() & is_whole.not_())


def _check_years(column: str, files: Files) -> None:
    """Raises DataError: a program that wrote the dates took the 24 of 28-03-24 for the year 24."""
    found, where = first_where(files, POSITION, pl.col(POSITION).dt.year() < FIRST_YEAR)
    if found:
        raise DataError(
            f"the position column `{column}` holds {found}: the year is below {FIRST_YEAR}",
            where=where,
            fix="correct the year where the dates are written",
        )


def _check_no_dates(column: str, files: Files) -> None:
    """Raises DataError: the integers are dates like 28032024, which do not stand in the order of time."""
    rows = pl.concat(file.select(pl.col(POSITION).cast(pl.String)) for file in files.values())
    if written := year_last(rows, POSITION):
        example, where = first_where(files, POSITION, pl.col(POSITION).is_not_null())
        raise DataError(
            f"the position column `{column}` holds `{example}`: its integers are dates that are written {written}, and "
            "as integers they do not stand in the order of time",
            where=where,
            fix="write dates like 2013-01-31 (year, month, day)",
        )


def _from_text(column: str, files: Files, path: Path, *, is_sample: bool, known: str) -> Position:
    text = pl.col(POSITION).cast(pl.String)
    example, _ = first_where(files, POSITION, text.is_not_null() & is_mark(text).not_())
    if not example:
        return Position(integer(text), "Int64")
    if is_sample and pl.Series([example]).cast(pl.Int64, strict=False).null_count() == 0:
        _check_no_dates(column, files)
        return Position(text.cast(pl.Int64, strict=False), "Int64")
    style = iso_style(example)
    if style is not None and (is_sample or _fits(files, text, style)):
        return Position(date(text, style), _DATE_TYPES[style.kind])
    if is_sample:
        raise LookAgain
    rows = pl.concat(file.select(pl.col(POSITION).cast(pl.String)) for file in files.values())
    look = decide_dates(count(rows, [POSITION], look_for_dates)[POSITION], known)
    n_integers = int(rows.select(integer(pl.col(POSITION)).count()).collect(engine="streaming").item())
    if 2 * n_integers >= look.n_values:
        _check_no_dates(column, files)
        return Position(integer(text), "Int64")
    if look.style is not None:
        return _in_style(column, text, look.style, look.note)
    text_shown, where = first_where(files, POSITION, text.is_not_null() & is_mark(text).not_())
    if look.why and not look.n_odd:
        raise DataError(
            f"the position column `{column}` holds `{text_shown}`, but {look.why}",
            where=where,
            fix="write them like 2013-01-31 (year, month, day), which has one meaning",
        )
    why = look.why or why_not(text_shown)
    raise DataError(
        f"the position column `{column}` holds `{text_shown}`, which is neither a 64-bit integer nor a date that has "
        f"one meaning{': ' + why if why else ''}",
        where=where,
        fix="write integers, dates like 2013-01-31 or datetimes like 2013-01-31T17:05:00",
    )


def _fits(files: Files, text: pl.Expr, style: DateStyle) -> bool:
    odd = text.is_not_null() & is_mark(text).not_() & date(text, style).is_null()
    return not any(bool(rows.select(odd.any()).collect(engine="streaming").item()) for rows in files.values())


def _in_style(column: str, text: pl.Expr, style: DateStyle, why: str) -> Position:
    shown = "" if style.shown == "YYYY-MM-DD" else style.shown
    note = ""
    if shown:
        note = f"column `{column}`: its dates are read as {shown}" + (f", because {why}" if why else "")
    return Position(date(text, style), _DATE_TYPES[style.kind], shown, note)


def _wrong_sequence(column: str, what: str, where: str) -> DataError:
    return DataError(
        f"the sequence column `{column}` holds {what}; a sequence is named by an integer or a text",
        where=where,
        fix="write it as one of these",
    )


def _wrong_position(column: str, what: str, where: str) -> DataError:
    return DataError(
        f"the position column `{column}` holds {what}; positions are integers, dates or datetimes",
        where=where,
        fix="write it as one of these, for instance as the number of the event in its sequence",
    )


def why_not_a_position(text: str) -> str:
    """What is known to be wrong with a text that should be a date; empty where nothing is."""
    return why_not(text) if is_like_a_date(text) else ""
