"""Which events to predict, and whether model and data mean the same by their numbers.

Ids and standardised values say nothing about what they encode. The metadata JSON of the data does, and the model file
carries what the model was trained on; where no metadata describes the data, its encoding is taken to be the model's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sequifier.artifacts.events import Events, read_events
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.artifacts.model_file import ModelFile
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.paths import find_input
from sequifier.errors import ConfigError, DataError, Problem, did_you_mean


@dataclass(frozen=True)
class Source:
    """A file of encoded events."""

    path: Path
    columns: list[str]  # to read
    evaluated: list[Target]  # targets whose truth is among them
    hashes: dict[str, str] | None  # what the file must hold, where metadata describes it
    stride: int  # events from one window to the next
    start_mode: Literal["distribute", "exact"]


def find_source(
    config: InferConfig, file: ModelFile, model_path: Path, targets: list[Target], report: Callable[[str], None]
) -> Source:
    """The events that a config names, checked against a model; nothing of them is read yet.

    Raises:
        ConfigError: there is no such file, or the config does not say which.
        DataError: model and data encode a column differently, or a column is missing.
    """
    metadata = _metadata_of(config, file)
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
    root = config.root
    described = _describing(path, root, metadata)
    if described is None:
        report(f"note: no metadata describes {path}; its encoding is taken to be the model's")
        evaluated = targets if config.evaluate else []
        columns = _columns(file, evaluated)
        return Source(path, columns, evaluated, None, 1, "distribute")
    metadata, number = described
    evaluated = [target for target in targets if config.evaluate and target.name in metadata.columns]
    _check_same_encoding(file, model_path, metadata, path, evaluated)
    if config.evaluate and len(evaluated) < len(targets):
        names = ", ".join(target.name for target in targets if target not in evaluated)
        report(f"note: {path} does not have {names}: nothing to compare these predictions with")
    return Source(
        path,
        _columns(file, evaluated),
        evaluated,
        metadata.sequifier.column_hashes[number],
        metadata.sequifier.stride_by_split[number],
        metadata.sequifier.subsequence_start_mode,
    )


def read_source(source: Source, file: ModelFile, config: InferConfig) -> Events:
    """Read the events.

    Raises:
        DataError: the file is damaged, lacks a column, or holds ids that the model does not know.
    """
    events = read_events(source.path, source.columns, expected_hashes=source.hashes, format=config.read_format)  # type: ignore[arg-type]
    n_classes = dict(file.architecture.categorical) | {
        target.name: target.n_classes for target in source.evaluated if target.kind == "categorical"
    }
    for column, values in events.columns.items():
        is_categorical = column in n_classes
        if is_categorical != (values.dtype.kind == "i"):
            raise DataError(
                f"column `{column}` holds {'numbers' if is_categorical else 'ids'}; the model takes it as "
                f"{'categorical' if is_categorical else 'real'}",
                where=str(source.path),
                fix=_AGAIN,
            )
        if is_categorical and (values.min() < 0 or values.max() >= n_classes[column]):
            wrong = values.max() if values.max() >= n_classes[column] else values.min()
            raise DataError(
                f"column `{column}` has id {wrong}; the model knows ids 0 to {n_classes[column] - 1}",
                where=str(source.path),
                fix=_AGAIN,
            )
    return events


_AGAIN = "preprocess the new data with `metadata_config_path` set to the metadata the model was trained on"


def _columns(file: ModelFile, evaluated: list[Target]) -> list[str]:
    return list(dict.fromkeys([*file.architecture.input_columns, *(target.name for target in evaluated)]))


def _metadata_of(config: InferConfig, file: ModelFile) -> Metadata | None:
    """What the config names, else what the model was trained on, where that is still there."""
    if config.metadata_config_path is not None:
        return read_metadata(find_input(config.metadata_config_path, config.project_root, "metadata_config_path"))
    try:
        trained_on = str(file.config.get("metadata_config_path"))
        return read_metadata(find_input(trained_on, config.project_root, "metadata_config_path"))
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
                fix=_AGAIN,
            )
