"""The evaluation of predictions by the values of columns and by step of a horizon, as one table.

Shapes: M predictions of a chunk.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.config.catalogue.metric_names import WITHOUT_STEPS
from sequifier.inference.check import Job
from sequifier.inference.compute import Chunk
from sequifier.inference.decode import probability_headers
from sequifier.metrics.predictions import METRICS, SCORED, AtPositions, Sums, find_metric

Rows = NDArray[np.int64]

COLUMN, VALUE, STEP, COUNT, N_UNKNOWN = "column", "value", "step", "n", "n_unknown"
_KEYS = (COLUMN, VALUE, STEP)
_ROWS_AT_ONCE = 1 << 16
_OF_ALL = {name for metric in WITHOUT_STEPS for name in METRICS[metric].sums}
"""Sums of the metrics that the table does not have."""


class EvaluationTable:
    """Sums of metrics by value and step, fed chunk by chunk.

    Args:
        columns: by whose values: the column of the sequences, or categorical columns of the model. The value is that of
            the last event that the model read; of a target itself it is the true one.
        job: the model.
    """

    def __init__(self, columns: Sequence[str], job: Job) -> None:
        self._job, self._columns = job, columns
        known = job.file.vocabularies
        # A category that is called `unknown` is another value than one that the model does not know.
        self._labels = {name: pl.Series(probability_headers(known[name])) for name in columns if name in known}
        self._sums: dict[str, list[pl.DataFrame]] = {target.name: [] for target in job.source.evaluated}

    def add(
        self, target: str, events: Events, chunk: Chunk, known: Rows, unknown: Rows, parts: Mapping[str, AtPositions]
    ) -> None:
        """Add predictions of a target.

        Args:
            target: the column.
            events: of the part.
            chunk: of the part.
            known: the predictions whose truth is known.
            unknown: those that count as misses, because their true class is unknown.
            parts: as `at_positions` gives them for the known ones.
        """
        rows, is_known = np.concatenate([known, unknown]), np.arange(len(known) + len(unknown)) < len(known)
        sums = {
            name: np.concatenate([part.value, np.zeros(len(unknown))])
            for name, part in parts.items()
            if name not in _OF_ALL
        }
        step = np.zeros(len(rows), np.int64) if chunk.step is None else chunk.step[rows]
        found = pl.DataFrame({STEP: step, COUNT: is_known, N_UNKNOWN: ~is_known, **sums}).cast(
            {COUNT: pl.Int64, N_UNKNOWN: pl.Int64}
        )
        of_target = self._sums[target]
        for column in (None, *self._columns):
            value = pl.lit(None, pl.String)
            if column is not None:
                value = pl.lit(self._values(column, events, chunk, rows, is_true=column == target))
            keyed = found.with_columns(pl.lit(column, pl.String).alias(COLUMN), value.alias(VALUE))
            of_target.append(_summed(keyed, _KEYS))
        if sum(map(len, of_target)) > _ROWS_AT_ONCE:
            self._sums[target] = [_summed(pl.concat(of_target), _KEYS)]

    def _values(self, column: str, events: Events, chunk: Chunk, rows: Rows, *, is_true: bool) -> pl.Series:
        if column not in self._labels:
            return pl.Series(events.sequence_ids[chunk.sequence[rows]]).cast(pl.String)
        read = chunk.row[rows]
        if not is_true and not self._job.request.of_sequences:
            read = read - 1 if chunk.origin is None else chunk.origin[rows]
        return self._labels[column].gather(pl.Series(events.columns[column][read]))

    def frame(self) -> pl.DataFrame:
        """Return the table: a row for each target and value, for all steps (null) and for each.

        Metrics are in the units of their target. The first rows of a target, without column and value, are of all its
        predictions.
        """
        rows = [row for target in self._sums for row in self._rows(target)]
        used = dict.fromkeys(name for row in rows for name in row)
        names = [STEP] * (self._job.request.horizon > 1) + [COUNT] + [N_UNKNOWN] * any(row[N_UNKNOWN] for row in rows)
        of_ranking = [name for name in used if name not in METRICS and find_metric(name) is not None]
        metrics = [name for name in (*METRICS, *of_ranking) if name in used and name not in WITHOUT_STEPS]
        return pl.DataFrame(rows, infer_schema_length=None).select("target", COLUMN, VALUE, *names, *metrics)

    def _rows(self, target: str) -> Iterator[dict[str, Any]]:
        is_real = target not in self._job.file.vocabularies
        unit = self._job.file.scale(target).error_unit if is_real else 1.0
        by_step = _summed(pl.concat(self._sums[target]), _KEYS)
        whole = _summed(by_step.drop(STEP), _KEYS[:2]).with_columns(pl.lit(None, pl.Int64).alias(STEP))
        tables = [whole, by_step] if self._job.request.horizon > 1 else [whole]
        order = {column: place for place, column in enumerate((None, *self._columns))}
        found = pl.concat(tables, how="diagonal").sort(
            pl.col(COLUMN).replace_strict(order, return_dtype=pl.Int64), VALUE, STEP
        )
        for row in found.iter_rows(named=True):
            keys = {name: row.pop(name) for name in (*_KEYS, N_UNKNOWN)}
            count = row.pop(COUNT)
            metrics = Sums(count, row).metrics(unit=unit, n_unknown=keys[N_UNKNOWN])
            yield {"target": target, **keys, COUNT: int(row.get(SCORED, count)), **metrics}


def _summed(table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    return table.group_by(*keys).sum()
