"""`infer`: events in, predictions in original labels and units or embeddings out, one model after another."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.event_parts import ROWS_PER_PART
from sequifier.artifacts.events import POSITION, SEQUENCE, Events
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.errors import DataError
from sequifier.inference.check import Job, check_jobs
from sequifier.inference.compute import Chunk, run_continuations, run_windows
from sequifier.inference.decode import label_series, original_units, probability_headers
from sequifier.inference.evaluate import class_predictions, value_predictions
from sequifier.inference.names import claim, link
from sequifier.inference.reader import EncodeRaw, Reader
from sequifier.inference.runtime import Model, open_model
from sequifier.inference.tables import Table, file_name
from sequifier.inference.v1_windows import SUBSEQUENCE, WindowEvents
from sequifier.inference.windows import (
    Windows,
    continuations,
    full_windows,
    last_windows,
    split_windows,
    stored_continuations,
    stored_windows,
)
from sequifier.metrics.predictions import Predictions, Sums, at_positions


@dataclass(frozen=True)
class Inference:
    """What one model left.

    Attributes:
        predictions: the file or folder of the predictions; of the embeddings for an embedding model.
        probabilities: those of each categorical target, if asked for.
        evaluation: target -> metric -> value.
        n_predictions: predicted or embedded events.
        unknown: categorical column -> values whose category the model does not know.
    """

    predictions: Path
    probabilities: list[Path]
    evaluation: dict[str, dict[str, float]]
    n_predictions: int
    unknown: dict[str, int]


def infer(
    config: InferConfig,
    *,
    encode_raw: EncodeRaw,
    log: Log,
    rows_per_part: int = ROWS_PER_PART,
    jobs: list[Job] | None = None,
) -> list[Inference]:
    """Predict with every model of the config.

    Args:
        config: what to predict.
        encode_raw: encodes raw events, for `read_format: raw`.
        log: receives lines for the user.
        rows_per_part: rows of encoded files that are in memory at once; the result does not depend on it.
        jobs: what `check_jobs` gave for the config, if that was asked already.

    Raises:
        ConfigError, DataError, ModelError: models, data and config do not fit; found before the first prediction, or
            before its file takes its name.
        RunError: a file cannot be written.
    """
    if jobs is None:
        jobs = check_jobs(config, log)
    return [_infer(config, job, Reader(job.source, job.file, config, encode_raw, rows_per_part), log) for job in jobs]


def _infer(config: InferConfig, job: Job, reader: Reader, log: Log) -> Inference:
    model = open_model(job.path, job.file, config, seed=job.seed)
    evaluation_path = config.root / "outputs" / "predictions" / f"{job.name}-evaluation.json"
    with ExitStack() as files:
        written = _Written(config, job, files)
        n_sequences = 0
        for shard, events in reader.parts():
            written.begin(shard, events)
            for chunk in _chunks(model, events, config, job, n_sequences):
                written.add(chunk)
            n_sequences += len(events.sequence_ids)
        if written.n_rows == 0:
            raise DataError(
                "no event has another one before it: there is nothing to predict from",
                where=str(job.source.path),
                fix="give events of sequences with two events or more",
            )
        evaluation = written.finish()
        claim(job.name, job.path, job.source.path, config.root)
        if evaluation:
            with files.enter_context(atomic_path(evaluation_path)).open("w", encoding="utf-8") as file:
                file.write(json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n")
    if not evaluation:
        evaluation_path.unlink(missing_ok=True)  # of predictions that are no more
    if job.name != job.path.stem:
        tables = [table.path for table in (written.main, *written.probabilities.values())]
        named = {path.with_name(path.name.replace(job.name, job.path.stem, 1)): path for path in tables}
        link(named | {evaluation_path.with_name(f"{job.path.stem}-evaluation.json"): evaluation_path})
    unknown = {column: count for column, count in reader.unknown.items() if count}
    result = Inference(
        written.main.path, [table.path for table in written.probabilities.values()], evaluation, written.n_rows, unknown
    )
    _report(result, config, job, reader, log)
    return result


def _chunks(model: Model, events: Events, config: InferConfig, job: Job, first_number: int) -> Iterator[Chunk]:
    """What is to be computed of a part."""
    shape, source = job.file.architecture, job.source
    length, embedding = shape.prediction_length, job.wanted.embedding
    if isinstance(events, WindowEvents):
        if config.autoregression:
            extra = config.autoregression_extra_steps
            starts = stored_continuations(events.offsets, events.n_history, events.n_ahead, extra_steps=extra)
            return run_continuations(model, events, starts, job.wanted, first_number=first_number)
        stored = stored_windows(events.offsets, events.n_ahead, events.numbers, prediction_length=length)
        return run_windows(model, events, stored, job.wanted, first_number=first_number)
    context = "last" if source.is_raw else config.evaluation_context
    if config.autoregression:
        starts = continuations(
            events.offsets,
            events.n_context,
            seq_length=shape.seq_length,
            extra_steps=config.autoregression_extra_steps,
            start=context,
        )
        return run_continuations(model, events, starts, job.wanted, first_number=first_number)
    windows: Windows
    if context == "last":
        windows = last_windows(events.offsets, prediction_length=length, embedding=embedding)
    elif context == "full":
        windows = full_windows(events.offsets, events.n_context, prediction_length=length, embedding=embedding)
    else:
        windows = split_windows(
            events.offsets,
            events.n_context,
            seq_length=shape.seq_length,
            stride=source.stride,
            mode=source.start_mode,
            prediction_length=length,
        )
    return run_windows(model, events, windows, job.wanted, first_number=first_number)


class _Written:
    """The tables of one model, and the sums of its evaluation.

    Args:
        config: format, map_to_id, output_probabilities.
        job: the model.
        files: the tables take their names when it is closed.
    """

    def __init__(self, config: InferConfig, job: Job, files: ExitStack) -> None:
        self._config, self._job, self.n_rows = config, job, 0
        self._shard, self._is_empty = -1, False
        kind = "embeddings" if job.wanted.embedding else "predictions"
        outputs = config.root / "outputs"

        def table(kind: str, target: str = "") -> Table:
            shard_name = (lambda shard: f"{job.path.stem}-{shard}-{kind}") if job.source.is_folder else None
            name = f"{job.name}-{file_name(target)}-{kind}" if target else f"{job.name}-{kind}"
            return Table(files, outputs / kind / name, config.write_format, shard_name)

        self.main = table(kind)
        shown = [target.name for target in job.targets if target.kind == "categorical"]
        self.probabilities = {
            name: table("probabilities", name) for name in (shown if config.output_probabilities else ())
        }
        self._headers = {
            name: probability_headers(job.file.vocabularies[name], taken=[SEQUENCE, POSITION])
            for name in self.probabilities
        }
        self._labels = {name: label_series(job.file.vocabularies[name]) for name in shown}
        self._evaluated = [(target, Sums()) for target in job.source.evaluated]

    def begin(self, shard: int, events: Events) -> None:
        """A new part."""
        if shard != self._shard:
            self._end_shard()
        self._shard, self._events = shard, events
        ids = events.sequence_ids
        text = pl.String if ids.dtype == object else None
        self._sequence_ids = pl.Series(SEQUENCE, ids.tolist() if text else ids, dtype=text)
        self._is_empty = True

    def add(self, chunk: Chunk) -> None:
        """Write and evaluate a chunk of the part."""
        self.n_rows += len(chunk.row)
        self._is_empty = False
        keys: dict[str, Any] = {SEQUENCE: self._sequence_ids.gather(pl.Series(chunk.sequence))}
        if chunk.embedding is not None:
            keys[SUBSEQUENCE] = chunk.window
        keys[POSITION] = _positions(self._events, chunk)
        if chunk.embedding is not None:
            self.main.add(self._shard, keys | {str(d): values for d, values in enumerate(chunk.embedding.T)})
            return
        decoded = {target.name: self._decoded(target, chunk.values[target.name]) for target in self._job.targets}
        self.main.add(self._shard, keys | decoded)
        for name, table in self.probabilities.items():
            table.add(self._shard, keys | dict(zip(self._headers[name], chunk.probabilities[name].T, strict=True)))
        known = np.flatnonzero(chunk.row < self._events.offsets[chunk.sequence + 1])
        for target, sums in self._evaluated:
            truth, values = self._events.columns[target.name][chunk.row[known]], chunk.values[target.name][known]
            found: Predictions
            if target.kind == "real":
                found = value_predictions(values, truth)
            else:
                found = class_predictions(values, chunk.probabilities[target.name][known], truth)
            sums.add(at_positions(found))

    def finish(self) -> dict[str, dict[str, float]]:
        """All rows are added; returns the evaluation."""
        self._end_shard()
        for table in (self.main, *self.probabilities.values()):
            table.finish()
        return {target.name: self._metrics(target, sums) for target, sums in self._evaluated}

    def _metrics(self, target: Target, sums: Sums) -> dict[str, float]:
        """The metrics of a target in its own units, by name, then the number of events."""
        std = self._job.file.statistics[target.name]["std"] if target.kind == "real" else 1.0
        return dict(sorted(sums.metrics(std=std).items())) | {"n": sums.count}

    def _end_shard(self) -> None:
        """A shard of which nothing is predicted gets tables too."""
        if not self._is_empty:
            return
        none, shape = np.empty(0, np.int64), self._job.file.architecture
        values = {
            target.name: none.astype(np.float32 if target.kind == "real" else np.int64) for target in shape.targets
        }
        wide = {target.name: np.empty((0, target.n_classes), np.float32) for target in shape.targets}
        embedding = np.empty((0, shape.dim_model), np.float32) if self._job.wanted.embedding else None
        self.add(Chunk(none, none, none, values, wide, embedding))

    def _decoded(self, target: Target, values: NDArray[Any]) -> Any:
        if target.kind == "real":
            return original_units(values, self._job.file.statistics[target.name])
        return self._labels[target.name].gather(pl.Series(values)) if self._config.map_to_id else values


def _positions(events: Events, chunk: Chunk) -> NDArray[Any]:
    """itemPosition of each event; behind the last known one integers count on, and dates are not known."""
    last = events.offsets[chunk.sequence + 1] - 1
    positions: NDArray[Any] = events.positions[np.minimum(chunk.row, last)]
    beyond = np.maximum(chunk.row - last, 0)
    if positions.dtype.kind == "M":
        positions[beyond > 0] = np.datetime64("NaT")
        return positions
    positions += beyond
    return positions


def _report(result: Inference, config: InferConfig, job: Job, reader: Reader, log: Log) -> None:
    for column, count in result.unknown.items():
        log(f"note: column `{column}`: {count:,} of {reader.n_rows:,} values are unknown to the model (id 0)")
    what = "embeddings" if job.wanted.embedding else "predictions"
    source, shape = job.source, job.file.architecture
    read = f"{reader.n_windows:,} windows" if reader.n_windows else f"{reader.n_own:,} events"
    log(f"{result.n_predictions:,} {what} for {read} of {source.path}, in {result.predictions}")
    by_window = not (config.autoregression or source.is_raw or config.evaluation_context == "full")
    if by_window and source.stride > 1:
        which = "the last event" if shape.prediction_length == 1 else "the last events"
        log(f"  {which} of each window, a window every {source.stride} events")
    for place in result.probabilities:
        log(f"probabilities in {place}")
    for name, metrics in result.evaluation.items():
        log(f"{name}: " + ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items()))
