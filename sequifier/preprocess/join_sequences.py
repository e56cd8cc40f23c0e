"""Joining a sequence table to the events, by the sequence column.

With `as_of`, a row is a sequence up to a moment: it is joined to the events until then, under a name of its own.
"""

from dataclasses import replace

import polars as pl

from sequifier.artifacts.events import POSITION, SEQUENCE
from sequifier.artifacts.instants import instants
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.column_types import NUMBERS, POSITION_TYPES
from sequifier.preprocess.sequence_table import MOMENT, SequenceRows
from sequifier.preprocess.table import Table

AT = "@"
"""Between the name of a sequence and a moment."""
_BYTES = {"String": 32}


def with_sequence_table(
    table: Table, attributes: SequenceRows, config: PreprocessConfig, *, may_have_others: bool = False
) -> Table:
    """Join a sequence table to the events.

    Args:
        table: the events.
        attributes: the table.
        config: names of the columns; max_rows.
        may_have_others: whether it may have sequences without events.

    Raises:
        DataError: a sequence is in one table only, a column is in both, or a sequence has no event up to a moment.
    """
    for column in attributes.types:
        if column in table.types:
            raise DataError(
                f"column `{column}` is in the events and in sequence_table",
                where=f"{table.source.path} and {attributes.path}",
                fix="leave it out of one of them, with selected_columns or sequence_table.columns",
            )
    joined = _comparable(table, attributes, config)
    counted = (
        table.rows.filter(pl.col(SEQUENCE).is_not_null())
        .group_by(SEQUENCE)
        .agg(pl.len().alias("n_rows"), pl.col(POSITION).min())
        .collect(engine="streaming")
    )
    _check_sequences(
        counted, joined, attributes, config, may_have_others=may_have_others or config.max_rows is not None
    )
    if attributes.moment_type is not None:
        _check_moments(counted, joined, attributes, config)
    copies = joined.height / max(joined[SEQUENCE].n_unique(), 1)
    added = int(counted["n_rows"].sum()) * sum(_BYTES.get(stored, 8) for stored in attributes.types.values())
    return replace(
        table,
        rows=_join(table.rows, joined, attributes),
        pieces=tuple(_join(piece, joined, attributes) for piece in table.pieces),
        types=table.types | attributes.types,
        sequence_type=table.sequence_type if attributes.moment_type is None else "String",
        decoded_bytes=int(copies * (table.decoded_bytes + added)),
        notes=(*table.notes, *attributes.notes),
        of_sequences=(*table.of_sequences, *attributes.types),
        formats=replace(table.formats, numbers={**table.formats.numbers, **attributes.formats.numbers}),
    )


def _comparable(table: Table, attributes: SequenceRows, config: PreprocessConfig) -> pl.DataFrame:
    """Return the rows of a sequence table with ids and moments of the types of the events."""
    rows = attributes.rows
    if table.sequence_type != attributes.sequence_type:
        if table.sequence_type == "Int64":
            raise DataError(
                f"sequences are integers in the events, and text in sequence_table: `{rows[SEQUENCE][0]}`",
                where=f"{attributes.path}, column `{config.sequence_name}`",
                fix="write them alike in both tables",
            )
        rows = rows.with_columns(pl.col(SEQUENCE).cast(pl.String))
    if attributes.moment_type in (None, table.position_type):
        return rows
    assert config.sequence_table is not None
    types = (attributes.moment_type, table.position_type)
    are_whole = types == ("Int64", "Float64")  # numbers whose fractions are all 0
    if not are_whole and (table.position_type == "Date" or {*types} & {*NUMBERS}):
        raise DataError(
            f"sequence_table.as_of is {attributes.moment_type}, but positions are {table.position_type}",
            where=f"{attributes.path}, column `{config.sequence_table.as_of}`",
            fix=f"write moments as `{config.position_name}` has positions",
        )
    moments = rows[MOMENT]
    if attributes.moment_type == "Date":
        moments = instants(moments, config.time_zone).cast(POSITION_TYPES["Datetime(us)"])
    return rows.with_columns(moments.cast(POSITION_TYPES[table.position_type]).alias(MOMENT))


def _check_sequences(
    counted: pl.DataFrame,
    rows: pl.DataFrame,
    attributes: SequenceRows,
    config: PreprocessConfig,
    *,
    may_have_others: bool,
) -> None:
    """Raise DataError where a sequence is in one of the tables only."""
    missing = counted.join(rows, on=SEQUENCE, how="anti").sort(SEQUENCE)
    if missing.height:
        raise DataError(
            f"sequence_table has no row for {missing.height:,} of {counted.height:,} sequences of the events: first "
            f"{config.sequence_name}={missing[SEQUENCE][0]}",
            where=str(attributes.path),
            fix="add a row for each sequence, or remove the events of the others",
        )
    unknown = rows.join(counted, on=SEQUENCE, how="anti", maintain_order="left")
    if unknown.height and not may_have_others:
        raise DataError(
            f"sequence_table has {unknown.height:,} of {rows.height:,} rows for sequences without events: first "
            f"{config.sequence_name}={unknown[SEQUENCE][0]}",
            where=str(attributes.path),
            fix=f"remove those rows, or write `{config.sequence_name}` alike in both tables",
        )


def _check_moments(
    counted: pl.DataFrame, rows: pl.DataFrame, attributes: SequenceRows, config: PreprocessConfig
) -> None:
    """Raise DataError where a sequence has no event up to a moment."""
    assert config.sequence_table is not None
    early = rows.join(counted, on=SEQUENCE, maintain_order="left").filter(pl.col(POSITION) > pl.col(MOMENT))
    if early.height:
        raise DataError(
            f"sequence_table has {early.height:,} of {rows.height:,} rows before the first event of their sequence: "
            f"first {config.sequence_name}={early[SEQUENCE][0]} {config.sequence_table.as_of}={early[MOMENT][0]}, "
            f"whose events begin at {early[POSITION][0]}",
            where=str(attributes.path),
            fix="remove those rows: there is nothing to predict from",
        )


def _join(events: pl.LazyFrame, rows: pl.DataFrame, attributes: SequenceRows) -> pl.LazyFrame:
    joined = events.join(rows.lazy(), on=SEQUENCE, how="left", maintain_order="left")
    if attributes.moment_type is None:
        return joined
    moment = pl.col(MOMENT)
    # Rows without a valid position remain, to be reported.
    until = joined.filter((pl.col(POSITION) > moment).not_().fill_null(True))
    text = moment.cast(pl.String) if rows[MOMENT].dtype.is_numeric() else moment.dt.to_string("iso:strict")
    return until.with_columns(pl.concat_str(SEQUENCE, pl.lit(AT), text)).drop(MOMENT)
