"""Encoded events of a table or of texts, in parts of whole sequences, with the splits that they belong to."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from sequifier.artifacts.events import Events, statistics_columns
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.split_file import read_events, write_events
from sequifier.artifacts.table_form import PLAIN_TABLE, TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import CHAR, END, WHOLE_SEQUENCES, TypeName
from sequifier.errors import DataError
from sequifier.percent import counted
from sequifier.preprocess.agree_columns import NO_FORMATS, SAMPLE_ROWS, NeedsAllValues, StoredFormats, stored_formats
from sequifier.preprocess.check import Part, check_settings
from sequifier.preprocess.column_types import PositionType, StoredType
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.join_sequences import with_sequence_table
from sequifier.preprocess.learn import kinds_of_columns, learn, why_unknown
from sequifier.preprocess.prepared import prepare_parts
from sequifier.preprocess.raw_files import unreadable
from sequifier.preprocess.read import open_table
from sequifier.preprocess.resolution import with_resolution
from sequifier.preprocess.sequence_columns import check_sequence_columns
from sequifier.preprocess.sequence_table import read_sequence_table
from sequifier.preprocess.source import Source
from sequifier.preprocess.split import Split, is_among_first
from sequifier.preprocess.split_methods import split_table, split_texts
from sequifier.preprocess.table import Table
from sequifier.preprocess.table_formats import TABLE_FORMATS
from sequifier.preprocess.text import id_of_code_point, learn_characters, read_texts


@dataclass(frozen=True)
class EncodedData:
    """Encoded events, ready to be written.

    Attributes:
        encoding: the encoding.
        split: the splits of the events.
        parts: functions that return whole sequences.
        types: feature -> stored type, in stored order.
        sequence_type: stored type of sequence ids.
        position_type: stored type of positions.
        formats: formats of text that new rows must have too.
        sequence_columns: features with one value for each sequence.
        time: the columns that are computed from dates.
        form: how the files of the table are written, and which keys its rows lack.
    """

    encoding: Encoding
    split: Split
    parts: Sequence[Callable[[], Events]]
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    position_type: PositionType
    formats: StoredFormats = NO_FORMATS
    sequence_columns: tuple[str, ...] = ()
    time: TimeRules = field(default_factory=TimeRules)
    form: TableForm = PLAIN_TABLE


def encode_table(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    folder: Path,
    memory_bytes: int,
    log: Log,
) -> EncodedData:
    """Read and encode a table.

    Args:
        source: the files.
        config: the config.
        stored: metadata whose encoding to use; None to learn one.
        folder: working folder for parts that do not fit in memory.
        memory_bytes: decoded size of a part.
        log: receives lines for the user.

    Raises:
        DataError: the events cannot be encoded.
    """
    table, parts, sequence_columns = _read(source, config, stored, folder, memory_bytes, log)
    split = split_table(table, parts, config, log)
    time = with_resolution(table.time, parts, split, log)
    encoding = (
        Encoding.from_metadata(stored, list(table.types))
        if stored
        else learn(
            parts,
            split,
            table.types,
            config,
            log,
            transforms=table.transforms,
            time=table.time,
            by_sequence=_by_sequence(table, config, sequence_columns),
            numbers_reported=TABLE_FORMATS[source.format].is_text and not table.is_sample,
        )
    )
    _check_statistics(encoding, split, config, log)
    for line in kinds_of_columns(table.types, encoding):
        log(line)
    if split.ends is not None:
        n_ends, n_sequences = int(split.ends.sum()), split.ends.shape[1]
        columns = ", ".join(encoding.end_event) or ", ".join(encoding.open_columns)
        what = END if encoding.end_event else "open times"
        log(f"{what} in {columns}: {n_ends:,} of {n_sequences:,} sequences end in a split")
    if table.time.target_only_columns and config.split_method not in WHOLE_SEQUENCES:
        log(
            f"note: {', '.join(table.time.target_only_columns)}: training events know when their sequence ends, which "
            f"split_method {config.split_method} leaves to later splits (between_sequence does not)"
        )
    encoded = _encode(parts, split, encoding, folder, config, stored, log)
    return EncodedData(
        encoding,
        split,
        encoded,
        table.types,
        table.sequence_type,
        table.position_type,
        table.formats,
        sequence_columns,
        time,
        table.form,
    )


def encode_texts(
    source: Source, config: PreprocessConfig, stored: Metadata | None, memory_bytes: int, log: Log
) -> EncodedData:
    """Read and encode text files; the arguments are those of `encode_table`."""
    types: dict[str, StoredType] = {CHAR: "String"}
    check_settings(config, types, str(source.path))
    texts = read_texts(source, config, memory_bytes)
    split = split_texts(texts, config, log)
    encoding = learn_characters(texts, split.first_rows(0), config, stored, log)
    ids = id_of_code_point(encoding)
    return EncodedData(encoding, split, [partial(part.encoded, ids) for part in texts.parts], types, "Int64", "Int64")


def _read(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    folder: Path,
    memory_bytes: int,
    log: Log,
) -> tuple[Table, list[Part], tuple[str, ...]]:
    """Return the table, sorted and checked parts, and the columns of whole sequences."""
    selected = config.selected_columns
    if selected is None and stored:
        selected = stored.columns
    if stored and selected:
        selected = [column for column in selected if column not in stored.sequifier.derived]
    declared: dict[str, TypeName] = dict(stored.column_types if stored else config.column_types)
    known = _formats_of(stored)
    attributes = read_sequence_table(config, declared, stored.sequence_columns if stored else None, known)
    of_events, elsewhere = config, dict[str, StoredType]()
    if attributes is not None:
        of_events, elsewhere = attributes.left_to_events(config), attributes.types
        selected = selected and [column for column in selected if column not in elsewhere]
        declared = {column: name for column, name in declared.items() if column not in elsewhere}
    if stored:
        declared = {column: name for column, name in declared.items() if column in (selected or ())}

    def prepared(sample_rows: int | None) -> tuple[Table, list[Part]]:
        table = open_table(source, of_events, declared, selected, sample_rows=sample_rows, known=known)
        if attributes is not None:
            table = with_sequence_table(table, attributes, config)
        check_settings(config, table.types, str(source.path), table.notes, table.time.derived)
        if not table.is_sample:
            _log_notes(table, log)
        return table, prepare_parts(table, config, folder / f"sample-{sample_rows}", memory_bytes)

    table, parts = _of_sample_or_all(source, prepared)
    if table.is_sample:
        _log_notes(table, log)
    check_sequence_columns(parts, of_events.sequence_columns or (), config)
    _log_size(source, table, parts, log)
    return table, parts, (*(of_events.sequence_columns or ()), *elsewhere)


def _of_sample_or_all(
    source: Source, prepared: Callable[[int | None], tuple[Table, list[Part]]]
) -> tuple[Table, list[Part]]:
    """Prepare with types from the first rows of text files where these determine them, otherwise from all rows.

    Raises:
        DataError: a file is damaged, or has another format.
    """
    if TABLE_FORMATS[source.format].is_text:
        with suppress(NeedsAllValues, pl.exceptions.PolarsError, OSError):  # a damaged file fails again below
            return prepared(SAMPLE_ROWS)
    try:
        return prepared(None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(source, error) from error


def _log_size(source: Source, table: Table, parts: Sequence[Part], log: Log) -> None:
    if n_dropped := sum(part.n_dropped for part in parts):
        log(f"{counted(n_dropped, 'row')} left out: identical to an earlier row in every column")
    n_rows = sum(int(part.offsets[-1]) - part.has_start * len(part.sequence_ids) for part in parts)
    n_sequences = sum(len(part.sequence_ids) for part in parts)
    of = f"{counted(n_rows, 'row')} of {counted(n_sequences, 'sequence')}"
    log(f"{source.path}: {of}, {counted(len(table.types), 'column')}")


def _by_sequence(table: Table, config: PreprocessConfig, sequence_columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that are standardised by sequence.

    Raises:
        DataError: there is none, or a column has the name of a stored statistic.
    """
    if config.standardize == "global":
        return ()
    others = {*sequence_columns, *table.time.derived}
    found = tuple(column for column, stored in table.types.items() if stored == "Float64" and column not in others)
    where = "standardize"
    if not found:
        what = "no column can be standardised by sequence: none is real and differs within sequences"
        raise DataError(what, where=where, fix="standardize: global")
    for column in found:
        for name in {*statistics_columns(column)} & {*table.types}:
            what = f"column `{name}` has the name of a statistic of `{column}`, which is stored beside it"
            raise DataError(what, where=where, fix="rename the column, or standardize: global")
    return found


