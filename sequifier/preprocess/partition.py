"""Reading in bounded memory: a large table is dealt out to ranges of sequences, which are then taken one by one.

A table within the budget is read at once. A larger one is read twice: the first pass counts the rows of each sequence,
which gives ranges of consecutive ids that fit; the second writes every row to the folder of its range. A sequence is
never divided, so one that exceeds the budget alone is still held whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.read import Table

BATCHES_PER_PART = 8
"""How finely the second pass reads: its batches are this fraction of a part."""


def read_parts(table: Table, config: PreprocessConfig, folder: Path, memory_bytes: int) -> Iterator[pl.DataFrame]:
    """The rows in parts of whole sequences; all ids of a part come before those of the next.

    Args:
        table: what to read.
        config: names of the columns for messages.
        folder: an empty folder for what does not fit in memory.
        memory_bytes: the decoded size of a part.

    Raises:
        DataError: no rows, or rows without a sequence or position.
        RunError: the disk is full.
    """
    if table.decoded_bytes <= memory_bytes:
        rows = table.rows.collect()
        _check_keys(table, config, rows.height, rows[SEQUENCE].null_count(), rows[POSITION].null_count())
        yield rows
        return
    sizes = table.rows.group_by(SEQUENCE).agg(pl.len(), nulls=pl.col(POSITION).null_count())
    counted = sizes.collect(engine="streaming").sort(SEQUENCE)
    n_rows = int(counted["len"].sum())
    without_sequence = int(counted.filter(pl.col(SEQUENCE).is_null())["len"].sum())
    _check_keys(table, config, n_rows, without_sequence, int(counted["nulls"].sum()))

    n_parts = -(-table.decoded_bytes // memory_bytes)
    rows_per_part = max(1, n_rows // n_parts)
    first_ids = _first_ids(counted, rows_per_part)
    _deal_out(table.rows, first_ids, folder, batch_rows=max(1, rows_per_part // BATCHES_PER_PART))
    for part in range(len(first_ids)):
        pieces = sorted(_part_folder(folder, part).iterdir())
        yield pl.concat([pl.read_ipc(piece) for piece in pieces])
        for piece in pieces:
            piece.unlink()


def _check_keys(table: Table, config: PreprocessConfig, n_rows: int, no_sequence: int, no_position: int) -> None:
    if n_rows == 0:
        raise DataError("there are no rows", where=str(table.source.path), fix="check data_path")
    for key, column, count in (
        (SEQUENCE, config.sequence_column, no_sequence),
        (POSITION, config.position_column, no_position),
    ):
        if count:
            what = "null values"
            if key == POSITION and table.position_is_text:
                what = f"values that are no {'64-bit integer' if table.position_type == 'Int64' else 'date'}"
            raise DataError(
                f"column `{column}` has {count:,} {what} in {n_rows:,} rows",
                where=table.first_without(key),
                fix="every event needs its sequence and position: drop or correct those rows",
            )


def _first_ids(counted: pl.DataFrame, rows_per_part: int) -> pl.Series:
    """The smallest id of each range: ranges are filled in id order until they hold rows_per_part."""
    before = (counted["len"].cum_sum() - counted["len"]).to_numpy()
    part: NDArray[Any] = before // rows_per_part
    starts_part = np.append(True, part[1:] > part[:-1])
    return counted[SEQUENCE].filter(pl.Series(starts_part))


def _deal_out(rows: pl.LazyFrame, first_ids: pl.Series, folder: Path, *, batch_rows: int) -> None:
    """Write every row to the folder of its range, batch by batch."""
    for number, batch in enumerate(rows.collect_batches(chunk_size=batch_rows, maintain_order=True)):
        part = first_ids.search_sorted(batch[SEQUENCE], side="right").alias("part") - 1
        for key, piece in batch.with_columns(part).partition_by("part", as_dict=True, include_key=False).items():
            path = _part_folder(folder, int(key[0])) / f"{number:09}.arrow"
            with atomic_path(path) as temporary:
                piece.write_ipc(temporary)


def _part_folder(folder: Path, part: int) -> Path:
    return folder / f"range-{part}"
