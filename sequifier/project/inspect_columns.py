"""The kind of each column of a user's table (numbers, dates, booleans, text), decided from all of its values.

`preprocess` decides by the same code. Only counts are in memory, so the size of the file does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sequifier.printable import shown_text
from sequifier.project.raw_table import RawTable, unreadable

if TYPE_CHECKING:
    import polars as pl

    from sequifier.preprocess.numbers import NumberFindings


Kind = Literal["text", "integer", "number", "boolean", "date", "datetime", "empty", "other"]


@dataclass(frozen=True)
class InspectedColumn:
    """One column, with an expression for its values.

    Attributes:
        kind: the kind of all its values.
        expression: the values with the type of that kind, as in `preprocess`; marks of missing values become null.
        is_as_text: whether its digits remain text: they have leading zeros, or do not fit in 64 bits.
        remark: the format of its values, where it is unusual.
        doubt: why its values are not used as the numbers or dates that they look like.
        is_instant: whether its dates are instants (in UTC), and not local times.
    """

    kind: Kind
    expression: "pl.Expr"
    is_as_text: bool = False
    remark: str = ""
    doubt: str = ""
    is_instant: bool = False


def inspect_columns(table: RawTable) -> dict[str, InspectedColumn]:
    """Inspect each column.

    Raises:
        DataError: the files cannot be read.
    """
    import polars as pl

    schema = table.rows.collect_schema()
    texts = [column for column, dtype in schema.items() if dtype == pl.String]
    try:
        found = _inspect_text(table, texts)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error
    return {column: found.get(column) or _inspect_native(column, dtype) for column, dtype in schema.items()}


def _inspect_text(table: RawTable, columns: Sequence[str]) -> dict[str, InspectedColumn]:
    """Inspect columns of text. Text of a typed file is never treated as numbers."""
    import polars as pl

    from sequifier.preprocess.column_counts import count_columns, inspect_numbers
    from sequifier.preprocess.dates import date_counts, is_like_a_date
    from sequifier.preprocess.numbers import stripped

    looks = inspect_numbers(table.rows, columns)
    words = [c for c in columns if looks[c].kind in ("text", "code") or not table.is_text]
    examples = count_columns(table.rows, words, lambda text: {"max value": stripped(text).max()})
    dated = [column for column in words if is_like_a_date(examples[column]["max value"] or "")]
    dates = count_columns(table.rows, dated, date_counts)
    inspected = {}
    for column in columns:
        text = pl.col(column)
        if column in dates:
            inspected[column] = _dates(table, column, dates[column]) or InspectedColumn("text", text)
        elif not table.is_text:
            inspected[column] = InspectedColumn("text" if looks[column].n_known else "empty", text)
        else:
            inspected[column] = _numbers(table, column, looks[column], text)
    return inspected


def _numbers(table: RawTable, column: str, look: "NumberFindings", text: "pl.Expr") -> InspectedColumn:
    import polars as pl

    from sequifier.preprocess.numbers import PLAIN, boolean, integer, is_mark, number

    raw, style = pl.col(column), look.style
    remarks = []
    if look.n_marks and (mark := _first(table, raw, is_mark(raw) & (raw.str.strip_chars() != ""))):
        remarks.append(f"{look.n_marks:,} values like `{mark}` count as missing numbers")
    match look.kind:
        case "empty":
            return InspectedColumn("empty", raw)
        case "boolean":
            return InspectedColumn("boolean", boolean(raw))
        case "code" | "large integer":
            return InspectedColumn("text", text, is_as_text=True)
        case "integer":
            return InspectedColumn("integer", integer(raw), remark="; ".join(remarks))
        case "number":
            if style != PLAIN:
                comma = ", with a decimal comma" if style.decimal == "," else ""
                percent = " (5 % is 5)" if style.percent else ""
                remarks.append(f"its numbers have the format `{style.example}`{comma}{percent}")
            return InspectedColumn("number", number(raw, style), remark="; ".join(remarks))
        case "ambiguous":
            both = " or ".join(f"`{fit.example}`" for fit in look.fits)
            doubt = f"its numbers fit several formats, {both}; write them like 1234.5"
            return InspectedColumn("text", text, doubt=doubt)
        case _ if look.n_odd or look.why:
            odd = _first(table, raw, number(raw, style).is_null() & is_mark(raw).not_() & raw.is_not_null())
            n_numbers = look.n_known - look.n_marks - look.n_odd
            what = f"{n_numbers:,} of its {look.n_known:,} values are numbers, but not `{odd}`" if odd else ""
            why = "; ".join(reason for reason in (look.why, what) if reason)
            return InspectedColumn("text", text, remark=f"{why}; to use it as a number, correct or empty such cells")
        case _:
            return InspectedColumn("text", text)


def _dates(table: RawTable, column: str, counts: Mapping[str, Any]) -> InspectedColumn | None:
    """Inspect a column that looks like dates; None where it has none.

    Args:
        table: the table.
        column: the column.
        counts: of the forms of dates in it, `date_counts`.
    """
    import polars as pl

    from sequifier.preprocess.dates import date, decide_dates, mixed_forms, why_not
    from sequifier.preprocess.numbers import is_mark

    raw, look = pl.col(column), decide_dates(counts)
    if mixed := mixed_forms(counts, raw):
        each = ", ".join(
            f"{n:,} like {shown} (`{value}` in row {row:,})"
            for shown, (n, condition) in mixed.items()
            for value, row in [_first_row(table, raw, condition)]
        )
        doubt = f"its dates have several formats: {each}; write all of them in one"
        return InspectedColumn("date", raw, doubt=doubt)
    has_value = raw.is_not_null() & is_mark(raw).not_()
    if look.style is None:
        example = _first(table, raw, has_value)
        doubt = look.why or why_not(example)
        return InspectedColumn("date", raw, doubt=f"it has the value `{example}`: {doubt}") if doubt else None
    value = date(raw, look.style)
    n_odd = table.rows.select((has_value & value.is_null()).sum()).collect(engine="streaming").item()
    if n_odd:
        odd = _first(table, raw, has_value & value.is_null())
        why = why_not(odd) or f"not in the format {look.style.shown} of the others"
        return InspectedColumn("date", raw, doubt=f"{n_odd:,} of its values are not valid dates: `{odd}` ({why})")
    remark = ""
    if look.style.shown != "YYYY-MM-DD":
        remark = f"its dates have the format {look.style.shown}, not 2013-01-31"
        remark += f": {look.note}" if look.note else ""
    kind: Kind = "date" if look.style.kind == "date" else "datetime"
    return InspectedColumn(kind, value, remark=remark, is_instant=look.has_offsets)


def _first_row(table: RawTable, raw: "pl.Expr", condition: "pl.Expr") -> tuple[str, int]:
    """Return the first value that fulfils a condition, and its row, counted from 1 without a header."""
    found = table.rows.select(value=raw, condition=condition).with_row_index("row", offset=1)
    first = found.filter("condition").head(1).collect().row(0, named=True)
    return shown_text(str(first["value"])), first["row"]


def _first(table: RawTable, raw: "pl.Expr", condition: "pl.Expr") -> str:
    found = table.rows.select(raw.alias("value"), condition.alias("condition")).filter("condition").head(1).collect()
    return shown_text(str(found["value"].item())) if found.height else ""


def _inspect_native(column: str, dtype: "pl.DataType") -> InspectedColumn:
    """Inspect a column of a typed file that is not text."""
    import polars as pl

    raw = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        is_instant = dtype.time_zone is not None
        if is_instant:
            raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return InspectedColumn("datetime", raw, is_instant=is_instant)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return InspectedColumn("text", raw.cast(pl.String))
    if dtype.is_integer():
        return InspectedColumn("integer", raw)
    if isinstance(dtype, pl.Decimal) and dtype.scale == 0:
        return InspectedColumn("integer", raw.cast(pl.Int128))
    if dtype.is_numeric():
        return InspectedColumn("number", raw.cast(pl.Float64))
    if dtype == pl.Date:
        return InspectedColumn("date", raw)
    kinds: dict[Any, Kind] = {pl.Boolean: "boolean", pl.Null: "empty"}
    return InspectedColumn(kinds.get(dtype.base_type(), "other"), raw)
