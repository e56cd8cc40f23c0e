"""Which columns of the files of a table are read: the features, and what is read besides keys and features."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError, did_you_mean, nearest
from sequifier.preprocess.agree_columns import Schema
from sequifier.preprocess.parsed_column import ColumnError
from sequifier.preprocess.source import Source
from sequifier.preprocess.time_features import time_rules


@dataclass(frozen=True)
class Columns:
    """The columns that are read, besides the sequence and the position column.

    Attributes:
        features: in stored order.
        texts: split_column and the dates of time_features, which are read as text.
        observed: the columns of `observation`.
        notes: notes for the user.
    """

    features: list[str]
    texts: list[str]
    observed: list[str]
    notes: tuple[str, ...] = ()

    @property
    def others(self) -> list[str]:
        """What is read besides keys and features."""
        return [*self.texts, *self.observed]


def choose_columns(
    source: Source, schemas: Sequence[Schema], config: PreprocessConfig, selected: Sequence[str] | None
) -> Columns:
    """Choose the columns to read.

    Args:
        source: the files.
        schemas: the types of each file.
        config: the columns that it names.
        selected: features in stored order; None: all.

    Raises:
        DataError: a file lacks a column, there is no feature, or a feature has the name of another stored column.
    """
    fields = {config.sequence_column: "sequence_column", config.position_column: "position_column"}
    keys = {column: field for column, field in fields.items() if column is not None}
    observed = config.observation.columns if config.observation else []
    dated = [config.split_column, *time_rules(config).date_columns]
    texts = [column for column in dict.fromkeys(dated) if column is not None and column not in observed]
    notes: tuple[str, ...] = ()
    if selected is None:
        features = [column for column in schemas[0] if column not in (*keys, *texts, *observed)]
        if "" in features:
            notes = ("the column without a name (probably a saved index) is left out",)
            features.remove("")
        notes += tuple(_only_in_others(source, schemas, {*keys, *texts, *observed}))
    else:
        features = [column for column in selected if column not in keys]
        if len(features) < len(selected):
            notes = (f"{' and '.join(keys)} are always stored, but are not features; to use one, add a copy of it",)
    features += [column for column in config.sequence_columns or () if column not in features]
    named_in = "the metadata" if selected is not None else "the first file"
    if config.selected_columns is not None:
        named_in = "selected_columns"
    named = [
        *keys.items(),
        *((column, "split_column" if column == config.split_column else "time_features") for column in texts),
        *((column, "observation") for column in observed),
        *(
            (column, "sequence_columns" if column in (config.sequence_columns or ()) else named_in)
            for column in features
        ),
    ]
    for file, schema in zip(source.files, schemas, strict=True):
        for column, field in named:
            require_column(file, schema, column, field)
    columns = Columns(features, texts, observed, notes)
    _check_names(columns, source, schemas[0], config)
    return columns


def _only_in_others(source: Source, schemas: Sequence[Schema], used: Collection[str]) -> Iterator[str]:
    """Yield notes on columns that the first file does not have, and which are therefore not read."""
    seen = {*schemas[0], *used, ""}
    for file, schema in zip(source.files, schemas, strict=True):
        if new := [column for column in schema if column not in seen]:
            seen |= {*new}
            yield f"left out, because {source.files[0].name} does not have them: {', '.join(new)} (in {file.name})"


def _check_names(columns: Columns, source: Source, schema: Schema, config: PreprocessConfig) -> None:
    """Raise DataError where there is no feature, or where one has the name of another stored column."""
    rules = time_rules(config)
    computed = {*rules.derived, *rules.open_columns.values()}
    if not columns.features and not computed:
        raise DataError(
            "there is no feature column besides the sequence and position columns",
            where=str(source.path),
            fix=f"the table has {', '.join(schema)}; add a column to predict",
        )
    for column in columns.features:
        if column in computed:
            raise DataError(
                f"the table has a column `{column}`, and time_features computes one of this name",
                where=str(source.path),
                fix="rename the column, or leave one of them out (selected_columns, time_features)",
            )
    for column in (*columns.features, *columns.others):
        reserved_name(column, str(source.path))


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
        is_misspelt = bool(nearest(column, schema))
        raise (DataError if is_misspelt else ColumnError)(
            f"column `{column}` ({named_in}) is missing in {file.name}",
            where=str(file),
            fix=did_you_mean(column, [known for known in schema if known])
            + ("; if the file is not a table, set read_format: text" if file.suffix.lower() == ".txt" else ""),
        )
