"""Memory-mapped splits: the columns stay in an uncompressed Arrow file on disk, and pages are read at their first use.

A split in another format, or in shards, is converted once. The name of the copy, beside the split, has a hash of size,
time of change and content of the split, so that the copy of an older split is never used.
Shapes: N rows of a split, S its sequences, K record batches of the file.
"""

import glob
import hashlib
import json
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sequifier.artifacts.arrow_file import Blocks, NotMappableError, locate_columns
from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.column_hashes import ColumnHashes, check_hashes
from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE, Format
from sequifier.artifacts.shard_folder import content_stat
from sequifier.artifacts.split_file import format_of, n_rows_of, no_rows, scan_events, sink_rows, wrap_split_errors
from sequifier.errors import DataError

RESIDENT_BYTES = 1 << 30
"""Resident pages of a file above which they are released; the system may still cache them."""
_ROWS = 1 << 20
"""Rows that are read at a time."""
_STATM = Path("/proc/self/statm")
_USES = 64
"""Batches between two checks of the resident pages."""

Runs = Callable[[NDArray[np.int64]], NDArray[Any]]
"""First rows (B,) -> the values from these rows on, (B, length)."""


class MappedFile:
    """The mapped bytes of a file; they do not change when the file is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._stat = _stat_of(os.fstat(file.fileno()))
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.content = np.frombuffer(self._map, np.uint8)
        self.words = np.frombuffer(self._map, "<i4", count=len(self._map) // 4)
        self._uses, self._others = 0, _file_bytes()

    def check_unchanged(self) -> None:
        """Check that nobody wrote into the file, which would change the mapped bytes.

        Raises:
            DataError: the file was changed.
        """
        if not self._path.exists():
            return  # removed or moved: the mapped bytes remain
        now = _stat_of(self._path.stat())
        if now != self._stat and now[:2] == self._stat[:2]:
            raise DataError(
                f"{self._path.name} was changed while it was in use",
                where=str(self._path),
                fix="run `sequifier preprocess` again; replace data files, do not write into them",
            )

    def release(self) -> None:
        """Release the resident pages."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
        self._others = _file_bytes()

    def expect_random_reads(self) -> None:
        """Turn off reading ahead, which for windows at random places would read the file many times."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_RANDOM)

    def used(self) -> None:
        """Keep the resident pages near RESIDENT_BYTES (Linux); call it after each batch."""
        self._uses += 1
        if self._uses % _USES == 0 and _file_bytes() - self._others > RESIDENT_BYTES:
            self.release()


class MappedColumn:
    """One column on disk, indexed like a NumPy array by row numbers or by a slice without a step."""

    def __init__(self, words: NDArray[np.int32], blocks: Blocks, dtype: np.dtype[Any]) -> None:
        self._words, self.dtype = words, dtype
        self._ends = np.cumsum(blocks.lengths)
        self._shifts = blocks.starts - (self._ends - blocks.lengths)  # offset of a row in the file minus its number

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(rows, slice):
            return self._slice(*rows.indices(len(self))[:2])
        places = rows + self._shifts[np.searchsorted(self._ends, rows, side="right")]
        return self._words[places].view(self.dtype)

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        if start >= stop:
            return np.empty(0, self.dtype)
        parts, (first, last) = [], np.searchsorted(self._ends, [start, stop - 1], side="right")
        for block in range(first, last + 1):
            end = min(stop, int(self._ends[block]))
            parts.append(self._words[start + self._shifts[block] : end + self._shifts[block]])
            start = end
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)).view(self.dtype)

    def runs(self, length: int) -> Runs:
        """Return a function that reads runs of `length` rows, faster than row by row."""
        view = sliding_window_view(self._words, length) if length <= len(self) else self._words[:0]
        steps = np.arange(length)

        def take(starts: NDArray[np.int64]) -> NDArray[Any]:
            block = np.searchsorted(self._ends, starts, side="right")
            if (starts + length > self._ends[block]).any():  # a run that continues in the next record batch
                return self[starts[:, None] + steps]
            return view[starts + self._shifts[block]].view(self.dtype)

        return take


@dataclass(frozen=True)
class MappedEvents:
    """Whole sequences of one split with features on disk; the attributes are those of `Events`."""

    offsets: NDArray[np.int64]
    n_context: NDArray[np.int64]
    columns: dict[str, MappedColumn]
    file: MappedFile


def map_events(
    path: Path,
    columns: Sequence[str],
    *,
    expected_hashes: Mapping[str, str] | None,
    format: Format | None = None,
) -> MappedEvents:
    """Map some features of one split; see `read_events`.

    Memory: 24 bytes for each sequence, and its id during the comparison with the metadata.

    Raises:
        DataError: as `read_events`.
        RunError: a copy is needed and cannot be written beside the file.
    """
    format = format or format_of(path)
    with wrap_split_errors(path, format):
        scan_events(path, columns, format)
    if format == "arrow" and path.is_file():
        try:
            return _mapped(path, path, columns, expected_hashes)
        except NotMappableError:
            pass  # compressed, or not written by Sequifier: converted like the other formats
    copy = _copy_path(path, expected_hashes)
    if copy.exists():
        try:
            return _mapped(copy, path, columns, expected_hashes)
        except (NotMappableError, DataError):
            pass  # a damaged copy is written again
    _convert(path, format, copy)
    try:
        return _mapped(copy, path, columns, expected_hashes)
    except NotMappableError as error:
        raise DataError(
            f"cannot map {path.name}: {error}", where=str(path), fix="run `sequifier preprocess` again"
        ) from error


def _copy_path(path: Path, expected_hashes: Mapping[str, str] | None) -> Path:
    source = json.dumps([*content_stat(path), sorted((expected_hashes or {}).items())])
    return path.with_name(f"{path.name}.mapped-{hashlib.sha256(source.encode()).hexdigest()[:12]}.arrow")


def _convert(path: Path, format: Format, copy: Path) -> None:
    """Write all features of a split to an uncompressed Arrow file, part by part, and remove older copies."""
    import polars as pl

    with wrap_split_errors(path, format):
        rows = scan_events(path, [], format)
        schema = rows.collect_schema()
    features = [column for column, type_ in schema.items() if type_ in (pl.Int32, pl.Float32)]
    keys = (SEQUENCE, POSITION, CONTEXT)
    with atomic_path(copy) as temporary:
        try:
            sink_rows(temporary, rows.select(*keys, *(name for name in features if name not in keys)), "arrow")
        except pl.exceptions.PolarsError:
            with wrap_split_errors(path, format):
                raise
    for old in copy.parent.glob(f"{glob.escape(path.name)}.mapped-*.arrow"):
        if old != copy:
            old.unlink(missing_ok=True)


def _mapped(
    path: Path, source: Path, columns: Sequence[str], expected_hashes: Mapping[str, str] | None
) -> MappedEvents:
    """Map an Arrow file; errors name `source`.

    Raises:
        NotMappableError: the file cannot be mapped.
        DataError: the file has no rows, or its content differs from the metadata.
    """
    import polars as pl

    n_rows = n_rows_of(path, "arrow")
    if n_rows == 0:
        raise no_rows(source)
    file = MappedFile(path)
    blocks = locate_columns(file.content, columns)
    with wrap_split_errors(source, "arrow"):
        schema = pl.scan_ipc(path, glob=False).collect_schema()
    dtypes = {column: np.dtype(np.int32 if schema[column] == pl.Int32 else np.float32) for column in columns}
    mapped = {column: MappedColumn(file.words, blocks[column], dtypes[column]) for column in columns}
    hashes = None if expected_hashes is None else ColumnHashes()
    with wrap_split_errors(source, "arrow"):
        offsets, n_context = _read_sequences(path, n_rows, hashes)
    if hashes is not None and expected_hashes is not None:
        for name, column in mapped.items():
            for start in range(0, n_rows, _ROWS):
                hashes.add_rows(name, column[start : start + _ROWS])
                file.used()
        check_hashes(source, hashes, expected_hashes)
    file.release()
    file.expect_random_reads()
    return MappedEvents(offsets, n_context, mapped, file)


def _read_sequences(
    path: Path, n_rows: int, hashes: ColumnHashes | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets of sequences, (S + 1,), and their context rows, (S,); hash the columns that are not mapped."""
    import polars as pl

    keys = pl.scan_ipc(path, glob=False).select(SEQUENCE, CONTEXT, *([] if hashes is None else [POSITION]))
    starts: list[NDArray[np.int64]] = []
    ids: list[pl.Series] = []
    contexts: list[NDArray[np.int64]] = []
    last_id: Any = None
    for start in range(0, n_rows, _ROWS):
        frame = keys.slice(start, _ROWS).collect()
        sequence = frame[SEQUENCE]
        begins = sequence.ne_missing(sequence.shift(1))
        begins[0] = start == 0 or sequence[0] != last_id
        last_id = sequence[-1]
        here = np.flatnonzero(begins.to_numpy())
        starts.append(here + start)
        is_context = frame[CONTEXT].to_numpy().astype(np.int64)
        if not begins[0]:  # the last sequence continues
            until = here[0] if len(here) else len(is_context)
            contexts[-1][-1] += is_context[:until].sum()
        if len(here):
            contexts.append(np.add.reduceat(is_context, here))
        if hashes is not None:
            ids.append(sequence.gather(pl.Series(here)))
            hashes.add_rows(POSITION, frame[POSITION].to_numpy())
    offsets = np.concatenate([*starts, [n_rows]]).astype(np.int64)
    n_context = np.concatenate(contexts)
    if hashes is not None:
        names = pl.concat(ids)
        text = names.dtype == pl.String
        hashes.add_sequences(
            np.diff(offsets), np.array(names.to_list(), dtype=object) if text else names.to_numpy(), n_context
        )
    return offsets, n_context


def _stat_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return device, inode, size and time of change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _file_bytes() -> int:
    """Return the bytes of file pages that are resident in this process; 0 where they are unknown (macOS)."""
    return int(_STATM.read_text().split()[2]) * mmap.PAGESIZE if _STATM.exists() else 0
