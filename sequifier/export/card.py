"""The model card of a run, in plain Markdown: training data, metrics, how to call the models."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.events import POSITION
from sequifier.artifacts.metadata import Metadata, SequifierMetadata
from sequifier.artifacts.read_file import object_or_none
from sequifier.artifacts.split_file import read_events
from sequifier.artifacts.time_rules import TimeRules
from sequifier.config.architecture import EVENT_COUNT, Architecture, future_input
from sequifier.config.base import category_text
from sequifier.config.catalogue.metric_names import split_step
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import identity
from sequifier.config.size import parameter_count
from sequifier.errors import SequifierError
from sequifier.export.checkpoints import Checkpoint
from sequifier.export.markdown import block, code, literal, table, text
from sequifier.export.models import EMBEDDING, END_TO_END, Version
from sequifier.export.raw_columns import RawColumn, raw_columns
from sequifier.export.raw_times import (
    are_numbers,
    date_input,
    date_inputs,
    first_input,
    future_inputs,
    previous_input,
)
from sequifier.percent import percent
from sequifier.printable import printable

SHOWN_CATEGORIES = 8
_RELATIVE_TO = {"last": "the last value", "mean_std": "mean and standard deviation"}


def write_card(checkpoint: Checkpoint, version: Version) -> Path:
    """Write `models/[model_name]-card.md`.

    Args:
        checkpoint: a checkpoint of the run.
        version: the weights whose metrics are shown: the best ones where there are some.

    Raises:
        RunError: the file cannot be written.
    """
    path = checkpoint.root / "models" / f"{checkpoint.config.model_name}-card.md"
    write_text(path, printable("\n".join(line.rstrip() for line in _lines(checkpoint, version)) + "\n"))
    return path


def _lines(checkpoint: Checkpoint, version: Version) -> Iterator[str]:
    config, metadata, shape = checkpoint.config, checkpoint.metadata, checkpoint.architecture
    columns = raw_columns(shape, metadata)
    record = _record(checkpoint.root / "logs" / config.model_name, checkpoint.content["fingerprint"])
    models = _models(checkpoint.root / "models", config.model_name)
    reads = ", ".join(code(name) for name in shape.input_columns)
    yield f"# {text(config.model_name)}"
    yield ""
    yield f"Predicts {_predicted(shape)} from {reads} of up to the last "
    yield f"{_events(shape.seq_length)} of a sequence. A causal transformer, {parameter_count(shape):,} parameters."
    for target in shape.targets:
        if target.distribution is not None:
            form = target.distribution.replace("_", " ")
            of_target = f"Of {code(target.name)} it predicts a distribution ({form})"
            yield f"{of_target}: the median, and quantiles of 5 % to 95 %."
    if shape.normalized:
        names = ", ".join(code(name) for name in shape.normalized)
        yield f"It reads and predicts {names} relative to {_RELATIVE_TO[shape.window_normalization]} of each window."
    if shape.known_future:
        names = ", ".join(map(code, shape.known_future))
        yield f"At each of the {shape.horizon} steps that it forecasts it also reads {names}, which must be known then."
    yield from ("", "## Files", "")
    yield from table(["file in models/", "bytes", "SHA-256"], [_file_row(path) for path in models])
    yield from ("", "## Data", "")
    yield from _data(metadata)
    yield from ("", "## Schema", "")
    yield from _schema(checkpoint, columns)
    yield from ("", "## Metrics", "")
    yield from _metrics(checkpoint, version, record)
    yield from ("", "## How to call it", "")
    yield from _usage(models, shape, columns, metadata.sequifier.only(shape.input_columns))
    yield from ("", "## Config", "")
    yield from block("yaml", [dump_yaml(config.model_dump(mode="json"), header=[]).strip()])
    yield from ("", "## Versions", "")
    versions = record.get("versions") or {}
    yield (
        "Trained with "
        + (", ".join(text(f"{name} {value}") for name, value in versions.items()) or "unknown versions")
        + "."
    )
    yield f"Config hash `{identity(config, metadata.fingerprint)}`, data `{metadata.fingerprint}`."


def _predicted(shape: Architecture) -> str:
    """Return the targets in words."""
    of_events, of_sequence = (
        ", ".join(code(target.name) for target in shape.targets if target.of_sequence == is_label)
        for is_label in (False, True)
    )
    n_events = max(shape.prediction_length, shape.horizon)
    parts = [f"{of_events} of the next {_events(n_events)}"] if of_events else []
    return " and ".join([*parts, *([f"{of_sequence} of the whole sequence"] if of_sequence else [])])


def _events(count: int) -> str:
    return "event" if count == 1 else f"{count} events"


def _file_row(path: Path) -> list[str]:
    content = path.read_bytes()
    return [code(path.name), f"{len(content):,}", f"`{hashlib.sha256(content).hexdigest()}`"]


def _models(folder: Path, name: str) -> list[Path]:
    """Return the model files of this run, `best` first, without those of runs whose names begin with its name."""
    kinds = f"(?:{EMBEDDING}|{END_TO_END})?"
    pattern = re.compile(rf"sequifier-{re.escape(name)}-(?:best|last){kinds}-(?:step-)?\d+\.(?:onnx|pt)")
    return sorted(path for path in folder.glob("sequifier-*") if pattern.fullmatch(path.name))


def _record(parent: Path, fingerprint: str) -> dict[str, Any]:
    """Return the newest record of this run on these data: versions, results. Empty where there is none."""
    folder = parent / "latest"
    found: dict[str, Any] = {}
    for name in ("experiment_meta.json", "experiment_data.json"):
        content = object_or_none(folder / name)
        if content is None:
            return {}
        found |= content
    log = folder / "experiment_log.txt"
    return found if log.is_file() and f"data {fingerprint}" in log.read_text("utf-8", errors="replace") else {}


def _data(metadata: Metadata) -> Iterator[str]:
    about = metadata.sequifier
    yield f"One row is one event; {code(about.sequence_column)} ({about.sequence_type}) identifies its sequence, "
    yield f"{code(about.position_column)} ({about.position_type}) orders the events of a sequence. "
    yield f"Split {about.split_method}{_split_settings(about)}; fingerprint `{metadata.fingerprint}`."
    yield ""
    names = ["training", "validation", "test"]
    rows = [
        [names[number] if number < len(names) else f"split {number}", f"{events:,}", f"{sequences:,}"]
        for number, (events, sequences) in enumerate(zip(about.n_events, about.sequences, strict=True))
    ]
    yield from table(["split", "events", "sequences"], rows)


def _split_settings(about: SequifierMetadata) -> str:
    settings = [code(f"{name}: {value}") for name, value in about.split_options.items()]
    if about.split_ratios is not None:
        settings.insert(0, "in ratios " + ", ".join(f"{ratio:g}" for ratio in about.split_ratios))
    return " " + ", ".join(settings)


def _schema(checkpoint: Checkpoint, columns: Mapping[str, RawColumn]) -> Iterator[str]:
    shape, metadata = checkpoint.architecture, checkpoint.metadata
    ranges = _ranges(checkpoint, [name for name, column in columns.items() if column.is_real])
    rows = []
    for name, column in columns.items():
        uses = [
            *(["input"] if name in shape.input_columns else []),
            *(["target"] if name in {target.name for target in shape.targets} else []),
        ]
        if column.is_real:
            scale = column.scale
            after = f" (of {scale.transform})" if scale.transform else ""
            by_sequence = "standardised by sequence; of all values " * scale.by_sequence
            values = (
                ranges.get(name, "") + f"{by_sequence}mean {scale.mean:.6g}, standard deviation {scale.std:.6g}{after}"
            )
        else:
            values = _categories(column)
        classes = "" if column.is_real else f"{len(column.categories):,}"
        rows.append([code(name), " and ".join(uses), metadata.column_types[name], classes, values])
    yield from table(["column", "use", "type", "categories", "values"], rows)
    yield ""
    yield "Any other category is unknown (id 0), which is never predicted."


def _categories(column: RawColumn) -> str:
    if column.kind is np.int64 and len(column.categories) > SHOWN_CATEGORIES:
        return f"{min(column.categories)} to {max(column.categories)}"
    shown = [code(category_text(category)) for category in column.categories[:SHOWN_CATEGORIES]]
    return ", ".join(shown + ["..."] * (len(column.categories) > SHOWN_CATEGORIES))


def _ranges(checkpoint: Checkpoint, real: list[str]) -> dict[str, str]:
    """Return the smallest and largest training values, if the training split still exists."""
    path = checkpoint.root / checkpoint.metadata.split_paths[0]
    if not real or not path.exists():
        return {}
    try:
        events = read_events(path, real, expected_hashes=checkpoint.metadata.sequifier.column_hashes[0])
    except SequifierError:
        return {}  # the split was changed after the training
    found = {}
    for name in (name for name in real if name not in checkpoint.metadata.by_sequence):
        scale = checkpoint.metadata.scale(name)
        ends = (scale.original(float(end)) for end in _ends(events.columns[name]))
        found[name] = " to ".join(f"{end:.6g}" for end in ends) + "; "
    return found


def _ends(values: Any) -> tuple[float, float]:
    return values.min(), values.max()


def _metrics(checkpoint: Checkpoint, version: Version, record: Mapping[str, Any]) -> Iterator[str]:
    config, results = checkpoint.config, record.get("results")
    baselines: dict[str, dict[str, float]] = results.get("baselines", {}) if isinstance(results, dict) else {}
    yield f"Metrics of the {version.name} weights (epoch {version.epoch}) and of baselines, on the validation split."
    yield f"{code(config.metric)} ({config.direction}) selects the best weights, and ranks the runs of a search."
    yield ""
    names = [name for name in version.metrics if name.startswith("val_") and split_step(name)[1] is None]
    rows = [
        [code(name), _number(version.metrics[name]), *(_number(scores.get(name)) for scores in baselines.values())]
        for name in names
    ]
    yield from table(["metric", "model", *map(text, baselines)], rows)
    yield ""
    yield from _metrics_by_step(version.metrics, checkpoint.architecture)
    if version.name == "best":
        for target, found in checkpoint.content["progress"].get("best_by_length", {}).items():
            yield f"{code(target)} by the number of events so far:"
            yield ""
            columns = (map(_number, values) for values in found.values())
            by_events = [[str(number), *row] for number, row in enumerate(zip(*columns, strict=True), start=1)]
            yield from table(["events", *found], by_events)
            yield ""
    value = version.metrics.get(config.metric)
    known = [scores[config.metric] for scores in baselines.values() if config.metric in scores]
    if not known or value is None:
        yield "No baselines: the record of the run no longer exists."
        return
    error = version.metrics.get("standard_error")
    best, sign = (min(known), 1) if config.direction == "minimize" else (max(known), -1)
    if best:
        better = sign * (best - value) / abs(best)
        word = "better" if better >= 0 else "worse"
        yield f"Skill: {code(config.metric)} is {percent(better)} {word} than the value of the best baseline."
    if error is not None:
        yield (
            f"The standard error of `val_loss` is {_number(error)} (over sequences; with fewer than 5 sequences, over "
            "blocks of targets)."
        )


def _metrics_by_step(metrics: Mapping[str, Any], shape: Architecture) -> Iterator[str]:
    """Yield a table for each target with metrics at each step of a horizon."""
    of_target: dict[str, dict[str, dict[int, Any]]] = {}
    for name, value in metrics.items():
        metric, step = split_step(name)
        owners = [target.name for target in shape.targets if metric.startswith(f"val_{target.name}_")]
        if step is not None and owners:
            owner = max(owners, key=len)  # one target may be called price, another one price_net
            by_step = of_target.setdefault(owner, {})
            by_step.setdefault(metric.removeprefix(f"val_{owner}_"), {})[step] = value
    for target, by_step in of_target.items():
        yield f"{code(target)} by the number of steps ahead:"
        yield ""
        steps = range(1, shape.horizon + 1)
        rows = [[str(step), *(_number(values.get(step)) for values in by_step.values())] for step in steps]
        yield from table(["step", *by_step], rows)
        yield ""


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, (int, float)) else ""


def _usage(
    models: Sequence[Path], shape: Architecture, columns: Mapping[str, RawColumn], times: TimeRules
) -> Iterator[str]:
    onnx = [path for path in models if path.suffix == ".onnx" and f"{EMBEDDING}-" not in path.name]
    raw = [path for path in onnx if f"{END_TO_END}-" in path.name]
    if not onnx:
        yield "This run has no ONNX model; `sequifier export` writes one."
        return
    call = _raw_call(raw[0], shape, columns, times) if raw else _encoded_call(onnx[0], shape, columns)
    yield "`sequifier infer` reads CSV and Parquet. Without Sequifier, onnxruntime and numpy are enough:"
    yield ""
    yield from block("python", call)
    yield from ("", "Each row has its events at the right end, the last event last; the values to the left of the ")
    yield f"`{EVENT_COUNT}` events do not matter. More: docs/deploy.md of Sequifier."


def _raw_call(path: Path, shape: Architecture, columns: Mapping[str, RawColumn], times: TimeRules) -> Iterator[str]:
    yield from (
        "import numpy as np, onnxruntime",
        "",
        f"model = onnxruntime.InferenceSession({literal(f'models/{path.name}')})",
    )
    positions = {of(POSITION) for of in (date_input, previous_input, first_input)}
    numbers = positions if are_numbers(POSITION, times) else set()
    dates = {name: "time" if name in numbers else "date" for name in date_inputs(times)}
    if "date" in dates.values():
        yield 'date = np.datetime64("2024-01-31T12:00", "us").astype("int64")  # UTC, microseconds since 1970'
    if "time" in dates.values():
        unit = "as in the table" if times.time_unit == "none" else f"in {times.time_unit}, as in the table"
        yield f"time = 1.5  # {unit}"
    yield "inputs = {  # one sequence with one event"
    yield f'    "{EVENT_COUNT}": np.array([1]),'
    for name, is_of_window in date_inputs(times).items():
        value = f"[[0] * {shape.seq_length - 1} + [{dates[name]}]]" if is_of_window else f"[{dates[name]}]"
        yield f"    {literal(name)}: np.array({value}),"
    known, of_dates = future_inputs(shape.known_future, times)
    for name in (name for name in shape.input_columns if name not in times.derived):
        column = columns[name]
        first = next(iter(column.categories), "")
        is_text = column.input_kind is np.str_
        value = literal(
            float(column.scale.original(0.0)) if column.is_real else category_text(first) if is_text else first
        )
        dtype = column.numpy_type.__name__.rstrip("_")
        padding = {"str": '""', "bool": "False"}.get(column.input_kind.__name__.rstrip("_"), "0")
        yield f"    {literal(name)}: np.array([[{padding}] * {shape.seq_length - 1} + [{value}]], {dtype!r}),"
        if name in known:
            yield f"    {literal(future_input(name))}: np.array([[{value}] * {shape.horizon}], {dtype!r}),"
    for name in of_dates:
        value = f"[[{dates[name]}] * {shape.horizon}]"
        yield f"    {literal(future_input(name))}: np.array({value}),  # the dates of the steps"
    yield "}"
    yield "for output, value in zip(model.get_outputs(), model.run(None, inputs)):"
    yield "    print(output.name, value[0])"


def _encoded_call(path: Path, shape: Architecture, columns: Mapping[str, RawColumn]) -> Iterator[str]:
    yield from ("import json, numpy as np, onnxruntime", "")
    yield f"model = onnxruntime.InferenceSession({literal(f'models/{path.name}')})"
    yield "stored = model.get_modelmeta().custom_metadata_map"
    yield 'labels, scale = json.loads(stored["vocabularies"]), json.loads(stored["statistics"])'
    yield "inputs = {  # one sequence with one event: ids from 1, or (value - mean) / std"
    yield f'    "{EVENT_COUNT}": np.array([1]),'
    kinds = {**{name: ("1", "int64") for name, _ in shape.categorical}, **dict.fromkeys(shape.real, ("0", "float32"))}
    for name, (value, dtype) in kinds.items():
        yield f"    {literal(name)}: np.array([[0] * {shape.seq_length - 1} + [{value}]], {dtype!r}),"
        if name in shape.known_future:
            yield f"    {literal(future_input(name))}: np.array([[{value}] * {shape.horizon}], {dtype!r}),"
    yield "}"
    yield "outputs = dict(zip([output.name for output in model.get_outputs()], model.run(None, inputs)))"
    first = "0" if shape.horizon == 1 else "0, 0"  # of the axes before the events
    for target in shape.targets:
        name, output = literal(target.name), literal(target.output_names[-1])
        if target.of_sequence and target.kind == "categorical":
            yield f"print({name}, labels[{name}][outputs[{output}][0] - 1])"
        elif target.kind == "categorical":
            yield f"print({name}, [labels[{name}][number - 1] for number in outputs[{output}][{first}]])"
        elif columns[target.name].scale.by_sequence:
            yield f"print({name}, outputs[{output}][{first}])  # times std plus mean of the sequence"
        else:
            value = f'(outputs[{output}][{first}] * scale[{name}]["std"] + scale[{name}]["mean"])'
            scale = columns[target.name].scale
            in_unit = f" / {scale.unit:g}" if scale.unit != 1 else ""
            yield f"print({name}, {_UNDONE[scale.transform].format(value)}{in_unit})"


_UNDONE = {None: "{}", "log1p": "np.maximum(np.expm1({}), 0)", "asinh": "np.sinh({})"}
"""Python that undoes a transform."""
