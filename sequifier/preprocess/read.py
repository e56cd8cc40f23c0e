"""Raw files -> one lazy table: sequenceId, itemPosition, then the features, each with the type it is stored as.

Files are read in the order of their paths. Types are agreed over all files before anything is read, so that a column
that is an integer in one CSV file and a fraction in the next is real in both.
"""

import codecs
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.config.paths import find_input
from sequifier.config.preprocess import PreprocessConfig, TypeName
from sequifier.errors import DataError, did_you_mean
from sequifier.preprocess import types as column_types
from sequifier.preprocess.types import PositionType, StoredType

Schema = dict[str, pl.DataType]

SAMPLE_ROWS = 1000
"""Rows of a CSV file that its types are first guessed from; a value that contradicts them makes us look at all."""

RawFormat = Literal["csv", "parquet", "text"]

_SUFFIXES: Mapping[RawFormat, tuple[str, ...]] = {"csv": (".csv",), "parquet": (".parquet", ".pq"), "text": (".txt",)}


@dataclass(frozen=True)
class Source:
    """Where the raw events are."""

    path: Path  # the file or folder
    files: tuple[Path, ...]  # sorted
    format: RawFormat
    left_out: tuple[Path, ...] = ()  # files of the folder that are not of the format

    @property
    def name(self) -> str:
        """What the splits and the metadata are named after."""
        return self.path.name if self.path.is_dir() else self.path.stem


def _is_raw(item: Path, folder: Path) -> bool:
    """Not hidden, and no split of an earlier run, which lies there when data/ itself is preprocessed."""
    is_hidden = any(part.startswith(".") for part in item.parts)
    return not is_hidden and re.fullmatch(rf"{re.escape(folder.name)}-split\d+\.\w+", item.name) is None


@dataclass(frozen=True)
class Table:
    """A typed table that has not been read yet.

    Attributes:
        source: the files.
        rows: sequenceId, itemPosition and the features; positions that are no dates are null.
        pieces: the same rows, file by file (at once where max_rows counts over files).
        types: feature -> what it is stored as, in stored order. A Float64 column of `rows` whose type here is Int64
            still has to be shown to hold whole numbers.
        decoded_bytes: an estimate of the size in memory.
        notes: what the user should know about the choice of columns.
    """

    source: Source
    rows: pl.LazyFrame
    pieces: tuple[pl.LazyFrame, ...]
    types: dict[str, StoredType]
    sequence_type: Literal["Int64", "String"]
    position_type: PositionType
    decoded_bytes: int
    raw_files: tuple[pl.LazyFrame, ...]  # untouched values, to show the one that is wrong
    position: pl.Expr
    position_is_text: bool  # in the files
    notes: tuple[str, ...]

    def first_without(self, column: str) -> str:
        """Where the first row is that has no usable sequenceId or itemPosition: file, row and value."""
        for path, rows in zip(self.source.files, self.raw_files, strict=True):
            usable = self.position if column == POSITION else pl.col(SEQUENCE)
            bad = rows.select(raw=pl.col(column), usable=usable).with_row_index("row", offset=1)
            first = bad.filter(pl.col("usable").is_null()).head(1).collect()
            if first.height:
                value = first["raw"].item()
                shown = "empty" if value is None else f"`{value}`"
                return f"{path}, first in row {first['row'].item():,} ({shown})"
        raise AssertionError(f"{column} has a value in every row")


def find_source(config: PreprocessConfig) -> Source:
    """The raw files that `data_path` stands for: working folder first, then project_root.

    Raises:
        ConfigError: nothing is there.
        DataError: there is no file of `read_format`.
    """
    path = find_input(config.data_path, config.project_root, "data_path", working_folder_first=True)
    format = config.read_format
    if path.is_file():
        suffix = path.suffix.lower()
        # A table may have any ending, and any file may be a text; Parquet is never something else.
        other = next((other for other, suffixes in _SUFFIXES.items() if suffix in suffixes), format)
        if other != format and "parquet" in (format, other):
            raise DataError(
                f"`{path.name}` is not a {format} file",
                where=f"data_path: {config.data_path}",
                fix=f"set read_format: {other}",
            )
        return Source(path, (path,), format)
    everything = sorted(item for item in path.rglob("*") if item.is_file() and _is_raw(item.relative_to(path), path))
    files = tuple(item for item in everything if item.suffix.lower() in _SUFFIXES[format])
    if not files and format == "text":
        files = tuple(everything)  # source code, for instance
    if not files:
        found = sorted({item.suffix for item in everything})
        raise DataError(
            f"no {format} file ({', '.join(_SUFFIXES[format])}) in `{config.data_path}`",
            where=str(path),
            fix=f"the folder holds {', '.join(found) or 'no files'}; set data_path or read_format accordingly",
        )
    return Source(path, files, format, tuple(sorted(set(everything) - set(files))))


