"""The attributes of an XES log as typed columns: one row for each trace, or for each event.

Values are collected as text and converted in batches, because polars parses a column much faster than Python a value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from sequifier.errors import DataError
from sequifier.preprocess.dates import ISO_DATE, ISO_DATETIMES
from sequifier.printable import shown_text

Level = Literal["trace", "event"]
Kind = Literal["string", "date", "int", "float", "boolean", "id"]

KINDS: Mapping[str, Kind] = {kind: kind for kind in get_args(Kind)}
"""The elements of attributes with one value."""

_COMMON: Mapping[frozenset[Kind], Kind] = {
    frozenset[Kind](("int", "float")): "float",
    frozenset[Kind](("string", "id")): "string",
}
"""Two kinds that one column may have, and the kind of the column."""
_TYPES: Mapping[Kind, pl.DataType] = {
    "string": pl.String(),
    "id": pl.String(),
    "date": pl.Datetime("us", "UTC"),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LOCAL = tuple(style for style in ISO_DATETIMES if "%#z" not in style)
_ZONED = tuple(style for style in ISO_DATETIMES if "%#z" in style)


@dataclass(slots=True)
class Column:
    """One attribute.

    Attributes:
        kind: kind of its values.
        line: line of the file in which it is found first.
        default: value of rows without one, as the log's globals declare it.
        texts: values of the rows since the last batch; shorter than the rows where the last ones have none.
        n_known: number of values in all batches.
        has_offset: whether its dates have an offset from UTC; None: it has no dates so far.
    """

    kind: Kind
    line: int
    default: str | None = None
    texts: list[str | None] = field(default_factory=list)
    n_known: int = 0
    has_offset: bool | None = None

    @property
    def type(self) -> pl.DataType:
        """Type of its values."""
        return _TYPES[self.kind]


class Columns:
    """The attributes of all traces, or of all events, batch by batch."""

    def __init__(self, level: Level, file: Path, line: Callable[[], int]) -> None:
        """Begin without attributes.

        Args:
            level: whose attributes they are, for messages.
            file: the log, for messages.
            line: returns the line that is being read.
        """
        self.by_key: dict[str, Column] = {}
        self.n_rows = 0
        """Number of complete rows since the last batch."""
        self._level, self._file, self._line = level, file, line

    def declare(self, kind: Kind, key: str, default: str) -> None:
        """Declare an attribute that every row has, and its value in rows that do not name it."""
        column = self._column(kind, key)
        column.default = default or None

    def add(self, kind: Kind, key: str, text: str) -> None:
        """Add a value to the current row, which follows the complete ones. An empty text is a missing value.

        Raises:
            DataError: the row has the attribute already, or another row has it with another type.
        """
        column = self.by_key.get(key)
        if column is None or column.kind != kind:
            column = self._column(kind, key)
        texts = column.texts
        n_missing = self.n_rows - len(texts)
        if n_missing:
            if n_missing < 0:
                raise self.error(f"the {self._level} has the attribute `{key}` twice", "remove one of them")
            texts.extend([None] * n_missing)
        texts.append(text or None)

    def current(self, key: str) -> str | None:
        """Return an attribute of the current row, as text."""
        column = self.by_key.get(key)
        return column.texts[-1] if column and len(column.texts) > self.n_rows else None

    def take(self, lines: Sequence[int], *, keep_last: bool = False) -> pl.DataFrame:
        """Return the rows since the last batch, and begin another batch.

        Args:
            lines: line of the file in which each row begins; the current row is returned too where it has a line.
            keep_last: whether the last row is the first of the next batch.

        Raises:
            DataError: a value is not of its type.
        """
        taken = {}
        for key, column in self.by_key.items():
            column.texts.extend([None] * (len(lines) - len(column.texts)))
            taken[key] = self._converted(key, column, lines)
            column.n_known += len(lines) - taken[key].null_count()
            column.texts = column.texts[-1:] if keep_last else []
        self.n_rows = 0
        return pl.DataFrame(taken)

    def default_of(self, key: str) -> Any:
        """Return the default of an attribute; None where it has none."""
        column = self.by_key[key]
        if column.default is None:
            return None
        return self._converted(key, Column(column.kind, column.line, texts=[column.default]), [column.line]).item()

    def error(self, what: str, fix: str, line: int | None = None) -> DataError:
        """Return an error at a line of the file, by default the one that is being read."""
        return DataError(what, where=f"{self._file}, line {line or self._line():,}", fix=fix)

    def _column(self, kind: Kind, key: str) -> Column:
        """Return a column after a value of this kind."""
        column = self.by_key.setdefault(key, Column(kind, self._line()))
        if column.kind != kind:
            common = _COMMON.get(frozenset((kind, column.kind)))
            if common is None:
                raise self.error(
                    f"the {self._level} attribute `{key}` is of type {kind} here, and {column.kind} in line "
                    f"{column.line:,}",
                    "write it with one type throughout the log",
                )
            column.kind = common
        return column

    def _converted(self, key: str, column: Column, lines: Sequence[int]) -> pl.Series:
        text = pl.Series(key, column.texts, dtype=pl.String)
        match column.kind:
            case "string" | "id":
                return text
            case "int" | "float":
                values = text.str.strip_chars().cast(column.type, strict=False)
            case "boolean":
                lower = text.str.strip_chars().str.to_lowercase()
                values = lower.replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean)
            case "date":
                values = self._instants(key, column, text.str.strip_chars(), lines)
        if values.null_count() > text.null_count():
            row = (values.is_null() & text.is_not_null()).arg_max() or 0
            raise self.error(
                f"the {self._level} attribute `{key}` of type {column.kind} has the value `{shown_text(text[row])}`",
                _FIX[column.kind],
                lines[row],
            )
        return values.alias(key)

    def _instants(self, key: str, column: Column, text: pl.Series, lines: Sequence[int]) -> pl.Series:
        """Return dates as instants; those without an offset from UTC are in UTC, where all are without one."""
        zoned, local = _parsed(text, _ZONED), None
        if zoned.null_count() > text.null_count():
            local = _parsed(text, (*_LOCAL, ISO_DATE))
        for has_offset, values in ((True, zoned), (False, local)):
            if values is None or values.null_count() == len(values):
                continue
            if column.has_offset is None:
                column.has_offset = has_offset
            if column.has_offset != has_offset:
                row = values.is_not_null().arg_max() or 0
                raise self.error(
                    f"the date `{shown_text(text[row])}` of the {self._level} attribute `{key}` has "
                    f"{'an' if has_offset else 'no'} offset from UTC, others have {'none' if has_offset else 'one'}",
                    "write all of them with an offset, like 2013-01-31T17:05:00+01:00",
                    lines[row],
                )
        return zoned if local is None else zoned.fill_null(local)


_FIX: Mapping[Kind, str] = {
    "int": "write an integer of 64 bits, or the attribute as <string> throughout the log",
    "float": "write a number like 1234.5, or the attribute as <string> throughout the log",
    "boolean": "write true or false",
    "date": "write it like 2013-01-31T17:05:00+01:00",
}


def _parsed(text: pl.Series, styles: Sequence[str]) -> pl.Series:
    """Return text in any of these formats as instants; null where it has none of them."""
    values = pl.Series(text.name, [None] * len(text), dtype=_TYPES["date"])
    for style in styles:
        if values.null_count() == text.null_count():
            break
        if style == ISO_DATE:
            found = text.str.to_date(style, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        else:
            found = text.str.to_datetime(style, strict=False, time_unit="us", time_zone="UTC")
        values = values.fill_null(found)
    return values
