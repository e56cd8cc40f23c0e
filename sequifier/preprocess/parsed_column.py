"""Columns of raw files with an expression for their values: text becomes numbers, booleans, codes or categories."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from sequifier.artifacts.number_style import NumberStyle
from sequifier.config.preprocess_fields import TypeName
from sequifier.errors import DataError
from sequifier.preprocess.column_counts import first_where, of_values
from sequifier.preprocess.numbers import PLAIN, NumberFindings, boolean, integer, is_mark, number, stripped

NUMBER_TYPES: tuple[TypeName, ...] = ("real", "Float64", "Int64")
PADDED = r"^\s*[+-]?0[0-9]"
"""Pattern of a number with leading zeros."""

Value = Callable[[pl.Expr], pl.Expr]

AS_TEXT_NOTE = " is text, so it becomes categorical: "
TO_USE_AS_NUMBER = ". To use it as a number, "
"""Parts of the note on a column of numbers and other text, between which the note says why it is text."""


def _same(values: pl.Expr) -> pl.Expr:
    return values


class ColumnError(DataError):
    """A column is missing or has another type, and the fix is a change of the preprocess config."""


@dataclass(frozen=True)
class ParsedColumn:
    """One column of all files.

    Attributes:
        read_as: the type with which the files are read.
        dtype: the type of its values.
        value: expression for its values, from the column that was read.
        style: format of its numbers, where they are read from text.
        note: note for the user.
    """

    read_as: pl.DataType
    dtype: pl.DataType
    value: Value = _same
    style: NumberStyle | None = None
    note: str = ""


AS_TEXT = ParsedColumn(pl.String(), pl.String())


@dataclass(frozen=True)
class TextColumn:
    """A column of text whose values were all inspected.

    Attributes:
        column: its name.
        found: what its values are.
        files: the unchanged rows of each file.
        declared: the type that the config declares.
        is_key: whether it is the sequence or the position column.
    """

    column: str
    found: NumberFindings
    files: Mapping[Path, pl.LazyFrame]
    declared: TypeName | None
    is_key: bool = False

    def first(self, condition: Callable[[pl.Expr], pl.Expr]) -> tuple[str, str]:
        """Return the first value of a kind, and its file and row."""
        text = pl.col(self.column).cast(pl.String)
        return first_where(self.files, self.column, text.is_not_null() & condition(text))

    def parsed(self, dtype: pl.DataType, value: Value, style: NumberStyle | None = None) -> ParsedColumn:
        """Return the column with parsed values, and a note where their format is unusual."""
        notes = []
        if style is not None and style != PLAIN:
            notes.append(f"its numbers have the format `{style.example}`" + (" (5 % is 5)" if style.percent else ""))
        if self.found.n_marks:
            mark, where = self.first(lambda text: is_mark(text) & (stripped(text) != ""))
            if mark:
                keep = "" if self.is_key else f" (column_types.{self.column}: String would keep it)"
                notes.append(f"`{mark}` ({where}) counts as missing, because the other values are numbers{keep}")
        note = f"column `{self.column}`: {'; '.join(notes)}" if notes else ""
        return ParsedColumn(pl.String(), dtype, value, style if style != PLAIN else None, note)

    def as_position(self) -> ParsedColumn:
        """Return the column as itemPosition: numbers of any format, where at least half of the values are numbers.

        Raises:
            DataError: its numbers fit several formats.
        """
        found = self.found
        match found.kind:
            case "empty":
                return self.parsed(pl.Null(), _unless_mark)
            case "integer":
                return self.parsed(pl.Int64(), integer)
            case "number":
                return self.parsed(pl.Float64(), partial(number, style=found.style), found.style)
            case "text" if found.n_odd and 2 * found.n_odd <= found.n_known - found.n_marks and not found.why:
                return ParsedColumn(pl.String(), pl.Float64(), partial(number, style=found.style))  # an error later on
            case "ambiguous":
                raise self._ambiguous("write them like 1234.5")
            case _:
                return AS_TEXT

    def as_sequence(self) -> ParsedColumn:
        """Return the column as sequenceId."""
        match self.found.kind:
            case "empty":
                return self.parsed(pl.Null(), _unless_mark)
            case "integer":
                return self.parsed(pl.Int64(), integer)
            case "number" if self.found.style == PLAIN and not self.first(lambda text: text.str.contains("[eE]"))[0]:
                return self.parsed(pl.Float64(), partial(number, style=PLAIN))
            case "code":
                return replace(AS_TEXT, note=self._zeros_note("write the sequences as Parquet"))
            case _:
                return AS_TEXT

    def as_feature(self) -> ParsedColumn:
        """Return the column as a feature.

        Raises:
            DataError: its values do not fit the declared type, or its numbers fit several formats.
        """
        found, column, declared = self.found, self.column, self.declared
        if declared == "Boolean":
            self._check_boolean()
            return ParsedColumn(pl.String(), pl.Boolean(), boolean)
        match found.kind:
            case "empty" if not found.n_known or declared in NUMBER_TYPES:
                return self.parsed(pl.Null(), _unless_mark)
            case "empty" | "text" if found.n_odd and declared in NUMBER_TYPES:
                raise self._not_numbers()
            case "text" if found.n_odd or found.why:
                return replace(AS_TEXT, note=self._nearly_numbers())
            case "code":
                return replace(AS_TEXT, note=self._zeros_note(f"declare column_types.{column}: Int64"))
            case "boolean":
                return ParsedColumn(pl.String(), pl.Boolean(), boolean)
            case "integer":
                return self.parsed(pl.Int64(), integer)
            case "large integer" if declared not in ("real", "Float64"):
                return ParsedColumn(pl.String(), pl.Int128())  # an error later on
            case "number" | "large integer":
                return self.parsed(pl.Float64(), partial(number, style=found.style), found.style)
            case "ambiguous" if declared != "categorical":
                how = f"write them like 1234.5, or declare column_types.{column}: String to use them as categories"
                raise self._ambiguous(how)
            case _:
                return AS_TEXT

    def _zeros_note(self, how: str) -> str:
        code, _ = self.first(lambda text: text.str.contains(PADDED))
        what = f"leading zeros (`{code}`)" if code else "codes"
        return f"column `{self.column}` has {what}, so it remains text; to read integers, {how}"

    def _odd(self) -> tuple[str, str]:
        style = self.found.style
        return self.first(lambda text: number(text, style).is_null() & is_mark(text).not_())

    def _not_numbers(self) -> ColumnError:
        column, found = self.column, self.found
        text, where = self._odd()
        if not text:
            text, where = self.first(lambda text: is_mark(text).not_())
        return ColumnError(
            f"column `{column}` is declared as {self.declared}, but {of_values(found.n_odd, found.n_known)} "
            f"text: `{text}`" + (f" ({found.why})" if found.why else ""),
            where=where,
            fix=f"either correct those cells, or empty them and then set fill_null.{column}, or declare the column "
            "categorical",
        )

    def _nearly_numbers(self) -> str:
        column, found = self.column, self.found
        text, where = self._odd()
        n_numbers = found.n_known - found.n_marks - found.n_odd
        why = f"{found.why}; " if found.why else ""
        what = f"{n_numbers:,} of its {found.n_known:,} values are numbers, but not `{text}` ({where})" if text else ""
        return (
            f"column `{column}`{AS_TEXT_NOTE}{why}{what}{TO_USE_AS_NUMBER}either correct those cells, or empty them "
            f"and then set fill_null.{column}; column_types.{column}: String confirms that it is text"
        )

    def _ambiguous(self, how: str) -> ColumnError:
        text, where = self.first(lambda text: text.str.contains("[.,]"))
        both = " or ".join(f"`{style.example}`" for style in self.found.fits)
        return ColumnError(
            f"the numbers of column `{self.column}` fit several formats: `{text}` may be {both}, and no other value "
            "decides it",
            where=where,
            fix=how,
        )

    def _check_boolean(self) -> None:
        """Raise ColumnError where a value is neither true nor false."""
        text, where = self.first(lambda text: boolean(text).is_null() & is_mark(text).not_())
        if text:
            raise ColumnError(
                f"column `{self.column}` is declared as Boolean, but `{text}` is neither true nor false",
                where=where,
                fix="write true or false, or clear the cell",
            )


def _unless_mark(text: pl.Expr) -> pl.Expr:
    return pl.when(is_mark(text).not_()).then(text)