def open_table(
    source: Source,
    config: PreprocessConfig,
    declared: Mapping[str, TypeName],
    selected: Sequence[str] | None,
    *,
    sample_rows: int | None,
) -> Table:
    """Agree on columns and types, and plan the reading.

    Args:
        source: the files.
        config: sequence_column, position_column, max_rows.
        declared: feature -> kind or type, where the data is not to decide.
        selected: features in stored order; None takes all.
        sample_rows: how much of each CSV file its types are guessed from; None looks at everything.

    Raises:
        DataError: a column is missing or misspelt, has a type that cannot be encoded, or a reserved name, or a file
            is no UTF-8 text with commas.
    """
    schemas = [_file_schema(source, file, sample_rows) for file in source.files]
    names = {config.sequence_column: SEQUENCE, config.position_column: POSITION}
    features, notes = _features(source, schemas, config, selected)
    for column in declared:
        if column not in features:
            raise DataError(
                f"column_types names `{column}`, which is not among the selected columns",
                where=str(source.path),
                fix=did_you_mean(column, features),
            )
    path, is_csv = source.path, source.format == "csv"
    raw_types = {
        column: _raw_type(
            column,
            [schema[column] for schema in schemas],
            declared.get(column),
            path=path,
            is_csv=is_csv,
            is_key=column in names,
        )
        for column in [*names, *features]
    }
    raw_files = tuple(_scan(source, file, raw_types).rename(names) for file in source.files)

    types = {
        column: column_types.stored_type(
            column,
            raw_types[column],
            declared.get(column),
            path=path,
            is_fixed=config.metadata_config_path is not None,
        )
        for column in features
    }
    sequence, order = config.sequence_column, config.position_column
    sequence_type = column_types.sequence_type(sequence, raw_types[sequence], path=path)
    position, position_type = column_types.position(order, raw_types[order], raw_files, path=path)
    typed = [
        pl.col(SEQUENCE).cast(column_types.POLARS_TYPES[sequence_type]),
        position.alias(POSITION),
        *(column_types.typed(column, raw_types[column], stored) for column, stored in types.items()),
    ]
    pieces = tuple(file.select(typed) for file in raw_files)
    rows = pl.concat(pieces)
    if config.max_rows is not None:
        rows = rows.head(config.max_rows)
        pieces = (rows,)
    return Table(
        source=source,
        rows=rows,
        pieces=pieces,
        types=types,
        sequence_type=sequence_type,
        position_type=position_type,
        decoded_bytes=_decoded_bytes(source, raw_types, config.max_rows),
        raw_files=raw_files,
        position=position,
        position_is_text=column_types.raw_kind(raw_types[order]) == "text",
        notes=(*notes, *_leading_zeros(source, sequence, raw_types, types, declared)) if is_csv else notes,
    )


def _raw_type(
    column: str, found: Sequence[pl.DataType], declared: TypeName | None, *, path: Path, is_csv: bool, is_key: bool
) -> pl.DataType:
    """The type to read a column with, from those that it has in the files."""
    if is_csv and declared == "String":
        return pl.String()  # as it stands in the file: 007 is not 7
    common = column_types.common_type(column, found, path=path, is_csv=is_csv)
    if column_types.raw_kind(common) == "large integer":
        if is_key or declared == "String":
            return pl.String()
        if declared in ("real", "Float64"):
            return pl.Float64()
    return common


