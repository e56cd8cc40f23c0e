"""The type that a column is read with, and its stored type, from the types in the files and the declared ones.

Text, booleans and integers are categorical and floats are real, unless `column_types` declares otherwise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from sequifier.config.preprocess_fields import TypeName
from sequifier.preprocess.parsed_column import ColumnError, ParsedColumn

StoredType = Literal["Int64", "String", "Boolean", "Float64"]
PositionType = Literal["Int64", "Float64", "Date", "Datetime(us)", "Datetime(ns)"]
"""Numbers are Int64 where all are whole, unless they are times."""
NUMBERS = ("Int64", "Float64")
LARGEST_WHOLE = 2**53 - 1
"""Largest float that stands for one integer only."""
RawKind = Literal[
    "integer",
    "large integer",  # some value does not fit in 64 bits
    "number",
    "text",
    "boolean",
    "date",
    "datetime us",
    "datetime ns",
    "nothing but nulls",
    "other",
]

POLARS_TYPES: Mapping[StoredType, pl.DataType] = {
    "Int64": pl.Int64(),
    "String": pl.String(),
    "Boolean": pl.Boolean(),
    "Float64": pl.Float64(),
}
POSITION_TYPES: Mapping[PositionType, pl.DataType] = {
    "Int64": pl.Int64(),
    "Float64": pl.Float64(),
    "Date": pl.Date(),
    "Datetime(us)": pl.Datetime("us"),
    "Datetime(ns)": pl.Datetime("ns"),
}
_READ_AS: Mapping[RawKind, pl.DataType] = {
    "integer": pl.Int64(),
    "large integer": pl.Int128(),
    "number": pl.Float64(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime us": pl.Datetime("us"),
    "datetime ns": pl.Datetime("ns"),
    "nothing but nulls": pl.Null(),
}
_NATURAL: Mapping[RawKind, StoredType] = {
    "integer": "Int64",
    "number": "Float64",
    "text": "String",
    "boolean": "Boolean",
    "nothing but nulls": "Float64",  # refused or filled when the values are checked
}
_PLURALS: Mapping[RawKind, str] = {"integer": "integers", "number": "numbers", "boolean": "true or false"}
_ALLOWED: Mapping[RawKind, tuple[TypeName, ...]] = {
    "integer": ("categorical", "real", "Int64", "Float64", "String"),
    "number": ("categorical", "real", "Int64", "Float64", "String"),
    "text": ("categorical", "String"),
    "boolean": ("categorical", "Boolean", "String"),
    "nothing but nulls": ("categorical", "real", "Int64", "Float64", "String", "Boolean"),
}


def raw_kind(dtype: pl.DataType) -> RawKind:
    """Return the kind of a type in a file."""
    match dtype:
        case pl.Datetime():
            return "datetime ns" if dtype.time_unit == "ns" else "datetime us"
        case pl.Date():
            return "date"
        case pl.Boolean():
            return "boolean"
        case pl.Null():
            return "nothing but nulls"
        case pl.String() | pl.Categorical() | pl.Enum():
            return "text"
        case pl.Int128():
            return "large integer"
        case pl.Decimal() if dtype.scale == 0:
            return "integer"
        case _ if dtype.is_integer():
            return "integer"
        case _ if dtype.is_numeric():
            return "number"
        case _:
            return "other"


def common_type(column: str, found: Mapping[Path, pl.DataType], *, is_text: bool) -> pl.DataType:
    """Return the type to read a column with, from its type in each file.

    Raises:
        ColumnError: Parquet files disagree. In CSV files, a column can always be read as text.
    """
    files: dict[RawKind, Path] = {raw_kind(dtype): file for file, dtype in reversed([*found.items()])}
    kinds = {*files}
    if len(kinds) > 1:
        kinds.discard("nothing but nulls")
    if kinds == {"other"}:
        return next(iter(found.values()))
    if len(kinds) == 1:
        return _READ_AS[kinds.pop()]
    if kinds == {"integer", "large integer"}:
        return _READ_AS["large integer"]
    if kinds <= {"integer", "large integer", "number"}:
        return pl.Float64()
    if is_text:
        return pl.String()
    raise ColumnError(
        f"column `{column}` is " + " and ".join(f"{kind} in {files[kind].name}" for kind in sorted(kinds)),
        where=", ".join(str(files[kind]) for kind in sorted(kinds)),
        fix="write it with one type in all files",
    )


def stored_type(column: str, raw: pl.DataType, declared: TypeName | None, *, path: Path, is_fixed: bool) -> StoredType:
    """Return the stored type of a feature: the declared one, or one by its raw type.

    Raises:
        ColumnError: the type cannot be encoded, or not as declared.
    """
    kind = raw_kind(raw)
    if kind == "large integer":
        raise ColumnError(
            f"column `{column}` has integers that do not fit in 64 bits",
            where=str(path),
            fix="correct them: the metadata declare the column as Int64"
            if is_fixed
            else f"declare column_types.{column}: String to keep their digits, or real if they measure something",
        )
    if kind not in _NATURAL:
        raise ColumnError(
            f"the feature column `{column}` has the type {raw}, which cannot be encoded",
            where=str(path),
            fix="convert it to numbers or text, or leave it out with selected_columns",
        )
    if declared is None:
        return _NATURAL[kind]
    if declared not in _ALLOWED[kind]:
        raise ColumnError(
            f"column `{column}` is declared as {declared}, but its values are {_PLURALS.get(kind, kind)}",
            where=str(path),
            fix=f"declare it as one of {', '.join(_ALLOWED[kind])}, or change the data",
        )
    match declared:
        case "real":
            return "Float64"
        case "categorical":
            return "Int64" if kind == "number" else "String" if kind == "nothing but nulls" else _NATURAL[kind]
        case _:
            return declared


def typed(column: str, raw: ParsedColumn, stored: StoredType) -> pl.Expr:
    """Return a feature with its stored type."""
    values = raw.value(pl.col(column))
    # A cast would drop fractions without an error: they remain until the values are checked.
    keep = raw.dtype == POLARS_TYPES[stored] or (stored == "Int64" and raw.dtype == pl.Float64)
    return (values if keep else values.cast(POLARS_TYPES[stored])).alias(column)
