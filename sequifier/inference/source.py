"""The events to predict, and whether model and data have the same encoding.

Ids and standardised values do not show what they encode. The metadata JSON of the data describes it, and the model file
describes the encoding of its training data. Data that no metadata describes is assumed to have the encoding of the
model. Raw events are encoded as the model file describes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sequifier.artifacts.events import SUFFIXES, statistics_columns
from sequifier.artifacts.metadata import Metadata, find_metadata, read_metadata
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.shard_folder import INDEX, in_number_order, shards_of
from sequifier.artifacts.time_rules import TimeRules
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.loading.paths import find_input, written_by_preprocess
from sequifier.errors import ConfigError, DataError, Problem, did_you_mean
from sequifier.inference.recoding import Recoding, read_recoding
from sequifier.inference.steps_to_come import not_of_dates
from sequifier.inference.v1_windows import columns_of, holds_windows

ENCODE_AGAIN = "preprocess the new data with `metadata_config_path` set to the metadata of the training data"
NO_METADATA = "note: no metadata describes {path}; its encoding is assumed to be the model's"


@dataclass(frozen=True)
class Source:
    """The events to predict.

    Attributes:
        path: the file or folder that the config names.
        files: the encoded files: one, or the shards of a folder in order.
        columns: columns to read.
        evaluated: targets whose truth is among the columns.
        is_raw: whether the events are raw.
        future: the table with the steps to come, which may be that of the raw events itself; None: there is none.
        hashes: column -> hash of its content, if metadata describes the data.
        stride: events between the starts of consecutive windows.
        start_mode: see `dataset.windows.window_starts`.
        holds_windows: whether the files have windows of v1.
        recoding: of those windows.
        end_ids: the id of END in each column that has it, if sequences may have one.
        metadata: of the data, if some describe them.
        number: of the split in the metadata.
    """

    path: Path
    files: tuple[Path, ...]
    columns: list[str]
    evaluated: list[Target]
    is_raw: bool = False
    future: Path | None = None
    hashes: dict[str, str] | None = None
    stride: int = 1
    start_mode: Literal["distribute", "exact"] = "distribute"
    holds_windows: bool = False
    recoding: Recoding | None = None
    end_ids: Mapping[str, int] = field(default_factory=dict)
    metadata: Metadata | None = None
    number: int = 0

    def observes_ends(self, file: ModelFile) -> bool:
        """Return whether the last rows of sequences are ends of their observation; `file` is the model."""
        return self._rules(file).has_end and not self.is_raw and not self.holds_windows

    def has_start(self, file: ModelFile) -> bool:
        """Return whether the first row of each sequence is its START, and not an event; `file` is the model."""
        return self._rules(file).has_start and not self.holds_windows

    def _rules(self, file: ModelFile) -> TimeRules:
        return file.time if self.metadata is None else self.metadata.sequifier

    def still_open(self, config: InferConfig) -> dict[str, str]:
        """Return the evaluated targets whose time from the last event to the end of observation counts too.

        They are those with a density, where every event is predicted: then the likelihood of whole sequences is known.

        Returns:
            Target -> the stored column with this time.
        """
        if self.metadata is None or config.evaluation_context == "split" or config.autoregression:
            return {}
        columns = self.metadata.sequifier.open_columns
        return {
            target.name: columns[target.name]
            for target in self.evaluated
            if target.name in columns and target.shape is not None and target.shape.has_density
        }

    @property
    def is_folder(self) -> bool:
        """Whether there is an output for each file."""
        return not self.is_raw and self.path.is_dir()


def find_source(config: InferConfig, file: ModelFile, model_path: Path, targets: list[Target], log: Log) -> Source:
    """Find the events that a config names, and compare their encoding with a model's; no event is read yet.

    Args:
        config: of the inference.
        file: metadata of the model.
        model_path: for errors.
        targets: whose predictions are written.
        log: receives lines for the user.

    Raises:
        ConfigError: there is no such file, or the config names none.
        DataError: model and data encode a column differently, or a column is missing.
    """
    if config.read_format == "raw":
        return _raw_source(config, file)
    if config.data_path is not None:
        path = find_input(config.data_path, config.project_root, "data_path")
        files = _shards(path, config) if path.is_dir() else (path,)
        if holds_windows(files[0], config.read_format):
            return _window_source(config, path, files, file, model_path, targets, log)
    metadata = metadata_of(config, file)
    given = config.data_path or _default_split(metadata, file)

    def fix(similar: str) -> str:
        return similar or ("" if config.data_path is not None else written_by_preprocess(Path(given), config.root))

    path = find_input(given, config.project_root, "data_path", fix=fix)
    files = _shards(path, config) if path.is_dir() else (path,)
    described = _describing(path, config.root, metadata)
    if described is None:
        log(NO_METADATA.format(path=path))
        evaluated = targets if config.evaluate else []
        return Source(path, files, _stored_columns(file, evaluated), evaluated, end_ids=file.end_ids)
    metadata, number = described
    evaluated = [target for target in targets if config.evaluate and target.name in metadata.columns]
    _check_same_encoding(file, model_path, metadata, path, evaluated)
    if config.evaluate and len(evaluated) < len(targets):
        names = ", ".join(target.name for target in targets if target not in evaluated)
        log(f"note: {path} does not have {names}: these predictions are not evaluated")
    return Source(
        path,
        files,
        _stored_columns(file, evaluated),
        evaluated,
        hashes=metadata.sequifier.column_hashes[number],
        stride=metadata.sequifier.stride_by_split[number],
        start_mode=metadata.sequifier.subsequence_start_mode,
        end_ids=metadata.end_ids,
        metadata=metadata,
        number=number,
    )


def _default_split(metadata: Metadata | None, file: ModelFile) -> str:
    """Return the path of the test split, else of the last one.

    Raises:
        ConfigError: the metadata that lists the splits is not there.
    """
    if metadata is None:
        missing = f"the metadata of the training data ({file.config.get('metadata_config_path')})"
        what = f"is required: {missing}, which would name a test split, does not exist"
        raise ConfigError([Problem("data_path", what, fix="give data_path, or metadata_config_path")])
    return metadata.split_paths[min(2, len(metadata.split_paths) - 1)]


def _raw_source(config: InferConfig, file: ModelFile) -> Source:
    if config.data_path is None:
        raise ConfigError(
            [Problem("data_path", "read_format: raw requires the CSV, Parquet or XES file of the raw events")]
        )
    path = find_input(config.data_path, config.project_root, "data_path")
    future, fills = None, file.reading.fill_null
    if config.future_data_path is not None:
        future = find_input(config.future_data_path, config.project_root, "future_data_path")
        future = path if future.resolve() == path.resolve() else future  # by another name, too
    elif config.model_type != "embedding" and not_of_dates(file) and not {*file.raw_targets} <= fills.keys():
        future = path  # a target that must have a value in each event has none in these rows
    return Source(path, (path,), list(file.architecture.input_columns), [], is_raw=True, future=future)


def _window_source(
    config: InferConfig,
    path: Path,
    files: tuple[Path, ...],
    file: ModelFile,
    model_path: Path,
    targets: list[Target],
    log: Log,
) -> Source:
    """Return stored windows of v1; the metadata of the config describes their encoding, if the config names one."""
    assert config.read_format != "raw"
    if config.evaluation_context == "full":
        raise ConfigError(
            [
                Problem(
                    "evaluation_context",
                    f"full requires events, but {files[0].name} has windows of Sequifier v1",
                    fix="leave it out, or preprocess the raw data again",
                )
            ]
        )
    if file.by_sequence:
        raise DataError(
            f"the model reads {', '.join(file.by_sequence)} standardised by sequence, and these are windows of "
            "Sequifier v1",
            where=str(path),
            fix="preprocess the raw data again, or give them with read_format: raw",
        )
    stored = columns_of(files[0], config.read_format)
    evaluated = [target for target in targets if config.evaluate and target.name in stored]
    columns = _columns(file, evaluated)
    for column in columns:
        if column not in stored:
            raise DataError(
                f"the model reads column `{column}`, of which {files[0].name} has no windows",
                where=str(path),
                fix=did_you_mean(column, stored),
            )
    recoding = None
    if config.metadata_config_path is None:
        log(NO_METADATA.format(path=path))
    else:
        place = find_metadata(config.metadata_config_path, config.project_root)
        recoding = read_recoding(place, file, columns)
        if recoding is None:
            _check_same_encoding(file, model_path, read_metadata(place), path, evaluated)
    return Source(path, files, columns, evaluated, holds_windows=True, recoding=recoding)


def _shards(folder: Path, config: InferConfig) -> tuple[Path, ...]:
    """Return the shards that a folder's metadata.json names, else its files."""
    assert config.read_format != "raw"
    if (folder / INDEX).exists():
        return shards_of(folder, config.read_format).paths
    suffixes = [f".{config.read_format}"] if config.read_format else list(SUFFIXES)
    files = [path for path in folder.iterdir() if path.suffix in suffixes and not path.name.startswith(".")]
    if not files:
        raise DataError(f"the folder has no file with the suffix {', '.join(suffixes)}", where=str(folder))
    if len(found := {path.suffix for path in files}) > 1:
        raise DataError(
            f"the folder has files of several formats: {', '.join(sorted(found))}",
            where=str(folder),
            fix="set read_format to one of them",
        )
    return in_number_order(files)


