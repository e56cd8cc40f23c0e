"""`drop_duplicates`: rows that are identical to an earlier row of the table, in all of its columns.

Not all columns of a table are read, and its rows are read in parts of whole sequences. So each row carries a hash of
all its columns, and identical rows meet in the part of their sequence.
"""

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE

ROW = "hash of the row\0"
"""A column of a table beside its features."""


def row_hash(rows: pl.LazyFrame) -> pl.Expr:
    """Return the hash of a row, which depends neither on the order of columns nor on the file."""
    schema = rows.collect_schema()
    columns = [
        pl.col(name).cast(pl.String) if isinstance(schema[name], pl.Categorical | pl.Enum) else pl.col(name)
        for name in sorted(schema)
    ]
    return pl.struct(columns).hash(0).alias(ROW)


def distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the first of identical rows, in the order of the rows.

    Two rows are identical where their sequence, position and hash are equal.
    """
    if ROW not in rows.columns:
        return rows
    return rows.unique([SEQUENCE, POSITION, ROW], keep="first", maintain_order=True).drop(ROW)
