"""The type of each column, agreed over all raw files.

All values of a CSV column are inspected only where the first rows leave a doubt; a clean file is read at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from sequifier.artifacts.number_style import NumberStyle
from sequifier.config.preprocess_fields import TypeName
from sequifier.preprocess.column_counts import count_columns, inspect_numbers
from sequifier.preprocess.column_types import common_type, raw_kind
from sequifier.preprocess.csv_file import check_csv, check_names, may_have_leading_zeros, scan_csv
from sequifier.preprocess.numbers import PLAIN, number_counts
from sequifier.preprocess.parsed_column import NUMBER_TYPES, PADDED, ParsedColumn, TextColumn
from sequifier.preprocess.source import Source
from sequifier.preprocess.table_formats import TABLE_FORMATS

Schema = dict[str, pl.DataType]

DOUBTFUL = 0.5
"""Fraction of numbers in the first rows of a column of text from which all its values are inspected."""

SAMPLE_ROWS = 1000
"""First rows of a CSV file from which its types are guessed, until a later value contradicts them."""


class NeedsAllValues(Exception):
    """The first rows do not determine the types of the columns: all values must be inspected."""


@dataclass(frozen=True)
class StoredFormats:
    """Formats of text that a metadata file or a model has stored.

    Attributes:
        numbers: column -> format, for columns of numbers.
        dates: format of positions; empty: they were ISO 8601, or not text.
        date_columns: column -> format, for other columns of dates.
    """

    numbers: Mapping[str, NumberStyle] = field(default_factory=dict)
    dates: str = ""
    date_columns: Mapping[str, str] = field(default_factory=dict)


NO_FORMATS = StoredFormats()


def stored_formats(
    real_columns: Iterable[str], numbers: Mapping[str, NumberStyle], dates: str, date_columns: Mapping[str, str]
) -> StoredFormats:
    """Return the formats of all real columns; those without a stored format were plain numbers."""
    return StoredFormats(dict.fromkeys(real_columns, PLAIN) | dict(numbers), dates, date_columns)


def file_schema(source: Source, file: Path, *, sample_rows: int | None) -> Schema:
    """Return the type of each column of one file; Null where it has no value.

    Raises:
        DataError: the header is not valid.
        NeedsAllValues: the first rows do not determine a type.
    """
    if not TABLE_FORMATS[source.format].is_text:
        check_names(file, [*source.scan(file).collect_schema()])
        return _with_large_integers(source.scan(file))
    stored = source.stored(file)
    check_csv(stored, shown=file)
    if sample_rows is None:
        return _without_other_digits(stored, dict(scan_csv(stored, sample_rows=None).collect_schema()))
    sample = scan_csv(stored, sample_rows=sample_rows).head(sample_rows).collect()
    schema = dict(sample.schema)
    for column, values in sample.to_dict().items():
        if values.null_count() == sample.height:
            if sample.height == sample_rows:
                raise NeedsAllValues
            schema[column] = pl.Null()
        elif values.dtype == pl.String:
            counts = values.to_frame().select(**number_counts(pl.col(column))).row(0, named=True)
            if counts["like"] >= DOUBTFUL * (counts["known"] - counts["marks"]):
                raise NeedsAllValues
    return schema


def _without_other_digits(file: Path, schema: Schema) -> Schema:
    """Return the types of a CSV file, with text for numbers in other digits than 0 to 9, which polars cannot parse."""
    numbers = [column for column, dtype in schema.items() if dtype.is_numeric()]
    is_other = scan_csv(file).select(pl.col(numbers).str.contains(r"[^\x00-\x7f]").any())
    found = is_other.collect(engine="streaming").row(0, named=True) if numbers else {}
    return schema | {column: pl.String() for column, is_text in found.items() if is_text}


def agree(
    source: Source,
    schemas: Sequence[Schema],
    columns: Sequence[str],
    *,
    is_sample: bool,
    keys: Sequence[str],
    declared: Mapping[str, TypeName],
    known: StoredFormats,
) -> dict[str, ParsedColumn]:
    """Agree on each column over all files.

    Args:
        source: the files.
        schemas: the types of each file.
        columns: the columns to use.
        is_sample: whether the types come from the first rows.
        keys: the sequence and the position column.
        declared: feature -> kind or type, where the values do not decide.
        known: stored formats.

    Raises:
        DataError: Parquet files disagree, or values do not fit the declared type.
        NeedsAllValues: the first rows do not determine a type.
    """
    is_text = TABLE_FORMATS[source.format].is_text
    if not is_text:
        schemas = _of_values(source, schemas, columns)
    types: dict[str, pl.DataType] = {}
    for column in columns:
        found = dict(zip(source.files, (schema[column] for schema in schemas), strict=True))
        types[column] = _common(column, found, declared.get(column), is_text=is_text, is_key=column in keys)
        may_be_thousands = known.numbers.get(column, PLAIN) != PLAIN  # 1.234
        may_be_names = column == keys[0] and types[column] == pl.Float64()  # 1.0 is the integer 1, and 1e5 a name
        if is_text and (may_be_thousands or may_be_names):
            if is_sample:
                raise NeedsAllValues
            types[column] = pl.String()

    def may_be_values(column: str) -> bool:
        """Whether text may stand for numbers, booleans or dates."""
        name = declared.get(column)
        return name != "String" and (is_text or column == keys[1] or name in (*NUMBER_TYPES, "Boolean"))

    def may_be_codes(column: str) -> bool:
        """Whether integers may have leading zeros, which are kept; positions are integers with or without them."""
        return is_text and column != keys[1] and column not in declared

    texts = [column for column, dtype in types.items() if dtype == pl.String and may_be_values(column)]
    integers = [column for column, dtype in types.items() if dtype == pl.Int64() and may_be_codes(column)]
    agreed = {column: ParsedColumn(dtype, dtype) for column, dtype in types.items()}
    if not is_sample:
        return agreed | _inspected(source, texts, integers, keys=keys, declared=declared, known=known)
    for column in texts:
        kinds = {raw_kind(schema[column]) for schema in schemas} - {"nothing but nulls"}
        if len(kinds) > 1 or declared.get(column, "categorical") != "categorical":
            raise NeedsAllValues
    _check_zeros({source.stored(file): source.scan(file) for file in source.files}, integers)
    return agreed


def _inspected(
    source: Source,
    texts: Sequence[str],
    integers: Sequence[str],
    *,
    keys: Sequence[str],
    declared: Mapping[str, TypeName],
    known: StoredFormats,
) -> dict[str, ParsedColumn]:
    """Return how columns of text are read, and integers of which some have leading zeros, by all their values."""
    if not texts and not integers:
        return {}
    unchanged = {file: source.scan(file) for file in source.files}
    rows = pl.concat(rows.select(pl.col(*texts, *integers).cast(pl.String)) for rows in unchanged.values())
    padded = count_columns(rows, integers, lambda text: {"padded": text.str.contains(PADDED).sum()})
    texts = [*texts, *(column for column in integers if padded[column]["padded"])]
    numeric = frozenset(column for column in texts if column == keys[1] or declared.get(column) in NUMBER_TYPES)
    agreed: dict[str, ParsedColumn] = {}
    for column, found in inspect_numbers(rows, texts, declared=numeric, known=known.numbers).items():
        text = TextColumn(column, found, unchanged, declared.get(column), is_key=column in keys)
        as_key = {keys[0]: text.as_sequence, keys[1]: text.as_position}
        agreed[column] = as_key.get(column, text.as_feature)()
    return agreed


def _of_values(source: Source, schemas: Sequence[Schema], columns: Sequence[str]) -> Sequence[Schema]:
    """Return the types of typed files; where they disagree on a column, Null for a file that has no value in it."""
    differing = [column for column in columns if len({raw_kind(schema[column]) for schema in schemas}) > 1]
    if not differing:
        return schemas
    n_values = [
        source.scan(file).select(pl.col(differing).count()).collect(engine="streaming").row(0, named=True)
        for file in source.files
    ]
    return [
        schema | {column: pl.Null() for column in differing if not counts[column]}
        for schema, counts in zip(schemas, n_values, strict=True)
    ]


def _common(
    column: str, found: Mapping[Path, pl.DataType], declared: TypeName | None, *, is_text: bool, is_key: bool
) -> pl.DataType:
    """Return the type to read a column with, from its types in the files."""
    if is_text and declared == "String":
        return pl.String()  # as in the file: 007 is not 7
    common = common_type(column, found, is_text=is_text)
    if raw_kind(common) == "large integer":
        if is_key or declared == "String":
            return pl.String()
        if declared in ("real", "Float64"):
            return pl.Float64()
    return common


def _check_zeros(files: Mapping[Path, pl.LazyFrame], integers: Sequence[str]) -> None:
    """Raise NeedsAllValues where an integer of a file has leading zeros."""
    for file, rows in files.items() if integers else ():
        if may_have_leading_zeros(file):
            padded = rows.select(pl.any_horizontal(pl.col(integers).str.contains(PADDED).any()))
            if padded.collect(engine="streaming").item():
                raise NeedsAllValues


def _with_large_integers(rows: pl.LazyFrame) -> Schema:
    """Return the types of Parquet columns; Int128 means integers that do not fit in 64 bits, of any type."""
    schema = dict(rows.collect_schema())
    wide = [column for column, dtype in schema.items() if _may_be_large(dtype)]
    if wide:
        fits = rows.select(pl.col(wide).cast(pl.Int64, strict=False).is_null() == pl.col(wide).is_null())
        answers = fits.select(pl.all().all()).collect(engine="streaming").row(0, named=True)
        schema |= {column: pl.Int64() if answers[column] else pl.Int128() for column in wide}
    return schema


def _may_be_large(dtype: pl.DataType) -> bool:
    is_whole_decimal = isinstance(dtype, pl.Decimal) and dtype.scale == 0  # NUMBER of Oracle and Snowflake
    return is_whole_decimal or dtype in (pl.UInt64, pl.Int128, pl.UInt128)
