"""Raw files -> one lazy table: sequenceId, itemPosition, then the features with their stored types.

Files are read in the order of their paths. Types are agreed over all files first, so that a column of integers in one
CSV file and of fractions in another is real in both.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import TypeName
from sequifier.errors import DataError, did_you_mean
from sequifier.percent import counted
from sequifier.preprocess import column_types, keys
from sequifier.preprocess.agree_columns import NO_FORMATS, StoredFormats, agree
from sequifier.preprocess.date_columns import Position, RawRows, aware_columns, check_one_offset, date_column
from sequifier.preprocess.duplicates import ROW
from sequifier.preprocess.feature_columns import Columns, choose_columns
from sequifier.preprocess.observation import observed_positions
from sequifier.preprocess.parsed_column import ParsedColumn
from sequifier.preprocess.raw_files import decoded_bytes, is_empty, scan_raw, schema_of
from sequifier.preprocess.source import Source, check_is_raw
from sequifier.preprocess.table import Table
from sequifier.preprocess.table_formats import TABLE_FORMATS
from sequifier.preprocess.time_features import are_times, check_dates, stored_types, time_rules, transforms_of


def open_table(
    source: Source,
    config: PreprocessConfig,
    declared: Mapping[str, TypeName],
    selected: Sequence[str] | None,
    *,
    sample_rows: int | None,
    known: StoredFormats = NO_FORMATS,
) -> Table:
    """Agree on columns and types, and plan the reading.

    Args:
        source: the files.
        config: sequence_column, position_column, repeated_positions, drop_duplicates, split_column, time_features,
            time_zone, max_rows.
        declared: feature -> kind or type, where the values do not decide.
        selected: features in stored order; None: all.
        sample_rows: number of rows of a CSV file from which types are guessed; None: all rows.
        known: stored formats, which decide where the values alone leave a doubt.

    Raises:
        NeedsAllValues: the first rows do not determine the type of a column.
        DataError: a column is missing, has a type that cannot be encoded or a reserved name, or a file is not UTF-8
            text with commas.
    """
    is_sample = sample_rows is not None
    schemas = [schema_of(source, file, sample_rows=sample_rows) for file in source.files]
    for file, schema in zip(source.files, schemas, strict=True):
        check_is_raw(file, schema)
    columns = choose_columns(source, schemas, config, selected)
    _check_declared(declared, columns, source)
    raw = agree(
        source,
        schemas,
        [*_key_names(config), *columns.features, *columns.others],
        is_sample=is_sample,
        keys=(config.sequence_column or "", config.position_column or ""),
        declared={**declared, **dict.fromkeys(columns.texts, "String")},
        known=known,
    )
    is_fixed = config.metadata_config_path is not None
    types = {
        name: column_types.stored_type(name, raw[name].dtype, declared.get(name), path=source.path, is_fixed=is_fixed)
        for name in columns.features
    }
    rules, read_as = time_rules(config), {name: found.read_as for name, found in raw.items()}
    dated = filter(None, [config.position_column, *rules.date_columns, *columns.observed])
    rows = RawRows(
        {
            file: scan_raw(source, file, read_as, with_hash=config.drop_duplicates).rename(_key_names(config))
            for file in source.files
        },
        source.path,
        zone=rules.time_zone,
        aware=aware_columns(dated, schemas, path=source.path),
        known=known,
        is_sample=is_sample,
    )
    sequence, sequence_type = keys.ONE_SERIES
    if config.sequence_column is not None:
        sequence, sequence_type = keys.sequence(config.sequence_column, raw[config.sequence_column], rows)
    position, dates = _positions_and_dates(config, rules, raw, rows)
    typed = [
        sequence.alias(SEQUENCE),
        position.value.alias(POSITION),
        *(column_types.typed(name, raw[name], stored) for name, stored in types.items()),
        *(found.value.alias(name) for name, found in dates.items()),
        *(column_types.typed(name, raw[name], "String") for name in columns.texts if name not in dates),
    ]
    if config.observation is not None:
        typed += observed_positions(config.observation, raw, position, rows)
    if config.drop_duplicates:
        typed.append(pl.col(ROW))
    pieces, n_empty = _pieces(source, config, rows, typed)
    return Table(
        source=source,
        rows=pl.concat(pieces),
        pieces=pieces,
        types=types | stored_types(rules),
        sequence_type=sequence_type,
        position_type=position.type,
        decoded_bytes=decoded_bytes(source, read_as, config.max_rows),
        raw_files=tuple(rows.files.values()),
        sequence=sequence,
        position=position.value,
        position_is_text=read_as.get(config.position_column or "") == pl.String(),
        notes=(
            *columns.notes,
            *([f"{counted(n_empty, 'empty row')} left out"] if n_empty else []),
            *(found.note for found in (position, *dates.values()) if found.note),
            *(found.note for found in raw.values() if found.note),
        ),
        formats=StoredFormats(
            {name: found.style for name, found in raw.items() if found.style},
            position.format,
            {name: found.format for name, found in dates.items() if found.format},
        ),
        is_sample=is_sample,
        time=rules.model_copy(update={"positions_are": "numbers"}) if position.type == "Float64" else rules,
        transforms=transforms_of(rules, config),
        form=source.form.model_copy(
            update={
                "has_sequences": config.sequence_column is not None,
                "has_positions": config.position_column is not None,
                "repeated_positions": config.repeated_positions,
                "drop_duplicates": config.drop_duplicates,
            }
        ),
        of_sequences=tuple(config.sequence_columns or ()),
    )


def _key_names(config: PreprocessConfig) -> dict[str, str]:
    """Return the name of each key column -> the name that it has here."""
    columns = {SEQUENCE: config.sequence_column, POSITION: config.position_column}
    return {column: key for key, column in columns.items() if column is not None}


def _check_declared(declared: Mapping[str, TypeName], columns: Columns, source: Source) -> None:
    for column in declared:
        if column not in columns.features:
            raise DataError(
                f"column_types names `{column}`, which is not among the selected columns",
                where=str(source.path),
                fix=did_you_mean(column, columns.features),
            )


def _positions_and_dates(
    config: PreprocessConfig, rules: TimeRules, raw: Mapping[str, ParsedColumn], rows: RawRows
) -> tuple[Position, dict[str, Position]]:
    """Return the positions, and the other dates of time_features by column.

    Args:
        config: position_column.
        rules: what is computed from dates.
        raw: the columns as they are read.
        rows: the unchanged rows.

    Raises:
        NeedsAllValues, DataError: as `open_table`.
    """
    column, position = config.position_column, keys.IN_ORDER
    if column is not None:
        is_integer = column_types.raw_kind(raw[column].dtype) == "integer"
        position = keys.position(column, raw[column], rows, are_times=are_times(rules, is_integer=is_integer))
    check_dates(rules, position.type, config)
    dates = {name: date_column(name, raw[name].dtype, rows) for name in rules.date_columns}
    if rules.time_zone is None:
        _check_offsets(rules, raw, config, rows)
    return position, dates


def _check_offsets(rules: TimeRules, raw: Mapping[str, ParsedColumn], config: PreprocessConfig, rows: RawRows) -> None:
    """Raise DataError where dates of text, whose local calendar is needed, have several offsets from UTC."""
    shown = {POSITION: config.position_name}
    of_calendar = {column.date_column for column in rules.derived.values() if not column.is_span}
    texts = [
        (name, shown.get(name, name))
        for name in rules.time_features
        if name in of_calendar and column_types.raw_kind(raw[shown.get(name, name)].read_as) == "text"
    ]
    check_one_offset(texts, rows.files)


def _pieces(
    source: Source, config: PreprocessConfig, rows: RawRows, typed: Sequence[pl.Expr]
) -> tuple[tuple[pl.LazyFrame, ...], int]:
    """Return the typed rows of each file without empty ones, in one piece under max_rows; and how many were empty."""
    pieces, n_empty = tuple(rows.files.values()), 0
    if TABLE_FORMATS[source.format].is_text and not rows.is_sample:
        n_empty = sum(int(each.select(is_empty(each).sum()).collect(engine="streaming").item()) for each in pieces)
        pieces = tuple(each.filter(is_empty(each).not_()) for each in pieces) if n_empty else pieces
    pieces = tuple(each.select(typed) for each in pieces)
    return pieces if config.max_rows is None else (pl.concat(pieces).head(config.max_rows),), n_empty
