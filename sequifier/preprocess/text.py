"""Raw text files -> sequences of characters: `read_format: text`.

A character is a Unicode code point, unchanged from the file: also line ends, tabs and a byte order mark. Each file is
cut into sequences of `text_sequence_length` characters; the last one is shorter.

An array that is indexed by code point maps characters to ids. The files are read again for each step; a part is the
text that is in memory at once.
Shapes: S sequences of a part, N its characters.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.metadata import Metadata
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import CHAR
from sequifier.errors import DataError
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.foreign_file import other_encoding
from sequifier.preprocess.learn import COUNT, VALUE, choose_vocabulary, why_unknown
from sequifier.preprocess.source import Source

BYTES_PER_CHARACTER = 64
"""Largest memory of a character while a part is encoded and written."""

_CODE_POINTS = 0x110000  # number of Unicode code points


@dataclass(frozen=True)
class TextPart:
    """Consecutive sequences of one file.

    Attributes:
        path: the file.
        first_byte: offset of the part in the file.
        n_bytes: length of the part in UTF-8.
        sequence_ids: (S,) numbered over all files.
        offsets: (S + 1,) sequence s has the characters offsets[s] : offsets[s + 1].
    """

    path: Path
    first_byte: int
    n_bytes: int
    sequence_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def code_points(self) -> NDArray[Any]:
        """Read the code points, (N,) unsigned integers.

        Raises:
            DataError: the file has changed since it was checked.
        """
        with self.path.open("rb") as file:
            file.seek(self.first_byte)
            content = file.read(self.n_bytes)
        try:
            found = np.frombuffer(content, np.uint8) if content.isascii() else _code_points(content.decode())
        except UnicodeDecodeError:
            found = np.empty(0, np.uint8)
        if len(found) != self.offsets[-1]:
            raise DataError(
                "the text changed while it was read", where=str(self.path), fix="run `sequifier preprocess` again"
            )
        return found

    def positions(self) -> NDArray[np.int64]:
        """Return (N,) the number of each character in its sequence."""
        return np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def encoded(self, ids: NDArray[np.int32]) -> Events:
        """Return the encoded part.

        Args:
            ids: see `id_of_code_point`.
        """
        return Events(
            sequence_ids=self.sequence_ids,
            offsets=self.offsets,
            n_context=np.zeros(len(self.sequence_ids), dtype=np.int64),
            positions=self.positions(),
            columns={CHAR: ids[self.code_points()]},
        )


@dataclass(frozen=True)
class Texts:
    """Checked text files.

    Attributes:
        source: the files.
        parts: the parts in order, of whole sequences.
        text_of_sequence: (sequences of all parts,) number of the file of each sequence.
    """

    source: Source
    parts: list[TextPart]
    text_of_sequence: NDArray[np.int64]


def read_texts(source: Source, config: PreprocessConfig, memory_bytes: int) -> Texts:
    """Check that all files are UTF-8, and divide them into parts.

    Args:
        source: the files.
        config: text_sequence_length, max_rows.
        memory_bytes: largest memory of a part.

    Raises:
        DataError: a file is empty or not UTF-8; the message has the first invalid byte.
    """
    length = config.text_sequence_length
    n_most = max(1, memory_bytes // (BYTES_PER_CHARACTER * length)) * length
    left = config.max_rows
    parts: list[TextPart] = []
    texts: list[NDArray[np.int64]] = []
    n_sequences = 0
    for number, path in enumerate(source.files):
        if left == 0:
            break
        first_byte = 0
        for piece in _pieces(path, n_most, left):
            offsets = np.append(np.arange(0, len(piece), length), len(piece))
            ids = n_sequences + np.arange(len(offsets) - 1)
            parts.append(TextPart(path, first_byte, _utf8_length(piece), ids, offsets))
            texts.append(np.full(len(ids), number))
            first_byte += parts[-1].n_bytes
            n_sequences += len(ids)
            left = None if left is None else left - len(piece)
    return Texts(source, parts, np.concatenate(texts))


def learn_characters(
    texts: Texts,
    n_training_rows: Sequence[NDArray[np.int64]],
    config: PreprocessConfig,
    stored: Metadata | None,
    log: Log,
) -> Encoding:
    """Learn the vocabulary of characters, sorted by code point, and report the number of characters.

    Args:
        texts: the files.
        n_training_rows: for each part (S,), the number of first characters of each sequence that are in split 0.
        config: vocabulary_from, min_count, max_categories.
        stored: metadata whose vocabulary to use instead.
        log: receives lines for the user.

    Raises:
        DataError: the stored metadata are not metadata of a text.
    """
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    training = np.zeros_like(counts)
    for part, n_training in zip(texts.parts, n_training_rows, strict=True):
        found = part.code_points()
        _count(found, counts)
        if stored is None and config.vocabulary_from == "train":
            is_training = part.positions() < np.repeat(n_training, np.diff(part.offsets))
            _count(found[is_training], training)
    if stored is not None:
        encoding = _stored_encoding(stored, config)
    else:
        usable = training if config.vocabulary_from == "train" else counts
        present = np.flatnonzero(usable)
        frame = pl.DataFrame({VALUE: list(map(chr, present.tolist())), COUNT: usable[present]})
        encoding = Encoding((CHAR,), {CHAR: choose_vocabulary(CHAR, [frame], config)}, {})
    n_files = len(texts.source.files)
    log(
        f"{texts.source.path}: {f'{n_files:,} files, ' if n_files > 1 else ''}{counts.sum():,} characters, "
        f"{np.count_nonzero(counts):,} distinct ones, in {len(texts.text_of_sequence):,} sequences of up to "
        f"{config.text_sequence_length:,}"
    )
    if unknown := int(counts[id_of_code_point(encoding) == 0].sum()):
        log(
            f"note: column `{CHAR}`: {unknown:,} of {counts.sum():,} values are unknown (id 0)"
            f"{why_unknown(CHAR, config, stored)}"
        )
    return encoding


def id_of_code_point(encoding: Encoding) -> NDArray[np.int32]:
    """Return (0x110000,) the id of each character; 0 for unknown ones."""
    ids = np.zeros(_CODE_POINTS, dtype=np.int32)
    for id, character in enumerate(encoding.vocabularies[CHAR], start=1):
        if len(character) == 1:  # metadata of a table may have longer texts in a column of this name
            ids[ord(character)] = id
    return ids


def _stored_encoding(stored: Metadata, config: PreprocessConfig) -> Encoding:
    if stored.columns != [CHAR] or stored.column_types[CHAR] != "String":
        raise DataError(
            f"a text has the column `{CHAR}` only, and the metadata have {', '.join(stored.columns)}",
            where=f"metadata_config_path: {config.metadata_config_path}",
            fix="use metadata of a text",
        )
    return Encoding.from_metadata(stored, [CHAR])


def _pieces(path: Path, n_most: int, limit: int | None) -> Iterator[str]:
    """Yield the text of a file in pieces of `n_most` characters, the last one shorter; at most `limit` characters."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    text, n_read = "", 0
    with path.open("rb") as file:
        is_whole = False
        while not is_whole:
            content = file.read(n_most)
            is_whole = not content
            try:
                text += decode(content, final=is_whole)
            except UnicodeDecodeError as error:
                # `error.object` starts with the bytes that the decoder kept from the last read.
                offset = n_read + len(content) - len(error.object) + error.start
                raise _not_utf8(path, offset, error) from error
            n_read += len(content)
            while len(text) >= n_most or (is_whole and text):
                piece, text = text[: min(n_most, limit or n_most)], text[n_most:]
                yield piece
                if limit is not None:
                    limit -= len(piece)
                    if limit == 0:
                        return
    if n_read == 0:
        raise DataError("the file is empty", where=str(path), fix="remove it, or write the text again")


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> DataError:
    with path.open("rb") as file:
        if other := other_encoding(file.read(64)):
            return DataError(f"the file is {other}, not UTF-8", where=str(path), fix="save it as UTF-8")
        file.seek(0)
        n_lines, left = 1, offset
        while content := file.read(min(left, 1 << 20)):
            n_lines += content.count(b"\n")
            left -= len(content)
    return DataError(
        f"byte 0x{error.object[error.start]:02x} is not UTF-8 ({error.reason})",
        where=f"{path}, line {n_lines:,}, byte offset {offset:,}",
        fix="save the file as UTF-8",
    )


def _code_points(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _count(code_points: NDArray[Any], counts: NDArray[np.int64]) -> None:
    found = np.bincount(code_points)
    counts[: len(found)] += found
