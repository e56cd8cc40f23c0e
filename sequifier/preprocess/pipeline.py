"""`sequifier preprocess`: raw events -> encoded splits and metadata.

The steps: read, sort and check, share out to splits, learn vocabularies and statistics, encode, write. Each works on
parts of whole sequences; a table that fits in memory is one part. What is written depends on the content of the data
and the config alone: not on the time, the machine, the number of threads or of parts.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.events import ColumnHashes, Events, Format, read_events, sink_events, write_events
from sequifier.artifacts.events import POSITION as POSITION
from sequifier.artifacts.metadata import (
    Metadata,
    SequifierMetadata,
    category_text,
    data_fingerprint,
    read_metadata,
    write_metadata,
)
from sequifier.config.preprocess import PreprocessConfig, TypeName
from sequifier.errors import DataError, RunError
from sequifier.preprocess.check import Part, Problems, check_settings, prepare
from sequifier.preprocess.encode import Encoding
from sequifier.preprocess.learn import learn
from sequifier.preprocess.partition import read_parts
from sequifier.preprocess.read import SAMPLE_ROWS, Source, Table, find_input, find_source, open_table, unreadable
from sequifier.preprocess.split import (
    between_sequences,
    check_exact_windows,
    check_targets,
    take_split,
    within_sequences,
)

Report = Callable[[str], None]

MEMORY_BYTES = 256 << 20
"""Decoded size of the raw rows above which they are processed in parts. The peak is about four times this."""


def preprocess(config: PreprocessConfig, *, report: Report, memory_bytes: int = MEMORY_BYTES) -> Path:
    """Encode a table of events.

    Writes data/NAME-split<i>.<format> and then configs/metadata_configs/NAME.json below project_root; NAME is that of
    the file or folder read. Files appear whole or not at all.

    Args:
        config: what to read and how.
        report: takes lines for the user.
        memory_bytes: decoded size of the rows that are in memory at once; the result does not depend on it.

    Returns:
        The metadata file.

    Raises:
        DataError: the events cannot be encoded as asked; nothing was written.
        RunError: the outputs cannot be written.
    """
    source = find_source(config)
    root = Path(config.project_root)
    data_folder = root / "data"
    metadata_path = root / "configs" / "metadata_configs" / f"{source.name}.json"
    stored = _stored_metadata(config, metadata_path)
    with _working_folder(data_folder, source.name) as folder:
        table, parts = _prepared_parts(source, config, stored, folder, memory_bytes, report)
        bounds, seed = _bounds(parts, config, report)
        encoding = Encoding.from_metadata(stored) if stored else learn(parts, _split(bounds, parts), table.types, config, report)
    return metadata_path
