"""`sequence_columns`: columns that have one value in all rows of a sequence."""

from collections.abc import Iterable, Sequence

import polars as pl

from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.printable import shown_text


def check_sequence_columns(parts: Iterable[Part], columns: Sequence[str], config: PreprocessConfig) -> None:
    """Check that columns have one value in each sequence; missing values must be missing in all of its rows.

    Args:
        parts: whole sequences.
        columns: the columns to check.
        config: names of the key columns, for the error.

    Raises:
        DataError: a column changes within a sequence.
    """
    for part in parts if columns else ():
        for values in part.rows.select(columns).collect():
            for row in part.changes(values)[:1].tolist():
                raise DataError(
                    f"column `{values.name}` (sequence_columns) changes within a sequence: "
                    f"{config.sequence_name}={part.sequence_of(row)} has {_shown(values, row - 1)}, then "
                    f"{_shown(values, row)}",
                    where=part.place(row, config),
                    fix="write the same value in all rows of a sequence, or leave the column out of sequence_columns",
                )


def _shown(values: pl.Series, row: int) -> str:
    value = values[row]
    return "no value" if value is None else f"`{shown_text(str(value))}`"
