"""`sequence_table`: labels and attributes in a table beside the events, with a row for each sequence (and moment)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import polars as pl

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import TypeName
from sequifier.errors import DataError, did_you_mean
from sequifier.preprocess import keys
from sequifier.preprocess.agree_columns import StoredFormats, agree
from sequifier.preprocess.column_counts import of_values, row_text
from sequifier.preprocess.column_types import PositionType, StoredType, stored_type, typed
from sequifier.preprocess.date_columns import RawRows, aware_columns
from sequifier.preprocess.feature_columns import require_column, reserved_name
from sequifier.preprocess.raw_files import scan_raw, schema_of, unreadable
from sequifier.preprocess.source import Source, check_is_raw, table_path
from sequifier.preprocess.table_formats import TABLE_FORMATS, format_of_files

MOMENT = CONTEXT
"""The column of moments; no feature has this name."""


@dataclass(frozen=True)
class SequenceRows:
    """A sequence table in memory.

    Attributes:
        path: the file.
        rows: sequenceId, with as_of the moments, the features, and the split_column as text where the table has it.
        types: feature -> stored type.
        sequence_type: stored type of sequence ids.
        moment_type: type of the moments; None without as_of.
        has_split: whether the table has the split_column.
        formats: formats of text that new rows must have too.
        notes: notes for the user.
    """

    path: Path
    rows: pl.DataFrame
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    moment_type: PositionType | None
    has_split: bool
    formats: StoredFormats
    notes: tuple[str, ...]

    def left_to_events(self, config: PreprocessConfig) -> PreprocessConfig:
        """Return the config for the table of events, without the columns that this table has."""
        others = [column for column in config.sequence_columns or () if column not in self.types]
        split_column = None if self.has_split else config.split_column
        return config.model_copy(update={"sequence_columns": others or None, "split_column": split_column})


def read_sequence_table(
    config: PreprocessConfig, declared: Mapping[str, TypeName], wanted: Collection[str] | None, known: StoredFormats
) -> SequenceRows | None:
    """Read the sequence table of a config; None where it has none.

    Args:
        config: sequence_table, sequence_column, split_column.
        declared: feature -> kind or type, where the values do not decide.
        wanted: the features to which the table is limited; None: all.
        known: stored formats of text.

    Raises:
        ConfigError: the file does not exist.
        DataError: it cannot be read, lacks a column, or has a row without a sequence, or two for one sequence.
    """
    if config.sequence_table is None:
        return None
    path = table_path(config)
    keys_of_table = (config.sequence_name, config.sequence_table.as_of)
    source = Source(
        path,
        (path,),
        format_of_files([path]) or "csv",
        keys=tuple(filter(None, keys_of_table)),
        features=tuple(config.sequence_table.columns or ()),
    )
    if path.is_dir() or TABLE_FORMATS[source.format].convert is not None:
        raise DataError(
            f"sequence_table.path is {'a folder' if path.is_dir() else 'an event log'}",
            where=str(path),
            fix="give a CSV or Parquet file with a row for each sequence",
        )
    try:
        with TemporaryDirectory(prefix="sequifier-") as folder:
            found = _read(source.readable(Path(folder)), path, config, declared, wanted, known)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(source, error) from error
    _check_keys(found, config)
    return found


def _read(
    source: Source,
    path: Path,
    config: PreprocessConfig,
    declared: Mapping[str, TypeName],
    wanted: Collection[str] | None,
    known: StoredFormats,
) -> SequenceRows:
    assert config.sequence_table is not None
    as_of = config.sequence_table.as_of
    schema = schema_of(source, path, sample_rows=None)
    check_is_raw(path, schema)
    names = {config.sequence_name: SEQUENCE} | ({} if as_of is None else {as_of: POSITION})
    for column, field in zip(names, ("sequence_column", "sequence_table.as_of"), strict=False):
        require_column(path, schema, column, field)
    split = [column for column in schema if column == config.split_column]
    columns = _features(path, list(schema), config, wanted, not_features=[*names, *split])
    raw = agree(
        source,
        [schema],
        [*names, *columns, *split],
        is_sample=False,
        keys=(config.sequence_name, as_of or ""),
        declared={**declared, **dict.fromkeys(split, "String")},
        known=known,
    )
    is_fixed = config.metadata_config_path is not None
    types = {
        column: stored_type(column, raw[column].dtype, declared.get(column), path=path, is_fixed=is_fixed)
        for column in columns
    }
    rows = scan_raw(source, path, {column: found.read_as for column, found in raw.items()}).rename(names)
    unchanged = RawRows({path: rows}, path, config.time_zone, aware_columns(raw, [schema], path=path))
    sequence, sequence_type = keys.sequence(config.sequence_name, raw[config.sequence_name], unchanged)
    moment = None if as_of is None else keys.position(as_of, raw[as_of], unchanged)
    selected = [
        sequence.alias(SEQUENCE),
        *(() if moment is None else [moment.value.alias(MOMENT)]),
        *(typed(column, raw[column], stored) for column, stored in types.items()),
        *(typed(column, raw[column], "String") for column in split),
    ]
    return SequenceRows(
        path,
        rows.select(selected).collect(),
        types,
        sequence_type,
        None if moment is None else moment.type,
        bool(split),
        StoredFormats({column: found.style for column, found in raw.items() if found.style}),
        tuple(found.note for found in raw.values() if found.note),
    )


def _features(
    path: Path,
    found: list[str],
    config: PreprocessConfig,
    wanted: Collection[str] | None,
    not_features: Collection[str],
) -> list[str]:
    """Return the columns of the table that are used."""
    assert config.sequence_table is not None
    others = [column for column in found if column and column not in not_features]
    for column in config.sequence_table.columns or ():
        if column not in others:
            raise DataError(
                f"sequence_table.columns names `{column}`, which is not a feature of the table",
                where=str(path),
                fix=did_you_mean(column, others),
            )
    columns = config.sequence_table.columns or others
    if wanted is not None:
        columns = [column for column in wanted if column in columns]
    if not columns:
        what = "has no column besides the sequence column" if wanted is None else f"has none of {', '.join(wanted)}"
        raise DataError(f"sequence_table {what}", where=str(path), fix=f"it has {', '.join(found)}; add a column")
    for column in columns:
        reserved_name(column, str(path))
        if column in config.end_event:
            raise DataError(
                f"end_event names `{column}`, which is a column of whole sequences and has no class for their end",
                where=str(path),
                fix="leave it out of end_event, or of the table",
            )
    return columns


def _check_keys(found: SequenceRows, config: PreprocessConfig) -> None:
    """Raise DataError where a row has no sequence or no moment, or where two rows have the same ones."""
    assert config.sequence_table is not None
    as_of, rows = config.sequence_table.as_of, found.rows
    named = {SEQUENCE: config.sequence_name} | ({} if as_of is None else {MOMENT: as_of})
    for key, column in named.items():
        is_missing = rows[key].is_null()
        if is_missing.any():
            what = "missing" if key == SEQUENCE else "missing, or not a moment of the format of the others"
            raise DataError(
                f"column `{column}` of sequence_table: {of_values(int(is_missing.sum()), rows.height)} {what}",
                where=row_text(found.path, int(is_missing.arg_max() or 0) + 1),
                fix="every row needs one: remove or correct those rows",
            )
    keys_alone = rows.select(*named)
    is_repeated = keys_alone.is_duplicated()
    if is_repeated.any():
        row = int(is_repeated.arg_max() or 0)
        n_same = keys_alone.join(keys_alone[row], on=[*named], how="semi").height
        of_row = " ".join(f"{column}={rows[key][row]}" for key, column in named.items())
        several = "" if as_of else ", or name the column with their moments: sequence_table.as_of"
        raise DataError(
            f"sequence_table has {n_same:,} rows for {of_row}",
            where=row_text(found.path, row + 1),
            fix=f"keep one of them{several}",
        )
