"""`preprocess.yaml`: from raw events to encoded splits and metadata."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictInt, ValidationInfo, field_validator

from sequifier.config.base import Columns, ProjectConfig, about

TypeName = Literal["categorical", "real", "Int64", "String", "Boolean", "Float64"]
Count = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]
FillNull = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | Literal["mean", "forward", "unknown"]

SMALLEST_CONTEXT = 512
RATIO_TOLERANCE = 1e-6

CHAR = "char"
"""The one column of a text."""


class PreprocessConfig(ProjectConfig):
    """Which table to encode, how it is split, and what each column is."""

    data_path: str = Field(
        min_length=1,
        description="The raw events: a file, or a folder read recursively. Looked for in the working folder, then "
        "below project_root.",
        json_schema_extra=about(
            old_names=("preprocessing_data_path",),
            interacts="read_format says what it holds",
            change="for each new table",
        ),
    )
    read_format: Literal["csv", "parquet", "text"] = Field(
        "csv",
        description="Format of the raw events; text: UTF-8 files, one character per event, in the column `char`. Of a "
        "folder the .txt files are read; all files where it has none.",
        json_schema_extra=about(
            interacts="text has the one column `char`, and takes none of the fields about columns",
            change="the table is Parquet, or the data are a plain text",
        ),
    )
    text_sequence_length: int = Field(
        4096,
        gt=1,
        description="Length of the sequences that a text is cut into. The first characters of a sequence are "
        "predicted without what came before it.",
        json_schema_extra=about(
            unit="characters",
            interacts="read_format: text; above seq_length",
            change="longer keeps more context where the text is cut, shorter gives more pieces to split",
        ),
    )
    write_format: Literal["parquet", "csv", "pt", "arrow"] = Field(
        "parquet",
        description="Format of the splits; arrow is uncompressed, so that it can be memory-mapped. pt: tensors.",
        json_schema_extra=about(
            interacts="pt needs merge_output: false; load_full_data_to_ram: false of train reads arrow without "
            "converting it",
            change="arrow for data larger than memory, csv to look at the splits",
        ),
    )
    merge_output: bool = Field(
        True,
        validate_default=True,
        description="One file per split; false: a folder of shards per split, with a metadata.json.",
        json_schema_extra=about(
            old_names=("combine_into_single_file",),
            interacts="write_format: pt needs false; batches_per_file",
            change="with write_format pt, or to send shards",
        ),
    )
    sequence_column: str = Field(
        "sequenceId",
        min_length=1,
        description="Column that says which sequence an event belongs to: integer or text.",
        json_schema_extra=about(interacts="differs from position_column", change="your table names it otherwise"),
    )
    position_column: str = Field(
        "itemPosition",
        min_length=1,
        description="Column that orders the events of a sequence: integers, dates or datetimes.",
        json_schema_extra=about(interacts="differs from sequence_column", change="your table names it otherwise"),
    )
    selected_columns: Columns | None = Field(
        None,
        description="Feature columns, in the order to store them; null: all but the sequence and position columns.",
        json_schema_extra=about(
            interacts="input_columns and target_columns of train choose among them",
            change="a column says nothing, or gives the answer away",
        ),
    )
    column_types: dict[str, TypeName] = Field(
        default_factory=dict,
        description="Kind of a column where the data does not say: by default text, booleans and integers are "
        "categorical and floats are real. `real` takes integers as numbers; `String` keeps digits as text.",
        json_schema_extra=about(
            old_names=("column_data_types",),
            change="an integer column that measures something is `real`",
            interacts="fill_null and the losses of targets go by the kind",
        ),
    )
    split_ratios: list[Ratio] = Field(
        [0.8, 0.1, 0.1],
        min_length=1,
        description="Share of each split: training, validation, test, in this order. They sum to 1.",
        json_schema_extra=about(
            old_names=("group_proportions",),
            unit="shares of the events, or of the sequences",
            interacts="split_method says of what; stride_by_split has as many entries",
            change="[0.9, 0.1] when no test split is wanted; more validation when the data are few",
        ),
    )
    split_method: Literal["within_sequence", "between_sequence"] = Field(
        "within_sequence",
        description="within_sequence cuts every sequence by position, in ratio order; between_sequence gives each "
        "split whole sequences, drawn by the seed. A text file counts as one sequence for within_sequence: its first "
        "characters train, its last ones test; between_sequence draws pieces of text_sequence_length characters.",
        json_schema_extra=about(
            interacts="seed draws for between_sequence; context_events is for within_sequence",
            change="between_sequence when the model will be used on sequences that it has never seen",
        ),
    )
    seq_length: int = Field(
        gt=0,
        le=1_000_000,
        description="Events that a model sees at once. Training may choose another: events are stored, not windows.",
        json_schema_extra=about(
            unit="events",
            interacts="stride_by_split and context_events follow it where they are null",
            change="long enough for the history that matters; training costs grow with it",
        ),
    )
    stride_by_split: list[Count] | None = Field(
        None,
        description="How far windows advance in each split; null: seq_length for each.",
        json_schema_extra=about(
            old_names=("seq_step_sizes",),
            unit="events",
            interacts="one entry for each of split_ratios",
            change="smaller than seq_length shows each event in several places",
        ),
    )
    subsequence_start_mode: Literal["distribute", "exact"] = Field(
        "distribute",
        description="distribute spreads the windows evenly over the slice; exact starts one every stride events and "
        "is an error where that leaves events over.",
        json_schema_extra=about(
            interacts="stride_by_split; exact needs slices that it divides",
            change="exact when all windows must be equally far apart",
        ),
    )
    max_rows: int | None = Field(
        None,
        gt=0,
        description="Read only the first rows (of a text: characters), files in order of their names; null: all.",
        json_schema_extra=about(
            unit="rows",
            change="a quick try on a large table",
            interacts="split_ratios are shares of the rows that are read",
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Seed of split_method between_sequence; null draws one and records it.",
        json_schema_extra=about(
            unit="a seed",
            interacts="split_method: between_sequence, which alone draws",
            change="to see how much depends on the split",
        ),
    )
    n_cores: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="Accepted (v1): all cores are used; the environment variable POLARS_MAX_THREADS limits them.",
        json_schema_extra=about(unused=True),
    )
    batches_per_file: int = Field(
        1024,
        gt=0,
        description="Sequences in a shard.",
        json_schema_extra=about(
            unit="sequences", interacts="merge_output: false", change="smaller shards take less memory to read"
        ),
    )
    process_by_file: bool = Field(
        True,
        description="Accepted (v1): memory is bounded by itself, and a sequence may be spread over files.",
        json_schema_extra=about(unused=True),
    )
    continue_preprocessing: bool = Field(
        False,
        description="Keep what an interrupted run has read, and go on there when it is called again with the same "
        "files and settings. It is kept by file and by part; a table that fits in memory, or a text, is read again.",
        json_schema_extra=about(
            change="many large input files", interacts="data_path and all settings must be those of the interrupted run"
        ),
    )
    vocabulary_from: Literal["all", "train"] = Field(
        "all",
        description="Rows that categories are collected from: all, or those of the first split (others become "
        "unknown, as they would be in use).",
        json_schema_extra=about(
            interacts="min_count and max_categories count in the same rows",
            change="train for an honest validation loss; all for the numbers of v1",
        ),
    )
    min_count: Count | dict[str, Count] = Field(
        1,
        description="A category seen less often becomes unknown: one number, or a map by column.",
        json_schema_extra=about(
            unit="rows",
            interacts="vocabulary_from says in which rows; max_categories",
            change="2 to 10 when most categories are seen once or twice",
        ),
    )
    max_categories: Count | dict[str, Count] | None = Field(
        None,
        description="Keep this many of the most frequent categories: one number, or a map by column; null: all.",
        json_schema_extra=about(
            unit="categories",
            interacts="applies after min_count",
            change="the vocabulary is so large that the model is mostly embeddings",
        ),
    )
    fill_null: dict[str, FillNull] = Field(
        default_factory=dict,
        description="What null, NaN and infinite values of a column become: a number, `mean` (of the first split; "
        "real columns), `forward` (the last earlier value of the sequence) or `unknown` (categories). "
        "A column that is not named here must have none.",
        json_schema_extra=about(
            unit="the column's own unit",
            interacts="column_types: numbers and mean are for real columns, unknown is for categorical ones",
            change="the table has missing values",
        ),
    )
    context_events: int | None = Field(
        None,
        ge=0,
        description="Events of earlier splits stored in front of each sequence of a later split, so that its first "
        f"events are predicted with history; null: the larger of seq_length and {SMALLEST_CONTEXT}.",
        json_schema_extra=about(
            unit="events",
            interacts="split_method: within_sequence",
            change="0 when a later split must know nothing of the earlier ones",
        ),
    )
    metadata_config_path: str | None = Field(
        None,
        description="Encode with the vocabularies and statistics of this metadata JSON instead of learning them: "
        "columns and types are taken from it, and categories it does not know become unknown.",
        json_schema_extra=about(
            change="new data for a model that is already trained",
            interacts="columns, kinds, vocabularies and statistics are then taken as stored",
        ),
    )

    @field_validator("merge_output")
    @classmethod
    def _tensors_are_shards(cls, merged: bool, info: ValidationInfo) -> bool:
        if merged and info.data.get("write_format") == "pt":
            raise ValueError("write_format: pt writes a folder of shards for each split; set merge_output: false")
        return merged

    @field_validator("sequence_column", "position_column", "selected_columns", "column_types", "fill_null")
    @classmethod
    def _is_for_tables(cls, value: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[str(info.field_name)].get_default(call_default_factory=True)
        if info.data.get("read_format") == "text" and value != default:
            raise ValueError(
                f"{value!r} is for tables; a text (read_format: text) has the one column {CHAR!r} and no missing "
                "values: leave it out"
            )
        return value

    @field_validator("seq_length")
    @classmethod
    def _fits_in_a_text_sequence(cls, seq_length: int, info: ValidationInfo) -> int:
        longest = info.data.get("text_sequence_length")
        if info.data.get("read_format") == "text" and longest is not None and seq_length >= longest:
            raise ValueError(
                f"{seq_length} is not below text_sequence_length {longest}: no window would be full; raise that one"
            )
        return seq_length

    @field_validator("selected_columns")
    @classmethod
    def _each_column_once(cls, columns: list[str] | None) -> list[str] | None:
        twice = sorted({column for column in columns or () if (columns or []).count(column) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given more than once")
        return columns

    @field_validator("position_column")
    @classmethod
    def _two_columns(cls, column: str, info: ValidationInfo) -> str:
        if column == info.data.get("sequence_column"):
            raise ValueError(f"{column!r} is the sequence_column already; name the column that orders its events")
        return column

    @field_validator("split_ratios")
    @classmethod
    def _ratios_are_everything(cls, ratios: list[float]) -> list[float]:
        total = math.fsum(ratios)
        if abs(total - 1) > RATIO_TOLERANCE:
            raise ValueError(f"{ratios} sums to {total:g}; the ratios must sum to 1")
        return ratios

    @field_validator("stride_by_split")
    @classmethod
    def _one_stride_for_each_split(cls, strides: list[int] | None, info: ValidationInfo) -> list[int] | None:
        ratios = info.data.get("split_ratios")
        if strides is not None and ratios is not None and len(strides) != len(ratios):
            raise ValueError(
                f"{strides} has {len(strides)} entries, split_ratios {ratios} has {len(ratios)}; give one per split"
            )
        return strides

    @property
    def strides(self) -> list[int]:
        """The stride of each split, in events."""
        return self.stride_by_split or [self.seq_length] * len(self.split_ratios)

    @property
    def stored_context_events(self) -> int:
        """`context_events` with its default."""
        return max(self.seq_length, SMALLEST_CONTEXT) if self.context_events is None else self.context_events
