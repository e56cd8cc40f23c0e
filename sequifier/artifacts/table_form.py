"""The form of a raw table, stored for reading new rows alike: how its files are written, which keys its rows lack."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from sequifier.config.base import StrictModel
from sequifier.config.preprocess_fields import RepeatedPositions


class TableForm(StrictModel):
    """The form of a raw table. The defaults are those of a plain table; only other values are written to files.

    Attributes:
        separator: separator of the columns of CSV files.
        has_spaces: whether CSV files have spaces around names and values, which are not part of them.
        column_names: names of the columns of CSV files without a header.
        lists_items: whether a file has a line for each sequence: its name, then its items.
        has_sequences: whether a column names the sequence of a row; False: the table is a single series.
        has_positions: whether a column orders the rows of a sequence; False: they are in order.
        repeated_positions: whether rows of a sequence may have equal positions.
        drop_duplicates: whether rows that are identical to an earlier one in all columns are left out.
    """

    separator: Literal[",", ";", "\t", "|", " "] = ","
    has_spaces: bool = False
    column_names: list[str] | None = None
    lists_items: bool = False
    has_sequences: bool = True
    has_positions: bool = True
    repeated_positions: RepeatedPositions = "error"
    drop_duplicates: bool = False

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        return {name: value for name, value in content.items() if value != type(self).model_fields[name].default}


PLAIN_TABLE = TableForm()
