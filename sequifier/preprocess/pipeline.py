"""`sequifier preprocess`: raw events -> encoded splits and metadata.

The steps: read, sort and check, split, learn vocabularies and statistics, encode, write. Each works on parts of whole
sequences; a table that fits in memory is one part. The output depends only on the content of the data and the config,
not on the time, the machine, or the number of threads or parts.
"""

from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.metadata import Metadata, find_metadata, read_metadata, summarise_metadata, write_metadata
from sequifier.callbacks import Log
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError, did_you_mean
from sequifier.percent import counted
from sequifier.preprocess.encode_data import encode_table, encode_texts
from sequifier.preprocess.source import find_source
from sequifier.preprocess.time_features import time_fields, time_rules
from sequifier.preprocess.working_folder import METADATA_FOLDER, check_unchanged, file_stamps, working_folder
from sequifier.preprocess.write_splits import metadata_of, write_splits

_USES = ("training", "validation", "test")
"""What the first splits are for."""

MEMORY_BYTES = 256 << 20
"""Decoded size in bytes of the raw rows above which they are processed in parts."""


def preprocess(config: PreprocessConfig, *, log: Log, memory_bytes: int = MEMORY_BYTES) -> Path:
    """Encode a table of events.

    Writes data/NAME-split<i>.<format>, or a folder data/NAME-split<i> of shards, and then
    configs/metadata_configs/NAME.json below project_root; NAME is the name of the raw file or folder. Files and folders
    appear whole or not at all.

    Args:
        config: the config.
        log: receives lines for the user.
        memory_bytes: decoded size of the rows that are in memory at once; the output does not depend on it.

    Returns:
        The metadata file.

    Raises:
        ConfigError: data_path or metadata_config_path does not exist.
        DataError: the events cannot be encoded; nothing was written.
        RunError: the outputs cannot be written.
    """
    source = find_source(config)
    root = config.root
    metadata_path = root / METADATA_FOLDER / f"{source.name}.json"
    stored = _stored_metadata(config, metadata_path)
    if stored:
        config = _as_stored(config, stored)
    stamps = file_stamps(source, config)
    with working_folder(source, config, stored, memory_bytes, log) as folder:
        source = source.readable(folder)
        for note in source.notes:
            log(f"note: {note}")
        data = (
            encode_texts(source, config, stored, memory_bytes, log)
            if source.format == "text"
            else encode_table(source, config, stored, folder, memory_bytes, log)
        )
        ending = f".{config.write_format}" if config.merge_output else ""  # a folder has no ending
        paths = [f"data/{source.name}-split{i}{ending}" for i in range(data.split.n_splits)]
        with ExitStack() as files:
            # All files are on disk before the first is renamed. The metadata, entered first, is renamed last.
            temporary = files.enter_context(atomic_path(metadata_path))
            hashes = write_splits(files, data, [root / path for path in paths], config)
            metadata = metadata_of(config, data, paths, hashes)
            write_metadata(metadata, temporary)
            check_unchanged(stamps)
        summarise_metadata(metadata, metadata_path)
    unit = "character" if source.format == "text" else "row"
    of_splits = zip_longest(_USES[: len(paths)], paths, metadata.sequifier.rows, metadata.sequifier.sequences)
    for use, path, rows, sequences in of_splits:
        size = f"{counted(rows, unit)} of {counted(sequences, 'sequence')}"
        log(f"{root / path}{f' ({use})' if use else ''}: {size}")
    return metadata_path


def _stored_metadata(config: PreprocessConfig, output: Path) -> Metadata | None:
    """Return the metadata whose encoding to use; None to learn one."""
    if config.metadata_config_path is None:
        return None
    path = find_metadata(config.metadata_config_path, config.project_root)
    stored = read_metadata(path)
    if path.resolve() == output.resolve():
        raise DataError(
            f"the output would replace {path.name} and the splits that it metadata_ofs",
            where=f"metadata_config_path: {config.metadata_config_path}",
            fix="give the new data file another name",
        )
    for column in config.selected_columns or ():
        if column not in (*stored.columns, config.sequence_name, config.position_name):
            raise DataError(
                f"selected_columns names `{column}`, which is not in the metadata",
                where=str(path),
                fix=f"leave selected_columns out; {did_you_mean(column, stored.columns)}",
            )
    for column in config.sequence_columns or ():
        if column not in stored.sequence_columns:
            raise DataError(
                f"sequence_columns names `{column}`, which is not a sequence column in the metadata",
                where=str(path),
                fix="leave sequence_columns out: the metadata have it",
            )
    return stored


def _as_stored(config: PreprocessConfig, stored: Metadata) -> PreprocessConfig:
    """Return the config with the rules of the metadata, and fill rules of the metadata where it has none itself.

    Raises:
        DataError: the config has another transform, another end_event, or other time features.
    """
    of_time = stored.sequifier
    selected = stored.columns if config.selected_columns is None else config.selected_columns
    columns = [*selected, *(config.sequence_columns or ()), *of_time.derived]
    rules = stored.sequifier.reading
    fills = {column: fill for column, fill in rules.fill_null.items() if column in columns}
    transforms = {column: rules.transforms.get(column, "none") for column in stored.real_columns if column in columns}
    end_event = [column for column in stored.sequifier.end_event if column in columns]
    where = f"metadata_config_path: {config.metadata_config_path}"
    for column, transform in config.transforms.items():
        if transform != (known := transforms.get(column, "none")):
            raise DataError(
                f"transforms.{column} is {transform}, but {known} in the metadata whose statistics are used",
                where=where,
                fix="leave transforms out: they are those of the metadata",
            )
    if config.standardize == "per_sequence" and not rules.by_sequence:
        raise DataError(
            "standardize is per_sequence, but global in the metadata whose statistics are used",
            where=where,
            fix="leave standardize out: it is that of the metadata",
        )
    if config.end_event and config.end_event != end_event:
        raise DataError(
            f"end_event {config.end_event} differs from {end_event} of the metadata, whose vocabularies are used",
            where=where,
            fix="leave end_event out",
        )
    changes = {
        "fill_null": fills | config.fill_null,
        "transforms": transforms,
        "sequence_columns": [column for column in stored.sequence_columns if column in columns] or None,
        "end_event": end_event,
        **time_fields(of_time, config.position_name),
    }
    as_stored = config.model_copy(update=changes)
    ours, theirs = time_rules(config), time_rules(as_stored)
    if ours.time_resolution is None:
        theirs = theirs.model_copy(update={"time_resolution": None})
    if (config.time_features or config.time_zone or config.observation) and ours != theirs:
        raise DataError(
            "the config has other time_features, time_zone, time_unit, observation or time_resolution than the "
            "metadata",
            where=where,
            fix="leave them out: they are taken from the metadata",
        )
    return as_stored
