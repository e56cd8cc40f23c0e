"""Which events to predict, and whether model and data mean the same by their numbers.

Ids and standardised values say nothing about what they encode. The metadata JSON of the data does, and the model file
carries what the model was trained on; where no metadata describes the data, its encoding is taken to be the model's.
Raw events are encoded by what the model file carries.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sequifier.artifacts.events import SUFFIXES
from sequifier.artifacts.metadata import Metadata, find_metadata, read_metadata
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.shard_folder import INDEX, in_number_order, shards_of
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.loading.paths import find_input
from sequifier.errors import ConfigError, DataError, Problem, did_you_mean
from sequifier.inference.recoding import Recoding, read_recoding
from sequifier.inference.v1_windows import columns_of, holds_windows


@dataclass(frozen=True)
class Source:
    """Where the events are.

    Attributes:
        path: the file or folder that was named.
        files: the encoded files: one, or the shards of a folder in order.
        is_folder: whether there is an output for each file.
        is_raw: whether the events are still to be encoded.
        columns: to read.
        evaluated: targets whose truth is among them.
        hashes: what the files must hold, where metadata describes it.
        stride: events from one window to the next.
        start_mode: see `dataset.windows.window_starts`.
        holds_windows: whether the files hold windows of v1.
        recoding: of those windows.
    """

    path: Path
    files: tuple[Path, ...]
    is_folder: bool
    is_raw: bool
    columns: list[str]
    evaluated: list[Target]
    hashes: dict[str, str] | None
    stride: int
    start_mode: Literal["distribute", "exact"]
    holds_windows: bool = False
    recoding: Recoding | None = None


def find_source(config: InferConfig, file: ModelFile, model_path: Path, targets: list[Target], log: Log) -> Source:
    """The events that a config names, checked against a model; nothing of them is read yet.

    Raises:
        ConfigError: there is no such file, or the config does not say which.
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
    if config.data_path is None and metadata is None:
        raise ConfigError(
            [
                Problem(
                    "data_path",
                    f"is needed: the metadata of the training data ({file.config.get('metadata_config_path')}), "
                    "which would name a test split, is not here",
                    fix="give data_path, or metadata_config_path",
                )
            ]
        )
    splits = metadata.split_paths if metadata else []
    path = find_input(config.data_path or splits[min(2, len(splits) - 1)], config.project_root, "data_path")
    files = _shards(path, config) if path.is_dir() else (path,)
    root = config.root
    described = _describing(path, root, metadata)
    if described is None:
        log(f"note: no metadata describes {path}; its encoding is taken to be the model's")
        evaluated = targets if config.evaluate else []
        return Source(path, files, path.is_dir(), False, _columns(file, evaluated), evaluated, None, 1, "distribute")
    metadata, number = described
    evaluated = [target for target in targets if config.evaluate and target.name in metadata.columns]
    _check_same_encoding(file, model_path, metadata, path, evaluated)
    if config.evaluate and len(evaluated) < len(targets):
        names = ", ".join(target.name for target in targets if target not in evaluated)
        log(f"note: {path} does not have {names}: nothing to compare these predictions with")
    return Source(
        path,
        files,
        path.is_dir(),
        False,
        _columns(file, evaluated),
        evaluated,
        metadata.sequifier.column_hashes[number],
        metadata.sequifier.stride_by_split[number],
        metadata.sequifier.subsequence_start_mode,
    )


ENCODE_AGAIN = "preprocess the new data with `metadata_config_path` set to the metadata the model was trained on"


def _raw_source(config: InferConfig, file: ModelFile) -> Source:
    if config.data_path is None:
        raise ConfigError([Problem("data_path", "read_format: raw needs the CSV or Parquet file of the raw events")])
    path = find_input(config.data_path, config.project_root, "data_path")
    return Source(path, (path,), False, True, list(file.architecture.input_columns), [], None, 1, "distribute")


def _window_source(
    config: InferConfig,
    path: Path,
    files: tuple[Path, ...],
    file: ModelFile,
    model_path: Path,
    targets: list[Target],
    log: Log,
) -> Source:
    """Windows that v1 stored. What they are encoded with is what the metadata of the config says, if there is one."""
    assert config.read_format != "raw"
    if config.evaluation_context == "full":
        raise ConfigError(
            [
                Problem(
                    "evaluation_context",
                    f"full needs events; {files[0].name} holds windows, as Sequifier v1 wrote them",
                    fix="leave it out, or preprocess the raw data again",
                )
            ]
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
        log(f"note: no metadata describes {path}; its encoding is taken to be the model's")
    else:
        place = find_metadata(config.metadata_config_path, config.project_root)
        recoding = read_recoding(place, file, columns)
        if recoding is None:
            _check_same_encoding(file, model_path, read_metadata(place), path, evaluated)
    return Source(path, files, path.is_dir(), False, columns, evaluated, None, 1, "distribute", True, recoding)


def _shards(folder: Path, config: InferConfig) -> tuple[Path, ...]:
    """The shards that a folder's metadata.json names, else its files."""
    assert config.read_format != "raw"
    if (folder / INDEX).exists():
        return shards_of(folder, config.read_format).paths
    suffixes = [f".{config.read_format}"] if config.read_format else list(SUFFIXES)
    files = [path for path in folder.iterdir() if path.suffix in suffixes and not path.name.startswith(".")]
    if not files:
        raise DataError(f"no file ending in {', '.join(suffixes)} is in the folder", where=str(folder))
    if len(found := {path.suffix for path in files}) > 1:
        raise DataError(
            f"the folder holds files of several formats: {', '.join(sorted(found))}",
            where=str(folder),
            fix="set read_format to the one that is meant",
        )
    return in_number_order(files)


def _columns(file: ModelFile, evaluated: list[Target]) -> list[str]:
    return list(dict.fromkeys([*file.architecture.input_columns, *(target.name for target in evaluated)]))


def metadata_of(config: InferConfig, file: ModelFile) -> Metadata | None:
    """What the config names, else what the model was trained on, where that is still there."""
    if config.metadata_config_path is not None:
        return read_metadata(find_metadata(config.metadata_config_path, config.project_root))
    try:
        trained_on = str(file.config.get("metadata_config_path"))
        return read_metadata(find_metadata(trained_on, config.project_root))
    except ConfigError:
        return None  # the model was moved away from its project; it knows its own encoding


def _describing(path: Path, root: Path, known: Metadata | None) -> tuple[Metadata, int] | None:
    """The metadata that lists a file among its splits, and the number of that split."""
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
    """Equal numbers mean the same only with equal vocabularies and statistics."""
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
            what = "mean and deviation"
            same = metadata.selected_columns_statistics.get(column) == file.statistics[column]
        if not same:
            raise DataError(
                f"model and data encode column `{column}` differently: its {what} is not the one of the training data",
                where=f"{model_path} and {data_path} (metadata {metadata.fingerprint})",
                fix=ENCODE_AGAIN,
            )
