"""The metadata JSON: what preprocessing learnt from a table, and what every later stage reads.

The first five keys are those of Sequifier v1, in its order; ours follow under the one key `sequifier`. Nothing in
the file depends on time, machine or file names beyond the split paths: equal content gives an equal fingerprint.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.format_version import check_format
from sequifier.artifacts.labels import read_summary, write_summary
from sequifier.artifacts.number_style import NumberStyle
from sequifier.artifacts.read_file import read_json
from sequifier.config.base import ColumnType, StrictModel
from sequifier.config.loading.paths import find_input
from sequifier.config.preprocess import FillNull
from sequifier.errors import ConfigError, DataError, Problem, did_you_mean

FORMAT_VERSION = 1
Category = str | int | bool
Statistics = dict[Literal["std", "mean"], float]


class RawValueRules(StrictModel):
    """What `preprocess` did to values before it encoded them; every reader of new rows repeats it.

    The defaults are those of a metadata or model file written before this was stored: missing values are refused.
    """

    fill_null: dict[str, FillNull] = Field(default_factory=dict)  # column -> what its missing values became
    numbers: dict[str, NumberStyle] = Field(default_factory=dict)  # columns of text whose numbers are not plain
    dates: str = ""  # how positions are written, where they are text but not ISO 8601: DD/MM/YYYY

    def check(self, types: Mapping[str, str]) -> None:
        """Check that the rules fit columns of these types.

        Raises:
            ValueError: one names another column, or does not fit its type.
        """
        for column, fill in self.fill_null.items():
            if column not in types:
                raise ValueError(f"reading.fill_null names column {column}, which is not among the columns")
            if fill not in _FILLS[types[column]] and not isinstance(fill, _FILL_NUMBERS[types[column]]):
                raise ValueError(f"reading.fill_null.{column}: {fill} does not fit a column of type {types[column]}")


_FILLS: Mapping[str, tuple[str, ...]] = {
    "Float64": ("mean", "forward"),
    **dict.fromkeys(("Int64", "String", "Boolean"), ("forward", "unknown")),
}
_FILL_NUMBERS: Mapping[str, tuple[type, ...]] = {"Float64": (int, float), "Int64": (int,), "String": (), "Boolean": ()}


class SequifierMetadata(StrictModel):
    """What v1 did not store. One entry per split in every list, in split order."""

    format_version: int = FORMAT_VERSION
    columns: list[str] = Field(min_length=1)  # feature columns, in the order they are stored
    sequence_column: str  # names in the raw data; stored splits call them sequenceId and itemPosition
    position_column: str
    sequence_type: Literal["Int64", "String"]
    position_type: Literal["Int64", "Date", "Datetime(us)", "Datetime(ns)"]
    seq_length: int = Field(ge=1)  # events
    stride_by_split: list[int]  # events
    subsequence_start_mode: Literal["distribute", "exact"]
    split_method: Literal["within_sequence", "between_sequence"]
    split_ratios: list[float]
    split_seed: int | None = None  # of between_sequence, null otherwise
    context_events: int = Field(ge=0)  # preceding events stored in front of each sequence of a later split
    rows: list[int]  # own rows, context not counted
    sequences: list[int]  # sequences with own rows
    column_hashes: list[dict[str, str]]  # column, sequenceId, itemPosition and isContext -> hash of content
    fingerprint: str  # of columns, vocabularies, statistics and content
    reading: RawValueRules = Field(default_factory=RawValueRules)


class Metadata(StrictModel):
    """The whole file. A column is categorical when it has a vocabulary, else real."""

    n_classes: dict[str, int]  # categories and the unknown one (id 0)
    id_maps: Mapping[str, Mapping[str, int]]  # category as text -> id, in id order from 1; see `categories`
    split_paths: list[str]  # relative to project_root
    column_types: dict[str, Literal["Int64", "String", "Boolean", "Float64"]]
    selected_columns_statistics: dict[str, Statistics]  # real columns: of split 0
    sequifier: SequifierMetadata

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        columns = set(self.columns)
        if set(self.column_types) != columns:
            raise ValueError("column_types and sequifier.columns name different columns")
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
            if (length := len(getattr(self.sequifier, name))) != n_splits:
                raise ValueError(f"split_paths has {n_splits} entries, sequifier.{name} has {length}")
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
    def fingerprint(self) -> str:
        """Stands for the content of the data set: 16 hexadecimal digits."""
        return self.sequifier.fingerprint

    def kind(self, column: str) -> ColumnType:
        """Whether a column is categorical or real.

        Raises:
            DataError: there is no such column.
        """
        if column not in self.column_types:
            raise DataError(
                f"column `{column}` is not in the preprocessed data", fix=did_you_mean(column, self.columns)
            )
        return "categorical" if column in self.n_classes else "real"

    def categories(self, column: str) -> list[Category]:
        """The values of a categorical column as they were in the raw data, in id order: the first has id 1."""
        in_order = sorted(self.id_maps[column], key=self.id_maps[column].__getitem__)
        match self.column_types[column]:
            case "Int64":
                return [int(text) for text in in_order]
            case "Boolean":
                return [text == "true" for text in in_order]
            case _:
                return list(in_order)


def category_text(value: Category) -> str:
    """A category as a JSON key: booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def data_fingerprint(
    columns: Sequence[str],
    id_maps: Mapping[str, Mapping[str, int]],
    statistics: Mapping[str, Mapping[Any, float]],
    column_hashes: Sequence[Mapping[str, str]],
) -> str:
    """Sixteen hexadecimal digits of SHA-256 over everything that a model's numbers depend on."""
    content = {
        "columns": list(columns),
        "id_maps": {column: dict(ids) for column, ids in id_maps.items()},
        "statistics": {column: dict(values) for column, values in statistics.items()},
        "column_hashes": [dict(hashes) for hashes in column_hashes],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def find_split(metadata: Metadata, path: str, project_root: str, key: str) -> Path:
    """The file or folder of a split, which the metadata or the config field `key` names.

    Raises:
        DataError: the metadata name it and it is not there.
        ConfigError: the config names it and it is not there.
    """
    try:
        return find_input(path, project_root, key)
    except ConfigError as error:
        if path not in metadata.split_paths:
            raise
        raise DataError(
            f"{path} does not exist, though the metadata name it",
            where=str(Path(project_root) / path),
            fix="run `sequifier preprocess` again to write it",
        ) from error


def check_planned(metadata: Metadata, planned: str, path: Path) -> None:
    """Refuse other data than a run or a search was planned on.

    Args:
        metadata: as they are now.
        planned: the fingerprint they had.
        path: of the metadata.

    Raises:
        DataError: they have another one.
    """
    if metadata.fingerprint != planned:
        raise DataError(
            f"the data changed: planned on data {planned}, the metadata now describe data {metadata.fingerprint}",
            where=str(path),
            fix="preprocess the planned data again, or plan anew on these data under another name",
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
    rest = metadata.model_dump(exclude={"id_maps"})
    content = {"n_classes": rest.pop("n_classes"), "id_maps": id_maps, **rest}
    write_text(path, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def summarise_metadata(metadata: Metadata, path: Path) -> None:
    """Make a large metadata file quick to read, once it has its name; without effect where that is not possible."""
    write_summary(path, list(metadata.id_maps), metadata.model_dump(exclude={"id_maps"}))


def find_metadata(path: str, project_root: str) -> Path:
    """The metadata file that a config names in `metadata_config_path`.

    Raises:
        ConfigError: there is none, or it is something else, as far as its name says that.
    """
    key = "metadata_config_path"
    found = find_input(path, project_root, key)
    is_config = found.suffix in (".yaml", ".yml")
    if found.is_dir() or is_config or found.suffix in (".csv", ".parquet", ".arrow", ".pt"):
        kind = "a folder" if found.is_dir() else "a config" if is_config else "a table"
        fix = "name the JSON file that `sequifier preprocess` wrote: configs/metadata_configs/[name].json"
        raise ConfigError([Problem(key, f"{path} is {kind}, not a metadata file", fix=fix)])
    return found


def read_metadata(path: Path) -> Metadata:
    """Read and check a metadata file.

    Raises:
        DataError: the file is missing, is not a metadata file of this version, or was changed after it was written.
    """
    again = "run `sequifier preprocess` again to write it"
    known = read_summary(path, fix=again)
    if known is not None:
        with suppress(ValidationError):  # of another version: the JSON itself says what is wrong
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
    )
    if found != metadata.fingerprint:
        raise DataError(
            "the metadata was changed by hand: its columns, id maps, statistics and hashes are not those that were "
            f"written (fingerprint {found}, written {metadata.fingerprint})",
            where=str(path),
            fix=f"{again}; what to encode and how is set in the preprocess config",
        )
    return metadata
