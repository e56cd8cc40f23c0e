"""Inference: from events to tables of predictions or embeddings, for one model after another."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.event_parts import ROWS_PER_PART
from sequifier.artifacts.events import Events, ends_with_end, without_ends
from sequifier.callbacks import Log
from sequifier.config.catalogue.metric_names import split_step
from sequifier.config.inference import InferConfig
from sequifier.errors import DataError
from sequifier.inference.check import Job, check_jobs
from sequifier.inference.clock import clock_of
from sequifier.inference.compute import Chunk, run_continuations, run_windows
from sequifier.inference.forecast_dates import STEP
from sequifier.inference.names import claim, link
from sequifier.inference.outputs import Outputs
from sequifier.inference.reader import EncodeRaw, Reader
from sequifier.inference.runtime import Model, open_model
from sequifier.inference.steps_to_come import planned_elsewhere, with_steps_to_come
from sequifier.inference.v1_windows import WindowEvents
from sequifier.inference.windows import (
    Windows,
    continuations,
    forecast_windows,
    full_windows,
    last_windows,
    split_windows,
    stored_continuations,
    stored_windows,
)
from sequifier.percent import counted


@dataclass(frozen=True)
class Inference:
    """The outputs of one model.

    Attributes:
        predictions: the file or folder of the predictions, or of the embeddings for an embedding model.
        probabilities: the files or folders of probabilities, one for each categorical target, if requested.
        top: the files or folders of the most probable classes, one for each categorical target, if requested.
        evaluation: target -> metric -> value.
        n_predictions: number of predicted or embedded events.
        unknown: categorical column -> number of values whose category the model does not know.
        evaluation_table: the metrics by value and step, if requested.
    """

    predictions: Path
    probabilities: list[Path]
    top: list[Path]
    evaluation: dict[str, dict[str, float]]
    n_predictions: int
    unknown: dict[str, int]
    evaluation_table: Path | None = None


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
        jobs: the result of `check_jobs` for the config, if there is one already.

    Raises:
        ConfigError, DataError, ModelError: models, data and config do not fit together; found before the first
            prediction, or at the latest before the outputs get their names.
        RunError: a file cannot be written.
    """
    if jobs is None:
        jobs = check_jobs(config, log)
    return [_infer(config, job, Reader(job.source, job.file, config, encode_raw, rows_per_part), log) for job in jobs]


