"""Raw events -> encoded events by the schema in a model file, without a metadata file.

They are read, typed, sorted and checked as in `preprocess`, and not split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import polars as pl

from sequifier.artifacts.events import Events
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.table_form import TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import CHAR, FillNull, RawFormat, TypeName
from sequifier.config.sequence_table import SequenceTable
from sequifier.errors import DataError
from sequifier.preprocess.agree_columns import StoredFormats, stored_formats
from sequifier.preprocess.check import prepare
from sequifier.preprocess.column_types import POLARS_TYPES, StoredType
from sequifier.preprocess.duplicates import distinct
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.future_rows import FIELD, FutureRows
from sequifier.preprocess.join_sequences import with_sequence_table
from sequifier.preprocess.parsed_column import ColumnError
from sequifier.preprocess.partition import read_parts
from sequifier.preprocess.pipeline import MEMORY_BYTES
from sequifier.preprocess.raw_files import unreadable
from sequifier.preprocess.read import open_table
from sequifier.preprocess.sequence_columns import check_sequence_columns
from sequifier.preprocess.sequence_table import read_sequence_table
from sequifier.preprocess.source import Source, find_source
from sequifier.preprocess.table import Table
from sequifier.preprocess.table_formats import format_by_content, format_of_files
from sequifier.preprocess.text import id_of_code_point, read_texts
from sequifier.preprocess.time_features import time_fields
from sequifier.preprocess.value_problems import ValueProblems


def encode_new_events(
    path: Path,
    file: ModelFile,
    future: Path | None = None,
    *,
    sequence_table: SequenceTable | None = None,
    project_root: str = ".",
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[Events]:
    """Encode the input columns of a model.

    Args:
        path: a CSV, Parquet or XES file, or a folder of them, read recursively. For a model of characters also a text
            file, or a folder of them; each text is one sequence.
        file: the model's schema.
        future: table with the columns that the model knows of the steps to come. Its rows after the last event of each
            sequence follow the events, as many as the model has steps. In the table of the events itself they are the
            rows at the end of a sequence without values of the targets.
        sequence_table: table with columns of whole sequences that the model reads. It may have other sequences too.
        project_root: folder in which its path is looked for.
        memory_bytes: decoded size of the rows that are in memory at once.

    Yields:
        Parts of whole sequences, in order of their ids; without context.

    Raises:
        DataError: a column is missing or of another type, or has missing values that training data could not have.
    """
    columns = file.architecture.input_columns
    types = {column: cast(StoredType, file.stored_type(column)) for column in columns}
    # Without known categories, every value is unknown.
    fills = {
        column: fill if column not in file.vocabularies or file.raw_vocabulary(column) else "unknown"
        for column, fill in file.reading.fill_null.items()
        if column in columns
    }
    encoding = _encoding_of(file, types)
    if columns == (CHAR,) and _is_text(path):
        yield from _encode_texts(path, encoding, file, memory_bytes)
        return
    time = file.time.only(columns).of_new_events
    declared: dict[str, TypeName] = {column: name for column, name in types.items() if column not in time.derived}
    config = _config_of(path, file, time, sequence_table, project_root)
    source = _source_of(config, file.reading.table, [*declared])
    try:
        yield from _encode_table(source, config, file, future, declared, fills, encoding, memory_bytes)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(source, error) from error


def _encode_table(
    source: Source,
    config: PreprocessConfig,
    file: ModelFile,
    future: Path | None,
    declared: Mapping[str, TypeName],
    fills: Mapping[str, FillNull],
    encoding: Encoding,
    memory_bytes: int,
) -> Iterator[Events]:
    """Encode a table of events, with the steps to come behind them; `declared` are the types of its columns."""
    known = stored_formats(file.statistics, file.reading.numbers, file.reading.dates, file.time.date_formats)
    attributes = read_sequence_table(config, declared, file.sequence_columns, known)
    elsewhere = {} if attributes is None else attributes.types
    of_events = {column: name for column, name in declared.items() if column not in elsewhere}
    of_sequences = [column for column in file.sequence_columns if column in of_events]
    with TemporaryDirectory(prefix="sequifier-") as folder:
        table = _open(source.readable(Path(folder)), config, of_events, known, of_sequences)
        if attributes is not None:
            table = with_sequence_table(table, attributes, config, may_have_others=True)
        keys = file.data["sequence_column"], file.data["position_column"]
        problems = ValueProblems(*keys, config.time_zone, is_preprocess=False)
        ahead = None if future is None else _future_rows(future, file, config, declared, known, Path(folder), fills)
        where = f"{source.path} and {ahead.path}" if ahead and ahead.rows is not None else str(source.path)
        for rows in read_parts(table, config, Path(folder), memory_bytes):
            if ahead is not None:
                rows = ahead.behind(distinct(rows))  # the steps to come have no hash
            part = prepare(
                rows,
                table.types,
                fills,
                file.reading.transforms,
                problems,
                table.time,
                [column for column in file.end_ids if column in file.architecture.input_columns],
                file.sequence_columns,
                file.reading.table,
            )
            problems.raise_any(where)
            check_sequence_columns([part], of_sequences, config)
            n_past = None if ahead is None else np.diff(part.offsets) - ahead.horizon
            yield encoding.encode_part(part, n_past)


def _encoding_of(file: ModelFile, types: Mapping[str, StoredType]) -> Encoding:
    """Return how a model encodes its input columns, whose stored types are `types`."""
    return Encoding(
        file.architecture.input_columns,
        {
            column: pl.Series(column, file.raw_vocabulary(column), dtype=POLARS_TYPES[stored])
            for column, stored in types.items()
            if column in file.vocabularies
        },
        {column: file.scale(column) for column in types if column in file.statistics},
        by_sequence=tuple(column for column in types if column in file.reading.by_sequence),
    )


def _config_of(
    path: Path, file: ModelFile, time: TimeRules, sequence_table: SequenceTable | None, project_root: str
) -> PreprocessConfig:
    """Return the config that reads new events as the table of the training data was read.

    Args:
        path: as of `encode_new_events`.
        file: the model.
        time: what its input columns compute from dates.
        sequence_table, project_root: as of `encode_new_events`.
    """
    form = file.reading.table
    sequence_column, position_column = file.data["sequence_column"], file.data["position_column"]
    return PreprocessConfig(
        data_path=str(path.resolve()),
        read_format=_format(path, form),
        column_names=form.column_names,
        sequence_column=sequence_column if form.has_sequences else None,
        position_column=position_column if form.has_positions else None,
        repeated_positions=form.repeated_positions,
        drop_duplicates=form.drop_duplicates,
        project_root=project_root,
        sequence_table=sequence_table,
        split_method="between_sequence",  # allows as_of; nothing is split
        **time_fields(time, position_column),
        seq_length=file.architecture.seq_length,
        metadata_config_path="the model",  # stands for the schema
    )


def _source_of(config: PreprocessConfig, form: TableForm, features: Sequence[str]) -> Source:
    """Return the files of a config; by these features, too, the form of a CSV file is found."""
    source = find_source(config)
    return replace(
        source,
        keys=source.keys or tuple(features),
        features=tuple(features),
        form=form.model_copy(update={"lists_items": source.format == "item_lists"}),
    )


def _future_rows(
    path: Path,
    file: ModelFile,
    config: PreprocessConfig,
    declared: Mapping[str, TypeName],
    known: StoredFormats,
    folder: Path,
    fills: Mapping[str, FillNull],
) -> FutureRows:
    """Return the rows of steps to come; those in a table of their own are read, as the events are."""
    time = file.time.only(file.architecture.known_future)
    types = {column: declared[column] for column in file.architecture.known_future if column not in time.derived}
    in_table_of_events = path.resolve() == Path(config.data_path).resolve()
    return FutureRows(
        rows=None if in_table_of_events else _read_future(path, file, config, time, types, known, folder),
        columns=[*types, *time.date_columns],
        marks=file.raw_targets if in_table_of_events else (),
        horizon=file.architecture.horizon,
        required=[column for column in types if column not in fills],
        path=path,
        has_positions=file.reading.table.has_positions,
        keys=(config.sequence_name, config.position_name),
        zone=config.time_zone,
    )


def _read_future(
    path: Path,
    file: ModelFile,
    config: PreprocessConfig,
    time: TimeRules,
    types: dict[str, TypeName],
    known: StoredFormats,
    folder: Path,
) -> pl.DataFrame:
    """Read the table of steps to come, with the columns that the model knows of them."""
    form = file.reading.table
    config = config.model_copy(
        update={
            "data_path": str(path.resolve()),
            "read_format": _format(path, form),
            "sequence_table": None,
            "time_features": time_fields(time, config.position_name)["time_features"],
        }
    )
    (folder / "future").mkdir()
    source = _source_of(config, form, [*types]).readable(folder / "future")
    try:
        table = _open(source, config, types, known, ())
        rows = pl.concat(read_parts(table, config, folder / "future", memory_bytes=MEMORY_BYTES))
    except DataError as error:
        where = error.where if str(source.path) in error.where else f"{source.path}, {error.where}"
        fix = f"check {FIELD}" if error.fix == "check data_path" else error.fix
        raise DataError(error.what, where=where, fix=fix) from error
    return distinct(rows)


def _encode_texts(path: Path, encoding: Encoding, file: ModelFile, memory_bytes: int) -> Iterator[Events]:
    config = PreprocessConfig(
        data_path=str(path.resolve()), read_format="text", seq_length=file.architecture.seq_length
    )
    source = find_source(config)
    longest = max(path.stat().st_size for path in source.files)  # a character has at least one byte, so no text is cut
    texts = read_texts(source, config.model_copy(update={"text_sequence_length": longest + 1}), memory_bytes)
    ids = id_of_code_point(encoding)
    yield from (part.encoded(ids) for part in texts.parts)


def _is_text(path: Path) -> bool:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return format_of_files(files) is None


def _open(
    source: Source,
    config: PreprocessConfig,
    types: dict[str, TypeName],
    known: StoredFormats,
    of_sequences: Sequence[str],
) -> Table:
    """Open the table, with errors that name the model instead of a preprocess config.

    Raises:
        DataError: there are no rows, or a column is missing or has another type.
    """
    try:
        return open_table(source, config, types, list(types), sample_rows=None, known=known)
    except DataError as error:
        if source.format == "csv" and not any(_has_rows(source.stored(file)) for file in source.files):
            raise DataError("there are no rows", where=str(source.path), fix="check data_path") from error
        if not isinstance(error, ColumnError):
            raise
        columns = ", ".join(f"{column} ({name})" for column, name in types.items())
        if of_sequences:
            columns += f"; sequence_table may have {', '.join(of_sequences)}"
        raise DataError(error.what, where=error.where, fix=f"the model reads {columns}") from error


def _has_rows(csv: Path) -> bool:
    with csv.open("rb") as file:
        file.readline()
        return bool(file.read(1))


def _format(path: Path, form: TableForm) -> RawFormat:
    files = [path] if path.is_file() else list(path.rglob("*"))
    found = format_by_content(path) if path.is_file() else None
    return found or format_of_files(files) or ("item_lists" if form.lists_items else "csv")
