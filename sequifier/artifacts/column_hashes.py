"""Hashes of the content of each column, by which the metadata recognise a split."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE, Events
from sequifier.errors import DataError


class ColumnHashes:
    """SHA-256 of each column's content, updated with whole sequences in order.

    The hashed buffers are little-endian and contiguous, so the digests do not depend on the file format, the number of
    parts or the machine. `sequenceId` hashes each sequence as its number of rows and its id (for text: the number of
    bytes, then UTF-8), `isContext` the number of context rows of each sequence.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {key: hashlib.sha256() for key in (SEQUENCE, POSITION, CONTEXT)}

    def update(self, events: Events) -> None:
        """Add the next sequences."""
        self.add_sequences(np.diff(events.offsets), events.sequence_ids, events.n_context)
        self.add_rows(POSITION, events.positions)
        for column, values in events.columns.items():
            self.add_rows(column, values)

    def add_sequences(self, n_rows: NDArray[np.int64], ids: NDArray[Any], n_context: NDArray[np.int64]) -> None:
        """Add `sequenceId` and `isContext` of the next sequences, (S,) each."""
        if ids.dtype == object:
            texts = (str(text).encode() for text in ids)
            pairs = zip(n_rows.tolist(), texts, strict=True)
            self._add(SEQUENCE, b"".join(b"%d %d " % (rows, len(text)) + text for rows, text in pairs))
        else:
            self._add(SEQUENCE, np.stack([n_rows, ids], axis=1))
        self._add(CONTEXT, n_context)

    def add_rows(self, column: str, values: NDArray[Any]) -> None:
        """Add the next rows of `itemPosition` or of a feature."""
        self._add(column, values.view(np.int64) if values.dtype.kind == "M" else values)

    def digests(self) -> dict[str, str]:
        """Return the first 16 hexadecimal digits for each column."""
        return {column: content.hexdigest()[:16] for column, content in self._hashes.items()}

    def _add(self, column: str, content: bytes | NDArray[Any]) -> None:
        if isinstance(content, np.ndarray):
            little_endian = content.dtype.newbyteorder("<")
            content = np.ascontiguousarray(content, dtype=little_endian).data  # type: ignore[assignment]
        self._hashes.setdefault(column, hashlib.sha256()).update(content)


def check_hashes(path: Path, hashes: ColumnHashes, expected: Mapping[str, str]) -> None:
    """Compare the content of a split with the hashes in the metadata.

    Raises:
        DataError: they differ.
    """
    for column, found in hashes.digests().items():
        if found != expected.get(column):
            raise DataError(
                f"column `{column}` differs from the metadata: this file and the metadata belong to different data "
                f"sets (hash {found}, in the metadata {expected.get(column) or 'none'})",
                where=str(path),
                fix="use the metadata written together with this file, or run `sequifier preprocess` again",
            )
