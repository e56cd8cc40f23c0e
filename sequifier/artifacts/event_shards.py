"""Writing a split as a folder of shards with a fixed number of sequences each."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sequifier.artifacts.events import Events, Format, frame_of
from sequifier.artifacts.shard_folder import Shard, ShardIndex, write_index
from sequifier.artifacts.split_file import sink_rows
from sequifier.artifacts.tensor_shards import type_name, write_tensors


def sink_shards(
    folder: Path, name: str, parts: Iterable[Events], format: Format, *, sequences_per_shard: int
) -> ShardIndex:
    """Write one split to a folder from `atomic_folder`.

    A file depends only on its sequences, not on the parts.

    Args:
        folder: a temporary folder.
        name: name of the split; its shards are NAME-0.FORMAT, NAME-1.FORMAT, ...
        parts: at least one part of whole sequences, in order of sequenceId. One part and one shard are in memory at a
            time.
        format: format of the shards.
        sequences_per_shard: number of sequences of a shard; the last one may have fewer.

    Raises:
        OSError: the disk is full.
    """
    shards, types = [], {}
    for number, events in enumerate(_regrouped(parts, sequences_per_shard)):
        rows = frame_of(events)
        path = folder / f"{name}-{number}.{format}"
        if format == "pt":
            write_tensors(path, rows)
        else:
            sink_rows(path, rows.lazy(), format)
        types = {column: type_name(dtype) for column, dtype in rows.schema.items()}
        shards.append(Shard(path=path.name, rows=rows.height, sequences=len(events.sequence_ids)))
    index = ShardIndex(format=format, column_types=types, shards=shards)
    write_index(folder, index)
    return index


def _regrouped(parts: Iterable[Events], per_shard: int) -> Iterator[Events]:
    """Yield the same sequences, `per_shard` at a time."""
    waiting: list[Events] = []
    n_waiting = 0
    for part in parts:
        begin, n_sequences = 0, len(part.sequence_ids)
        while begin < n_sequences:
            end = min(begin + per_shard - n_waiting, n_sequences)
            waiting.append(_sequences(part, begin, end))
            n_waiting += end - begin
            begin = end
            if n_waiting == per_shard:
                yield _joined(waiting)
                waiting, n_waiting = [], 0
    if waiting:
        yield _joined(waiting)


def _sequences(events: Events, begin: int, end: int) -> Events:
    rows = slice(int(events.offsets[begin]), int(events.offsets[end]))
    return Events(
        sequence_ids=events.sequence_ids[begin:end],
        offsets=events.offsets[begin : end + 1] - events.offsets[begin],
        n_context=events.n_context[begin:end],
        positions=events.positions[rows],
        columns={column: values[rows] for column, values in events.columns.items()},
    )


def _joined(parts: list[Events]) -> Events:
    if len(parts) == 1:
        return parts[0]
    n_rows = np.concatenate([np.diff(part.offsets) for part in parts])
    return Events(
        sequence_ids=np.concatenate([part.sequence_ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(n_rows)]),
        n_context=np.concatenate([part.n_context for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        columns={column: np.concatenate([part.columns[column] for part in parts]) for column in parts[0].columns},
    )
