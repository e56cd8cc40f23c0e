"""Offsets of the columns in an Arrow IPC file, for mapping them from disk.

polars reads such files too, but does not promise that the values stay on disk. The few tables needed here are read from
the file itself: its footer lists the record batches, and each batch lists its buffers.
Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format (File.fbs, Message.fbs, Schema.fbs);
layout of tables: https://flatbuffers.dev/internals/.
Shapes: K record batches.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC, _LITTLE_ENDIAN = b"ARROW1", 0
_INT, _FLOAT, _BINARY, _TEXT, _BOOL, _DATE, _TIMESTAMP, _LARGE_BINARY, _LARGE_TEXT = 2, 3, 4, 5, 6, 8, 10, 19, 20
_VIEWS = (23, 24)
"""Types whose number of buffers is in each batch."""
_BUFFERS = {
    **dict.fromkeys((_INT, _FLOAT, _BOOL, _DATE, _TIMESTAMP), 2),  # validity, values
    **dict.fromkeys((_BINARY, _TEXT, _LARGE_BINARY, _LARGE_TEXT), 3),  # validity, offsets, bytes
}


class NotMappableError(Exception):
    """The file is not an Arrow file, or is damaged or compressed, or has other columns than a split."""


@dataclass(frozen=True)
class Blocks:
    """Offsets of the values of one column.

    Attributes:
        starts: (K,) int64, offset of the first value of each batch in the file, in units of four bytes.
        lengths: (K,) int64, number of rows of each batch.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def locate_columns(content: NDArray[np.uint8], columns: Sequence[str]) -> dict[str, Blocks]:
    """Return the offsets of columns of 32-bit numbers without nulls.

    Args:
        content: the mapped bytes of the whole file.
        columns: names of the columns.

    Raises:
        NotMappableError: the columns cannot be mapped.
    """
    try:
        return _located(memoryview(content.data), columns)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NotMappableError(f"damaged: {error}") from error


def _located(data: memoryview, columns: Sequence[str]) -> dict[str, Blocks]:
    if len(data) < 20 or bytes(data[:6]) != _MAGIC or bytes(data[-6:]) != _MAGIC:
        raise NotMappableError("not an Arrow file")
    (footer_length,) = struct.unpack_from("<i", data, len(data) - 10)
    footer = _Table.root(data, len(data) - 10 - footer_length)
    schema = footer.table(1)
    if schema is None or schema.number(0, "<h") != _LITTLE_ENDIAN:
        raise NotMappableError("without a schema, or big-endian")
    fields = schema.tables(1)
    names = [field.text(0) for field in fields]
    kinds = [field.number(2, "B") for field in fields]
    if any(field.table(4) for field in fields):
        raise NotMappableError("a column with a dictionary")
    for column in columns:
        if column not in names or kinds[names.index(column)] not in (_INT, _FLOAT):
            raise NotMappableError(f"{column} is not a column of numbers")
    starts: dict[str, list[int]] = {column: [] for column in columns}
    lengths: list[int] = []
    for offset, metadata_length, body_length in footer.structs(3, "<qi4xq"):
        body = offset + metadata_length
        # A message begins with a marker and its length, four bytes each.
        batch = _Table.root(data, offset + 8).table(2)
        if batch is None or batch.table(3) is not None:
            raise NotMappableError("compressed")
        n_rows = batch.number(0, "<q")
        nulls = [null_count for _, null_count in batch.structs(1, "<qq")]
        buffers = batch.structs(2, "<qq")
        first = _first_buffers(kinds, batch)
        for column in columns:
            number = names.index(column)
            start, size = buffers[first[number] + 1]
            place = body + start
            is_inside = 0 <= place <= len(data) - size and start + size <= body_length
            if nulls[number] or not 0 <= 4 * n_rows <= size or place % 4 or not is_inside:
                raise NotMappableError(f"{column} is not {n_rows} numbers of four bytes")
            starts[column].append(place // 4)
        lengths.append(n_rows)
    of_batch = np.array(lengths, dtype=np.int64)
    return {column: Blocks(np.array(places, dtype=np.int64), of_batch) for column, places in starts.items()}


def _first_buffers(kinds: Sequence[int], batch: "_Table") -> list[int]:
    """Return the index of each column's first buffer in the list of a batch."""
    extra = iter([count for (count,) in batch.structs(4, "<q")])
    first, total = [], 0
    for kind in kinds:
        first.append(total)
        if kind in _VIEWS:
            total += 2 + next(extra)
        elif kind in _BUFFERS:
            total += _BUFFERS[kind]
        else:
            raise NotMappableError(f"a column of type {kind}")
    return first


@dataclass(frozen=True)
class _Table:
    """A FlatBuffers table, whose fields are found by a list of offsets before it."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, data: memoryview, at: int) -> "_Table":
        return cls(data, at + struct.unpack_from("<I", data, at)[0])

    def number(self, slot: int, format: str) -> int:
        """Return an integer field; 0 where it is left out."""
        place = self._field(slot)
        return struct.unpack_from(format, self.data, place)[0] if place else 0

    def table(self, slot: int) -> "_Table | None":
        place = self._field(slot)
        return _Table(self.data, self._follow(place)) if place else None

    def tables(self, slot: int) -> list["_Table"]:
        start, count = self._vector(slot)
        return [_Table(self.data, self._follow(start + 4 * number)) for number in range(count)]

    def text(self, slot: int) -> str:
        start, length = self._vector(slot)
        return bytes(self.data[start : start + length]).decode()

    def structs(self, slot: int, format: str) -> list[tuple[Any, ...]]:
        start, count = self._vector(slot)
        size = struct.calcsize(format)
        return [struct.unpack_from(format, self.data, start + size * number) for number in range(count)]

    def _field(self, slot: int) -> int:
        """Return the offset of a field; 0 where it is left out."""
        fields = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        (size,) = struct.unpack_from("<H", self.data, fields)
        entry = 4 + 2 * slot
        offset = struct.unpack_from("<H", self.data, fields + entry)[0] if entry < size else 0
        return self.at + offset if offset else 0

    def _follow(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def _vector(self, slot: int) -> tuple[int, int]:
        """Return the offset of the first entry of a list, and the number of entries."""
        place = self._field(slot)
        if not place:
            return 0, 0
        at = self._follow(place)
        return at + 4, struct.unpack_from("<I", self.data, at)[0]
