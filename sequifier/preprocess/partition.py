"""Reading in bounded memory: the rows of a large table are distributed to ranges of sequences, one part each.

A table within the budget is read at once. A larger one is read twice: the first pass counts the rows of each sequence,
which gives ranges of consecutive ids that fit; the second writes each row to the folder of its range, file by file. A
sequence is never divided, even where it exceeds the budget. Finished steps leave a mark, so that an interrupted run can
be resumed.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path, write_text
from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.agree_columns import NeedsAllValues
from sequifier.preprocess.column_counts import of_values
from sequifier.preprocess.table import Table
from sequifier.preprocess.working_folder import DISTRIBUTED

BATCHES_PER_PART = 8
"""Number of batches in which the second pass reads the rows of a part."""


def read_parts(table: Table, config: PreprocessConfig, folder: Path, memory_bytes: int) -> Iterator[pl.DataFrame]:
    """Yield the rows in parts of whole sequences; all ids of a part are before those of the next.

    Args:
        table: the table.
        config: names of the columns, for messages.
        folder: an empty folder for parts that do not fit in memory.
        memory_bytes: decoded size of a part.

    Raises:
        DataError: there are no rows, or rows without a sequence or position.
        RunError: the disk is full.
    """
    taken: set[int] = set()
    for part, rows in enumerate(remaining_parts(table, config, folder, memory_bytes, is_done=taken.__contains__)):
        assert rows is not None, "a part is done before the next one is yielded"
        taken.add(part)
        yield rows


def remaining_parts(
    table: Table, config: PreprocessConfig, folder: Path, memory_bytes: int, *, is_done: Callable[[int], bool]
) -> Iterator[pl.DataFrame | None]:
    """Yield parts as `read_parts`, and resume after an interruption.

    Args:
        table: see `read_parts`.
        config: see `read_parts`.
        folder: an empty folder, or the folder of an interrupted call with equal arguments.
        memory_bytes: see `read_parts`.
        is_done: whether a part is not needed any more; None is yielded for it, and its rows are deleted.
    """
    if table.decoded_bytes <= memory_bytes:
        rows = table.rows.collect()
        _check_keys(table, config, rows.height, rows[SEQUENCE].null_count(), rows[POSITION].null_count())
        yield rows
        return
    counted = _counted(table, folder)
    n_rows = int(counted["len"].sum())
    without_sequence = int(counted.filter(pl.col(SEQUENCE).is_null())["len"].sum())
    _check_keys(table, config, n_rows, without_sequence, int(counted["nulls"].sum()))

    n_parts = -(-table.decoded_bytes // memory_bytes)
    rows_per_part = max(1, n_rows // n_parts)
    first_ids = _first_ids(counted, rows_per_part)
    groups = _file_groups(table, n_parts * BATCHES_PER_PART)
    _distribute(groups, first_ids, folder, batch_rows=max(1, rows_per_part // BATCHES_PER_PART))
    for part in range(len(first_ids)):
        if not is_done(part):
            # The pattern skips hidden, incomplete pieces of a killed process.
            yield pl.concat([pl.read_ipc(piece) for piece in sorted(_part_folder(folder, part).glob("[0-9]*.arrow"))])
        else:
            yield None
        if is_done(part):
            for piece in _part_folder(folder, part).iterdir():
                piece.unlink()


def _counted(table: Table, folder: Path) -> pl.DataFrame:
    """Return the number of rows and of missing positions of each sequence."""
    path = folder / "sizes.arrow"
    if not path.exists():
        sizes = table.rows.group_by(SEQUENCE).agg(pl.len(), nulls=pl.col(POSITION).null_count())
        counted = sizes.collect(engine="streaming").sort(SEQUENCE)
        with atomic_path(path) as temporary:
            counted.write_ipc(temporary)
    return pl.read_ipc(path)


def _check_keys(table: Table, config: PreprocessConfig, n_rows: int, no_sequence: int, no_position: int) -> None:
    if n_rows == 0:
        raise DataError("there are no rows", where=str(table.source.path), fix="check data_path")
    for key, column, count in (
        (SEQUENCE, config.sequence_name, no_sequence),
        (POSITION, config.position_name, no_position),
    ):
        if count:
            if table.is_sample:
                raise NeedsAllValues  # they may have another format than the first one, or be of empty rows
            what = "missing"
            if key == POSITION and (table.position_is_text or table.position_type == "Float64"):
                kind = {"Int64": "64-bit integer", "Float64": "finite number"}.get(table.position_type, "date")
                what = f"not a {kind}" if count == 1 else f"not {kind}s"
            raise DataError(
                f"column `{column}`: {of_values(count, n_rows)} {what}",
                where=table.first_without(key),
                fix="every event needs a sequence and a position: remove or correct those rows",
            )


def _first_ids(counted: pl.DataFrame, rows_per_part: int) -> pl.Series:
    """Return the smallest id of each range: ranges are filled in the order of ids up to rows_per_part."""
    before = (counted["len"].cum_sum() - counted["len"]).to_numpy()
    part: NDArray[Any] = before // rows_per_part
    starts_part = np.append(True, part[1:] > part[:-1])
    return counted[SEQUENCE].filter(pl.Series(starts_part))


def _file_groups(table: Table, n_most: int) -> dict[int, pl.LazyFrame]:
    """Group consecutive files that are distributed together, so that many small files do not make many pieces.

    Returns:
        About `n_most` groups at most: number of the last file -> rows.
    """
    if len(table.pieces) == 1:
        return {len(table.source.files) - 1: table.rows}
    sizes = np.array([file.stat().st_size for file in table.source.files])
    group = (np.cumsum(sizes) - sizes) * n_most // sizes.sum()
    ends = np.append(np.flatnonzero(np.diff(group)) + 1, len(sizes)).tolist()
    return {end - 1: pl.concat(table.pieces[start:end]) for start, end in pairwise([0, *ends])}


def _distribute(groups: Mapping[int, pl.LazyFrame], first_ids: pl.Series, folder: Path, *, batch_rows: int) -> None:
    """Write each row to the folder of its range, batch by batch."""
    for last_file, rows in groups.items():
        mark = folder / f"{DISTRIBUTED}{last_file:06}"
        if mark.exists():
            continue
        for unfinished in folder.glob(f"range-*/{last_file:06}-*"):
            unfinished.unlink()
        for number, batch in enumerate(rows.collect_batches(chunk_size=batch_rows, maintain_order=True)):
            # No feature has the name of this column.
            part = first_ids.search_sorted(batch[SEQUENCE], side="right").alias(CONTEXT) - 1
            for key, piece in batch.with_columns(part).partition_by(CONTEXT, as_dict=True, include_key=False).items():
                path = _part_folder(folder, int(key[0])) / f"{last_file:06}-{number:09}.arrow"
                with atomic_path(path) as temporary:
                    piece.write_ipc(temporary)
        write_text(mark, "")


def _part_folder(folder: Path, part: int) -> Path:
    return folder / f"range-{part}"