def _check_statistics(encoding: Encoding, split: Split, config: PreprocessConfig, log: Log) -> None:
    """Report how many sequences have no training values of their own.

    Raises:
        DataError: whole sequences are held out.
    """
    if not encoding.by_sequence:
        return
    has_rows = split.bounds[1] > 0
    if config.split_method in WHOLE_SEQUENCES and not has_rows.all():
        raise DataError(
            f"{', '.join(encoding.by_sequence)} cannot be standardised by sequence: split_method "
            f"{config.split_method} holds out whole sequences, which have no values in split 0",
            where="split_method",
            fix="split within_sequence, by last_events or at a cutoff; of new data, split_ratios: [1.0]",
        )
    if not has_rows.all():
        log(
            f"note: {int((~has_rows).sum()):,} of {len(has_rows):,} sequences have no events in split 0: they are "
            "standardised by the values of all"
        )


def _formats_of(stored: Metadata | None) -> StoredFormats:
    """Return the formats that the metadata have stored."""
    if stored is None:
        return NO_FORMATS
    rules = stored.sequifier.reading
    return stored_formats(stored.real_columns, rules.numbers, rules.dates, stored.sequifier.date_formats)


def _log_notes(table: Table, log: Log) -> None:
    for note in table.notes:
        log(f"note: {note}")