def _columns(file: ModelFile, evaluated: list[Target]) -> list[str]:
    return list(dict.fromkeys([*file.architecture.input_columns, *(target.name for target in evaluated)]))


def _stored_columns(file: ModelFile, evaluated: list[Target]) -> list[str]:
    """Return the columns of encoded events that are read, with the statistics of those standardised by sequence."""
    return _columns(file, evaluated) + [name for column in file.by_sequence for name in statistics_columns(column)]


def metadata_of(config: InferConfig, file: ModelFile) -> Metadata | None:
    """Return the metadata that the config names, else that of the training data, if it still exists."""
    if config.metadata_config_path is not None:
        return read_metadata(find_metadata(config.metadata_config_path, config.project_root))
    try:
        trained_on = str(file.config.get("metadata_config_path"))
        return read_metadata(find_metadata(trained_on, config.project_root))
    except ConfigError:
        return None  # the model was moved out of its project; its file describes the encoding


def _describing(path: Path, root: Path, known: Metadata | None) -> tuple[Metadata, int] | None:
    """Return the metadata that lists a file among its splits, and the number of the split."""
    candidates = [known] if known else []
    name = re.fullmatch(r"(.+)-split\d+", path.stem)
    beside = root / "configs" / "metadata_configs" / f"{name[1]}.json" if name else None
    if beside is not None and beside.exists():
        candidates.append(read_metadata(beside))
    for metadata in candidates:
        for number, split in enumerate(metadata.split_paths):
            if (root / split).resolve() == path.resolve():
                return metadata, number
    return None


def _check_same_encoding(
    file: ModelFile, model_path: Path, metadata: Metadata, data_path: Path, evaluated: list[Target]
) -> None:
    """Check that vocabularies and statistics are equal: otherwise equal numbers have different meanings."""
    for column in _columns(file, evaluated):
        if column not in metadata.columns:
            raise DataError(
                f"the model reads column `{column}`, which the data does not have",
                where=f"{model_path} and {data_path}",
                fix=did_you_mean(column, metadata.columns),
            )
        if column in file.vocabularies:
            what = "vocabulary"
            same = metadata.kind(column) == "categorical" and metadata.categories(column) == file.vocabularies[column]
        else:
            ours, theirs = file.scale(column), metadata.scale(column) if metadata.kind(column) == "real" else None
            what = "mean or standard deviation" if theirs and theirs.transform == ours.transform else "transform"
            what = what if theirs and theirs.by_sequence == ours.by_sequence else "standardize"
            same = theirs is not None and replace(theirs, unit=ours.unit) == ours
        if not same:
            raise DataError(
                f"model and data encode column `{column}` differently: its {what} differs from the training data's",
                where=f"{model_path} and {data_path} (metadata {metadata.fingerprint})",
                fix=ENCODE_AGAIN,
            )
