"""`sequence_table`: a table of labels and attributes beside the events, with a row for each sequence."""

from pydantic import Field, ValidationInfo, field_validator

from sequifier.config.base import DistinctColumns, StrictModel, about


class SequenceTable(StrictModel):
    """A table with a row for each sequence, or with one for each moment of interest of a sequence."""

    path: str = Field(
        min_length=1,
        description="Path of the table: a CSV or Parquet file that has the sequence column and a row for each sequence "
        "of the events. Looked for like data_path.",
        json_schema_extra=about(
            interacts="sequence_column, whose name and values are those of the events",
            change="to the table with the labels or attributes of your sequences",
            synonyms="labels_path file",
        ),
    )
    columns: DistinctColumns | None = Field(
        None,
        description="Columns of the table to use; null: all but the sequence column, as_of and split_column.",
        json_schema_extra=about(
            interacts="sequence_columns: they are such columns, without being named there",
            change="to leave out columns that are not known when a prediction is made",
            synonyms="selected_columns features",
        ),
    )
    as_of: str | None = Field(
        None,
        min_length=1,
        description="Column of the table with the moments from which predictions are made, written like positions: "
        "only events up to the moment (or at it) are read. A sequence may have several rows, one for each moment; each "
        "is stored as a sequence named SEQUENCE@MOMENT. null: a row for each sequence, of which all events are read.",
        json_schema_extra=about(
            interacts="split_method, which must be between_sequence (all rows of a sequence are then in one split) or "
            "given",
            change="for questions like `will this customer leave within the month?`, asked at several dates",
            synonyms="cutoff_time prediction_time snapshot_date reference_date timestamp",
        ),
    )

    @field_validator("as_of")
    @classmethod
    def _is_no_feature(cls, as_of: str | None, info: ValidationInfo) -> str | None:
        if as_of is not None and as_of in (info.data.get("columns") or ()):
            raise ValueError(f"{as_of!r} is in columns, but the moments are no feature; leave it out there")
        return as_of
