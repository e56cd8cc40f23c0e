"""Columns of a user's table that have one value in all rows of a sequence: labels and attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sequifier.project.column_facts import COLUMNS_AT_ONCE
from sequifier.project.keys import ROWS_AT_ONCE

if TYPE_CHECKING:
    import polars as pl

SAMPLE_ROWS = 100_000
"""First rows of the table, in which most other columns are found to change within a sequence."""

FEWEST_OTHERS = 5
"""Number of sequences without the most frequent value from which a column is not constant by chance."""


@dataclass(frozen=True)
class WholeSequences:
    """The columns with one value for each sequence.

    Attributes:
        columns: the columns, each with the number of sequences that do not have its most frequent value.
        partly: columns with one value for each sequence, which is missing in some of its rows.
    """

    columns: Mapping[str, int] = field(default_factory=dict)
    partly: tuple[str, ...] = ()


def find_whole_sequences(
    rows: "pl.LazyFrame", sequence: str | None, columns: Sequence[str], certain: Sequence[str], n_rows: int
) -> WholeSequences:
    """Find the columns with one value for each sequence.

    Args:
        rows: the rows with the types of their values.
        sequence: the sequence column; None for a single series, which has no such columns.
        columns: the columns in question.
        certain: columns that are not constant by chance, however few sequences have another value than the others.
        n_rows: number of rows.
    """
    import polars as pl

    if sequence is None:
        return WholeSequences()
    sample = rows.select(sequence, *columns).head(SAMPLE_ROWS).collect().lazy()
    whole, partly = _constant(sample, sequence, columns, n_passes=1)
    if n_rows > SAMPLE_ROWS:
        whole, partly = _constant(rows, sequence, [*whole, *partly], n_passes=-(-n_rows // ROWS_AT_ONCE))
    key = pl.col(sequence).alias("sequence")
    has_several_rows = rows.group_by(key).agg(n=pl.len()).filter(pl.col("n") > 1).select("sequence")
    kept = {}
    for column in whole:
        one_each = has_several_rows.join(rows.select(key, value=pl.col(column)).unique("sequence"), on="sequence")
        others = one_each.group_by("value").agg(n=pl.len()).select(pl.col("n").sum() - pl.col("n").max())
        n_others = int(others.collect(engine="streaming").item() or 0)
        if column in certain or n_others >= FEWEST_OTHERS:
            kept[column] = n_others
    return WholeSequences(kept, tuple(partly))


def _constant(
    rows: "pl.LazyFrame", sequence: str, columns: Sequence[str], *, n_passes: int
) -> tuple[list[str], list[str]]:
    """Return the columns that are constant within all sequences, and those of which only the known values are.

    The rows are read in passes over parts of the sequences.
    """
    import polars as pl

    key = pl.col(sequence).alias("sequence")
    whole, known = dict.fromkeys(columns, True), dict.fromkeys(columns, True)
    for start in range(0, len(columns), COLUMNS_AT_ONCE):
        some = columns[start : start + COLUMNS_AT_ONCE]
        checks = []
        for number, column in enumerate(some):
            n_known = pl.col(column).count()
            is_one = pl.col(column).min().eq_missing(pl.col(column).max())
            has_all = (n_known == 0) | (n_known == pl.len())
            checks += [is_one.alias(f"known {number}"), (is_one & has_all).alias(f"whole {number}")]
        for part in range(n_passes):
            of_part = rows.filter(key.hash(0) % n_passes == part).group_by(key).agg(checks)
            answers = of_part.drop("sequence").select(pl.all().all()).collect(engine="streaming").row(0, named=True)
            for number, column in enumerate(some):
                whole[column] &= answers[f"whole {number}"]
                known[column] &= answers[f"known {number}"]
    return [c for c in columns if whole[c]], [c for c in columns if known[c] and not whole[c]]
