"""A table of events that is typed and not read yet."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.table_form import TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.preprocess_fields import Transform
from sequifier.preprocess import keys
from sequifier.preprocess.agree_columns import StoredFormats
from sequifier.preprocess.column_counts import row_text
from sequifier.preprocess.column_types import PositionType, StoredType
from sequifier.preprocess.raw_files import is_empty
from sequifier.preprocess.source import Source


@dataclass(frozen=True)
class Table:
    """A typed table that is not read yet.

    Attributes:
        source: the files.
        rows: sequenceId, itemPosition, the features that are not computed, the other dates of time_features, and the
            split_column as text; with drop_duplicates the hash of each row. Positions that are not valid are null.
        pieces: the same rows, file by file; one piece where max_rows counts over files.
        types: feature -> stored type, in stored order, computed ones last. A column of `rows` that is Float64, and
            Int64 here, must still be checked for fractions.
        sequence_type: stored type of sequence ids.
        position_type: stored type of positions.
        decoded_bytes: estimated size in memory.
        raw_files: unchanged values of each file, for messages.
        sequence: expression for sequenceId.
        position: expression for itemPosition.
        position_is_text: whether positions are text in the files.
        notes: notes for the user on the choice of columns.
        formats: formats of text that new rows must have too.
        is_sample: whether types come from the first rows of the files.
        time: the columns that are computed from dates.
        transforms: feature -> its transform, where it has one.
        of_sequences: columns that have one value in all rows of a sequence.
        form: how the files are written, and which keys the rows lack.
    """

    source: Source
    rows: pl.LazyFrame
    pieces: tuple[pl.LazyFrame, ...]
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    position_type: PositionType
    decoded_bytes: int
    raw_files: tuple[pl.LazyFrame, ...]
    sequence: pl.Expr
    position: pl.Expr
    position_is_text: bool
    notes: tuple[str, ...]
    formats: StoredFormats
    is_sample: bool
    time: TimeRules
    transforms: dict[str, Transform]
    form: TableForm
    of_sequences: tuple[str, ...] = ()

    def first_without(self, column: str) -> str:
        """Return file, row and value of the first row without a valid sequenceId or itemPosition."""
        for path, rows in zip(self.source.files, self.raw_files, strict=True):
            usable = self.position if column == POSITION else self.sequence
            bad = rows.select(raw=pl.col(column), usable=usable, is_empty=is_empty(rows)).with_row_index(
                "row", offset=1
            )
            first = bad.filter(pl.col("usable").is_null() & pl.col("is_empty").not_()).head(1).collect()
            if first.height:
                value = first["raw"].item()
                shown = "empty" if value is None else f"`{value}`"
                if column == POSITION and (why := keys.why_not_a_position(str(value))):
                    shown += f": {why}"
                return f"{row_text(path, first['row'].item())} ({shown})"
        raise AssertionError(f"{column} has a value in every row")
