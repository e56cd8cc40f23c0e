"""The metadata JSON: the encoding and the splits of a data set, which every later stage reads.

The first five keys are those of Sequifier v1, in its order; the others are under the key `sequifier`. Apart from split
paths, nothing in the file depends on time, machine or file names: equal content has an equal fingerprint.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.format_version import check_format
from sequifier.artifacts.labels import read_summary, write_summary
from sequifier.artifacts.number_style import NumberStyle
from sequifier.artifacts.read_file import read_json
from sequifier.artifacts.table_form import TableForm
from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.base import Category, ColumnType, StrictModel
from sequifier.config.catalogue.torch_names import DEFAULT_CRITERIA, MEDIAN_CRITERION
from sequifier.config.loading.paths import find_input, written_by_preprocess
from sequifier.config.preprocess_fields import END, FillNull, SplitMethod, Transform
from sequifier.config.time_features import TimeUnit
from sequifier.errors import ConfigError, DataError, Problem, did_you_mean

FORMAT_VERSION = 1
Statistics = dict[Literal["std", "mean"], float]


class RawValueRules(StrictModel):
    """The rules by which `preprocess` changed raw values before the encoding; every reader of new rows repeats them.

    The defaults apply to older metadata and model files without rules: missing values are refused.
    """

    fill_null: dict[str, FillNull] = Field(default_factory=dict)  # column -> replacement of missing values
    numbers: dict[str, NumberStyle] = Field(default_factory=dict)  # columns of text with numbers in an unusual format
    dates: str = ""  # format of positions that are text but not ISO 8601: DD/MM/YYYY
    transforms: dict[str, Transform] = Field(default_factory=dict)  # real columns; left out of files where empty
    by_sequence: list[str] = Field(default_factory=list)  # real columns standardised by sequence; left out where empty
    table: TableForm = Field(default_factory=TableForm)  # how its files are written; left out of files where plain

    def check(self, types: Mapping[str, str]) -> None:
        """Check that the rules fit columns of these types.

        Raises:
            ValueError: a rule names another column, or does not fit the type of its column.
        """
        for column, fill in self.fill_null.items():
            if column not in types:
                raise ValueError(f"reading.fill_null names column {column}, which is not among the columns")
            if fill not in _FILLS[types[column]] and not isinstance(fill, _FILL_NUMBERS[types[column]]):
                raise ValueError(f"reading.fill_null.{column}: {fill} does not fit a column of type {types[column]}")
        for column in self.transforms:
            if types.get(column) != "Float64":
                raise ValueError(f"reading.transforms names column {column}, which is not among the real columns")
        for column in self.by_sequence:
            if types.get(column) != "Float64":
                raise ValueError(f"reading.by_sequence names column {column}, which is not among the real columns")

    def scale(self, column: str, statistics: Mapping[Any, float], unit: float) -> Scale:
        """Return how the values of a real column with these statistics are standardised."""
        return Scale(
            statistics["mean"], statistics["std"], self.transforms.get(column), unit, column in self.by_sequence
        )

    @model_serializer(mode="wrap")
    def _without_what_is_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        for key in (
            "transforms",
            "by_sequence",
            "table",
        ):  # earlier releases, which refuse unknown keys, can read the file
            if not content[key]:
                del content[key]
        return content


_FILLS: Mapping[str, tuple[str, ...]] = {
    "Float64": ("mean", "forward"),
    **dict.fromkeys(("Int64", "String", "Boolean"), ("forward", "unknown")),
}
_FILL_NUMBERS: Mapping[str, tuple[type, ...]] = {"Float64": (int, float), "Int64": (int,), "String": (), "Boolean": ()}


LEFT_OUT_AS_DEFAULT = ("sequence_columns", "split_options", "end_event", *TimeRules.model_fields)
"""Keys that are not written where they have their default: earlier releases, which refuse unknown keys, can read the
file."""


class SequifierMetadata(TimeRules):
    """The part of the metadata that v1 did not have. Lists have one entry per split, in order."""

    format_version: int = FORMAT_VERSION
    columns: list[str] = Field(min_length=1)  # feature columns, in the order they are stored
    sequence_columns: list[str] = Field(default_factory=list)  # those with one value for each sequence
    sequence_column: str  # names in the raw data; stored splits call them sequenceId and itemPosition
    position_column: str
    sequence_type: Literal["Int64", "String"]
    position_type: Literal["Int64", "Float64", "Date", "Datetime(us)", "Datetime(ns)"]
    seq_length: int = Field(ge=1)  # events
    stride_by_split: list[int]  # events
    subsequence_start_mode: Literal["distribute", "exact"]
    split_method: SplitMethod
    split_ratios: list[float] | None  # null for a method without ratios
    split_options: dict[str, Any] = Field(default_factory=dict)  # other fields of the method
    split_seed: int | None = None  # seed with which sequences were drawn; otherwise null
    end_event: list[str] = Field(default_factory=list)  # columns whose last class is END
    context_events: int = Field(ge=0)  # largest number of context events of a sequence in a later split
    rows: list[int]  # number of own rows, without context
    sequences: list[int]  # number of sequences with own rows
    column_hashes: list[dict[str, str]]  # column, sequenceId, itemPosition and isContext -> hash of content
    fingerprint: str  # hash of columns, vocabularies, statistics and content
    reading: RawValueRules = Field(default_factory=RawValueRules)

    @property
    def n_events(self) -> list[int]:
        """The number of own events of each split: its rows without START and the end of observation."""
        n_more = self.has_start + self.has_end
        return [rows - n_more * sequences for rows, sequences in zip(self.rows, self.sequences, strict=True)]


class Metadata(StrictModel):
    """The whole file. A column is categorical when it has a vocabulary, else real."""

    n_classes: dict[str, int]  # number of categories, with the unknown one (id 0)
    id_maps: Mapping[str, Mapping[str, int]]  # category as text -> id, in id order from 1; see `categories`
    split_paths: list[str]  # relative to project_root
    column_types: dict[str, Literal["Int64", "String", "Boolean", "Float64"]]
    selected_columns_statistics: dict[str, Statistics]  # real columns, over split 0
    sequifier: SequifierMetadata

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        columns = set(self.columns)
        if set(self.column_types) != columns:
            raise ValueError("column_types and sequifier.columns name different columns")
        if not columns.issuperset(self.sequence_columns):
            raise ValueError("sequifier.sequence_columns names columns that are not in sequifier.columns")
        if set(self.n_classes) != set(self.id_maps):
            raise ValueError("n_classes and id_maps name different columns")
        if set(self.n_classes) | set(self.selected_columns_statistics) != columns:
            raise ValueError("each column needs either an id map or statistics")
        for column, ids in self.id_maps.items():
            # The length first: a list of the ids up to a damaged number could take all memory.
            if len(ids) != self.n_classes[column] - 1 or sorted(ids.values()) != list(range(1, len(ids) + 1)):
                raise ValueError(f"the ids of column {column} are not 1 to n_classes - 1")
        for column, type_name in self.column_types.items():
            if (type_name == "Float64") != (column not in self.n_classes):
                raise ValueError(f"column {column} has type {type_name}, and is Float64 only if it has no id map")
        for column, statistics in self.selected_columns_statistics.items():
            if set(statistics) != {"std", "mean"} or not statistics["std"] > 0:
                raise ValueError(f"column {column} needs a mean and a std above 0, not {statistics}")
        n_splits = len(self.split_paths)
        if n_splits == 0:
            raise ValueError("split_paths is empty")
        for name in ("stride_by_split", "split_ratios", "rows", "sequences", "column_hashes"):
            entries = getattr(self.sequifier, name)
            if entries is not None and len(entries) != n_splits:
                raise ValueError(f"split_paths has {n_splits} entries, sequifier.{name} has {len(entries)}")
        for column in self.sequifier.end_event:
            if self.id_maps.get(column, {}).get(END) != self.n_classes.get(column, 0) - 1:
                raise ValueError(f"column {column} of sequifier.end_event does not have {END} as its last class")
        self.sequifier.reading.check(self.column_types)
        return self

    @property
    def columns(self) -> list[str]:
        """All feature columns, in stored order."""
        return self.sequifier.columns

    @property
    def categorical_columns(self) -> list[str]:
        """The columns with a vocabulary, in stored order."""
        return [column for column in self.columns if column in self.n_classes]

    @property
    def real_columns(self) -> list[str]:
        """The columns with statistics, in stored order."""
        return [column for column in self.columns if column not in self.n_classes]

    @property
    def sequence_columns(self) -> list[str]:
        """The columns that have one value in all events of a sequence."""
        return self.sequifier.sequence_columns

    @property
    def by_sequence(self) -> list[str]:
        """The real columns that are standardised by mean and std of their sequence."""
        return self.sequifier.reading.by_sequence

    @property
    def calendar_columns(self) -> list[str]:
        """The columns that are parts of the local calendar of the positions."""
        return self.sequifier.calendar_columns

    @property
    def fingerprint(self) -> str:
        """Hash of the content of the data set: 16 hexadecimal digits."""
        return self.sequifier.fingerprint

    @property
    def input_columns(self) -> list[str]:
        """The columns that a model may read: all but those that are unknown when their event is."""
        return [column for column in self.columns if column not in self.sequifier.target_only_columns]

    def default_criterion(self, target: str) -> str:
        """Return the criterion of a target that a config leaves out."""
        derived = self.sequifier.derived.get(target)
        if self.sequifier.reading.transforms.get(target) == "log1p" or (derived is not None and derived.is_span):
            return MEDIAN_CRITERION
        return DEFAULT_CRITERIA[self.kind(target)]

    def kind(self, column: str) -> ColumnType:
        """Return whether a column is categorical or real.

        Raises:
            DataError: the column does not exist.
        """
        if column not in self.column_types:
            raise DataError(
                f"column `{column}` is not in the preprocessed data", fix=did_you_mean(column, self.columns)
            )
        return "categorical" if column in self.n_classes else "real"

    def scale(self, column: str) -> Scale:
        """Return how the values of a real column are standardised."""
        statistics = self.selected_columns_statistics[column]
        return self.sequifier.reading.scale(column, statistics, self.sequifier.seconds_per_unit(column))

    @property
    def end_ids(self) -> dict[str, int]:
        """The id of END in each column that has it."""
        return {column: self.n_classes[column] - 1 for column in self.sequifier.end_event}

    def raw_categories(self, column: str) -> list[Category]:
        """Return the raw values of a categorical column in id order, without END; the first has id 1."""
        in_order = sorted(self.id_maps[column], key=self.id_maps[column].__getitem__)
        if column in self.sequifier.end_event:
            in_order.pop()
        match self.column_types[column]:
            case "Int64":
                return [int(text) for text in in_order]
            case "Boolean":
                return [text == "true" for text in in_order]
            case _:
                return list(in_order)

    def categories(self, column: str) -> list[Category]:
        """Return the classes of a categorical column in id order: its raw values, and END where it has that."""
        return [*self.raw_categories(column), *([END] if column in self.sequifier.end_event else [])]


def data_fingerprint(
    columns: Sequence[str],
    id_maps: Mapping[str, Mapping[str, int]],
    statistics: Mapping[str, Mapping[Any, float]],
    column_hashes: Sequence[Mapping[str, str]],
    sequence_columns: Sequence[str] = (),
    transforms: Mapping[str, str] | None = None,
    time_unit: TimeUnit = "seconds",
    time_resolution: float | None = None,
) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of all data that a model's weights or metrics depend on."""
    content: dict[str, Any] = {
        "columns": list(columns),
        "id_maps": {column: dict(ids) for column, ids in id_maps.items()},
        "statistics": {column: dict(values) for column, values in statistics.items()},
        "column_hashes": [dict(hashes) for hashes in column_hashes],
    }
    if transforms:  # equal numbers then mean something else
        content["transforms"] = dict(transforms)
    if sequence_columns:  # as targets they are trained differently from other columns
        content["sequence_columns"] = list(sequence_columns)
    if time_unit != TimeRules().time_unit:
        content["time_unit"] = time_unit
    if time_resolution is not None:  # the likelihood of a gap of 0
        content["time_resolution"] = time_resolution
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def find_split(metadata: Metadata, path: str, project_root: str, key: str) -> Path:
    """Find the file or folder of a split, which the metadata or the config field `key` names.

    Raises:
        DataError: the metadata name it, and it does not exist.
        ConfigError: the config names it, and it does not exist.
    """
    root = Path(project_root).expanduser()
    try:
        return find_input(
            path, project_root, key, fix=lambda similar: similar or written_by_preprocess(Path(path), root)
        )
    except ConfigError as error:
        if path not in metadata.split_paths:
            raise
        raise DataError(
            f"the split {path} in the metadata does not exist",
            where=str(Path(project_root) / path),
            fix="run `sequifier preprocess` again to write it",
        ) from error


