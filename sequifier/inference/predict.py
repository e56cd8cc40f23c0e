"""`infer`: encoded events in, predictions in original labels and units out.

A window predicts its last `prediction_length` events from those before them, so they are known and can be compared.
Shapes: W windows, B of a batch, P prediction_length, M predicted events.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path, write_text
from sequifier.artifacts.events import POSITION, SEQUENCE, Events
from sequifier.artifacts.model_file import ModelFile, read_model_file
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.paths import find_input
from sequifier.dataset.windows import WindowIndex, training_windows
from sequifier.errors import ConfigError, DataError, ModelError, Problem, did_you_mean
from sequifier.inference.decode import labels, original_units, probability_headers
from sequifier.inference.evaluate import categorical_metrics, real_metrics
from sequifier.inference.runtime import OnnxModel
from sequifier.inference.source import Source, find_source, read_source

Report = Callable[[str], None]


@dataclass(frozen=True)
class Inference:
    """What one model left."""

    predictions: Path
    probabilities: list[Path]
    evaluation: dict[str, dict[str, float]]  # target -> metric -> value
    n_predictions: int


def infer(config: InferConfig, *, report: Report) -> list[Inference]:
    """Predict with every model of the config.

    Raises:
        ConfigError, DataError, ModelError: models, data and config do not fit; found before the first prediction.
        RunError: a file cannot be written.
    """
    jobs = [_check(config, path, report) for path in dict.fromkeys(config.model_path)]
    _check_file_names([job.path for job in jobs])
    return [_infer(config, job, report) for job in jobs]


@dataclass(frozen=True)
class _Job:
    """One model and the events it predicts."""

    path: Path
    targets: list[Target]
    source: Source


def _check(config: InferConfig, model_path: str, report: Report) -> _Job:
    path = find_input(model_path, config.project_root, "model_path")
    if path.suffix != ".onnx":
        raise ConfigError(
            [
                Problem(
                    "model_path",
                    f"{path.name}: only .onnx models are available in this version",
                    fix="train with export_onnx: true, and give the .onnx file",
                )
            ]
        )
    file = read_model_file(path)
    targets = _targets(config, file, path)
    _check_given(config, file)
    return _Job(path, targets, find_source(config, file, path, targets, report))


def _targets(config: InferConfig, file: ModelFile, path: Path) -> list[Target]:
    if "embedding" in file.outputs:
        raise ModelError(
            "this is an embedding model; it predicts nothing",
            where=str(path),
            fix="give the model of the same name without `embedding`",
        )
    known = {target.name: target for target in file.architecture.targets}
    problems = [
        Problem(f"target_columns[{index}]", f"the model has no target `{name}`", fix=did_you_mean(name, known))
        for index, name in enumerate(config.target_columns or ())
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    return [known[name] for name in dict.fromkeys(config.target_columns or known)]


def _check_given(config: InferConfig, file: ModelFile) -> None:
    """What a config says although the model file decides it must be what the model file says."""
    shape = file.architecture
    kinds = {target.name: target.kind for target in shape.targets}
    given: dict[str, tuple[Any, Any]] = {
        "input_columns": (config.input_columns and sorted(config.input_columns), sorted(shape.input_columns)),
        "seq_length": (config.seq_length, shape.seq_length),
        "prediction_length": (config.prediction_length, shape.prediction_length),
        "target_column_types": (
            config.target_column_types,
            {name: kinds.get(name) for name in config.target_column_types or ()},
        ),
    }
    problems = [
        Problem(key, f"got {value}, but the model was trained with {trained}", fix="leave it out: the model knows it")
        for key, (value, trained) in given.items()
        if value is not None and value != trained
    ]
    if problems:
        raise ConfigError(problems)


def _check_file_names(paths: list[Path]) -> None:
    by_name: dict[str, Path] = {}
    for path in paths:
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise ConfigError(
                [
                    Problem(
                        "model_path",
                        f"{other} and {path} have one name, so their predictions would have one too",
                        fix="infer with one of them at a time",
                    )
                ]
            )


def _infer(config: InferConfig, job: _Job, report: Report) -> Inference:
    model = OnnxModel(job.path, device=config.device)
    events = read_source(job.source, model.file, config)
    windows = training_windows(
        events.offsets,
        events.n_context,
        seq_length=model.architecture.seq_length,
        stride=job.source.stride,
        mode=job.source.start_mode,
    )
    if len(windows) == 0:
        raise DataError(
            "no event has another one before it: there is nothing to predict from",
            where=str(job.source.path),
            fix="give events of sequences with two events or more",
        )
    batch_size = config.inference_batch_size or int(model.file.config.get("inference_batch_size", 64))
    predicted = _predict(model, events, windows, job, batch_size, config.output_probabilities)

    base = {SEQUENCE: _sequence_ids(events, predicted.rows), POSITION: events.positions[predicted.rows]}
    decoded = {target.name: _decode(target, predicted, model.file, config.map_to_id) for target in job.targets}
    outputs = config.root / "outputs"
    written = outputs / "predictions" / f"{job.path.stem}-predictions.{config.write_format}"
    _write(written, {**base, **decoded}, config.write_format)
    probabilities = []
    for name, values in predicted.probabilities.items():
        file = f"{job.path.stem}-{file_name(name)}-probabilities.{config.write_format}"
        headers = probability_headers(model.file.vocabularies[name], taken=list(base))
        _write(
            outputs / "probabilities" / file, {**base, **dict(zip(headers, values.T, strict=True))}, config.write_format
        )
        probabilities.append(outputs / "probabilities" / file)
    evaluation = {
        target.name: _evaluate(target, predicted, events.columns[target.name], model.file)
        for target in job.source.evaluated
    }
    if evaluation:
        text = json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n"
        write_text(outputs / "predictions" / f"{job.path.stem}-evaluation.json", text)

    n_own = int(events.offsets[-1] - events.n_context.sum())
    report(f"{len(predicted.rows):,} predictions for {n_own:,} events of {job.source.path}, in {written}")
    if job.source.stride > 1:
        which = "the last event" if model.architecture.prediction_length == 1 else "the last events"
        report(f"  {which} of each window, a window every {job.source.stride} events")
    for place in probabilities:
        report(f"probabilities in {place}")
    for name, metrics in evaluation.items():
        report(f"{name}: " + ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items()))
    return Inference(written, probabilities, evaluation, len(predicted.rows))


@dataclass(frozen=True)
class _Predicted:
    """What the model said of each predicted event."""

    rows: NDArray[np.int64]  # (M,) rows of the split
    ids: Mapping[str, NDArray[np.int64]]  # categorical target -> (M,)
    values: Mapping[str, NDArray[np.float32]]  # real target -> (M,), standardised
    truth_probability: Mapping[str, NDArray[np.float32]]  # evaluated categorical target -> (M,)
    probabilities: Mapping[str, NDArray[np.float32]]  # categorical target -> (M, n_classes), if asked for


def _predict(
    model: OnnxModel, events: Events, windows: WindowIndex, job: _Job, batch_size: int, keep_probabilities: bool
) -> _Predicted:
    """Run all windows. Of the probabilities, which are wide, only what is needed is kept of each batch."""
    length, predicted_length = model.architecture.seq_length, model.architecture.prediction_length
    outputs = [name for target in job.targets for name in target.output_names]
    parts: dict[tuple[str, str], list[NDArray[Any]]] = {}
    for start in range(0, len(windows), batch_size):
        last, first = windows.last[start : start + batch_size], windows.first[start : start + batch_size]
        inputs = np.maximum(last[:, None] + np.arange(-length, 0), first[:, None])  # (B, seq_length)
        columns = {name: events.columns[name][inputs] for name in model.architecture.input_columns}
        batch = model.predict(columns, np.minimum(last - first, length), outputs)
        rows = last[:, None] + np.arange(-predicted_length + 1, 1)  # (B, P)
        # A short sequence has fewer events before its last one than P.
        is_event = rows >= windows.counted[start : start + batch_size, None]
        rows = rows[is_event]
        parts.setdefault(("rows", ""), []).append(rows)
        for target in job.targets:
            if target.kind == "real":
                parts.setdefault(("values", target.name), []).append(batch[f"{target.name}_value"][is_event])
                continue
            probability = batch[f"{target.name}_probabilities"][is_event]
            parts.setdefault(("ids", target.name), []).append(batch[f"{target.name}_id"][is_event])
            if target in job.source.evaluated:
                truth = events.columns[target.name][rows]
                chosen = np.take_along_axis(probability, truth[:, None], axis=1)[:, 0]
                parts.setdefault(("truth_probability", target.name), []).append(chosen)
            if keep_probabilities:
                parts.setdefault(("probabilities", target.name), []).append(probability)
    whole = {key: np.concatenate(values) for key, values in parts.items()}

    def of(what: str) -> dict[str, NDArray[Any]]:
        return {name: values for (kind, name), values in whole.items() if kind == what}

    return _Predicted(whole["rows", ""], of("ids"), of("values"), of("truth_probability"), of("probabilities"))


def _sequence_ids(events: Events, rows: NDArray[np.int64]) -> NDArray[Any]:
    ids: NDArray[Any] = events.sequence_ids[np.searchsorted(events.offsets, rows, side="right") - 1]
    return ids


def _decode(target: Target, predicted: _Predicted, file: ModelFile, map_to_id: bool) -> Any:
    if target.kind == "real":
        return original_units(predicted.values[target.name], file.statistics[target.name])
    ids = predicted.ids[target.name]
    return labels(ids, file.vocabularies[target.name]) if map_to_id else ids


def _evaluate(target: Target, predicted: _Predicted, column: NDArray[Any], file: ModelFile) -> dict[str, float]:
    truth = column[predicted.rows]
    if target.kind == "real":
        return real_metrics(predicted.values[target.name], truth, std=file.statistics[target.name]["std"])
    return categorical_metrics(predicted.ids[target.name], predicted.truth_probability[target.name], truth)


def file_name(column: str) -> str:
    """A column's name as part of a file name; two columns never share one.

    What would lead to another folder is written as %XX; a name too long for a file ends in its hash.

    >>> file_name("a/../b")
    'a%2F..%2Fb'
    """
    safe = "".join(f"%{ord(c):02X}" if c in "/\\%:" or not c.isprintable() else c for c in column)
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    return f"{safe[: _LONGEST_NAME // 4]}%{hashlib.sha256(column.encode()).hexdigest()[:16]}"


_LONGEST_NAME = 120  # bytes, of the 255 that file systems allow, beside the model's name; a character has four at most


def _write(path: Path, columns: Mapping[str, Any], write_format: str) -> None:
    import polars as pl

    frame: pl.DataFrame = pl.DataFrame(dict(columns))
    with atomic_path(path) as temporary:
        if write_format == "csv":
            frame.write_csv(temporary)
        else:
            frame.write_parquet(temporary)
