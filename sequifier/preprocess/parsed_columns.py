"""What each column of raw files holds: the type to read it with, and how its values are obtained from what was read.

Text of a CSV file is looked at value by value only where the first rows leave a doubt: a clean file is read at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl

from sequifier.artifacts.number_style import NumberStyle
from sequifier.config.preprocess import TypeName
from sequifier.errors import DataError
from sequifier.preprocess.csv_file import check_csv, may_have_zeros_in_front, scan_csv
from sequifier.preprocess.look import count, first_where, look_for_numbers
from sequifier.preprocess.numbers import PLAIN, NumberLook, boolean, first_look, integer, is_mark, number, stripped
from sequifier.preprocess.types import common_type, raw_kind

Schema = dict[str, pl.DataType]

DOUBTFUL = 0.5
"""Proportion of numbers in the first rows of a column of text from which on all rows are looked at."""

_NUMBERS: tuple[TypeName, ...] = ("real", "Float64", "Int64")


_PADDED = r"^\s*[+-]?0[0-9]"

SAMPLE_ROWS = 1000
"""Rows of a CSV file that its types are first guessed from; a value that contradicts them makes us look at all."""

Value = Callable[[pl.Expr], pl.Expr]


def _same(values: pl.Expr) -> pl.Expr:
    return values


class LookAgain(Exception):
    """The first rows do not say what the columns are: all values must be looked at."""


@dataclass(frozen=True)
class Known:
    """How a metadata file or a model read its columns.

    Attributes:
        numbers: column -> style, of columns of numbers.
        dates: the style of positions; empty: they were not text, or ISO 8601.
    """

    numbers: Mapping[str, NumberStyle] = field(default_factory=dict)
    dates: str = ""


NOTHING_KNOWN = Known()


def known_of(real_columns: Iterable[str], numbers: Mapping[str, NumberStyle], dates: str) -> Known:
    """What is known of all real columns: those without a stored style were plain numbers."""
    return Known(dict.fromkeys(real_columns, PLAIN) | dict(numbers), dates)


@dataclass(frozen=True)
class ParsedColumn:
    """One column as all files agree on it.

    Attributes:
        read_as: the type to read it with.
        dtype: what its values are.
        value: gives them from what was read.
        style: of its numbers, where they are read from text.
        note: for the user.
    """

    read_as: pl.DataType
    dtype: pl.DataType
    value: Value = _same
    style: NumberStyle | None = None
    note: str = ""


_AS_IT_IS = ParsedColumn(pl.String(), pl.String())


def file_schema(file: Path, *, is_csv: bool, sample_rows: int | None) -> Schema:
    """Column -> type of one file; Null where it has no value.

    Raises:
        DataError: the header cannot be used.
        LookAgain: the first rows do not say what a column is.
    """
    if not is_csv:
        return _with_large_integers(pl.scan_parquet(file, glob=False))
    check_csv(file)
    if sample_rows is None:
        return dict(scan_csv(file, sample_rows=None).collect_schema())
    sample = scan_csv(file, sample_rows=sample_rows).head(sample_rows).collect()
    schema = dict(sample.schema)
    for column, values in sample.to_dict().items():
        if values.null_count() == sample.height:
            if sample.height == sample_rows:
                raise LookAgain
            schema[column] = pl.Null()
        elif values.dtype == pl.String:
            counts = values.to_frame().select(**first_look(pl.col(column))).row(0, named=True)
            if counts["like"] >= DOUBTFUL * (counts["known"] - counts["marks"]):
                raise LookAgain
    return schema


def agree(
    files: Sequence[Path],
    schemas: Sequence[Schema],
    columns: Sequence[str],
    *,
    path: Path,
    is_csv: bool,
    is_sample: bool,
    keys: Sequence[str],
    declared: Mapping[str, TypeName],
    known: Known,
) -> dict[str, ParsedColumn]:
    """Agree on each column over all files.

    Args:
        files: in order.
        schemas: of each.
        columns: those that are used.
        path: of all files, for messages.
        is_csv: they are CSV files.
        is_sample: their types come from the first rows.
        keys: the sequence and the position column.
        declared: feature -> kind or type, where the data is not to decide.
        known: what a metadata file or a model knows of them.

    Raises:
        DataError: Parquet files disagree, or values are not what is declared.
        LookAgain: only the values can tell.
    """
    agreed: dict[str, ParsedColumn] = {}
    texts: list[str] = []
    for column in columns:
        dtype = _common(column, schemas, declared.get(column), path=path, is_csv=is_csv, is_key=column in keys)
        if is_csv and known.numbers.get(column, PLAIN) != PLAIN:
            dtype = pl.String()  # 1.234 may be a thousand
            if is_sample:
                raise LookAgain
        if is_csv and column == keys[0] and dtype == pl.Float64():
            dtype = pl.String()  # 1.0 is the integer 1, and 1e5 a name
            if is_sample:
                raise LookAgain
        agreed[column] = ParsedColumn(dtype, dtype)
        is_looked_at = is_csv or column == keys[1] or declared.get(column) in (*_NUMBERS, "Boolean")
        if dtype == pl.String and is_looked_at and declared.get(column) != "String":
            texts.append(column)
            kinds = {raw_kind(schema[column]) for schema in schemas} - {"nothing but nulls"}
            if is_sample and (len(kinds) > 1 or declared.get(column, "categorical") != "categorical"):
                raise LookAgain
    # Integers may be codes, whose zeros in front are to be kept. Positions are integers with and without.
    integers = [column for column in columns if column != keys[1] and column not in declared and is_csv]
    integers = [column for column in integers if agreed[column].dtype == pl.Int64()]
    untouched = {file: scan_csv(file) if is_csv else pl.scan_parquet(file, glob=False) for file in files}
    if is_sample:
        _check_zeros(untouched, integers)
        return agreed
    if texts or integers:
        rows = pl.concat(rows.select(pl.col(*texts, *integers).cast(pl.String)) for rows in untouched.values())
        padded = count(rows, integers, lambda text: {"padded": text.str.contains(_PADDED).sum()})
        texts += [column for column in integers if padded[column]["padded"]]
        numeric = frozenset(column for column in texts if column == keys[1] or declared.get(column) in _NUMBERS)
        for column, look in look_for_numbers(rows, texts, declared=numeric, known=known.numbers).items():
            decide = _decided_key if column in keys else _decided
            agreed[column] = decide(_Doubt(column, look, untouched, declared.get(column)))
    return agreed


def _common(
    column: str, schemas: Sequence[Schema], declared: TypeName | None, *, path: Path, is_csv: bool, is_key: bool
) -> pl.DataType:
    """The type to read a column with, from those that it has in the files."""
    if is_csv and declared == "String":
        return pl.String()  # as it is in the file: 007 is not 7
    common = common_type(column, [schema[column] for schema in schemas], path=path, is_csv=is_csv)
    if raw_kind(common) == "large integer":
        if is_key or declared == "String":
            return pl.String()
        if declared in ("real", "Float64"):
            return pl.Float64()
    return common


def _check_zeros(files: Mapping[Path, pl.LazyFrame], integers: Sequence[str]) -> None:
    """Raises LookAgain: some integer of a file has zeros in front."""
    for file, rows in files.items() if integers else ():
        if may_have_zeros_in_front(file):
            padded = rows.select(pl.any_horizontal(pl.col(integers).str.contains(_PADDED).any()))
            if padded.collect(engine="streaming").item():
                raise LookAgain


@dataclass(frozen=True)
class _Doubt:
    """A column of text, looked at."""

    column: str
    look: NumberLook
    files: Mapping[Path, pl.LazyFrame]
    declared: TypeName | None

    def first(self, wanted: Callable[[pl.Expr], pl.Expr]) -> tuple[str, str]:
        """The first value of a kind, and where it is."""
        text = pl.col(self.column).cast(pl.String)
        return first_where(self.files, self.column, text.is_not_null() & wanted(text))

    def parsed(self, dtype: pl.DataType, value: Value, style: NumberStyle | None = None) -> ParsedColumn:
        """The column as numbers, with a note on what was not plain."""
        notes = []
        if style is not None and style != PLAIN:
            notes.append(f"its numbers are written like `{style.example}`" + (" (5 % is 5)" if style.percent else ""))
        if self.look.n_marks:
            mark, where = self.first(lambda text: is_mark(text) & (stripped(text) != ""))
            if mark:
                notes.append(
                    f"`{mark}` ({where}) counts as missing, as the other values are numbers "
                    f"(column_types.{self.column}: String would keep it)"
                )
        note = f"column `{self.column}`: {'; '.join(notes)}" if notes else ""
        return ParsedColumn(pl.String(), dtype, value, style if style != PLAIN else None, note)


def _decided_key(doubt: _Doubt) -> ParsedColumn:
    match doubt.look.kind:
        case "empty":
            return doubt.parsed(pl.Null(), _unless_mark)
        case "integer":
            return doubt.parsed(pl.Int64(), integer)
        case "number" if doubt.look.style == PLAIN and not doubt.first(lambda text: text.str.contains("[eE]"))[0]:
            return doubt.parsed(pl.Float64(), partial(number, style=PLAIN))
        case "code":
            return replace(_AS_IT_IS, note=_zeros_note(doubt, "write the sequences as Parquet"))
        case _:
            return _AS_IT_IS


def _zeros_note(doubt: _Doubt, how: str) -> str:
    code, _ = doubt.first(lambda text: text.str.contains(_PADDED))
    what = f"`{code}`, so it is kept as text, with its zeros" if code else "codes, which are kept as text"
    return f"column `{doubt.column}` holds {what}; to read integers, {how}"


def _decided(doubt: _Doubt) -> ParsedColumn:
    """What a feature is.

    Raises:
        DataError: it is not what is declared, or its numbers can be read in several ways.
    """
    look, column, declared = doubt.look, doubt.column, doubt.declared
    if declared == "Boolean":
        _check_boolean(doubt)
        return ParsedColumn(pl.String(), pl.Boolean(), boolean)
    match look.kind:
        case "empty" if not look.n_known or declared in _NUMBERS:
            return doubt.parsed(pl.Null(), _unless_mark)
        case "empty" | "text" if look.n_odd and declared in _NUMBERS:
            raise _not_numbers(doubt)
        case "text" if look.n_odd or look.why:
            return replace(_AS_IT_IS, note=_nearly_numbers(doubt))
        case "code":
            return replace(_AS_IT_IS, note=_zeros_note(doubt, f"declare column_types.{column}: Int64"))
        case "boolean":
            return ParsedColumn(pl.String(), pl.Boolean(), boolean)
        case "integer":
            return doubt.parsed(pl.Int64(), integer)
        case "large integer" if declared not in ("real", "Float64"):
            return ParsedColumn(pl.String(), pl.Int128())  # refused
        case "number" | "large integer":
            return doubt.parsed(pl.Float64(), partial(number, style=look.style), look.style)
        case "ambiguous" if declared != "categorical":
            raise _ambiguous(doubt)
        case _:
            return _AS_IT_IS


def _unless_mark(text: pl.Expr) -> pl.Expr:
    return pl.when(is_mark(text).not_()).then(text)


def _odd(doubt: _Doubt) -> tuple[str, str]:
    style = doubt.look.style
    return doubt.first(lambda text: number(text, style).is_null() & is_mark(text).not_())


def _not_numbers(doubt: _Doubt) -> DataError:
    column, look = doubt.column, doubt.look
    text, where = _odd(doubt)
    if not text:
        text, where = doubt.first(lambda text: is_mark(text).not_())
    return DataError(
        f"column `{column}` should be {doubt.declared}, but {look.n_odd:,} of its {look.n_known:,} values are text: "
        f"`{text}`" + (f" ({look.why})" if look.why else ""),
        where=where,
        fix=f"correct them, leave those cells empty and set fill_null.{column}, or declare the column categorical",
    )


def _nearly_numbers(doubt: _Doubt) -> str:
    column, look = doubt.column, doubt.look
    text, where = _odd(doubt)
    n_numbers = look.n_known - look.n_marks - look.n_odd
    why = f"{look.why}; " if look.why else ""
    what = f"`{text}` ({where}) is not a number, as {n_numbers:,} of its {look.n_known:,} values are" if text else ""
    return (
        f"column `{column}` is text, so it becomes categorical: {why}{what}. If it is to be a number, correct or empty "
        f"those cells and set fill_null.{column}; column_types.{column}: String confirms that it is text"
    )


def _ambiguous(doubt: _Doubt) -> DataError:
    text, where = doubt.first(lambda text: text.str.contains("[.,]"))
    both = " or ".join(f"`{style.example}`" for style in doubt.look.fits)
    return DataError(
        f"the numbers of column `{doubt.column}` can be read in several ways: `{text}` may be written like {both}, "
        "and no other value decides it",
        where=where,
        fix=f"write them like 1234.5, or declare column_types.{doubt.column}: String to take them for categories",
    )


def _check_boolean(doubt: _Doubt) -> None:
    """Raises DataError: a value is neither true nor false."""
    text, where = doubt.first(lambda text: boolean(text).is_null() & is_mark(text).not_())
    if text:
        raise DataError(
            f"column `{doubt.column}` is to be Boolean, and `{text}` is neither true nor false",
            where=where,
            fix="write true or false, or leave the cell empty",
        )


def _with_large_integers(rows: pl.LazyFrame) -> Schema:
    """The types of Parquet columns: Int128 stands for integers that do not fit in 64 bits, whatever holds them."""
    schema = dict(rows.collect_schema())
    wide = [column for column, dtype in schema.items() if _may_be_large(dtype)]
    if wide:
        fits = rows.select(pl.col(wide).cast(pl.Int64, strict=False).is_null() == pl.col(wide).is_null())
        answers = fits.select(pl.all().all()).collect(engine="streaming").row(0, named=True)
        schema |= {column: pl.Int64() if answers[column] else pl.Int128() for column in wide}
    return schema


def _may_be_large(dtype: pl.DataType) -> bool:
    is_whole_decimal = isinstance(dtype, pl.Decimal) and dtype.scale == 0  # NUMBER of Oracle and Snowflake
    return is_whole_decimal or dtype in (pl.UInt64, pl.Int128, pl.UInt128)
