"""The fields of `preprocess.yaml`, and the types of their values. The rules between them: config/preprocess.py."""

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt

from sequifier.config.base import NO_UNIT, DistinctColumns, DistinctNames, ProjectConfig, about
from sequifier.config.observation import Observation
from sequifier.config.sequence_table import SequenceTable
from sequifier.config.time_features import TimeFeatures, TimeUnit, TimeZone

TypeName = Literal["categorical", "real", "Int64", "String", "Boolean", "Float64"]
Count = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]
RawFormat = Literal["csv", "parquet", "xes", "item_lists", "text"]
RepeatedPositions = Literal["error", "keep"]
SplitMethod = Literal["within_sequence", "between_sequence", "last_events", "cutoff", "given"]
Transform = Literal["log1p", "asinh"]
FillNull = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | Literal["mean", "forward", "unknown"]

SMALLEST_CONTEXT = 512
"""Number of earlier events that are stored with a later split at least, unless context_events says otherwise."""

CHAR = "char"
"""The one column of a text."""

WHOLE_SEQUENCES = ("between_sequence", "given")
"""Methods whose splits have whole sequences."""

END = "END"
"""The class of the event after the last one of a sequence, in the columns of `end_event`."""


class PreprocessFields(ProjectConfig):
    """What a preprocess config says."""

    data_path: str = Field(
        min_length=1,
        description="Path of the raw events: a file, or a folder that is read recursively. Looked for in the working "
        "folder, then below project_root.",
        json_schema_extra=about(
            interacts="read_format: what the files hold",
            change="for each new table",
            old_names=("preprocessing_data_path",),
            synonyms="input input_path source csv_path dataset file",
        ),
    )
    read_format: RawFormat = Field(
        "csv",
        description="Format of the raw events: `csv` (also .csv.gz, .tsv and other separators), `parquet`, `xes` "
        "(logs of process mining, .xes or .xes.gz; the sequence column is then `case:concept:name`, the position "
        "column `eventNumber`), `item_lists` (a line for each user: its name, then its items in order, separated by "
        "spaces; the columns are `user` and `item`), or `text` (UTF-8 files, one character per event, in the column "
        "`char`). In a folder, `text` and `item_lists` read the .txt files, and `text` all files where it has none.",
        json_schema_extra=about(
            interacts="text_sequence_length; `text` has the one column `char` and takes none of the fields about "
            "columns",
            change="when the table is Parquet or an XES log, or the data are plain text",
            synonyms="format file_type input_format",
        ),
    )
    text_sequence_length: int = Field(
        4096,
        gt=1,
        description="Length of the sequences that a text is cut into. The first characters of a sequence are "
        "predicted without the text before it.",
        json_schema_extra=about(
            unit="characters",
            interacts="read_format: text; seq_length, which must be smaller",
            change="to more for more context at the cuts, to fewer for more sequences to split",
            synonyms="chunk_size",
        ),
    )
    write_format: Literal["parquet", "csv", "pt", "arrow"] = Field(
        "parquet",
        description="Format of the splits; `arrow` is uncompressed, so that it can be memory-mapped, and `pt` holds "
        "tensors.",
        json_schema_extra=about(
            interacts="merge_output (pt needs false); load_full_data_to_ram: false of train, which maps arrow without "
            "converting it",
            change="to arrow for data larger than memory, to csv to look at the splits",
            synonyms="output_format",
        ),
    )
    merge_output: bool = Field(
        True,
        validate_default=True,
        description="Whether each split is one file; false: a folder of shards per split, with a metadata.json.",
        json_schema_extra=about(
            interacts="write_format (pt needs false) and batches_per_file",
            change="to false with write_format pt, or to send shards",
            old_names=("combine_into_single_file",),
        ),
    )
    column_names: DistinctColumns | None = Field(
        None,
        min_length=1,
        description="Names of the columns of a CSV file without a header, in order; null: its first line has them.",
        json_schema_extra=about(
            interacts="read_format: csv, which alone uses it",
            change="when the first line of the file is data",
            synonyms="header names no_header header_names",
        ),
    )
    sequence_column: str | None = Field(
        "sequenceId",
        min_length=1,
        description="Column that identifies the sequence of an event: integer or text; null: the table is a single "
        "series, whose sequenceId is 1.",
        json_schema_extra=about(
            interacts="position_column, which must be another column",
            change="when the column has another name in your table",
            synonyms="id_column group_column group_by groupby user_column user_id session_id case_id entity_column",
        ),
    )
    position_column: str | None = Field(
        "itemPosition",
        min_length=1,
        description="Column that orders the events of a sequence: dates, datetimes, integers or other numbers; null: "
        "the events of each sequence are in order in the table, and their positions are their numbers, from 0.",
        json_schema_extra=about(
            interacts="sequence_column, which must be another column; repeated_positions",
            change="when the column has another name in your table",
            synonyms="time_column timestamp timestamp_column date_column order_by sort_by",
        ),
    )
    repeated_positions: RepeatedPositions = Field(
        "error",
        description="What happens where two events of a sequence have the same position: `error`, or `keep` (they are "
        "in the order of the table).",
        json_schema_extra=about(
            interacts="position_column, whose values it is about",
            change="to keep when positions are times, and several events may have the same time",
            synonyms="ties duplicate_positions same_time",
        ),
    )
    drop_duplicates: bool = Field(
        False,
        description="Whether rows are left out that are identical to an earlier row in all columns of the table, also "
        "in those that are not selected. `infer` does the same with new rows.",
        json_schema_extra=about(
            interacts="position_column: where it is null, identical rows are different events; repeated_positions is "
            "about the rows that remain",
            change="to true when an export has rows twice",
            synonyms="duplicates dedup deduplicate drop_dups unique distinct",
        ),
    )
    selected_columns: DistinctNames | None = Field(
        None,
        description="Feature columns to store, in this order; null: all but the sequence and position columns. The "
        "list may be empty where columns are computed from dates or times (time_features).",
        json_schema_extra=about(
            interacts="input_columns and target_columns of train, which choose among them",
            change="when a column has no information about the target, or reveals it",
            synonyms="features feature_columns columns usecols",
        ),
    )
    sequence_columns: DistinctColumns | None = Field(
        None,
        description="Columns that have one value in all rows of a sequence, like the region of a customer or the "
        "outcome of a case; null: none. They are stored after selected_columns, unless they are among them. A column "
        "that changes within a sequence is an error.",
        json_schema_extra=about(
            interacts="selected_columns; target_columns of train, which may name them",
            change="to the labels and attributes of whole sequences",
            synonyms="static_columns static_features static_covariates static_reals static_categoricals attributes "
            "sequence_level_columns context_columns trace_attributes stat_exog_list",
        ),
    )
    sequence_table: SequenceTable | None = Field(
        None,
        description="Table of labels and attributes beside the events, joined by the sequence column: "
        "`{path: labels.csv, columns: [outcome]}`. Its columns are stored after the others, as sequence_columns are.",
    )
    column_types: dict[str, TypeName] = Field(
        default_factory=dict,
        description="Type of a column where the one in the data is not right. By default strings, booleans and "
        "integers are categorical and floats are real. `real` treats integers as numbers; `String` keeps "
        "digits as text.",
        json_schema_extra=about(
            interacts="fill_null and the losses of targets, which depend on the type",
            change="to real for an integer column that measures something",
            old_names=("column_data_types",),
            synonyms="dtypes dtype types schema",
        ),
    )
    end_event: DistinctNames = Field(
        default_factory=list,
        description=f"Categorical columns that get a last class `{END}`. After the last event of each sequence comes "
        "one more event, which is a target and never an input, so that a model predicts whether a sequence is over. It "
        f"is `{END}` in these columns and has no value in the others. A sequence that a split cuts ends where it "
        "really ends.",
        json_schema_extra=about(
            interacts="target_columns of train, which should have one of them; autoregression_extra_steps of infer",
            change="when the end of a sequence is part of the question: cases, sessions, visits",
            synonyms="eos eos_token end_of_sequence end_token end_of_case stop_token terminal_event",
        ),
    )
    time_features: TimeFeatures | dict[str, TimeFeatures] = Field(
        default_factory=list,
        description="Columns to compute from dates, stored after selected_columns. From position_column: `gap` "
        "(`time_gap`: seconds since the event before), `since_first`, `since_start` (of observation), `hour` (0 to "
        "23), `weekday` (Monday is 0), `day`, `month`, and `remaining` (seconds until the last event of the sequence; "
        "a target only). A map by column computes the same from other dates, and `until` (`due_date_until`: seconds "
        "from the event, negative for the past): `{date: [gap, hour], due_date: [until]}`. Positions that are numbers "
        "have the features that are spans of time; they are multiples of time_unit.",
        json_schema_extra=about(
            interacts="position_column, which has dates, or times as numbers; time_zone, time_unit, observation; a "
            "column in the map is no feature itself",
            change="when the time between events or the time of day matters, or is to be predicted",
            synonyms="date_features datetime_features calendar_features time_delta timedelta inter_event_time",
        ),
    )
    time_zone: TimeZone | None = Field(
        None,
        description="Time zone (Europe/Berlin) of dates without an offset from UTC, and of hours, weekdays, days and "
        "months; null: UTC. Positions are stored in UTC. A time that occurs twice when clocks are set back is the "
        "earlier one.",
        json_schema_extra=about(
            interacts="position_column and time_features, whose dates it applies to; split_at",
            change="when hours and weekdays should be those of the place where events happen",
            synonyms="timezone tz",
        ),
    )
    time_unit: TimeUnit = Field(
        "seconds",
        description="Unit in which times are predicted and errors of them are reported, and of positions that are "
        "numbers. `none`: such positions have no unit.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="time_features: gap, since_first, since_start, remaining and until, as targets; position_column",
            change="to days when gaps are days, to none when positions are times without a unit",
            synonyms="unit",
        ),
    )
    observation: Observation | None = Field(
        None,
        validate_default=True,
        description="From when and until when the events of a sequence are observed: `{start: 0, end: t_end}`, each a "
        "number or the column that has it (not a feature). With a start, each sequence begins with an event START, "
        "from which its first event is predicted. With an end, the time after the last event counts in the "
        "likelihood of `time_gap`. Events of a sequence may have equal positions: they keep the order of the table.",
        json_schema_extra=about(
            interacts="position_column and time_features (gap, since_start); split_method, which must keep sequences "
            "whole (between_sequence or given)",
            change="when events are a process in time: arrivals, failures, visits, clicks",
            synonyms="observation_window observation_period censoring point_process hawkes survival",
        ),
    )
    time_resolution: float | None = Field(
        None,
        gt=0,
        description="Precision of positions: events with equal positions are less than this apart, so a gap of 0 "
        "counts as the probability of a smaller gap in the likelihood of `time_gap`; null: the smallest positive gap "
        "of the first split.",
        json_schema_extra=about(
            unit="time_unit",
            interacts="observation and time_features: gap; distribution of train",
            change="to 1 when times are rounded to whole units",
            synonyms="resolution precision granularity rounding",
        ),
    )
    split_ratios: list[Ratio] = Field(
        [0.8, 0.1, 0.1],
        min_length=1,
        description="Fraction of the data in each split: training, validation, test, in this order. They sum to 1.",
        json_schema_extra=about(
            unit="fractions of the events, or of the sequences",
            interacts="split_method (fractions of what; last_events uses no fractions) and stride_by_split (as many "
            "entries)",
            change="to `[0.9, 0.1]` when you need no test split, to `[0.7, 0.2, 0.1]` for more validation data of a "
            "small table",
            old_names=("group_proportions",),
            synonyms="split splits test_size val_size train_size validation_split test_split train_test_split",
        ),
    )
    split_method: SplitMethod = Field(
        "within_sequence",
        validate_default=True,
        description="How events are assigned to splits. `within_sequence`: every sequence is cut by position, in the "
        "order of the ratios; `between_sequence`: each split gets whole sequences, in split_order; "
        "`last_events`: the last events of each sequence are for validation and test (leave-one-out); `cutoff`: the "
        "positions in split_at divide all sequences; `given`: a column of the table names the split. "
        "A text file counts as one sequence for within_sequence: its first characters train, its last "
        "ones test; between_sequence draws pieces of text_sequence_length characters.",
        json_schema_extra=about(
            interacts="split_ratios, split_order and split_overlap (between_sequence), split_events (last_events), "
            "split_at (cutoff), split_column (given), and context_events",
            change="to between_sequence when the model will be used on sequences that it has never seen, to "
            "last_events to compare with published recommenders, to cutoff when positions are times and a model "
            "must predict later events than those it was trained on",
            synonyms="group_split split_strategy split_by",
        ),
    )
    split_order: Literal["random", "file", "by_start"] = Field(
        "random",
        description="Order of the sequences that split_ratios divide, for split_method between_sequence. `random`: "
        "drawn with the seed; `file`: of their first rows in the table; `by_start`: of their first positions, so that "
        "the latest sequences are for validation and test.",
        json_schema_extra=about(
            interacts="split_method: between_sequence, which alone uses it",
            change="to by_start when the model will be used on later sequences than it was trained on, to file for a "
            "published split in the order of the table",
            synonyms="shuffle chronological temporal_split",
        ),
    )
    split_overlap: Literal["keep", "cut", "drop"] = Field(
        "keep",
        description="What happens to training sequences that still run where the first validation sequence starts, for "
        "split_method between_sequence. `keep`: nothing; `cut`: their events from then on are in no split; `drop`: the "
        "whole sequences are in no split.",
        json_schema_extra=about(
            interacts="split_order: by_start, whose splits are then apart in time",
            change="to cut when positions are times, so that no training event is later than the start of validation",
            synonyms="purge embargo gap",
        ),
    )
    split_events: list[Count] = Field(
        [1, 1],
        min_length=1,
        max_length=2,
        description="Number of last events of each sequence in validation and test, for split_method last_events. "
        "`[1, 1]`: the last event tests, the one before it validates, and all earlier ones train. A sequence that "
        "has no earlier ones trains only.",
        json_schema_extra=about(
            unit="events",
            interacts="split_method: last_events, which alone uses it",
            change="to `[1]` when you need no test split",
            synonyms="leave_one_out leave_n_out loo n_last",
        ),
    )
    split_at: list[StrictInt | StrictFloat | str] | None = Field(
        None,
        min_length=1,
        max_length=3,
        validate_default=True,
        description="Positions at which splits begin, for split_method cutoff: numbers, or dates like 2013-09-01. "
        "`[a, b]`: events before a train, those from a on validate, those from b on test; `[a]`: no test split; "
        "`[a, b, c]`: events from c on are in no split.",
        json_schema_extra=about(
            unit="positions",
            interacts="split_method: cutoff, which alone uses it, and position_column, whose values it divides",
            change="to the dates of a published split, or of a plan: train on last year, test on this month",
            synonyms="cutoff cutoffs split_date split_dates split_time test_start val_start train_end temporal_split",
        ),
    )
    split_column: str | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="Column that names the split of each sequence, for split_method given: `train`, `validation` or "
        "`test`. It is not a feature.",
        json_schema_extra=about(
            interacts="split_method: given, which alone uses it, and validation_fraction",
            change="to the column of a published split",
            synonyms="split_col fold fold_column partition part subset",
        ),
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Fraction of the training sequences that are drawn for validation, where split_column names none "
        "for it.",
        json_schema_extra=about(
            unit="fraction of the sequences",
            interacts="split_column, and seed",
            change="to 0.2 when there are few sequences",
            synonyms="val_fraction validation_size val_split",
        ),
    )
    seq_length: int = Field(
        gt=0,
        le=1_000_000,
        description="Number of events in a window: how many events a model sees at once. Training may choose "
        "another: events are stored, not windows.",
        json_schema_extra=about(
            unit="events",
            interacts="stride_by_split and context_events, whose defaults follow it",
            change="to the length of the history that matters; training costs grow with it",
            synonyms="context context_length context_size window window_size block_size max_length max_len "
            "max_seq_len sequence_length seq_len lookback history_length n_ctx",
        ),
    )
    stride_by_split: list[Count] | None = Field(
        None,
        description="Number of events by which windows advance, for each split; null: seq_length for each.",
        json_schema_extra=about(
            unit="events",
            interacts="the number of splits: one entry for each",
            change="to less than seq_length to show each event in several places",
            old_names=("seq_step_sizes",),
            synonyms="stride overlap hop",
        ),
    )
    subsequence_start_mode: Literal["distribute", "exact"] = Field(
        "distribute",
        description="Where windows start in a sequence's part of a split. `distribute`: spread evenly; `exact`: one "
        "every stride events; if the last window then does not end at the last event, this is an error.",
        json_schema_extra=about(
            interacts="stride_by_split; exact needs parts that it divides",
            change="to exact when all windows must be equally far apart",
        ),
    )
    max_rows: int | None = Field(
        None,
        gt=0,
        description="Number of rows to read (of a text: characters), files in order of their names; null: all.",
        json_schema_extra=about(
            unit="rows",
            interacts="split_ratios: fractions of the rows that are read",
            change="for a quick try on a large table",
            synonyms="nrows n_rows limit head max_samples subsample",
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Random seed with which sequences are drawn for a split; null: draw one and record it.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="split_method: between_sequence with split_order: random, and given without validation",
            change="to see how much depends on the split",
            synonyms="random_state random_seed manual_seed",
        ),
    )
    n_cores: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="Accepted without effect (a field of Sequifier 1, the earlier release): all cores are used; the "
        "environment variable POLARS_MAX_THREADS limits them.",
        json_schema_extra=about(unused=True, synonyms="n_jobs threads num_threads"),
    )
    batches_per_file: int = Field(
        1024,
        gt=0,
        description="Number of sequences in a shard.",
        json_schema_extra=about(
            unit="sequences",
            interacts="merge_output: false",
            change="to fewer when shards take too much memory to read",
            synonyms="shard_size rows_per_file",
        ),
    )
    process_by_file: bool = Field(
        True,
        description="Accepted without effect (a field of Sequifier 1, the earlier release): memory is bounded in any "
        "case, and a sequence may be spread over files.",
        json_schema_extra=about(unused=True),
    )
    continue_preprocessing: bool = Field(
        False,
        description="Whether to keep what an interrupted run has read, and to resume there when the command is "
        "called again with the same files and settings. Progress is kept by file and by part; a table "
        "that fits in memory, or a text, is read again.",
        json_schema_extra=about(
            interacts="data_path and all settings, which must be those of the interrupted run",
            change="to true for many large input files",
            synonyms="resume",
        ),
    )
    vocabulary_from: Literal["all", "train"] = Field(
        "all",
        description="Rows that categories are collected from: `all`, or `train`, those of the first split (other "
        "categories become unknown, as they would be in use).",
        json_schema_extra=about(
            interacts="min_count and max_categories, which count in the same rows",
            change="to `train` when validation should be as in use, where new categories are unknown; `all` matches "
            "Sequifier 1, the earlier release",
        ),
    )
    min_count: Count | dict[str, Count] = Field(
        1,
        description="Number of rows below which a category becomes unknown: one number, or a map by column.",
        json_schema_extra=about(
            unit="rows",
            interacts="vocabulary_from (which rows count) and max_categories",
            change="to a value from 2 to 10 when most categories occur once or twice",
            synonyms="min_freq min_frequency min_occurrences rare_threshold",
        ),
    )
    max_categories: Count | dict[str, Count] | None = Field(
        None,
        description="Number of most frequent categories to keep: one number, or a map by column; null: all.",
        json_schema_extra=about(
            unit="categories",
            interacts="min_count, which applies first",
            change="when the vocabulary is so large that most weights are embeddings",
            synonyms="vocab_size vocabulary_size max_vocab max_vocab_size num_embeddings",
        ),
    )
    fill_null: dict[str, FillNull] = Field(
        default_factory=dict,
        description="Replacement of null, NaN and infinite values, by column: a number, `mean` (of the first split; "
        "real columns), `forward` (the last earlier value of the sequence) or `unknown` (categories). A "
        "column that is not named here must have none.",
        json_schema_extra=about(
            unit="numbers in the column's own unit",
            interacts="column_types: numbers and mean are for real columns, unknown is for categorical ones",
            change="when the table has missing values",
            synonyms="fillna missing missing_values impute imputation na_values nan",
        ),
    )
    transforms: dict[str, Transform | Literal["none"]] = Field(
        default_factory=dict,
        description="Transform of a real column before it is standardised, by column: `log1p` (log(1 + x), for values "
        "from 0 to very large ones), `asinh` (the same for both signs) or `none`. Statistics, loss and model see "
        "transformed values; predictions and metrics are in original units, and of a log1p column never negative.",
        json_schema_extra=about(
            interacts="column_types (only real columns have one) and fill_null, whose numbers are in original units",
            change="to log1p for amounts, counts and durations, most of which are small and a few very large",
            synonyms="transform log log_transform log1p asinh arcsinh normalize scaling scaler skew box_cox",
        ),
    )
    standardize: Literal["global", "per_sequence"] = Field(
        "global",
        description="Mean and standard deviation by which real columns are standardised: `global`: of all values of "
        "the first split; `per_sequence`: of the values that the first split has of the same sequence. Predictions and "
        "metrics are in original units either way. Columns of whole sequences and those computed from dates are always "
        "standardised by all values.",
        json_schema_extra=about(
            interacts="split_method, which must leave each sequence a part to train on; distribution of train, "
            "which can only be quantiles; export_end_to_end, whose model sees a window but not its sequence",
            change="to per_sequence for series of very different sizes, such as the sales of shops, whose differences "
            "in size should not make the loss",
            synonyms="scaler scaling standard_scaler normalize normalization group_normalizer per_series",
        ),
    )
    context_events: int | None = Field(
        None,
        ge=0,
        description="Number of events of earlier splits that are stored in front of each sequence of a later split, "
        "so that its first events are predicted with history; null: the larger of seq_length and "
        f"{SMALLEST_CONTEXT}, with last_events all.",
        json_schema_extra=about(
            unit="events",
            interacts="split_method: within_sequence, last_events and cutoff, which cut sequences",
            change="to 0 when a later split must know nothing of the earlier ones",
        ),
    )
    metadata_config_path: str | None = Field(
        None,
        description="Path of a metadata JSON whose vocabularies and statistics are used instead of learning them. "
        "Columns and types are taken from it, and categories that it does not have become unknown.",
        json_schema_extra=about(
            interacts="columns, types, vocabularies and statistics, which are then as stored",
            change="for new data of a model that is already trained",
            synonyms="metadata",
        ),
    )