def _encode(
    parts: list[Part],
    split: Split,
    encoding: Encoding,
    folder: Path,
    config: PreprocessConfig,
    stored: Metadata | None,
    log: Log,
) -> list[Callable[[], Events]]:
    """Return functions that return the encoded rows of each part, from memory or, for several parts, from a file."""
    encoded: list[Callable[[], Events]] = []
    unknown = dict.fromkeys(encoding.vocabularies, 0)
    several, n_rows = len(parts) > 1, 0
    while parts:
        bounds = split.of_part(len(encoded))
        events = encoding.encode_part(parts.pop(0), bounds[1])  # popped, so that its raw rows are freed
        is_used = is_among_first(events.offsets, bounds[-1])
        if config.has_start:
            is_used[events.offsets[:-1]] = False
        n_rows += int(is_used.sum())
        for column in unknown:
            unknown[column] += int((is_used & (events.columns[column] == 0)).sum())
        if several:
            path = folder / f"encoded-{len(encoded)}.arrow"
            write_events(path, [events], "arrow")
            encoded.append(_Reader(path, encoding.stored_columns))
        else:
            encoded.append(lambda events=events: events)  # type: ignore[misc]
    for column, count in unknown.items():
        if count:
            log(
                f"note: column `{column}`: {count:,} of {n_rows:,} values are unknown (id 0)"
                f"{why_unknown(column, config, stored)}"
            )
    return encoded


@dataclass(frozen=True)
class _Reader:
    """Encoded rows in a file."""

    path: Path
    columns: tuple[str, ...]

    def __call__(self) -> Events:
        return read_events(self.path, self.columns, expected_hashes=None)
