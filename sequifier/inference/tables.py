"""Tables that inference writes in parts, and that appear whole or not at all."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl

from sequifier.artifacts.atomic import atomic_folder, atomic_path

Format = Literal["csv", "parquet"]


class Table:
    """One table below outputs/: a file, or a folder with a file for each shard of the input.

    Args:
        files: is closed when all rows are added; then the table gets its name.
        path: the file or folder, without the suffix of a file.
        format: of the files.
        shard_name: number of a shard -> name of its file; None for a table in one file.
    """

    def __init__(
        self, files: ExitStack, path: Path, format: Format, shard_name: Callable[[int], str] | None = None
    ) -> None:
        self._format, self._shard_name = format, shard_name
        if shard_name is None:
            self.path = path.with_name(f"{path.name}.{format}")
            self._temporary = files.enter_context(atomic_path(self.path))
        else:
            self.path = path
            self._temporary = files.enter_context(atomic_folder(path))
        self._shard = -1
        self._open = files.enter_context(ExitStack())

    def add(self, shard: int, columns: Mapping[str, Any]) -> None:
        """Add rows. Shards come in order; one may have several parts."""
        if shard != self._shard:
            self._shard = shard
            self._open.close()
            path = self._temporary
            if self._shard_name is not None:
                path /= f"{self._shard_name(shard)}.{self._format}"
            self._file = self._open.enter_context(_GrowingFile(path, self._format))
        self._file.add(pl.DataFrame(dict(columns)))

    def finish(self) -> None:
        """Write the remaining rows, so that closing `files` only renames."""
        self._open.close()
        if self.path.is_symlink():  # a link to outputs of another input, which a folder cannot replace
            self.path.unlink()


class _GrowingFile:
    """A file that is written in parts: CSV by appending, Parquet by joining pieces at the end."""

    def __init__(self, path: Path, format: Format) -> None:
        self._path, self._format = path, format
        self._only: pl.DataFrame | None = None
        self._n_pieces = 0

    def __enter__(self) -> Self:
        if self._format == "csv":
            self._csv = self._path.open("wb")
        return self

    def add(self, frame: pl.DataFrame) -> None:
        with _as_os_error():
            if self._format == "csv":
                frame.write_csv(self._csv, include_header=not self._n_pieces)
            else:
                if self._n_pieces == 1 and self._only is not None:
                    self._only.write_parquet(self._piece(0))
                    self._only = None
                if self._n_pieces:
                    frame.write_parquet(self._piece(self._n_pieces))
                else:
                    self._only = frame
        self._n_pieces += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._format == "csv":
            self._csv.close()
            return
        pieces = [self._piece(number) for number in range(self._n_pieces)]
        try:
            if kind is None:
                with _as_os_error():
                    if self._only is not None:
                        self._only.write_parquet(self._path)
                    else:
                        pl.scan_parquet(pieces, glob=False).sink_parquet(self._path)
        finally:
            for piece in pieces:
                piece.unlink(missing_ok=True)

    def _piece(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.piece-{number}")


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise OSError for a full disk, which polars wraps for some formats in an error whose text has the number."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def file_name(column: str) -> str:
    """Return a column's name as part of a file name, different for each column.

    Characters with a meaning in paths become %XX; a name too long for a file ends in its hash.

    >>> file_name("a/../b")
    'a%2F..%2Fb'
    """
    safe = "".join(f"%{ord(c):02X}" if c in "/\\%:" or not c.isprintable() else c for c in column)
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    return f"{safe[: _LONGEST_NAME // 4]}%{hashlib.sha256(column.encode()).hexdigest()[:16]}"


_LONGEST_NAME = 120  # bytes of the 255 that file systems allow, beside the model's name; a character has at most four
