"""Counts over all values of columns of text, in parts of bounded size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sequifier.artifacts.number_style import NumberStyle
from sequifier.preprocess.numbers import NumberFindings, decide_numbers, needs_style_counts, number_counts, style_counts
from sequifier.preprocess.table_formats import TABLE_FORMATS, format_of_files
from sequifier.printable import shown_text

CELLS_AT_ONCE = 4_000_000
COLUMNS_AT_ONCE = 50
"""Columns in one query, whose memory grows with the square of the number of expressions."""

Expressions = Callable[[pl.Expr], Mapping[str, pl.Expr]]
"""A column -> aggregations by name."""
Counts = dict[str, Any]


def count_columns(rows: pl.LazyFrame, columns: Sequence[str], expressions_of: Expressions) -> dict[str, Counts]:
    """Return the aggregations of each column over all rows.

    An aggregation whose name starts with `min` is a minimum, one with `max` a maximum; others are sums.
    """
    if not columns:
        return {}
    found: dict[str, Counts] = {column: {} for column in columns}
    for batch in _batches(rows.select(columns)):
        for start in range(0, len(columns), COLUMNS_AT_ONCE):
            some = columns[start : start + COLUMNS_AT_ONCE]
            expressions = [
                expression.alias(f"{number} {what}")
                for number, column in enumerate(some)
                for what, expression in expressions_of(pl.col(column)).items()
            ]
            for name, value in batch.select(expressions).row(0, named=True).items():
                number, what = name.split(" ", 1)
                counts = found[some[int(number)]]
                counts[what] = _merged(what, counts.get(what), value)
    return found


def inspect_numbers(
    rows: pl.LazyFrame,
    columns: Sequence[str],
    *,
    declared: frozenset[str] = frozenset(),
    known: Mapping[str, NumberStyle] | None = None,
) -> dict[str, NumberFindings]:
    """Decide for each column of text whether it has numbers.

    Args:
        rows: all rows; the columns are text.
        columns: the columns to inspect.
        declared: columns that are declared as numbers.
        known: stored formats of columns.
    """
    known = known or {}
    counts = count_columns(rows, columns, number_counts)
    undecided = [column for column in columns if needs_style_counts(counts[column], known.get(column))]
    for column, more in count_columns(rows, undecided, style_counts).items():
        counts[column] |= more
    return {
        column: decide_numbers(counts[column], is_declared=column in declared, known=known.get(column))
        for column in columns
    }


def first_where(files: Mapping[Path, pl.LazyFrame], column: str, condition: pl.Expr) -> tuple[str, str]:
    """Return the first value that fulfils a condition, as text, and its file and row; empty texts for none."""
    for path, rows in files.items():
        numbered = rows.select(raw=pl.col(column), condition=condition).with_row_index("row", offset=1)
        first = numbered.filter(pl.col("condition")).head(1).collect()
        if first.height:
            value = first["raw"].item()
            return "" if value is None else shown_text(str(value)), row_text(path, first["row"].item())
    return "", ""


def of_values(count: int, n_values: int) -> str:
    """Return the subject and verb of a sentence: `1 of 200 values is`."""
    return f"{count:,} of {n_values:,} values {'is' if count == 1 else 'are'}"


def row_text(path: Path, row: int) -> str:
    """Return a place in a table; the header of a text file is not counted, and cells may have line ends."""
    format = format_of_files([path])
    if format == "xes":
        return f"{path}, first in event {row:,} of the log"
    has_header = format is None or TABLE_FORMATS[format].is_text
    return f"{path}, first in row {row:,}{' after the header' if has_header else ''}"


def event_text(columns: tuple[str, str], sequence: Any, position: Any, time_zone: str | None) -> str:
    """Return the place of an event by its keys.

    Args:
        columns: names of the sequence and the position column in the file.
        sequence: id of the sequence.
        position: as it is stored: in UTC, which is said where the file may have local times.
        time_zone: of the data.
    """
    utc = "" if time_zone is None else " UTC"
    return f"{columns[0]}={sequence} {columns[1]}={position}{utc}"


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield rows in batches of about CELLS_AT_ONCE cells; one batch without rows for an empty table."""
    width = max(1, len(rows.collect_schema()))
    is_empty = True
    for batch in rows.collect_batches(chunk_size=max(1, CELLS_AT_ONCE // width), maintain_order=False):
        is_empty = False
        yield batch
    if is_empty:
        yield pl.DataFrame(schema=rows.collect_schema())


def _merged(what: str, old: Any, new: Any) -> Any:
    if old is None or new is None:
        return new if old is None else old
    if what.startswith("min"):
        return min(old, new)
    if what.startswith("max") or " max " in what:
        return max(old, new)
    return old + new
