"""The copy of a table that `make` writes where `preprocess` cannot read the table itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import DataError
from sequifier.project.column_facts import Facts, shown_value
from sequifier.project.findings import Findings, free_name
from sequifier.project.raw_table import RawTable, unreadable

if TYPE_CHECKING:
    import polars as pl

SORTED_BYTES = 2 << 30
"""Size of the largest table whose events are numbered, which takes a sort in memory."""
_LARGEST_FRACTION = 9e12
"""Largest position with a fraction that has an exact number of millionths in 64 bits."""


@dataclass(frozen=True)
class TableCopy:
    """The changes to a table.

    Attributes:
        rows: the rows to write; None where the table is used as it is.
        sequence: the sequence column of the rows.
        order: the order column of the rows.
        changes: the changes, in words.
    """

    rows: "pl.LazyFrame | None"
    sequence: str
    order: str
    changes: tuple[str, ...]

    def write(self, path: Path, table: RawTable) -> None:
        """Write the rows part by part; without effect where there is no copy."""
        import polars as pl

        if self.rows is None:
            return
        try:
            with atomic_path(path) as temporary:
                self.rows.sink_parquet(temporary)
        except pl.exceptions.PolarsError as error:
            raise unreadable(table.path, error) from error


def table_copy(found: Findings) -> TableCopy:
    """Decide what to change so that `preprocess` can read the table."""
    import polars as pl

    rows, sequence, order = found.rows, found.keys.sequence, found.keys.order
    changes = [*found.table.repairs]
    if found.n_empty:
        changes.append(
            "an empty row is left out" if found.n_empty == 1 else f"{found.n_empty:,} empty rows are left out"
        )
    if sequence is None:
        sequence = free_name("sequenceId", found.facts)
        rows = rows.with_columns(pl.lit(1, pl.Int64).alias(sequence))
        changes.append(f"a new column `{sequence}` is 1 in all rows, because the table is a single series")
    elif found.facts[sequence].kind not in ("integer", "text") and not _has_integers(found.facts[sequence]):
        rows = rows.with_columns(pl.col(sequence).cast(pl.String))
        changes.append(f"`{sequence}` is written as text, because sequences are named by text or integers")
    if found.facts[order].kind == "number" and not _has_integers(found.facts[order]):
        rows = rows.with_columns(_as_integers(order, found.facts[order], found.table))
        unit = "" if found.facts[order].is_whole else ", in millionths"
        changes.append(f"`{order}` is written as integers{unit}, because positions are integers")
    if found.keys.lengths.n_repeated:
        rows, order, change = _numbered(found, rows, sequence, order)
        changes.append(change)
    if changes and found.table.format == "csv":
        changes += found.formats
    # A time_zone in the config is that of local times only.
    instants = [column for column, content in found.inspected.items() if content.is_instant]
    rows = rows.with_columns(pl.col(instants).dt.replace_time_zone("UTC"))
    return TableCopy(rows if changes else None, sequence, order, tuple(changes))


def _has_integers(facts: Facts) -> bool:
    """Whether a column has numbers without a fraction, which `preprocess` reads as integers in key columns."""
    from sequifier.preprocess.keys import LARGEST_WHOLE

    return facts.kind == "number" and facts.is_whole and max(abs(facts.lowest), abs(facts.highest)) <= LARGEST_WHOLE


def _as_integers(order: str, facts: Facts, table: RawTable) -> "pl.Expr":
    import polars as pl

    if facts.is_whole:
        return pl.col(order).cast(pl.Int64)
    if max(abs(facts.lowest), abs(facts.highest)) > _LARGEST_FRACTION:
        raise DataError(
            f"`{order}` has fractions and values up to {shown_value(facts.highest)}",
            where=f"{table.path}, --order",
            fix="write positions as integers, dates or datetimes",
        )
    return (pl.col(order) * 1e6).round().cast(pl.Int64)


def _numbered(found: Findings, rows: "pl.LazyFrame", sequence: str, order: str) -> "tuple[pl.LazyFrame, str, str]":
    """Number the events of each sequence; events with equal positions keep the order of the table."""
    import polars as pl

    lengths = found.keys.lengths
    what = f"{lengths.n_repeated:,} of {found.n_rows:,} rows have the `{order}` of another row of their sequence"
    if lengths.example:
        what += f" ({lengths.example})"
    if found.table.known is not None:
        raise DataError(
            what,
            where=f"{found.table.path}, --order {order}",
            fix=f"leave --order out: `{found.table.known.order}` numbers the events of each sequence",
        )
    if found.table.n_bytes > SORTED_BYTES:
        raise DataError(
            what,
            where=str(found.table.path),
            fix="remove repeated rows, or add a column that numbers the events of each sequence and name it with "
            "--order (make adds it itself to tables of up to 2 GB)",
        )
    number = free_name("eventNumber", found.facts)
    n_identical = found.n_rows - int(rows.unique().select(pl.len()).collect(engine="streaming").item())
    position = pl.int_range(pl.len(), dtype=pl.Int64).over(sequence).alias(number)
    numbered = rows.sort(sequence, order, maintain_order=True).with_columns(position)
    change = f"{what}, so a new column `{number}` orders the events; equal positions keep the order of the table"
    if n_identical:
        change += f" (identical in every column: {n_identical:,}; if they are duplicates, remove them and "
        change += "make the project again)"
    return numbered, number, change
