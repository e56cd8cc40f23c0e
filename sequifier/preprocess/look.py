"""A look at all values of columns of text, in parts of bounded size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sequifier.artifacts.number_style import NumberStyle
from sequifier.preprocess.numbers import NumberLook, decide, first_look, needs_second_look, second_look

LONGEST_SHOWN = 80
CELLS_AT_ONCE = 4_000_000
COLUMNS_AT_ONCE = 50
"""More expressions in one query take memory with the square of their number."""

Look = Callable[[pl.Expr], Mapping[str, pl.Expr]]
Counts = dict[str, Any]


def count(rows: pl.LazyFrame, columns: Sequence[str], look: Look) -> dict[str, Counts]:
    """What a look gives for each column over all rows.

    Sums are added up; what begins with `min` or holds ` max ` or begins with `max` is the smallest or largest of all.
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
                for what, expression in look(pl.col(column)).items()
            ]
            for name, value in batch.select(expressions).row(0, named=True).items():
                number, what = name.split(" ", 1)
                counts = found[some[int(number)]]
                counts[what] = _merged(what, counts.get(what), value)
    return found


def look_for_numbers(
    rows: pl.LazyFrame,
    columns: Sequence[str],
    *,
    declared: frozenset[str] = frozenset(),
    known: Mapping[str, NumberStyle] | None = None,
) -> dict[str, NumberLook]:
    """What each column of text is.

    Args:
        rows: all of them; the columns are text.
        columns: to look at.
        declared: those that are to be numbers.
        known: the style of those that a metadata file or a model knows.
    """
    known = known or {}
    counts = count(rows, columns, first_look)
    open_ones = [column for column in columns if needs_second_look(counts[column], known.get(column))]
    for column, more in count(rows, open_ones, second_look).items():
        counts[column] |= more
    return {
        column: decide(counts[column], is_declared=column in declared, known=known.get(column)) for column in columns
    }


def first_where(files: Mapping[Path, pl.LazyFrame], column: str, wanted: pl.Expr) -> tuple[str, str]:
    """The first value for which something holds, as text, and its file and row; empty texts where there is none."""
    for path, rows in files.items():
        numbered = rows.select(raw=pl.col(column), wanted=wanted).with_row_index("row", offset=1)
        first = numbered.filter(pl.col("wanted")).head(1).collect()
        if first.height:
            value = first["raw"].item()
            return "" if value is None else shown_text(str(value)), f"{path}, first in row {first['row'].item():,}"
    return "", ""


def shown_text(text: str) -> str:
    """A text of the data in a line of a message: short, and without line feeds and the like."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "..."


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Rows in pieces that hold about as many cells, whatever the number of columns; one piece without rows for none."""
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
