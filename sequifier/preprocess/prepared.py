"""The sorted and checked parts of a table: in memory, or in files where the table does not fit."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from sequifier.artifacts.atomic import atomic_path
from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess.check import Part, id_array, prepare
from sequifier.preprocess.partition import remaining_parts
from sequifier.preprocess.table import Table
from sequifier.preprocess.value_problems import ValueProblems


def prepare_parts(table: Table, config: PreprocessConfig, folder: Path, memory_bytes: int) -> list[Part]:
    """Read, sort and check a table.

    Args:
        table: the table.
        config: names of the columns, fill_null, transforms, end_event.
        folder: folder for parts that do not fit in memory: empty, or left by an interrupted call with equal arguments.
        memory_bytes: decoded size of a part.

    Raises:
        DataError: lists all values that cannot be encoded.
        RunError: the disk is full.
    """
    problems = ValueProblems(config.sequence_name, config.position_name, config.time_zone)
    parts: list[Part] = []
    prepared = _Prepared(folder, has_start=config.has_start)
    for number, rows in enumerate(remaining_parts(table, config, folder, memory_bytes, is_done=prepared.has)):
        if rows is None:
            parts.append(prepared.part(number))
            continue
        part = prepare(
            rows,
            table.types,
            config.fill_null,
            table.transforms,
            problems,
            table.time,
            config.end_event,
            table.of_sequences,
            table.form,
        )
        if table.decoded_bytes > memory_bytes:
            prepared.write(number, part, is_good=not problems.any)
            part = replace(part, rows=prepared.rows(number))
        parts.append(part)
    problems.raise_any(str(table.source.path))
    return parts


@dataclass(frozen=True)
class _Prepared:
    """Prepared parts in files. A part is complete when the file of its sequences exists, which is written last."""

    folder: Path
    has_start: bool

    def has(self, number: int) -> bool:
        return self._sequences(number).exists()

    def rows(self, number: int) -> pl.LazyFrame:
        return pl.scan_ipc(self._rows(number), glob=False)

    def part(self, number: int) -> Part:
        sequences = pl.read_ipc(self._sequences(number))
        offsets = np.concatenate([[0], np.cumsum(sequences["n_rows"].to_numpy())])
        return Part(
            sequence_ids=id_array(sequences["id"]),
            offsets=offsets,
            rows=self.rows(number),
            has_start=self.has_start,
            n_dropped=sequences["n_dropped"][0],
        )

    def write(self, number: int, part: Part, *, is_good: bool) -> None:
        with atomic_path(self._rows(number)) as temporary:
            part.rows.collect().write_ipc(temporary)
        if is_good:  # the next call finds a problem again, if this one is interrupted before it reports it
            counts = {"n_rows": np.diff(part.offsets), "n_dropped": [part.n_dropped] * len(part.sequence_ids)}
            sequences = pl.DataFrame({"id": part.sequence_ids.tolist(), **counts})
            with atomic_path(self._sequences(number)) as temporary:
                sequences.write_ipc(temporary)

    def _rows(self, number: int) -> Path:
        return self.folder / f"prepared-{number}.arrow"

    def _sequences(self, number: int) -> Path:
        return self.folder / f"sequences-{number}.arrow"
