"""A split as a folder of shards: `NAME-split0/NAME-split0-0.pt`, `-1.pt`, ... and `metadata.json`.

A shard has whole sequences, in order. The JSON file lists the shards with their columns and rows, so that a missing
shard is detected, and columns and rows are known without loading a shard.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from sequifier.artifacts.format_version import check_format
from sequifier.artifacts.read_file import parse_json, wrap_read_errors
from sequifier.config.base import StrictModel
from sequifier.config.train import EventFormat
from sequifier.errors import DataError
from sequifier.regular_file import read_bytes

INDEX = "metadata.json"
FORMAT_VERSION = 1


class Shard(StrictModel):
    """One file."""

    path: str  # name in the folder
    rows: int = Field(gt=0)
    sequences: int = Field(gt=0)


class ShardIndex(StrictModel):
    """The content of metadata.json."""

    format_version: int = FORMAT_VERSION
    format: EventFormat
    column_types: dict[str, str]  # in stored order, sequenceId, itemPosition and isContext first; names of polars
    shards: list[Shard] = Field(min_length=1)

    @property
    def rows(self) -> int:
        """Number of rows of all shards, with context."""
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True)
class StoredFiles:
    """The files of a split: one file, or its shards.

    Attributes:
        paths: the files, in order.
        format: format of all files.
        index: the index of a folder of shards, or of the folder of a .pt shard.
    """

    paths: tuple[Path, ...]
    format: EventFormat
    index: ShardIndex | None


def write_index(folder: Path, index: ShardIndex) -> None:
    """Write metadata.json into a temporary folder."""
    (folder / INDEX).write_text(json.dumps(index.model_dump(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_index(folder: Path) -> ShardIndex:
    """Read metadata.json.

    Raises:
        DataError: the file is missing, damaged, or from Sequifier v1.
    """
    path = folder / INDEX
    again = "run `sequifier preprocess` again"
    if not path.exists():
        raise DataError(
            f"{folder.name} is not a split: it has no {INDEX}, as a folder of shards does",
            where=str(folder),
            fix=f"give the file or folder of a split, or {again}",
        )
    with wrap_read_errors(INDEX, path, fix=again):
        content = parse_json(read_bytes(path))
        if isinstance(content, dict) and "batch_files" in content:
            raise DataError(
                f"{folder.name} has windows of Sequifier v1, not events",
                where=str(path),
                fix="run `sequifier preprocess` on the raw data again",
            )
        check_format(content.get("format_version") if isinstance(content, dict) else None, FORMAT_VERSION, INDEX, path)
        index = ShardIndex.model_validate(content)
        if outside := [shard.path for shard in index.shards if Path(shard.path).name != shard.path]:
            raise ValueError(f"the shard {outside[0]!r} is not in the folder")
        return index


def shards_of(folder: Path, format: EventFormat | None) -> StoredFiles:
    """Return the shards of a folder.

    Raises:
        DataError: a shard is missing, or the shards have another format than `format`.
    """
    index = read_index(folder)
    if format not in (None, index.format):
        raise DataError(
            f"the shards are {index.format}, not {format}",
            where=str(folder),
            fix=f"set read_format: {index.format}, or leave it out",
        )
    paths = tuple(folder / shard.path for shard in index.shards)
    if missing := [path for path in paths if not path.exists()]:
        raise DataError(
            f"{len(missing):,} of {len(paths):,} shards are missing, the first one is {missing[0].name}",
            where=str(folder),
            fix="copy the whole folder, or run `sequifier preprocess` again",
        )
    return StoredFiles(paths, index.format, index)


def in_number_order(paths: list[Path]) -> tuple[Path, ...]:
    """Return files sorted by name, `-2` before `-10`."""
    return tuple(sorted(paths, key=lambda path: [(len(part), part) for part in re.split(r"(\d+)", path.stem)]))


def content_digest(path: Path) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a split: of its file, or of all files of its folder by name.

    Raises:
        OSError: the file does not exist.
    """
    whole = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as content:
                whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()[:16]


def content_stat(path: Path) -> tuple[int, int]:
    """Return size and time of change of a split; for a folder, those of its metadata.json.

    Raises:
        OSError: the file does not exist.
    """
    index = path / INDEX
    status = index.stat() if index.exists() else path.stat()
    return status.st_size, status.st_mtime_ns
