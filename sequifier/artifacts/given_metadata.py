"""`--skip-metadata`: metadata from the config, for a data set without a metadata file.

The config has the splits, each column's kind, the number of classes and, where labels matter, the id maps. Defaults do
not affect training: real columns count as standardised (mean 0, std 1), and without an id map a class is named by its
id. The rest is read from the splits. The result is written as a metadata file, which later stages read like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sequifier.artifacts.column_hashes import ColumnHashes
from sequifier.artifacts.events import Events
from sequifier.artifacts.metadata import Metadata, SequifierMetadata, data_fingerprint, write_metadata
from sequifier.artifacts.split_file import format_of, read_events
from sequifier.config.loading.paths import find_input
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem

PLACE = "configs/metadata_configs/{name}-given.json"
MOST_UNNAMED_CLASSES = 1_000_000
"""Largest number of classes without an id map, each of which gets a name."""


def write_given_metadata(config: TrainConfig | SearchConfig) -> str:
    """Write the metadata in a config and return the path, relative to project_root.

    Raises:
        ConfigError: lists all fields that are missing or do not fit together.
        DataError: a split cannot be read.
    """
    kinds = _kinds(config)
    problems = list(_missing(config, kinds))
    if problems:
        raise ConfigError(problems)
    seq_length = max(_listed(config.seq_length))
    id_maps = {column: _id_map(config, column) for column, is_real in kinds.items() if not is_real}
    splits = [str(config.training_data_path), str(config.validation_data_path or config.training_data_path)]
    splits = list(dict.fromkeys(splits))
    found = []
    for key, path in zip(("training_data_path", "validation_data_path"), splits, strict=False):
        place = find_input(path, config.project_root, key)
        found.append(
            read_events(place, list(kinds), expected_hashes=None, format=config.read_format or format_of(place))
        )
    too_large = list(_ids_out_of_range(found, id_maps))
    if too_large:
        raise ConfigError(too_large)
    metadata = _metadata(kinds, id_maps, splits, found, seq_length)
    name = config.hp_search_name if isinstance(config, SearchConfig) else config.model_name
    write_metadata(metadata, config.root / PLACE.format(name=name))
    return PLACE.format(name=name)


def _kinds(config: TrainConfig | SearchConfig) -> dict[str, bool]:
    """Return for each column with a kind whether it is real, in the order of column_types."""
    kinds: dict[str, bool] = {}
    for types in _listed(config.column_types):
        kinds |= {str(column): "float" in str(kind).lower() for column, kind in (types or {}).items()}
    for columns, is_real in ((config.categorical_columns, False), (config.real_columns, True)):
        kinds = dict.fromkeys(_flat(columns), is_real) | kinds
    for column, kind in (config.target_column_types or {}).items():
        kinds.setdefault(column, kind == "real")
    return kinds


def _missing(config: TrainConfig | SearchConfig, kinds: Mapping[str, bool]) -> Iterator[Problem]:
    why = "is required with --skip-metadata"
    if config.training_data_path is None:
        yield Problem("training_data_path", why, fix="set the path of the encoded training events")
    if not any(isinstance(length, int) for length in _listed(config.seq_length)):
        yield Problem("seq_length", why, fix="set the number of events of a window")
    if not kinds:
        yield Problem("column_types", why, fix="set the type of each column, for example {item: Int64, price: Float64}")
        return
    used = dict.fromkeys([*_flat(config.input_columns), *config.target_columns])
    for column in used:
        if column not in kinds:
            yield Problem("column_types", f"does not name `{column}`", fix="add its type: Int64 or Float64")
    for column, is_real in kinds.items():
        n_classes = (config.n_classes or {}).get(column)
        ids = (config.id_maps or {}).get(column)
        if is_real:
            continue
        if not isinstance(n_classes, int) or n_classes < 2:
            yield Problem(
                "n_classes", f"has no number of classes of `{column}`", fix="set the number of known classes plus 1"
            )
        elif ids is not None and sorted(ids.values()) != list(range(1, len(ids) + 1)):
            yield Problem(f"id_maps.{column}", "its ids are not 1, 2, 3, ...", fix="number the classes from 1")
        elif ids is not None and len(ids) != n_classes - 1:
            yield Problem(
                f"n_classes.{column}",
                f"is {n_classes:,}, but id_maps has {len(ids):,} classes, plus the unknown one",
                fix=f"write {len(ids) + 1:,}",
            )
        elif ids is None and n_classes > MOST_UNNAMED_CLASSES:
            yield Problem(
                f"n_classes.{column}",
                f"has {n_classes:,} classes without an id map",
                fix="set id_maps, or fewer classes",
            )


def _id_map(config: TrainConfig | SearchConfig, column: str) -> dict[str, int]:
    assert config.n_classes is not None
    given = (config.id_maps or {}).get(column)
    return dict(given) if given else {str(number): number for number in range(1, config.n_classes[column])}


def _ids_out_of_range(splits: Sequence[Events], id_maps: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    for column, ids in id_maps.items():
        largest = max(int(events.columns[column].max(initial=0)) for events in splits)
        if largest > len(ids):
            message = f"is {len(ids) + 1:,}, but the splits have the id {largest:,}"
            yield Problem(f"n_classes.{column}", message, fix=f"at least {largest + 1:,}")


def _metadata(
    kinds: Mapping[str, bool],
    id_maps: Mapping[str, Mapping[str, int]],
    paths: Sequence[str],
    splits: Sequence[Events],
    seq_length: int,
) -> Metadata:
    columns = list(kinds)
    statistics: dict[str, Any] = {column: {"std": 1.0, "mean": 0.0} for column in columns if kinds[column]}
    hashes = []
    for events in splits:
        of_split = ColumnHashes()
        of_split.update(events)
        hashes.append(of_split.digests())
    rows = [int((np.diff(events.offsets) - events.n_context).sum()) for events in splits]
    is_text = splits[0].sequence_ids.dtype == object
    return Metadata(
        n_classes={column: len(ids) + 1 for column, ids in id_maps.items()},
        id_maps=id_maps,
        split_paths=list(paths),
        column_types={column: "Float64" if kinds[column] else _type_of(id_maps[column]) for column in columns},
        selected_columns_statistics=statistics,
        sequifier=SequifierMetadata(
            columns=columns,
            sequence_column="sequenceId",
            position_column="itemPosition",
            sequence_type="String" if is_text else "Int64",
            position_type=_position_type(splits[0].positions.dtype),
            seq_length=seq_length,
            stride_by_split=[seq_length] * len(splits),
            subsequence_start_mode="distribute",
            split_method="within_sequence",
            split_ratios=[rows_of / sum(rows) for rows_of in rows],
            context_events=max(int(events.n_context.max(initial=0)) for events in splits),
            rows=rows,
            sequences=[int((np.diff(events.offsets) > events.n_context).sum()) for events in splits],
            column_hashes=hashes,
            fingerprint=data_fingerprint(columns, id_maps, statistics, hashes),
        ),
    )


def _type_of(ids: Mapping[str, int]) -> Any:
    return "Int64" if all(name.removeprefix("-").isdecimal() for name in ids) else "String"


def _position_type(dtype: "np.dtype[Any]") -> Any:
    if dtype.kind != "M":
        return "Float64" if dtype.kind == "f" else "Int64"
    unit = np.datetime_data(dtype)[0]
    return "Date" if unit == "D" else f"Datetime({unit})"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _flat(value: Any) -> list[str]:
    """Return the names in a list, or in a list of lists."""
    return [name for item in _listed(value) for name in _listed(item) if isinstance(name, str)]
