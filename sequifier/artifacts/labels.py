"""A summary of large metadata files without their labels, since most commands do not need a million labels.

Beside a metadata JSON of `LARGE_BYTES` or more, `preprocess` writes NAME.json.summary: everything except the id maps,
with the SHA-256 of the JSON. A reader hashes the JSON; if the hash is the one in the summary, the id maps are parsed at
the first use. Without a matching summary, the whole JSON is read. Deleting the summary only costs time.
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
"""Size from which a summary is written; a smaller JSON is parsed in about 0.2 s."""


class LabelsOnDisk(Mapping[str, dict[str, int]]):
    """Column -> label -> id, read from the metadata JSON at the first use."""

    def __init__(self, path: Path, digest: str, columns: list[str], fix: str) -> None:
        self._path, self._digest, self._columns, self._fix = path, digest, columns, fix
        self._maps: dict[str, dict[str, int]] | None = None

    def __getitem__(self, column: str) -> dict[str, int]:
        if column not in self._columns:
            raise KeyError(column)
        if self._maps is None:
            content = read_object("the metadata", self._path, fix=self._fix)
            if _digest(self._path) != self._digest:
                raise DataError("the metadata changed during their use", where=str(self._path), fix=self._fix)
            self._maps = content["id_maps"]
        return self._maps[column]

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def write_summary(path: Path, columns: list[str], rest: Mapping[str, Any]) -> None:
    """Write the summary of a metadata JSON, or remove an older one; a full disk is ignored.

    Args:
        path: the JSON, already written.
        columns: columns with an id map.
        rest: the other content, by key.
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
    """Return the content of a metadata JSON with its id maps on disk; None where the whole JSON must be read."""
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
    return path.parent / f"{path.name}.summary"  # also of a folder, `.`, which has no name


def _digest(path: Path) -> str:
    check_is_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
