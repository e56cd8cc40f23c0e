"""The labels of a large metadata file apart from the rest: most commands need none of a million labels.

Beside a metadata JSON of `LARGE_BYTES` or more, `preprocess` leaves NAME.json.summary: everything but the id maps, with
the SHA-256 of the JSON. A reader hashes the JSON; where that is the one in the summary, the JSON is what was written
and checked together with it, and the id maps are parsed when somebody asks for one. Without a summary, or with another
one, the JSON is read whole. Deleting the summary costs time alone.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.read_file import object_or_none, parse_json, read_object
from sequifier.errors import DataError, SequifierError
from sequifier.regular_file import check_is_file

LARGE_BYTES = 4 << 20
"""A smaller JSON is parsed in about 0.2 s."""


class LabelsOnDisk(Mapping[str, dict[str, int]]):
    """Column -> label -> id, read from the metadata JSON at the first look."""

    def __init__(self, path: Path, digest: str, columns: list[str], fix: str) -> None:
        self._path, self._digest, self._columns, self._fix = path, digest, columns, fix
        self._maps: dict[str, dict[str, int]] | None = None

    def __getitem__(self, column: str) -> dict[str, int]:
        if column not in self._columns:
            raise KeyError(column)
        if self._maps is None:
            content = read_object("the metadata", self._path, fix=self._fix)
            if _digest(self._path) != self._digest:
                raise DataError("the metadata changed while they were used", where=str(self._path), fix=self._fix)
            self._maps = content["id_maps"]
        return self._maps[column]

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def write_summary(path: Path, columns: list[str], rest: Mapping[str, Any]) -> None:
    """Write the summary of a metadata JSON, or remove that of an older one; a disk that is full does not matter.

    Args:
        path: the JSON, already written.
        columns: those with an id map.
        rest: what else it holds, by key.
    """
    summary = _summary_path(path)
    with suppress(OSError, SequifierError):
        summary.unlink(missing_ok=True)
        if path.stat().st_size < LARGE_BYTES:
            return
        body = json.dumps({"columns": columns, "rest": rest}, ensure_ascii=False)
        digests = {"json": _digest(path), "body": hashlib.sha256(body.encode()).hexdigest()}
        write_text(summary, json.dumps({"digests": digests, "body": body}, ensure_ascii=False) + "\n")


def read_summary(path: Path, *, fix: str) -> dict[str, Any] | None:
    """The content of a metadata JSON with its id maps left on disk; None where it must be read whole."""
    summary = object_or_none(_summary_path(path)) if _summary_path(path).exists() else None
    if summary is None:
        return None
    try:
        body, digests = summary["body"], summary["digests"]
        if hashlib.sha256(body.encode()).hexdigest() != digests["body"] or _digest(path) != digests["json"]:
            return None
        content = parse_json(body)
        return {**content["rest"], "id_maps": LabelsOnDisk(path, digests["json"], content["columns"], fix)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _summary_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.summary")


def _digest(path: Path) -> str:
    check_is_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
