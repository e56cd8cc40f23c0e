"""What the columns of a stranger's table hold: numbers, dates, booleans or categories, by all of their values.

A column of a CSV file is a number when each of its values is. `preprocess` decides by the same code. Nothing is held
in memory but counts, so the size of the file does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sequifier.project.raw_table import RawTable, unreadable

if TYPE_CHECKING:
    import polars as pl

    from sequifier.preprocess.dates import DateLook
    from sequifier.preprocess.numbers import NumberLook


Kind = Literal["text", "integer", "number", "boolean", "date", "datetime", "empty", "other"]


@dataclass(frozen=True)
class InspectedColumn:
    """How the values of one column are to be read.

    Attributes:
        kind: what all of its values are.
        expression: gives them with that type, as `preprocess` does; what marks a missing value becomes null.
        is_as_text: digits that are to stay text: 007, or more than 64 bits hold.
        remark: how its values are written, where that is not plain.
        doubt: why they are not taken for the numbers or dates that they look like.
    """

    kind: Kind
    expression: "pl.Expr"
    is_as_text: bool = False
    remark: str = ""
    doubt: str = ""


def inspect_columns(table: RawTable) -> dict[str, InspectedColumn]:
    """How each column is to be read, by all of its values."""
    import polars as pl

    schema = table.rows.collect_schema()
    texts = [column for column, dtype in schema.items() if dtype == pl.String]
    try:
        found = _inspect_text(table, texts)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error
    return {column: found.get(column) or _inspect_native(column, dtype) for column, dtype in schema.items()}


def _inspect_text(table: RawTable, columns: Sequence[str]) -> dict[str, InspectedColumn]:
    """How each column of text is to be read. Text of a Parquet file is no number, whatever it looks like."""
    import polars as pl

    from sequifier.preprocess.dates import decide_dates, is_like_a_date, look_for_dates
    from sequifier.preprocess.look import count, look_for_numbers
    from sequifier.preprocess.numbers import stripped

    looks = look_for_numbers(table.rows, columns)
    words = [c for c in columns if looks[c].kind in ("text", "code") or table.format == "parquet"]
    examples = count(table.rows, words, lambda text: {"max value": stripped(text).max()})
    dated = [column for column in words if is_like_a_date(examples[column]["max value"] or "")]
    dates = {column: decide_dates(found) for column, found in count(table.rows, dated, look_for_dates).items()}
    inspected = {}
    for column in columns:
        text = stripped(pl.col(column)) if table.is_spaced else pl.col(column)
        if column in dates:
            inspected[column] = _dates(table, column, dates[column]) or InspectedColumn("text", text)
        elif table.format == "parquet":
            inspected[column] = InspectedColumn("text" if looks[column].n_known else "empty", text)
        else:
            inspected[column] = _numbers(table, column, looks[column], text)
    return inspected


def _numbers(table: RawTable, column: str, look: "NumberLook", text: "pl.Expr") -> InspectedColumn:
    import polars as pl

    from sequifier.preprocess.numbers import PLAIN, boolean, integer, is_mark, number

    raw, style = pl.col(column), look.style
    remarks = []
    if look.n_marks and (mark := _first(table, raw, is_mark(raw) & (raw.str.strip_chars() != ""))):
        remarks.append(f"{look.n_marks:,} values like `{mark}` stand for missing numbers")
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
                remarks.append(f"its numbers are written like `{style.example}`{comma}{percent}")
            return InspectedColumn("number", number(raw, style), remark="; ".join(remarks))
        case "ambiguous":
            both = " or ".join(f"`{fit.example}`" for fit in look.fits)
            doubt = f"its numbers can be read in several ways: they may be written like {both}; write them like 1234.5"
            return InspectedColumn("text", text, doubt=doubt)
        case _ if look.n_odd or look.why:
            odd = _first(table, raw, number(raw, style).is_null() & is_mark(raw).not_() & raw.is_not_null())
            n_numbers = look.n_known - look.n_marks - look.n_odd
            what = f"`{odd}` is not a number, as {n_numbers:,} of its {look.n_known:,} values are" if odd else ""
            why = "; ".join(reason for reason in (look.why, what) if reason)
            return InspectedColumn("text", text, remark=f"{why}; to use it as a number, correct or empty such cells")
        case _:
            return InspectedColumn("text", text)


def _dates(table: RawTable, column: str, look: "DateLook") -> InspectedColumn | None:
    """Dates, if all values are written in one way that is known; or why they are not taken for dates."""
    import polars as pl

    from sequifier.preprocess.dates import date, why_not
    from sequifier.preprocess.numbers import is_mark

    raw = pl.col(column)
    has_value = raw.is_not_null() & is_mark(raw).not_()
    if look.style is None:
        example = _first(table, raw, has_value)
        doubt = look.why or why_not(example)
        return InspectedColumn("date", raw, doubt=f"it holds `{example}`: {doubt}") if doubt else None
    value = date(raw, look.style)
    n_odd = table.rows.select((has_value & value.is_null()).sum()).collect(engine="streaming").item()
    if n_odd:
        odd = _first(table, raw, has_value & value.is_null())
        why = why_not(odd) or f"not a date that is written like {look.style.shown}, as others are"
        return InspectedColumn("date", raw, doubt=f"{n_odd:,} of its values are not such dates: `{odd}` ({why})")
    remark = ""
    if look.style.shown != "YYYY-MM-DD":
        remark = f"its dates are not written like 2013-01-31 (but as {look.style.shown})"
        remark += f": {look.note}" if look.note else ""
    return InspectedColumn("date" if look.style.kind == "date" else "datetime", value, remark=remark)


def _first(table: RawTable, raw: "pl.Expr", wanted: "pl.Expr") -> str:
    from sequifier.preprocess.look import shown_text

    found = table.rows.select(raw.alias("value"), wanted.alias("wanted")).filter("wanted").head(1).collect()
    return shown_text(str(found["value"].item())) if found.height else ""


def _inspect_native(column: str, dtype: "pl.DataType") -> InspectedColumn:
    """Of a Parquet column."""
    import polars as pl

    raw = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return InspectedColumn("datetime", raw)
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