def _infer(config: InferConfig, job: Job, reader: Reader, log: Log) -> Inference:
    model = open_model(job.path, job.file, config, seed=job.request.seed, log=log)
    evaluation_path = config.root / "outputs" / "predictions" / f"{job.name}-evaluation.json"
    with ExitStack() as files:
        outputs = Outputs(config, job, files, log)
        n_sequences = n_unended = 0
        elsewhere: list[tuple[str, str]] = []
        for shard, events in reader.parts():
            if job.source.future is not None and not job.request.embedding:
                elsewhere += planned_elsewhere(events, job.file)
            events = _readable(events, job)
            outputs.begin(shard, events)
            for chunk in _chunks(model, events, config, job, n_sequences):
                outputs.add(chunk)
                n_unended += chunk.n_unended
            if reader.still_open:
                after = last_windows(events.offsets, prediction_length=1, embedding=False)
                for chunk in run_windows(model, events, after, job.request, first_number=n_sequences):
                    outputs.add_ends(chunk)
            n_sequences += len(events.sequence_ids)
        if outputs.n_rows == 0:
            raise _nothing_to_predict(job)
        evaluation = outputs.finish()
        claim(job.name, job.path, job.source.path, config.root)
        if evaluation:
            with files.enter_context(atomic_path(evaluation_path)).open("w", encoding="utf-8") as file:
                file.write(json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n")
    table = None if outputs.evaluation is None else outputs.evaluation.path
    of_earlier = {evaluation_path.with_suffix(ending) for ending in (".csv", ".parquet")} - {table}
    for path in of_earlier if evaluation else {*of_earlier, evaluation_path}:
        path.unlink(missing_ok=True)
    predictions = outputs.main.path
    probabilities, top = ([table.path for table in each.values()] for each in (outputs.probabilities, outputs.top))
    if not job.request.of_sequences:  # Sequifier v1 predicted events alone
        link((predictions, *probabilities), job.name, job.path.stem)
    unknown = {column: count for column, count in reader.unknown.items() if count}
    result = Inference(predictions, probabilities, top, evaluation, outputs.n_rows, unknown, table)
    _report(result, config, job, reader, log)
    for line in _notes(config, job, n_sequences, outputs.n_irregular, n_unended, elsewhere):
        log(f"note: {line}")
    return result


def _readable(events: Events, job: Job) -> Events:
    """Return a part of the events as a model reads it: with steps to come that it knows, or without END."""
    if job.request.embedding:  # END is no event of which there is an embedding
        return without_ends(events, ends_with_end(events, job.source.end_ids))
    if job.source.is_raw and job.request.known_future and job.source.future is None:
        return with_steps_to_come(events, job.file)
    return events


def _nothing_to_predict(job: Job) -> DataError:
    if job.request.horizon == 1:
        what = "no event has another one before it, so there is nothing to predict from"
        fix = "give events of sequences with two events or more"
    else:
        what = f"no event has {job.request.horizon} events after it, so there is no origin to forecast from"
        fix = "give longer sequences, or raw events with read_format: raw, to forecast beyond their end"
    return DataError(what, where=str(job.source.path), fix=fix)


def _notes(
    config: InferConfig,
    job: Job,
    n_sequences: int,
    n_irregular: int,
    n_unended: int,
    elsewhere: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """Yield what is unusual: sequences that are irregular, that are planned `elsewhere`, and that have no END."""
    if n_irregular:
        yield (
            f"{n_irregular:,} of {n_sequences:,} sequences have no regular frequency: what is forecast beyond their "
            f"end has a number ({STEP}) and no position"
        )
    if elsewhere:
        more = f" (and {len(elsewhere) - 1:,} more)" if len(elsewhere) > 1 else ""
        name, twice = elsewhere[0]
        yield (
            f"sequence `{name}`{more} has other steps to come in {job.source.future} than the frequency of its events "
            f"says: {twice or 'is a row missing there?'}"
        )
    if config.until_end and n_unended:
        yield f"{n_unended:,} of {n_sequences:,} sequences had no END by then (until_end_limit)"


def shown_metrics(metrics: Mapping[str, float]) -> str:
    """Return the metrics of a target in a line, without those of single steps."""
    shown = ((name, value) for name, value in metrics.items() if split_step(name)[1] is None)
    return ", ".join(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}" for name, value in shown)


def _chunks(model: Model, events: Events, config: InferConfig, job: Job, first_number: int) -> Iterator[Chunk]:
    """Compute a part of the events; `first_number` is the number of its first sequence among all."""
    shape, source = job.file.architecture, job.source
    length, embedding = shape.prediction_length, job.request.embedding
    if isinstance(events, WindowEvents):
        if config.autoregression:
            extra = config.extra_steps
            starts = stored_continuations(events.offsets, events.n_history, events.n_ahead, extra_steps=extra)
            clock = clock_of(job.file, events, starts.end - 1)
            return run_continuations(model, events, starts, job.request, clock, first_number=first_number)
        stored = stored_windows(events.offsets, events.n_ahead, events.numbers, prediction_length=length)
        return run_windows(model, events, stored, job.request, first_number=first_number)
    context = "last" if source.is_raw else config.evaluation_context
    if config.autoregression:
        starts = continuations(
            events.offsets,
            events.n_context,
            seq_length=shape.seq_length,
            extra_steps=config.extra_steps,
            start=context,
        )
        clock = clock_of(job.file, events, starts.end - 1)
        return run_continuations(model, events, starts, job.request, clock, first_number=first_number)
    windows: Windows
    if job.request.horizon > 1 and not source.is_raw:
        stride = config.forecast_stride or 1
        windows = forecast_windows(events.offsets, events.n_context, horizon=job.request.horizon, stride=stride)
    elif job.request.of_sequences:
        windows = last_windows(events.offsets, prediction_length=1, embedding=True)
        windows = replace(windows, end=windows.end - ends_with_end(events, source.end_ids))
    elif context == "last":
        windows = last_windows(events.offsets, prediction_length=length, embedding=embedding)
        if job.request.known_future:  # the steps to come are rows
            windows = replace(windows, end=windows.end - job.request.horizon)
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
    return run_windows(model, events, windows, job.request, first_number=first_number)


def _report(result: Inference, config: InferConfig, job: Job, reader: Reader, log: Log) -> None:
    for column, count in result.unknown.items():
        log(f"note: column `{column}`: {count:,} of {reader.n_rows:,} values are unknown to the model (id 0)")
    what = "embeddings" if job.request.embedding else "predictions"
    source, shape = job.source, job.file.architecture
    read = f"{reader.n_windows:,} windows" if reader.n_windows else f"{reader.n_own:,} events"
    log(f"{result.n_predictions:,} {what} for {read} of {source.path}, in {result.predictions}")
    if job.request.horizon > 1:
        n_origins = result.n_predictions // job.request.horizon
        log(f"  {job.request.horizon} steps ahead from {counted(n_origins, 'origin')}")
    by_window = not (
        config.autoregression or source.is_raw or config.evaluation_context == "full" or job.request.of_sequences
    ) and (job.request.horizon == 1)
    if by_window and source.stride > 1:
        which = "event" if shape.prediction_length == 1 else f"{shape.prediction_length} events"
        log(
            f"  only the last {which} of each window, and windows start {source.stride} events apart; "
            "evaluation_context: full predicts every event"
        )
    for place in result.probabilities:
        log(f"probabilities in {place}")
    for place in result.top:
        log(f"top {config.top_k} classes in {place}")
    positions = job.file.config.get("target_positions", {})
    for name, metrics in result.evaluation.items():
        when = " after the last event of each sequence" if positions.get(name) == "every" else ""
        log(f"{name}{when}: {shown_metrics(metrics)}")
    if result.evaluation_table is not None:
        log(f"evaluation by {', '.join(config.evaluate_by or ())} in {result.evaluation_table}")