def _leading_zeros(
    source: Source,
    sequence: str,
    raw_types: Mapping[str, pl.DataType],
    types: Mapping[str, StoredType],
    declared: Mapping[str, TypeName],
) -> list[str]:
    """Notes on codes like 007 that are read as integers, as far as the first rows of each file show them."""
    integers = [
        column
        for column in (sequence, *types)
        if raw_types[column] == pl.Int64() and types.get(column, "Int64") == "Int64" and declared.get(column) != "Int64"
    ]
    notes: dict[str, str] = {}
    for file in source.files if integers else ():
        texts = pl.scan_csv(file, glob=False, infer_schema=False).select(integers).head(SAMPLE_ROWS)
        padded = texts.select(pl.all().filter(pl.all().str.contains(r"^-?0\d")).first()).collect()
        for column, example in padded.row(0, named=True).items():
            if example is None or column in notes:
                continue
            keep = f"declare column_types.{column}: String"
            if column == sequence:
                keep = "write the events as Parquet with text in this column"
            notes[column] = (
                f"column `{column}` holds `{example}`, which is read as the integer {int(example)}; "
                f"if the zeros matter, {keep}"
            )
    return list(notes.values())


def _file_schema(source: Source, file: Path, sample_rows: int | None) -> Schema:
    """Column -> type of one file.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    try:
        if source.format == "parquet":
            return _with_large_integers(pl.scan_parquet(file, glob=False))
        _check_csv(file)
        if sample_rows is not None:
            sample = pl.scan_csv(file, glob=False, infer_schema_length=sample_rows).head(sample_rows).collect()
            # A column without a value in the sample looks like text, whatever follows.
            decided = all(values.null_count() < sample.height for values in sample)
            if decided or sample.height < sample_rows:
                return _with_nan_as_number(sample.lazy())
        return _with_nan_as_number(pl.scan_csv(file, glob=False, infer_schema_length=None))
    except pl.exceptions.NoDataError as error:
        raise DataError("the file is empty", where=str(file), fix="remove it, or write the events again") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        if sample_rows is not None and source.format == "csv":
            return _file_schema(source, file, None)
        raise unreadable(source, error, file) from error


def _check_csv(file: Path) -> None:
    """What polars would read without a word, or with one that does not help.

    Raises:
        DataError: the file is UTF-16, its header is not separated by commas, or names a column twice.
    """
    with file.open("rb") as opened:
        start = opened.read(64)
    if is_utf16(start):
        raise DataError("the file is UTF-16, not UTF-8", where=str(file), fix="save it as UTF-8")
    header = pl.scan_csv(file, glob=False, has_header=False, infer_schema=False, truncate_ragged_lines=True).head(1)
    names = header.collect().row(0)
    if len(names) == 1 and (separator := next((mark for mark in ";\t|" if mark in (names[0] or "")), None)):
        shown = "a tab" if separator == "\t" else f"`{separator}`"
        raise DataError(
            f"the header is one column, `{names[0]}`: it is separated by {shown}, not by commas",
            where=str(file),
            fix="write the file with commas between its columns",
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        shown = " and ".join(f"`{name}`" if name else "a column without a name" for name in repeated)
        raise DataError(
            f"the header names {shown} more than once",
            where=str(file),
            fix="give each column a name of its own",
        )


def is_utf16(start: bytes) -> bool:
    """Whether the first bytes of a file look like UTF-16."""
    has_mark = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Without a mark, every other byte of English text is 0.
    return has_mark or (len(start) >= 4 and not (any(start[::2]) and any(start[1::2])))


def _with_large_integers(rows: pl.LazyFrame) -> Schema:
    """The types of Parquet columns: Int128 stands for integers that do not fit in 64 bits, whatever holds them."""
    schema = dict(rows.collect_schema())
    wide = [column for column, dtype in schema.items() if dtype in (pl.UInt64, pl.Int128, pl.UInt128)]
    if wide:
        fits = rows.select(pl.col(wide).cast(pl.Int64, strict=False).is_null() == pl.col(wide).is_null())
        answers = fits.select(pl.all().all()).collect(engine="streaming").row(0, named=True)
        schema |= {column: pl.Int64() if answers[column] else pl.Int128() for column in wide}
    return schema


def _with_nan_as_number(rows: pl.LazyFrame) -> Schema:
    """The types of CSV columns. Polars takes a column of numbers and `nan` for text; NaN is to be found as such."""
    schema = dict(rows.collect_schema())
    texts = [column for column, dtype in schema.items() if dtype == pl.String]
    number = pl.col(texts).cast(pl.Float64, strict=False)
    if texts:
        only_numbers = number.is_finite().any() & (number.is_not_null() | pl.col(texts).is_null()).all()
        answers = rows.select(only_numbers).collect(engine="streaming").row(0, named=True)
        schema |= {column: pl.Float64() for column in texts if answers[column]}
    return schema


def unreadable(source: Source, error: Exception, file: Path | None = None) -> DataError:
    """The error for a file that is damaged or not of its format."""
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
    """The feature columns in stored order, and what the user should know about the choice."""
    notes = []
    keys = (config.sequence_column, config.position_column)
    if selected is None:
        features = [column for column in schemas[0] if column not in keys]
        if "" in features:
            notes.append("the unnamed column (an index that was saved with the table?) is left out")
            features.remove("")
    else:
        features = [column for column in selected if column not in keys]
        if len(features) < len(selected):
            notes.append(f"{' and '.join(keys)} are always stored and are no features; to use one, copy it")
    named_in = "the metadata" if selected is not None else "the first file"
    if config.selected_columns is not None:
        named_in = "selected_columns"
    for file, schema in zip(source.files, schemas, strict=True):
        for column, where in [(keys[0], "sequence_column"), (keys[1], "position_column")]:
            _require(file, schema, column, where)
        for column in features:
            _require(file, schema, column, named_in)
    if not features:
        raise DataError(
            "there is no feature column besides the sequence and position columns",
            where=str(source.path),
            fix=f"the table has {', '.join(schemas[0])}; add a column to predict",
        )
    for column in features:
        if column in (SEQUENCE, POSITION, CONTEXT):
            raise DataError(
                f"the feature column `{column}` has the name of a column that every split has",
                where=str(source.path),
                fix=f"rename it, leave it out with selected_columns, or set {_key_field(column)}",
            )
    return features, tuple(notes)


def _key_field(column: str) -> str:
    fields = {SEQUENCE: "sequence_column: sequenceId", POSITION: "position_column: itemPosition"}
    return fields.get(column, "another name in the table")


def _require(file: Path, schema: Schema, column: str, named_in: str) -> None:
    if column not in schema:
        raise DataError(
            f"column `{column}` ({named_in}) is missing in {file.name}",
            where=str(file),
            fix=did_you_mean(column, [known for known in schema if known])
            + ("; if the file is no table, set read_format: text" if file.suffix.lower() == ".txt" else ""),
        )


def _scan(source: Source, file: Path, raw_types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """The columns of one file with the agreed types, untouched otherwise."""
    if source.format == "csv":
        read_as = {column: dtype for column, dtype in raw_types.items() if dtype != pl.Null()}
        return pl.scan_csv(file, glob=False, schema_overrides=read_as, infer_schema_length=0).select(*raw_types)
    rows = pl.scan_parquet(file, glob=False)
    schema = rows.collect_schema()
    return rows.select(_plain(column, schema[column], dtype) for column, dtype in raw_types.items())


def _plain(column: str, found: pl.DataType, dtype: pl.DataType) -> pl.Expr:
    if isinstance(found, pl.Datetime) and found.time_zone is not None:
        return pl.col(column).dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(dtype)
    return pl.col(column) if found == dtype else pl.col(column).cast(dtype)


def _decoded_bytes(source: Source, raw_types: Mapping[str, pl.DataType], max_rows: int | None) -> int:
    """About how much memory the rows take: 32 bytes for a text (polars needs 16 and its letters), else 8."""
    per_row = sum(32 if dtype == pl.String else 8 for dtype in raw_types.values())
    if source.format == "parquet":
        scans = [pl.scan_parquet(file, glob=False) for file in source.files]
        rows = sum(int(scan.select(pl.len()).collect().item()) for scan in scans)
        return per_row * min(rows, max_rows or rows)
    in_files = 2 * sum(file.stat().st_size for file in source.files)
    return in_files if max_rows is None else min(in_files, per_row * max_rows)
