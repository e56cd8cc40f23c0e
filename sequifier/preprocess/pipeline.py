"""`sequifier preprocess`: raw events -> encoded splits and metadata.

The steps: read, sort and check, share out to splits, learn vocabularies and statistics, encode, write. Each works on
parts of whole sequences; a table that fits in memory is one part. What is written depends on the content of the data
and the config alone: not on the time, the machine, the number of threads or of parts.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_folder, atomic_path
from sequifier.artifacts.event_shards import sink_shards
from sequifier.artifacts.events import (
    POSITION,
    ColumnHashes,
    Events,
    read_events,
    sink_events,
    write_events,
)
from sequifier.artifacts.metadata import (
    Metadata,
    RawValueRules,
    SequifierMetadata,
    category_text,
    data_fingerprint,
    find_metadata,
    read_metadata,
    summarise_metadata,
    write_metadata,
)
from sequifier.callbacks import Log
from sequifier.config.preprocess import CHAR, PreprocessConfig, TypeName
from sequifier.errors import DataError, did_you_mean
from sequifier.preprocess.check import Part, check_settings
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.learn import kinds_of_columns, learn
from sequifier.preprocess.parsed_columns import NOTHING_KNOWN, SAMPLE_ROWS, Known, LookAgain, known_of
from sequifier.preprocess.prepared import prepare_parts
from sequifier.preprocess.read import Table, open_table, unreadable
from sequifier.preprocess.source import Source, find_source
from sequifier.preprocess.split import (
    Split,
    between_sequences,
    check_exact_windows,
    check_targets,
    take_split,
    within_sequences,
    within_texts,
)
from sequifier.preprocess.text import TextPart, id_of_code_point, learn_characters, read_texts
from sequifier.preprocess.types import PositionType, StoredType
from sequifier.preprocess.working_folder import METADATA_FOLDER, working_folder

MEMORY_BYTES = 256 << 20
"""Decoded size of the raw rows above which they are processed in parts."""


def preprocess(config: PreprocessConfig, *, log: Log, memory_bytes: int = MEMORY_BYTES) -> Path:
    """Encode a table of events.

    Writes data/NAME-split<i>.<format>, or a folder data/NAME-split<i> of shards, and then
    configs/metadata_configs/NAME.json below project_root; NAME is that of the file or folder read. Files and folders
    appear whole or not at all.

    Args:
        config: what to read and how.
        log: receives lines for the user.
        memory_bytes: decoded size of the rows that are in memory at once; the result does not depend on it.

    Returns:
        The metadata file.

    Raises:
        ConfigError: data_path or metadata_config_path does not exist.
        DataError: the events cannot be encoded as asked; nothing was written.
        RunError: the outputs cannot be written.
    """
    source = find_source(config)
    root = config.root
    metadata_path = root / METADATA_FOLDER / f"{source.name}.json"
    stored = _stored_metadata(config, metadata_path)
    if stored:
        config = _with_stored_fills(config, stored)
    with working_folder(source, config, stored, memory_bytes, log) as folder:
        data = (
            _from_text(source, config, stored, memory_bytes, log)
            if source.format == "text"
            else _from_table(source, config, stored, folder, memory_bytes, log)
        )
        ending = f".{config.write_format}" if config.merge_output else ""  # a folder has none
        paths = [f"data/{source.name}-split{i}{ending}" for i in range(len(config.split_ratios))]
        with ExitStack() as files:
            # Everything is on the disk before the first file takes its name. The metadata, entered first, is last.
            temporary = files.enter_context(atomic_path(metadata_path))
            hashes = _write(files, data, [root / path for path in paths], config)
            metadata = _metadata(config, data, paths, hashes)
            write_metadata(metadata, temporary)
        summarise_metadata(metadata, metadata_path)
    unit = "characters" if source.format == "text" else "rows"
    for path, rows, sequences in zip(paths, metadata.sequifier.rows, metadata.sequifier.sequences, strict=True):
        log(f"{root / path}: {rows:,} {unit} of {sequences:,} sequences")
    return metadata_path


@dataclass(frozen=True)
class _Data:
    """Encoded events that wait to be written.

    Attributes:
        encoding: how they were encoded.
        split: which of them belong to which split.
        parts: each gives whole sequences when it is called.
        types: feature -> what it is stored as, in stored order.
    """

    encoding: Encoding
    split: Split
    parts: Sequence[Callable[[], Events]]
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    position_type: PositionType
    known: Known = NOTHING_KNOWN


def _from_table(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    folder: Path,
    memory_bytes: int,
    log: Log,
) -> _Data:
    table, parts = _read(source, config, stored, folder, memory_bytes, log)
    split = _share_out(parts, config, log)
    encoding = (
        Encoding.from_metadata(stored, list(table.types))
        if stored
        else learn(
            parts,
            split.in_training(),
            table.types,
            config,
            log,
            are_looked_at=source.format == "csv" and not table.is_sample,
        )
    )
    for line in kinds_of_columns(table.types, encoding):
        log(line)
    encoded = _encode(parts, encoding, folder, log)
    return _Data(encoding, split, encoded, table.types, table.sequence_type, table.position_type, table.known)


def _from_text(source: Source, config: PreprocessConfig, stored: Metadata | None, memory_bytes: int, log: Log) -> _Data:
    types: dict[str, StoredType] = {CHAR: "String"}
    check_settings(config, types, str(source.path))
    if source.left_out:
        endings = ", ".join(sorted({path.suffix or path.name for path in source.left_out}))
        log(f"note: {len(source.left_out):,} files that do not end in .txt are left out ({endings})")
    texts = read_texts(source, config, memory_bytes)
    split = _share_out(texts.parts, config, log, text_of_sequence=texts.text_of_sequence)
    encoding = learn_characters(texts, split.in_training(), config, stored, log)
    ids = id_of_code_point(encoding)
    return _Data(encoding, split, [partial(part.encoded, ids) for part in texts.parts], types, "Int64", "Int64")


def _stored_metadata(config: PreprocessConfig, output: Path) -> Metadata | None:
    """The metadata to encode with, if any."""
    if config.metadata_config_path is None:
        return None
    path = find_metadata(config.metadata_config_path, config.project_root)
    stored = read_metadata(path)
    if path.resolve() == output.resolve():
        raise DataError(
            f"this would replace {path.name} and the splits it describes by those of the new data",
            where=f"metadata_config_path: {config.metadata_config_path}",
            fix="give the new data file another name",
        )
    for column in config.selected_columns or ():
        if column not in (*stored.columns, config.sequence_column, config.position_column):
            raise DataError(
                f"selected_columns names `{column}`, which the metadata does not know",
                where=str(path),
                fix=f"leave selected_columns out; {did_you_mean(column, stored.columns)}",
            )
    return stored


def _with_stored_fills(config: PreprocessConfig, stored: Metadata) -> PreprocessConfig:
    """The config with the fill rules that the metadata was written with, where it names none of its own."""
    columns = config.selected_columns or stored.columns
    fills = {column: fill for column, fill in stored.sequifier.reading.fill_null.items() if column in columns}
    return config.model_copy(update={"fill_null": fills | config.fill_null})


def _read(
    source: Source,
    config: PreprocessConfig,
    stored: Metadata | None,
    folder: Path,
    memory_bytes: int,
    log: Log,
) -> tuple[Table, list[Part]]:
    """Sorted and checked parts. CSV types are guessed from the first rows, and from all where that fails."""
    selected = config.selected_columns or (stored.columns if stored else None)
    declared: dict[str, TypeName] = dict(config.column_types)
    if stored:
        declared = {column: name for column, name in stored.column_types.items() if column in (selected or ())}
    for sample_rows in (SAMPLE_ROWS, None) if source.format == "csv" else (None,):
        try:
            table = open_table(source, config, declared, selected, sample_rows=sample_rows, known=_known(stored))
            check_settings(config, table.types, str(source.path))
            if not table.is_sample:
                _log_notes(table, log)
            parts = prepare_parts(table, config, folder / f"sample-{sample_rows}", memory_bytes)
        except LookAgain:
            assert sample_rows is not None, "everything has been looked at"
        except (pl.exceptions.PolarsError, OSError) as error:
            if sample_rows is None:
                raise unreadable(source, error) from error
        else:
            break
    if table.is_sample:
        _log_notes(table, log)
    n_rows = sum(int(part.offsets[-1]) for part in parts)
    n_sequences = sum(len(part.sequence_ids) for part in parts)
    log(f"{source.path}: {n_rows:,} rows of {n_sequences:,} sequences, {len(table.types)} columns")
    return table, parts


def _known(stored: Metadata | None) -> Known:
    """How the metadata to encode with read its columns."""
    if stored is None:
        return NOTHING_KNOWN
    reading = stored.sequifier.reading
    return known_of(stored.real_columns, reading.numbers, reading.dates)


def _log_notes(table: Table, log: Log) -> None:
    for note in table.notes:
        log(f"note: {note}")


def _share_out(
    parts: Sequence[Part | TextPart],
    config: PreprocessConfig,
    log: Log,
    *,
    text_of_sequence: NDArray[np.int64] | None = None,
) -> Split:
    ids = [id for part in parts for id in part.sequence_ids.tolist()]
    n_rows = np.concatenate([np.diff(part.offsets) for part in parts])
    seed = None
    if config.split_method == "between_sequence":
        seed = secrets.randbelow(2**31) if config.seed is None else config.seed
        if config.seed is None:
            log(f"seed: {seed}")
        bounds = between_sequences(ids, n_rows, config.split_ratios, seed)
    elif text_of_sequence is not None:
        bounds = within_texts(n_rows, text_of_sequence, config.split_ratios)
    else:
        bounds = within_sequences(n_rows, config.split_ratios)
    check_targets(bounds, config.stored_context_events)
    if config.subsequence_start_mode == "exact":
        check_exact_windows(bounds, ids, seq_length=config.seq_length, strides=config.strides)
    part_ends = np.cumsum([0, *(len(part.sequence_ids) for part in parts)])
    return Split(bounds, part_ends, config.stored_context_events, seed)


def _encode(parts: list[Part], encoding: Encoding, folder: Path, log: Log) -> list[Callable[[], Events]]:
    """What gives the encoded rows of each part: memory, or a file where there are several parts."""
    encoded: list[Callable[[], Events]] = []
    unknown = dict.fromkeys(encoding.vocabularies, 0)
    several, n_rows = len(parts) > 1, 0
    while parts:
        part = parts.pop(0)  # its raw rows are not needed again
        rows = part.rows.collect()
        events = Events(
            sequence_ids=part.sequence_ids,
            offsets=part.offsets,
            n_context=np.zeros(len(part.sequence_ids), dtype=np.int64),
            positions=rows[POSITION].to_numpy(),
            columns={column: encoding.encode(column, rows[column]) for column in encoding.columns},
        )
        n_rows += rows.height
        for column in unknown:
            unknown[column] += int((events.columns[column] == 0).sum())
        if several:
            path = folder / f"encoded-{len(encoded)}.arrow"
            write_events(path, [events], "arrow")
            encoded.append(_Reader(path, encoding.columns))
        else:
            encoded.append(lambda events=events: events)  # type: ignore[misc]
    for column, count in unknown.items():
        if count:
            log(f"note: column `{column}`: {count:,} of {n_rows:,} values are unknown (id 0)")
    return encoded


@dataclass(frozen=True)
class _Reader:
    """Encoded rows that wait in a file."""

    path: Path
    columns: tuple[str, ...]

    def __call__(self) -> Events:
        return read_events(self.path, self.columns, expected_hashes=None)


def _write(files: ExitStack, data: _Data, paths: Sequence[Path], config: PreprocessConfig) -> list[dict[str, str]]:
    """Write all splits, which take their names when `files` is closed; returns the hashes of their columns."""
    all_hashes = []
    for number, path in enumerate(paths):
        hashes = ColumnHashes()
        parts = _parts_of_split(data, number, hashes)
        if config.merge_output:
            assert config.write_format != "pt", "the config refuses it"
            sink_events(files.enter_context(atomic_path(path)), parts, config.write_format)
        else:
            folder = files.enter_context(atomic_folder(path))
            size = config.batches_per_file
            sink_shards(folder, path.name, parts, config.write_format, sequences_per_shard=size)
        all_hashes.append(hashes.digests())
    return all_hashes


def _parts_of_split(data: _Data, number: int, hashes: ColumnHashes) -> Iterator[Events]:
    for part, load in enumerate(data.parts):
        bounds = data.split.of_part(part)
        if (bounds[number + 1] > bounds[number]).any():
            events = take_split(load(), bounds, number, data.split.context_events)
            hashes.update(events)
            yield events


def _metadata(config: PreprocessConfig, data: _Data, paths: list[str], hashes: list[dict[str, str]]) -> Metadata:
    encoding, split = data.encoding, data.split
    id_maps = {
        column: {category_text(value): id for id, value in enumerate(values, start=1)}
        for column, values in encoding.vocabularies.items()
    }
    own = np.diff(split.bounds, axis=0)
    return Metadata(
        n_classes={column: len(ids) + 1 for column, ids in id_maps.items()},
        id_maps=id_maps,
        split_paths=paths,
        column_types=data.types,
        selected_columns_statistics=encoding.statistics,
        sequifier=SequifierMetadata(
            columns=list(encoding.columns),
            sequence_column=config.sequence_column,
            position_column=config.position_column,
            sequence_type=data.sequence_type,
            position_type=data.position_type,
            seq_length=config.seq_length,
            stride_by_split=config.strides,
            subsequence_start_mode=config.subsequence_start_mode,
            split_method=config.split_method,
            split_ratios=config.split_ratios,
            split_seed=split.seed,
            context_events=config.stored_context_events,
            rows=own.sum(axis=1).tolist(),
            sequences=np.count_nonzero(own, axis=1).tolist(),
            column_hashes=hashes,
            fingerprint=data_fingerprint(encoding.columns, id_maps, encoding.statistics, hashes),
            reading=RawValueRules(fill_null=config.fill_null, numbers=dict(data.known.numbers), dates=data.known.dates),
        ),
    )
