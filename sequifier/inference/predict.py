"""`infer`: encoded events in, predictions in original labels and units out.

A window predicts its last `prediction_length` events from those before them, so they are known and can be compared.
Shapes: W windows, P prediction_length, M predicted events.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.atomic import atomic_path, write_text
from sequifier.artifacts.events import POSITION, SEQUENCE, Events, read_events
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.artifacts.model_file import ModelFile
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.paths import find_input
from sequifier.dataset.windows import WindowIndex, training_windows
from sequifier.errors import ConfigError, DataError, ModelError, Problem, did_you_mean
from sequifier.inference.decode import labels, original_units, probability_headers
from sequifier.inference.runtime import OnnxModel

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Inference:
    """What one model left."""

    predictions: Path
    probabilities: list[Path]
    evaluation: dict[str, dict[str, float]]  # target -> metric -> value
    n_predictions: int


def infer(config: InferConfig, *, report: Callable[[str], None]) -> list[Inference]:
    """Predict with every model of the config.

    Raises:
        ConfigError, DataError, ModelError: model, data and config do not fit; nothing was written for that model.
    """
    return [_infer(config, path, report) for path in config.model_path]


def _infer(config: InferConfig, model_path: str, report: Callable[[str], None]) -> Inference:
    root = Path(config.project_root)
    path = find_input(model_path, config.project_root, "model_path")
    if path.suffix != ".onnx":
        raise ConfigError([Problem("model_path", f"{path.name}: only .onnx models are available in this version")])
    model = OnnxModel(path, device=config.device)
    targets = _targets(config, model.file)
    metadata_path = config.metadata_config_path or model.file.config["metadata_config_path"]
    metadata = read_metadata(find_input(metadata_path, config.project_root, "metadata_config_path"))
    _check_same_encoding(model.file, metadata, path)
    events, stride = _read(config, model, metadata)
    windows = training_windows(
        events.offsets,
        events.n_context,
        seq_length=model.architecture.seq_length,
        stride=stride,
        mode=metadata.sequifier.subsequence_start_mode,
    )
    if len(windows) == 0:
        raise DataError("no event has another one before it: there is nothing to predict from")
    batch_size = config.inference_batch_size or int(model.file.config.get("inference_batch_size", 64))
    outputs = _run(model, events, windows, batch_size)
    rows = windows.last[:, None] + np.arange(-model.architecture.prediction_length + 1, 1)  # (W, P)
    is_real = rows >= windows.counted[:, None]  # a short sequence has fewer events before its last than P
    rows = rows[is_real]
    predicted = {name: values[is_real] for name, values in outputs.items()}

    base = {SEQUENCE: _sequence_ids(events, rows), POSITION: events.positions[rows]}
    decoded = {target.name: _decode(target, predicted, model.file, config.map_to_id) for target in targets}
    folder = root / "outputs"
    written = folder / "predictions" / f"{path.stem}-predictions.{config.write_format}"
    _write(written, {**base, **decoded}, config.write_format)
    probabilities = []
    if config.output_probabilities:
        for target in targets:
            if target.kind == "categorical":
                place = folder / "probabilities" / f"{path.stem}-{target.name}-probabilities.{config.write_format}"
                values = predicted[f"{target.name}_probabilities"]
                headers = probability_headers(model.file.vocabularies[target.name])
                _write(place, {**base, **dict(zip(headers, values.T, strict=True))}, config.write_format)
                probabilities.append(place)
    evaluation = {}
    if config.evaluate:
        evaluation = {target.name: _evaluate(target, predicted, events, rows, model.file) for target in targets}
        write_text(folder / "predictions" / f"{path.stem}-evaluation.json", json.dumps(evaluation, indent=1) + "\n")
    report(f"{len(rows):,} predictions in {written}")
    for place in probabilities:
        report(f"probabilities in {place}")
    for name, metrics in evaluation.items():
        report(f"{name}: " + ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items()))
    return Inference(written, probabilities, evaluation, len(rows))


def _targets(config: InferConfig, file: ModelFile) -> list[Target]:
    if "embedding" in file.outputs:
        raise ModelError("this is an embedding model; it predicts nothing", fix="give a generative model")
    known = {target.name: target for target in file.architecture.targets}
    for index, name in enumerate(config.target_columns or ()):
        if name not in known:
            raise ConfigError(
                [
                    Problem(
                        f"target_columns[{index}]", f"the model has no target `{name}`", fix=did_you_mean(name, known)
                    )
                ]
            )
    return [known[name] for name in config.target_columns or known]


def _check_same_encoding(file: ModelFile, metadata: Metadata, path: Path) -> None:
    """Ids and standardised values mean the same to model and data only with equal vocabularies and statistics."""
    for column in file.architecture.input_columns:
        if column not in metadata.columns:
            raise DataError(
                f"the model needs column `{column}`, which the data does not have",
                where=str(path),
                fix=did_you_mean(column, metadata.columns),
            )
        categorical = column in file.vocabularies
        same = (
            metadata.kind(column) == "categorical" and metadata.categories(column) == file.vocabularies[column]
            if categorical
            else metadata.selected_columns_statistics.get(column) == file.statistics[column]
        )
        if not same:
            what = "vocabulary" if categorical else "mean and deviation"
            raise DataError(
                f"model and data encode column `{column}` differently: its {what} is not the one of the training data",
                where=f"{path} and metadata {metadata.fingerprint}",
                fix="preprocess the new data with `metadata_config_path` set to the metadata the model was trained on",
            )


def _read(config: InferConfig, model: OnnxModel, metadata: Metadata) -> tuple[Events, int]:
    """The events to predict, and the stride of their windows."""
    splits = metadata.split_paths
    data_path = config.data_path or splits[min(2, len(splits) - 1)]
    path = find_input(data_path, config.project_root, "data_path")
    root = Path(config.project_root)
    number = next((i for i, split in enumerate(splits) if (root / split).resolve() == path.resolve()), None)
    wanted = {*model.architecture.input_columns, *(target.name for target in model.architecture.targets)}
    columns = [column for column in metadata.columns if column in wanted]
    hashes = None if number is None else metadata.sequifier.column_hashes[number]
    events = read_events(path, columns, expected_hashes=hashes, format=config.read_format)  # type: ignore[arg-type]
    return events, 1 if number is None else metadata.sequifier.stride_by_split[number]


def _run(model: OnnxModel, events: Events, windows: WindowIndex, batch_size: int) -> dict[str, NDArray[Any]]:
    length = model.architecture.seq_length
    rows = np.maximum(windows.last[:, None] + np.arange(-length, 0), windows.first[:, None])
    n_events = np.minimum(windows.last - windows.first, length)
    columns = {name: events.columns[name][rows] for name in model.architecture.input_columns}
    parts: dict[str, list[NDArray[Any]]] = {}
    for outputs in model.predict(columns, n_events, batch_size=batch_size):
        for name, values in outputs.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _sequence_ids(events: Events, rows: NDArray[np.int64]) -> NDArray[Any]:
    ids: NDArray[Any] = events.sequence_ids[np.searchsorted(events.offsets, rows, side="right") - 1]
    return ids


def _decode(target: Target, predicted: dict[str, NDArray[Any]], file: ModelFile, map_to_id: bool) -> Any:
    if target.kind == "real":
        return original_units(predicted[f"{target.name}_value"], file.statistics[target.name])
    ids = predicted[f"{target.name}_id"]
    return labels(ids, file.vocabularies[target.name]) if map_to_id else ids


def _evaluate(
    target: Target, predicted: dict[str, NDArray[Any]], events: Events, rows: NDArray[np.int64], file: ModelFile
) -> dict[str, float]:
    """Means over predicted events whose truth is a known category or a number."""
    truth = events.columns[target.name][rows]
    if target.kind == "real":
        std = file.statistics[target.name]["std"]
        error = (predicted[f"{target.name}_value"].astype(np.float64) - truth) * std
        return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean())), "n": len(truth)}
    known = truth != 0
    if not known.any():
        return {"n": 0}
    probability = predicted[f"{target.name}_probabilities"][known, truth[known]].astype(np.float64)
    hits = predicted[f"{target.name}_id"][known] == truth[known]
    tiny = np.finfo(np.float32).tiny  # a float32 softmax may round a small probability to 0
    return {
        "accuracy": float(hits.mean()),
        "log_loss": float(-np.log(np.maximum(probability, tiny)).mean()),
        "n": int(known.sum()),
    }


def _write(path: Path, columns: dict[str, Any], write_format: str) -> None:
    import polars as pl

    frame: pl.DataFrame = pl.DataFrame(columns)
    with atomic_path(path) as temporary:
        if write_format == "csv":
            frame.write_csv(temporary)
        else:
            frame.write_parquet(temporary)
