"""Writing encoded events as splits, and the metadata that describe them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sequifier.artifacts.atomic import atomic_folder, atomic_path
from sequifier.artifacts.column_hashes import ColumnHashes
from sequifier.artifacts.event_shards import sink_shards
from sequifier.artifacts.events import Events
from sequifier.artifacts.metadata import Metadata, RawValueRules, SequifierMetadata, Statistics, data_fingerprint
from sequifier.artifacts.split_file import sink_events
from sequifier.config.base import category_text
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import END
from sequifier.preprocess.encode_data import EncodedData
from sequifier.preprocess.end_event import with_ends
from sequifier.preprocess.split import take_split


def write_splits(
    files: ExitStack, data: EncodedData, paths: Sequence[Path], config: PreprocessConfig
) -> list[dict[str, str]]:
    """Write all splits and return the hashes of their columns; files are renamed when `files` is closed."""
    all_hashes = []
    for number, path in enumerate(paths):
        hashes = ColumnHashes()
        parts = _parts_of_split(data, number, hashes)
        if config.merge_output:
            assert config.write_format != "pt", "the config does not allow it"
            sink_events(files.enter_context(atomic_path(path)), parts, config.write_format)
        else:
            folder = files.enter_context(atomic_folder(path))
            size = config.batches_per_file
            sink_shards(folder, path.name, parts, config.write_format, sequences_per_shard=size)
        all_hashes.append(hashes.digests())
    return all_hashes


def _parts_of_split(data: EncodedData, number: int, hashes: ColumnHashes) -> Iterator[Events]:
    for part, load in enumerate(data.parts):
        bounds = data.split.of_part(part)
        if (bounds[number + 1] > bounds[number]).any():
            events = take_split(load(), bounds, number, data.split.context_events)
            ends = data.split.ends_of_part(part, number)
            if ends is not None:
                ends = ends[bounds[number + 1] > bounds[number]]
                events = with_ends(events, ends, data.encoding.end_ids, data.encoding.open_columns.values())
            hashes.update(events)
            yield events


def metadata_of(
    config: PreprocessConfig, data: EncodedData, paths: list[str], hashes: list[dict[str, str]]
) -> Metadata:
    """Return the metadata of the splits."""
    encoding, split = data.encoding, data.split
    id_maps = {
        column: {category_text(value): id for id, value in enumerate(values, start=1)}
        for column, values in encoding.vocabularies.items()
    }
    for column, id in encoding.end_ids.items():
        id_maps[column][END] = id
    statistics: dict[str, Statistics] = {
        column: {"std": scale.std, "mean": scale.mean} for column, scale in encoding.scales.items()
    }
    transforms = {column: scale.transform for column, scale in encoding.scales.items() if scale.transform}
    own = split.own_rows
    return Metadata(
        n_classes={column: len(ids) + 1 for column, ids in id_maps.items()},
        id_maps=id_maps,
        split_paths=paths,
        column_types=data.types,
        selected_columns_statistics=statistics,
        sequifier=SequifierMetadata(
            columns=list(encoding.columns),
            sequence_columns=list(data.sequence_columns),
            sequence_column=config.sequence_name,
            position_column=config.position_name,
            sequence_type=data.sequence_type,
            position_type=data.position_type,
            seq_length=config.seq_length,
            stride_by_split=config.strides(split.n_splits),
            subsequence_start_mode=config.subsequence_start_mode,
            split_method=config.split_method,
            split_ratios=config.split_ratios if config.uses_ratios else None,
            split_options=dict(split.options),
            split_seed=split.seed,
            end_event=list(encoding.end_event),
            context_events=split.context_events,
            rows=own.sum(axis=1).tolist(),
            sequences=np.count_nonzero(own, axis=1).tolist(),
            column_hashes=hashes,
            fingerprint=data_fingerprint(
                encoding.columns,
                id_maps,
                statistics,
                hashes,
                sequence_columns=data.sequence_columns,
                transforms=transforms,
                time_unit=data.time.time_unit,
                time_resolution=data.time.time_resolution,
            ),
            reading=RawValueRules(
                fill_null=config.fill_null,
                numbers=dict(data.formats.numbers),
                dates=data.formats.dates,
                transforms=transforms,
                by_sequence=list(encoding.by_sequence),
                table=data.form,
            ),
            time_features=data.time.time_features,
            time_zone=data.time.time_zone,
            time_unit=data.time.time_unit,
            date_formats=dict(data.formats.date_columns),
            positions_are=data.time.positions_are,
            observation=data.time.observation,
            time_resolution=data.time.time_resolution,
        ),
    )
