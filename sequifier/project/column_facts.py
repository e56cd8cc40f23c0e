"""Statistics of the columns of a user's table, counted over the typed rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sequifier.project.inspect_columns import InspectedColumn, Kind
from sequifier.project.raw_table import RawTable, unreadable

if TYPE_CHECKING:
    import polars as pl

EXACT_ROWS = 2_000_000
"""Rows up to which distinct values are counted. In larger tables their number is estimated first (HyperLogLog, with
errors of up to 10 %), and counted where it is at most EXACT_VALUES."""

EXACT_VALUES = 200_000

LONG, MANY_LONG = 30, 50
"""Mean number of characters, and number of distinct values, from which a column of text is free text."""

COLUMNS_AT_ONCE = 100
"""Columns that are counted in one pass, whose memory grows with the square of their number."""


@dataclass(frozen=True)
class Facts:
    """Statistics of one column.

    Attributes:
        kind: the kind of all its values.
        n_rows: number of rows.
        n_missing: number of nulls, NaN and infinities.
        n_distinct: number of distinct values.
        lowest: lowest known value, also of text.
        highest: highest known value.
        is_whole: whether it has numbers without fractions.
        is_estimated: whether n_distinct is an estimate.
        mean_length: mean number of characters of a text; None for other kinds.
    """

    kind: Kind
    n_rows: int
    n_missing: int
    n_distinct: int
    lowest: Any
    highest: Any
    is_whole: bool = False
    is_estimated: bool = False
    mean_length: float | None = None

    @property
    def free_text(self) -> str:
        """What makes a column of text free text, with many long values; empty where it is not."""
        if self.mean_length is None or self.mean_length < LONG or self.n_distinct < MANY_LONG:
            return ""
        return f"free text: {self.distinct_text} values of {self.mean_length:.0f} characters on average"

    @property
    def n_known(self) -> int:
        """Number of rows with a value."""
        return self.n_rows - self.n_missing

    @property
    def distinct_text(self) -> str:
        """Number of distinct values, in words."""
        return f"about {self.n_distinct:,}" if self.is_estimated else f"{self.n_distinct:,}"


def shown_value(value: Any) -> str:
    """Return a value as a short text."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def column_facts(table: RawTable, rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn]) -> dict[str, Facts]:
    """Return the statistics of each column.

    Args:
        table: the table, for errors.
        rows: the rows as they are in the files.
        inspected: each column with an expression for its values.

    Raises:
        DataError: the files cannot be read.
    """
    import polars as pl

    try:
        n_rows = int(rows.select(pl.len()).collect(engine="streaming").item())
        counted: dict[str, dict[str, Any]] = {}
        names = list(inspected)
        for start in range(0, len(names), COLUMNS_AT_ONCE):
            some = {column: inspected[column] for column in names[start : start + COLUMNS_AT_ONCE]}
            counted |= _counted(typed(rows, some), some, n_rows)
        estimated = set(inspected) if n_rows > EXACT_ROWS else set()
        for column in inspected:
            if column in estimated and counted[column].get("n_distinct", EXACT_VALUES + 1) <= EXACT_VALUES:
                # Unlike n_unique(), this has only the distinct values in memory.
                unique = typed(rows, {column: inspected[column]}).drop_nulls().unique().select(pl.len())
                counted[column]["n_distinct"] = unique.collect(engine="streaming").item()
                estimated.remove(column)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error
    return {
        column: Facts(
            content.kind,
            n_rows,
            counted[column]["n_missing"],
            min(counted[column].get("n_distinct", 0), n_rows - counted[column]["n_missing"]),
            counted[column].get("lowest"),
            counted[column].get("highest"),
            bool(counted[column].get("is_whole")),
            column in estimated,
            counted[column].get("mean_length"),
        )
        for column, content in inspected.items()
    }


def typed(rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn]) -> "pl.LazyFrame":
    """Return these columns with the types of their values."""
    return rows.select(content.expression.alias(column) for column, content in inspected.items())


def _counted(rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn], n_rows: int) -> dict[str, dict[str, Any]]:
    """Return the counts of some columns by name, from one pass."""
    import polars as pl

    expressions = []
    for number, (column, content) in enumerate(inspected.items()):
        values = pl.col(column)
        if content.kind == "number":
            values = pl.when(values.is_finite()).then(values)
            expressions.append((values == values.floor()).all().alias(f"{number} is_whole"))
        if content.kind == "other":
            expressions.append(values.is_null().sum().alias(f"{number} n_missing"))
            continue
        if content.kind == "text":
            expressions.append(values.str.len_chars().mean().alias(f"{number} mean_length"))
        distinct = values.drop_nulls().n_unique() if n_rows <= EXACT_ROWS else values.approx_n_unique()
        named = {"n_missing": values.is_null().sum(), "n_distinct": distinct}
        named |= {"lowest": values.min(), "highest": values.max()}
        expressions += [expression.alias(f"{number} {what}") for what, expression in named.items()]
    found: dict[str, dict[str, Any]] = {column: {} for column in inspected}
    columns = list(inspected)
    for name, value in rows.select(expressions).collect(engine="streaming").row(0, named=True).items():
        number_text, what = name.split(" ", 1)
        found[columns[int(number_text)]][what] = value
    return found