def check_planned(metadata: Metadata, planned: str, path: Path) -> None:
    """Check that the data are those for which a run or a search was planned.

    Args:
        metadata: the present metadata.
        planned: the fingerprint at the time of planning.
        path: the metadata file.

    Raises:
        DataError: the fingerprint has changed.
    """
    if metadata.fingerprint != planned:
        raise DataError(
            f"the data have changed: planned with fingerprint {planned}, now {metadata.fingerprint}",
            where=str(path),
            fix="preprocess the planned data again, or plan again on these data under another name",
        )


def _version_in(content: object) -> object:
    ours = content.get("sequifier") if isinstance(content, dict) else None
    return ours.get("format_version") if isinstance(ours, dict) else None


def write_metadata(metadata: Metadata, path: Path) -> None:
    """Write the file atomically.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    id_maps = {column: dict(ids) for column, ids in metadata.id_maps.items()}
    rest = _without_labels(metadata)
    content = {"n_classes": rest.pop("n_classes"), "id_maps": id_maps, **rest}
    write_text(path, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def summarise_metadata(metadata: Metadata, path: Path) -> None:
    """Write the summary of a large metadata file, which makes it fast to read; ignores a failure."""
    write_summary(path, list(metadata.id_maps), _without_labels(metadata))


def _without_labels(metadata: Metadata) -> dict[str, Any]:
    content = metadata.model_dump(exclude={"id_maps"})
    ours = content["sequifier"]
    for key in LEFT_OUT_AS_DEFAULT:
        if ours[key] == SequifierMetadata.model_fields[key].get_default(call_default_factory=True):
            del ours[key]
    return content


def find_metadata(path: str, project_root: str) -> Path:
    """Find the metadata file of a config's `metadata_config_path`.

    Raises:
        ConfigError: the file does not exist, or by its name is not a metadata file.
    """
    key = "metadata_config_path"

    def fix(similar: str) -> str:
        if Path(path).parent.name != "metadata_configs":
            return similar
        run = written_by_preprocess(Path(path), Path(project_root).expanduser())
        return f"{similar} Otherwise {run}" if similar else run

    found = find_input(path, project_root, key, fix=fix)
    is_config = found.suffix in (".yaml", ".yml")
    if found.is_dir() or is_config or found.suffix in (".csv", ".parquet", ".arrow", ".pt"):
        kind = "a folder" if found.is_dir() else "a config" if is_config else "a table"
        other = "name the JSON file that `sequifier preprocess` wrote: configs/metadata_configs/[name].json"
        raise ConfigError([Problem(key, f"{path} is {kind}, not a metadata file", fix=other)])
    return found


def read_metadata(path: Path) -> Metadata:
    """Read and check a metadata file.

    Raises:
        DataError: the file is missing, is not a metadata file of this version, or was changed after it was written.
    """
    again = "run `sequifier preprocess` again to write it"
    known = read_summary(path, fix=again)
    if known is not None:
        with suppress(ValidationError):  # another version: the JSON below gives the error
            ours = SequifierMetadata.model_validate(known["sequifier"])
            if ours.format_version == FORMAT_VERSION:
                return Metadata.model_construct(**{**known, "sequifier": ours})
    content = read_json("the metadata", path, fix=again)
    if isinstance(content, dict) and "id_maps" in content and "sequifier" not in content:
        raise DataError("this metadata was written by Sequifier v1", where=str(path), fix=again)
    check_format(_version_in(content), FORMAT_VERSION, "the metadata", path)
    try:
        metadata = Metadata.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"not a metadata file of this version: {first['msg']}",
            where=f"{path}, {key}" if key else str(path),
            fix=again,
        ) from error
    found = data_fingerprint(
        metadata.columns,
        metadata.id_maps,
        metadata.selected_columns_statistics,
        metadata.sequifier.column_hashes,
        metadata.sequence_columns,
        metadata.sequifier.reading.transforms,
        metadata.sequifier.time_unit,
        metadata.sequifier.time_resolution,
    )
    if found != metadata.fingerprint:
        raise DataError(
            "the metadata were changed by hand: their columns, id maps, statistics and hashes have the fingerprint "
            f"{found}, not {metadata.fingerprint}",
            where=str(path),
            fix=f"{again}; change the preprocess config instead",
        )
    return metadata
