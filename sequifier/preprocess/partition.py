"""Reading in bounded memory: a large table is dealt out to ranges of sequences, which are then taken one by one.

A table within the budget is read at once. A larger one is read twice: the first pass counts the rows of each sequence,
which gives ranges of consecutive ids that fit; the second writes every row to the folder of its range, file by file. A
sequence is never divided, so one that exceeds the budget alone is still held whole. What is finished is marked, so that
an interrupted run can go on.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path, write_text
from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.parsed_columns import LookAgain
from sequifier.preprocess.read import Table
from sequifier.preprocess.working_folder import DEALT

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
    taken: set[int] = set()
    for part, rows in enumerate(remaining_parts(table, config, folder, memory_bytes, is_done=taken.__contains__)):
        assert rows is not None, "a part is done when the next one is asked for"
        taken.add(part)
        yield rows


def remaining_parts(
    table: Table, config: PreprocessConfig, folder: Path, memory_bytes: int, *, is_done: Callable[[int], bool]
) -> Iterator[pl.DataFrame | None]:
    """`read_parts` that can go on after an interruption.

    Args:
        table: see `read_parts`.
        config: see `read_parts`.
        folder: empty, or what an interrupted call with these arguments left.
        memory_bytes: see `read_parts`.
        is_done: whether a part is not needed any more, in this call or since an earlier one; None stands for it, and
            its rows are deleted.
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
    _deal_out(groups, first_ids, folder, batch_rows=max(1, rows_per_part // BATCHES_PER_PART))
    for part in range(len(first_ids)):
        if not is_done(part):
            # A killed process may have left a hidden, half-written piece.
            yield pl.concat([pl.read_ipc(piece) for piece in sorted(_part_folder(folder, part).glob("[0-9]*.arrow"))])
        else:
            yield None
        if is_done(part):
            for piece in _part_folder(folder, part).iterdir():
                piece.unlink()


def _counted(table: Table, folder: Path) -> pl.DataFrame:
    """Rows and missing positions of each sequence."""
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
        (SEQUENCE, config.sequence_column, no_sequence),
        (POSITION, config.position_column, no_position),
    ):
        if count:
            what = "null values"
            if key == POSITION and table.position_is_text:
                if table.is_sample:
                    raise LookAgain  # they may be written in another way than the first one
                what = f"values that are not a {'64-bit integer' if table.position_type == 'Int64' else 'date'}"
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


def _file_groups(table: Table, n_most: int) -> dict[int, pl.LazyFrame]:
    """Consecutive files that are dealt out together, so that many small ones do not make too many pieces.

    Returns:
        For at most about `n_most` groups: number of the last file -> rows.
    """
    if len(table.pieces) == 1:
        return {len(table.source.files) - 1: table.rows}
    sizes = np.array([file.stat().st_size for file in table.source.files])
    group = (np.cumsum(sizes) - sizes) * n_most // sizes.sum()
    ends = np.append(np.flatnonzero(np.diff(group)) + 1, len(sizes)).tolist()
    return {end - 1: pl.concat(table.pieces[start:end]) for start, end in pairwise([0, *ends])}


def _deal_out(groups: Mapping[int, pl.LazyFrame], first_ids: pl.Series, folder: Path, *, batch_rows: int) -> None:
    """Write every row to the folder of its range, batch by batch."""
    for last_file, rows in groups.items():
        mark = folder / f"{DEALT}{last_file:06}"
        if mark.exists():
            continue
        for unfinished in folder.glob(f"range-*/{last_file:06}-*"):
            unfinished.unlink()
        for number, batch in enumerate(rows.collect_batches(chunk_size=batch_rows, maintain_order=True)):
            part = first_ids.search_sorted(batch[SEQUENCE], side="right").alias("part") - 1
            for key, piece in batch.with_columns(part).partition_by("part", as_dict=True, include_key=False).items():
                path = _part_folder(folder, int(key[0])) / f"{last_file:06}-{number:09}.arrow"
                with atomic_path(path) as temporary:
                    piece.write_ipc(temporary)
        write_text(mark, "")


def _part_folder(folder: Path, part: int) -> Path:
    return folder / f"range-{part}"
