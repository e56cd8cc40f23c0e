"""Raw files -> one lazy table: sequenceId, itemPosition, then the features with their stored types.

Files are read in the order of their paths. Types are agreed over all files first, so that a column of integers in one
CSV file and of fractions in another is real in both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.artifacts.table_form import TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import Transform, TypeName
from sequifier.errors import DataError, did_you_mean
from sequifier.percent import counted
from sequifier.preprocess import column_types, keys
from sequifier.preprocess.agree_columns import NO_FORMATS, NeedsAllValues, Schema, StoredFormats, agree, file_schema
from sequifier.preprocess.column_counts import row_text
from sequifier.preprocess.column_types import PositionType, StoredType
from sequifier.preprocess.csv_file import scan_csv
from sequifier.preprocess.date_columns import Position, check_one_offset, date_column, is_aware
from sequifier.preprocess.numbers import PLAIN
from sequifier.preprocess.observation import observed_positions
from sequifier.preprocess.parsed_column import ParsedColumn
from sequifier.preprocess.source import Source, check_is_raw
from sequifier.preprocess.table_formats import TABLE_FORMATS
from sequifier.preprocess.time_features import are_times, check_dates, stored_types, time_rules, transforms_of


@dataclass(frozen=True)
class Table:
    """A typed table that is not read yet.

    Attributes:
        source: the files.
        rows: sequenceId, itemPosition, the features that are not computed, the other dates of time_features, and the
            split_column as text. Positions that are not valid are null.
        pieces: the same rows, file by file; one piece where max_rows counts over files.
        types: feature -> stored type, in stored order, computed ones last. A column of `rows` that is Float64, and
            Int64 here, must still be checked for fractions.
        sequence_type: stored type of sequence ids.
        position_type: stored type of positions.
        decoded_bytes: estimated size in memory.
        raw_files: unchanged values of each file, for messages.
        sequence: expression for sequenceId.
        position: expression for itemPosition.
        position_is_text: whether positions are text in the files.
        notes: notes for the user on the choice of columns.
        formats: formats of text that new rows must have too.
        is_sample: whether types come from the first rows of the files.
        time: the columns that are computed from dates.
        transforms: feature -> its transform, where it has one.
        of_sequences: columns that have one value in all rows of a sequence.
        form: how the files are written, and which keys the rows lack.
    """

    source: Source
    rows: pl.LazyFrame
    pieces: tuple[pl.LazyFrame, ...]
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    position_type: PositionType
    decoded_bytes: int
    raw_files: tuple[pl.LazyFrame, ...]
    sequence: pl.Expr
    position: pl.Expr
    position_is_text: bool
    notes: tuple[str, ...]
    formats: StoredFormats
    is_sample: bool
    time: TimeRules
    transforms: dict[str, Transform]
    form: TableForm
    of_sequences: tuple[str, ...] = ()

    def first_without(self, column: str) -> str:
        """Return file, row and value of the first row without a valid sequenceId or itemPosition."""
        for path, rows in zip(self.source.files, self.raw_files, strict=True):
            usable = self.position if column == POSITION else self.sequence
            bad = rows.select(raw=pl.col(column), usable=usable, is_empty=_is_empty(rows)).with_row_index(
                "row", offset=1
            )
            first = bad.filter(pl.col("usable").is_null() & pl.col("is_empty").not_()).head(1).collect()
            if first.height:
                value = first["raw"].item()
                shown = "empty" if value is None else f"`{value}`"
                if column == POSITION and (why := keys.why_not_a_position(str(value))):
                    shown += f": {why}"
                return f"{row_text(path, first['row'].item())} ({shown})"
        raise AssertionError(f"{column} has a value in every row")


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
        config: sequence_column, position_column, repeated_positions, split_column, time_features, time_zone, max_rows.
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
    sequence_column, position_column = config.sequence_column, config.position_column
    keys_of = {SEQUENCE: sequence_column, POSITION: position_column}
    names = {column: key for key, column in keys_of.items() if column is not None}
    for file, schema in zip(source.files, schemas, strict=True):
        check_is_raw(file, schema)
    features, notes = _features(source, schemas, config, selected)
    for column in declared:
        if column not in features:
            raise DataError(
                f"column_types names `{column}`, which is not among the selected columns",
                where=str(source.path),
                fix=did_you_mean(column, features),
            )
    rules = time_rules(config)
    not_features, observed = _not_features(config), config.observation.columns if config.observation else []
    raw = agree(
        source,
        schemas,
        [*names, *features, *not_features],
        is_sample=is_sample,
        keys=(sequence_column or "", position_column or ""),
        declared={**declared, **dict.fromkeys([name for name in not_features if name not in observed], "String")},
        known=known,
    )
    read_as = {column: found.read_as for column, found in raw.items()}
    raw_files = tuple(scan_raw(source, file, read_as).rename(names) for file in source.files)
    by_path = dict(zip(source.files, raw_files, strict=True))
    types = {
        column: column_types.stored_type(
            column,
            raw[column].dtype,
            declared.get(column),
            path=source.path,
            is_fixed=config.metadata_config_path is not None,
        )
        for column in features
    }
    sequence, sequence_type = keys.ONE_SERIES
    if sequence_column is not None:
        sequence, sequence_type = keys.sequence(sequence_column, raw[sequence_column], by_path, path=source.path)
    aware = {
        column: rules.time_zone is not None and is_aware(column, schemas, path=source.path)
        for column in (position_column, *rules.date_columns)
        if column is not None
    }
    position, dates = _positions_and_dates(config, rules, raw, aware, by_path, source.path, known, is_sample=is_sample)
    typed = [
        sequence.alias(SEQUENCE),
        position.value.alias(POSITION),
        *(
            column_types.typed(raw[column].value(pl.col(column)), raw[column].dtype, stored).alias(column)
            for column, stored in types.items()
        ),
        *(found.value.alias(column) for column, found in dates.items()),
        *(
            raw[column].value(pl.col(column)).cast(pl.String)
            for column in not_features
            if column not in dates and column not in observed
        ),
    ]
    if config.observation is not None:
        typed += observed_positions(config.observation, raw, position, by_path, rules.time_zone, is_sample=is_sample)
    pieces, n_empty = raw_files, 0
    if TABLE_FORMATS[source.format].is_text and not is_sample:
        n_empty = sum(int(rows.select(_is_empty(rows).sum()).collect(engine="streaming").item()) for rows in raw_files)
        pieces = tuple(rows.filter(_is_empty(rows).not_()) for rows in raw_files) if n_empty else raw_files
    pieces = tuple(rows.select(typed) for rows in pieces)
    rows = pl.concat(pieces)
    if config.max_rows is not None:
        rows = rows.head(config.max_rows)
        pieces = (rows,)
    return Table(
        source=source,
        rows=rows,
        pieces=pieces,
        types=types | stored_types(rules),
        sequence_type=sequence_type,
        position_type=position.type,
        decoded_bytes=_decoded_bytes(source, read_as, config.max_rows),
        raw_files=raw_files,
        sequence=sequence,
        position=position.value,
        position_is_text=position_column is not None and column_types.raw_kind(read_as[position_column]) == "text",
        notes=(
            *notes,
            *([f"{counted(n_empty, 'empty row')} left out"] if n_empty else []),
            *(found.note for found in (position, *dates.values()) if found.note),
            *(found.note for found in raw.values() if found.note),
        ),
        formats=StoredFormats(
            {column: raw[column].style or PLAIN for column in features if raw[column].style},
            position.format,
            {column: found.format for column, found in dates.items() if found.format},
        ),
        is_sample=is_sample,
        time=rules.model_copy(update={"positions_are": "numbers"}) if position.type == "Float64" else rules,
        transforms=transforms_of(rules, config),
        form=source.form.model_copy(
            update={
                "has_sequences": sequence_column is not None,
                "has_positions": position_column is not None,
                "repeated_positions": config.repeated_positions,
            }
        ),
        of_sequences=tuple(config.sequence_columns or ()),
    )


def _is_empty(rows: pl.LazyFrame) -> pl.Expr:
    """Whether a row has no value, in any of the columns that are read."""
    return pl.all_horizontal(pl.col(*rows.collect_schema()).is_null())


def _positions_and_dates(
    config: PreprocessConfig,
    rules: TimeRules,
    raw: Mapping[str, ParsedColumn],
    aware: Mapping[str, bool],
    files: Mapping[Path, pl.LazyFrame],
    path: Path,
    known: StoredFormats,
    *,
    is_sample: bool,
) -> tuple[Position, dict[str, Position]]:
    """Return the positions, and the other dates of time_features by column.

    Args:
        config: position_column.
        rules: what is computed from dates.
        raw: the columns as they are read.
        aware: whether typed dates are instants, by column.
        files: the unchanged rows.
        path: the path of all files, for messages.
        known: stored formats.
        is_sample: whether types come from the first rows of the files.

    Raises:
        NeedsAllValues, DataError: as `open_table`.
    """
    column, position = config.position_column, keys.IN_ORDER
    if column is not None:
        position = keys.position(
            column,
            raw[column],
            files,
            path=path,
            is_sample=is_sample,
            known=known.dates,
            zone=rules.time_zone,
            is_aware=aware[column],
            are_times=are_times(rules, is_integer=column_types.raw_kind(raw[column].dtype) == "integer"),
        )
    check_dates(rules, position.type, config)
    dates = {
        column: date_column(
            column,
            raw[column].dtype,
            files,
            is_sample=is_sample,
            known=known.date_columns.get(column, ""),
            zone=rules.time_zone,
            is_aware=aware[column],
        )
        for column in rules.date_columns
    }
    if rules.time_zone is None:
        _check_offsets(rules, raw, config, files)
    return position, dates


def _check_offsets(
    rules: TimeRules, raw: Mapping[str, ParsedColumn], config: PreprocessConfig, files: Mapping[Path, pl.LazyFrame]
) -> None:
    """Raise DataError where dates of text, whose local calendar is needed, have several offsets from UTC."""
    shown = {POSITION: config.position_name}
    of_calendar = {column.date_column for column in rules.derived.values() if not column.is_span}
    texts = [
        (name, shown.get(name, name))
        for name in rules.time_features
        if name in of_calendar and column_types.raw_kind(raw[shown.get(name, name)].read_as) == "text"
    ]
    check_one_offset(texts, files)


def schema_of(source: Source, file: Path, *, sample_rows: int | None) -> Schema:
    """Return the type of each column of one file.

    Raises:
        DataError: the file is empty or cannot be read.
        NeedsAllValues: the first rows do not determine a type.
    """
    try:
        return file_schema(source, file, sample_rows=sample_rows)
    except pl.exceptions.NoDataError as error:
        raise DataError("the file is empty", where=str(file), fix="remove it, or write the events again") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        if sample_rows is not None:
            raise NeedsAllValues from error
        raise unreadable(source, error, file) from error


def unreadable(source: Source, error: Exception, file: Path | None = None) -> DataError:
    """Return the error for a file that is damaged or has another format."""
    reason = str(error).strip().split("\n")[0]
    return DataError(
        f"cannot read the events as {source.format}: {reason}",
        where=str(file or source.path),
        fix="save the file as UTF-8" if "utf-8" in reason.lower() else "check the file and read_format",
    )


def _features(
    source: Source,
    schemas: Sequence[Schema],
    config: PreprocessConfig,
    selected: Sequence[str] | None,
) -> tuple[list[str], tuple[str, ...]]:
    """Return the feature columns in stored order, and notes for the user."""
    notes = []
    fields = {config.sequence_column: "sequence_column", config.position_column: "position_column"}
    key_columns = {column: field for column, field in fields.items() if column is not None}
    if selected is None:
        features = [column for column in schemas[0] if column not in (*key_columns, *_not_features(config))]
        if "" in features:
            notes.append("the column without a name (probably a saved index) is left out")
            features.remove("")
    else:
        features = [column for column in selected if column not in key_columns]
        if len(features) < len(selected):
            notes.append(
                f"{' and '.join(key_columns)} are always stored, but are not features; to use one, add a copy of it"
            )
    of_sequences = config.sequence_columns or []
    features += [column for column in of_sequences if column not in features]
    named_in = "the metadata" if selected is not None else "the first file"
    if config.selected_columns is not None:
        named_in = "selected_columns"
    for file, schema in zip(source.files, schemas, strict=True):
        for column, where in key_columns.items():
            require_column(file, schema, column, where)
        for column in _not_features(config):
            observed = config.observation.columns if config.observation else []
            field = "split_column" if column == config.split_column else "time_features"
            require_column(file, schema, column, "observation" if column in observed else field)
        for column in features:
            require_column(file, schema, column, "sequence_columns" if column in of_sequences else named_in)
    computed = {**time_rules(config).derived, **dict.fromkeys(time_rules(config).open_columns.values())}
    if not features and not computed:
        raise DataError(
            "there is no feature column besides the sequence and position columns",
            where=str(source.path),
            fix=f"the table has {', '.join(schemas[0])}; add a column to predict",
        )
    for column in features:
        if column in computed:
            raise DataError(
                f"the table has a column `{column}`, and time_features computes one of this name",
                where=str(source.path),
                fix="rename the column, or leave one of them out (selected_columns, time_features)",
            )
    for column in (*features, *_not_features(config)):
        reserved_name(column, str(source.path))
    return features, tuple(notes)


def _not_features(config: PreprocessConfig) -> list[str]:
    """Return the columns that are read besides keys and features."""
    others = [] if config.split_column is None else [config.split_column]
    observed = [] if config.observation is None else config.observation.columns
    return list(dict.fromkeys([*others, *time_rules(config).date_columns, *observed]))


def reserved_name(column: str, where: str) -> None:
    """Raise DataError where a feature has the name of a column that every split has."""
    if column in (SEQUENCE, POSITION, CONTEXT):
        raise DataError(
            f"every split has a column `{column}` already, so a feature cannot have this name",
            where=where,
            fix=f"rename it, leave it out with selected_columns, or set {_key_field(column)}",
        )


def _key_field(column: str) -> str:
    fields = {SEQUENCE: "sequence_column: sequenceId", POSITION: "position_column: itemPosition"}
    return fields.get(column, "another name in the table")


def require_column(file: Path, schema: Schema, column: str, named_in: str) -> None:
    """Raise DataError where a file has no such column; `named_in` is the field that names it."""
    if column not in schema:
        raise DataError(
            f"column `{column}` ({named_in}) is missing in {file.name}",
            where=str(file),
            fix=did_you_mean(column, [known for known in schema if known])
            + ("; if the file is not a table, set read_format: text" if file.suffix.lower() == ".txt" else ""),
        )


def scan_raw(source: Source, file: Path, raw_types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Return the columns of one file with the agreed types and otherwise unchanged."""
    if TABLE_FORMATS[source.format].is_text:
        types = {column: dtype for column, dtype in raw_types.items() if dtype != pl.Null()}
        return scan_csv(source.stored(file), types=types).select(*raw_types)
    rows = source.scan(file)
    schema = rows.collect_schema()
    return rows.select(_plain(column, schema[column], dtype) for column, dtype in raw_types.items())


def _plain(column: str, found: pl.DataType, dtype: pl.DataType) -> pl.Expr:
    if isinstance(found, pl.Datetime) and found.time_zone is not None:
        return pl.col(column).dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(dtype)
    return pl.col(column) if found == dtype else pl.col(column).cast(dtype)


def _decoded_bytes(source: Source, raw_types: Mapping[str, pl.DataType], max_rows: int | None) -> int:
    """Estimate the size in memory: 32 bytes for a text (polars needs 16 and the letters), otherwise 8."""
    per_row = sum(32 if dtype == pl.String else 8 for dtype in raw_types.values())
    if not TABLE_FORMATS[source.format].is_text:
        scans = [source.scan(file) for file in source.files]
        rows = sum(int(scan.select(pl.len()).collect().item()) for scan in scans)
        return per_row * min(rows, max_rows or rows)
    in_files = 2 * sum(source.stored(file).stat().st_size for file in source.files)
    return in_files if max_rows is None else min(in_files, per_row * max_rows)
