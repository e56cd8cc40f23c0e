"""Raw events -> encoded events by the schema that a model carries: no metadata file is needed.

They are read, typed, sorted and checked as `preprocess` does it, and not shared out to splits.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

import numpy as np
import polars as pl

from sequifier.artifacts.events import POSITION, Events
from sequifier.artifacts.model_file import ModelFile, stored_type
from sequifier.config.preprocess import CHAR, FillNull, PreprocessConfig, TypeName
from sequifier.errors import DataError
from sequifier.preprocess.check import Problems, prepare
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.parsed_columns import Known, known_of
from sequifier.preprocess.partition import read_parts
from sequifier.preprocess.pipeline import MEMORY_BYTES
from sequifier.preprocess.read import Table, open_table, unreadable
from sequifier.preprocess.source import Source, find_source
from sequifier.preprocess.text import id_of_code_point, read_texts
from sequifier.preprocess.types import POLARS_TYPES, StoredType


def encode_new_events(path: Path, file: ModelFile, *, memory_bytes: int = MEMORY_BYTES) -> Iterator[Events]:
    """Encode the input columns of a model.

    Args:
        path: a CSV or Parquet file, or a folder of either, read recursively. For a model of characters also a text
            file, or a folder of them; each text is one sequence.
        file: the model's schema.
        memory_bytes: decoded size of the rows that are in memory at once.

    Yields:
        Parts of whole sequences, in order of their ids; without context.

    Raises:
        DataError: a column is missing or of another type, or has missing values that training data could not have.
    """
    columns = file.architecture.input_columns
    types = {column: cast(StoredType, stored_type(file.vocabularies.get(column))) for column in columns}
    # Where no category is known, every value is unknown, whatever its type was.
    fills = {
        column: fill if file.vocabularies.get(column) != [] else "unknown"
        for column, fill in file.reading.fill_null.items()
        if column in columns
    }
    encoding = Encoding(
        columns,
        {
            column: pl.Series(column, file.vocabularies[column], dtype=POLARS_TYPES[types[column]])
            for column in columns
            if column in file.vocabularies
        },
        {column: dict(file.statistics[column]) for column in columns if column in file.statistics},  # type: ignore[misc]
    )
    if columns == (CHAR,) and _is_text(path):
        yield from _encode_texts(path, encoding, file, memory_bytes)
        return
    config = PreprocessConfig(
        data_path=str(path.resolve()),
        read_format=_format(path),
        sequence_column=file.data["sequence_column"],
        position_column=file.data["position_column"],
        seq_length=file.architecture.seq_length,
        metadata_config_path="the model",  # a schema that is given
    )
    source = find_source(config)
    declared: dict[str, TypeName] = dict(types)
    try:
        known = known_of(file.statistics, file.reading.numbers, file.reading.dates)
        table = _open(source, config, declared, known)
        with TemporaryDirectory(prefix="sequifier-") as folder:
            problems = Problems()
            for rows in read_parts(table, config, Path(folder), memory_bytes):
                part = prepare(rows, table.types, fills, problems)
                _raise_any(problems, source.path, fills)
                values = part.rows.collect()
                yield Events(
                    sequence_ids=part.sequence_ids,
                    offsets=part.offsets,
                    n_context=np.zeros(len(part.sequence_ids), dtype=np.int64),
                    positions=values[POSITION].to_numpy(),
                    columns={column: encoding.encode(column, values[column]) for column in columns},
                )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(source, error) from error


def _encode_texts(path: Path, encoding: Encoding, file: ModelFile, memory_bytes: int) -> Iterator[Events]:
    config = PreprocessConfig(
        data_path=str(path.resolve()), read_format="text", seq_length=file.architecture.seq_length
    )
    source = find_source(config)
    longest = max(path.stat().st_size for path in source.files)  # a character has a byte at least: no text is cut
    texts = read_texts(source, config.model_copy(update={"text_sequence_length": longest + 1}), memory_bytes)
    ids = id_of_code_point(encoding)
    yield from (part.encoded(ids) for part in texts.parts)


def _is_text(path: Path) -> bool:
    files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
    return not any(file.suffix.lower() in (".csv", ".parquet", ".pq") for file in files)


def _open(source: Source, config: PreprocessConfig, types: dict[str, TypeName], known: Known) -> Table:
    """The typed table; what it should have been is said by the model, not by a preprocess config.

    Raises:
        DataError: no rows, or a column is missing or of another type.
    """
    try:
        return open_table(source, config, types, list(types), sample_rows=None, known=known)
    except DataError as error:
        if source.format == "csv" and not any(_has_rows(file) for file in source.files):
            raise DataError("there are no rows", where=str(source.path), fix="check data_path") from error
        if "did you mean" in error.fix or "header" in error.what:
            raise
        wanted = ", ".join(f"{column} ({name})" for column, name in types.items())
        raise DataError(error.what, where=error.where, fix=f"the model reads {wanted}") from error


def _has_rows(csv: Path) -> bool:
    with csv.open("rb") as file:
        file.readline()
        return bool(file.read(1))


def _format(path: Path) -> Literal["csv", "parquet"]:
    files = [path] if path.is_file() else list(path.rglob("*"))
    return "parquet" if any(file.suffix.lower() in (".parquet", ".pq") for file in files) else "csv"


def _raise_any(problems: Problems, path: Path, fills: Mapping[str, FillNull]) -> None:
    try:
        problems.raise_any(str(path), fills)
    except DataError as error:
        fix = error.fix.split(",")[0].replace("drop those rows", "drop those rows, or fill in their values")
        if "drop those rows" in fix and not fills:
            fix += "; the model was trained on data without missing values"
        raise DataError(error.what, where=error.where, fix=fix) from error
