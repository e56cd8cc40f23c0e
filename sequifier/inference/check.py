"""Checks that config, models and data fit together, before anything is predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.time_rules import DerivedColumn
from sequifier.callbacks import Log
from sequifier.config.architecture import EMBEDDING, Target
from sequifier.config.catalogue.distributions import LEVELS, quantile_column
from sequifier.config.inference import InferConfig
from sequifier.config.loading.paths import find_model
from sequifier.config.samplers import Sampler
from sequifier.errors import ConfigError, DataError, ModelError, Problem, did_you_mean
from sequifier.inference.compute import Request
from sequifier.inference.forecast_dates import ORIGIN, STEP
from sequifier.inference.names import output_name
from sequifier.inference.runtime import read_model
from sequifier.inference.sampling import draws_by_target, find_sampler, find_seed, rules_by_target
from sequifier.inference.source import Source, find_source
from sequifier.inference.steps_to_come import not_of_dates

_SUFFIXES = (".onnx", ".pt")
NO_CHECKSUM = (
    "note: {path} was exported before model files had a checksum, so that damage to it may go unnoticed; export it "
    "again to add one"
)


@dataclass(frozen=True)
class Job:
    """One model with what it reads, computes and writes.

    Attributes:
        path: the model.
        file: its metadata.
        targets: the targets whose predictions are written.
        source: the events.
        request: what is computed.
        name: of the outputs.
    """

    path: Path
    file: ModelFile
    targets: list[Target]
    source: Source
    request: Request
    name: str


def check_jobs(config: InferConfig, log: Log) -> list[Job]:
    """Return a job for each model.

    Raises:
        ConfigError, DataError, ModelError: config, models and data do not fit together.
    """
    if problems := list(_problems_of_config(config)):
        raise ConfigError(problems)
    sampler = find_sampler(config)
    is_random = config.infer_with_dropout or config.sampler is not None or bool(config.sample_from_distribution_columns)
    seed = find_seed(config, sampler, log) if is_random else 0
    by_model = [_jobs(config, given, sampler, seed, log) for given in dict.fromkeys(config.model_path)]
    _check_file_names([jobs[0].path for jobs in by_model])
    return [job for jobs in by_model for job in jobs]


def _jobs(config: InferConfig, model_path: str, sampler: Sampler, seed: int, log: Log) -> list[Job]:
    """Return the jobs of a model: one for its targets of events, one for those of whole sequences."""
    path = find_model(model_path, config.project_root)
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            [Problem("model_path", f"{path.name} does not end in .onnx or .pt", fix="give a model from models/")]
        )
    file = read_model(path)
    if not file.has_checksum:
        log(NO_CHECKSUM.format(path=path))
    targets = find_targets(config, file)
    check_kind(config, file, path)
    _check_given(config, file)
    if config.top_k is not None and (problems := list(_problems_of_top_classes(config, config.top_k, file, targets))):
        raise ConfigError(problems)
    if config.quantiles and not any(target.distribution for target in targets):
        what = f"the model predicts one value of {', '.join(target.name for target in targets)}, no distribution"
        fix = "leave it out, or train with model_spec.distribution"
        raise ConfigError([Problem("quantiles", what, fix=fix)])
    if config.model_type == "embedding":
        return [_job(config, path, file, [], sampler, seed, log)]
    if problems := [*_problems_of_quantile_names(config, targets)]:
        raise ConfigError(problems)
    kinds = ([target for target in targets if target.of_sequence == of_sequence] for of_sequence in (False, True))
    return [_job(config, path, file, of_kind, sampler, seed, log) for of_kind in kinds if of_kind]


def _job(
    config: InferConfig, path: Path, file: ModelFile, targets: list[Target], sampler: Sampler, seed: int, log: Log
) -> Job:
    source = find_source(config, file, path, targets, log)
    if problems := [*_problems_of_forecast(config, file, targets, source), *_problems_of_groups(config, file, source)]:
        raise ConfigError(problems)
    if source.future == source.path:
        marks = ", ".join(file.raw_targets)
        log(f"the steps to come are the rows at the end of each sequence that have no value of {marks}")
    if config.n_scenarios > 1:
        source = replace(source, evaluated=[])  # a scenario is no prediction
    if config.exclude_seen and source.holds_windows:
        what = "it requires the whole history of each sequence, and these are windows of Sequifier v1"
        fix = "set read_format: raw, and data_path to the raw events"
        raise ConfigError([Problem("exclude_seen", what, fix=fix)])
    of_sequences = any(target.of_sequence for target in targets)
    if of_sequences and source.holds_windows:
        raise DataError(
            f"the model predicts {', '.join(target.name for target in targets)} of whole sequences, and these are "
            "windows of Sequifier v1",
            where=str(source.path),
            fix="preprocess the raw data again, or set target_columns to targets of events",
        )
    evaluated = {target.name for target in source.evaluated}
    written = {
        target.name
        for target in targets
        if target.of_sequence or config.output_probabilities or config.top_k is not None
    }
    shape = file.architecture
    request = Request(
        shape,
        rules_by_target(config, sampler, shape.targets, log),
        tuple(t.name for t in shape.targets if t.kind == "categorical" and t.name in evaluated | written),
        config.model_type == "embedding",
        config.inference_batch_size or int(file.config.get("inference_batch_size", 64)),
        seed,
        of_sequences,
        file.sequence_columns,
        file.end_ids,
        {target.name: file.scale(target.name) for target in shape.targets if target.kind == "real"},
        draws_by_target(config, sampler, shape.targets, file),
        config.n_scenarios,
    )
    is_mixed = len({target.of_sequence for target in shape.targets}) > 1
    ending = "-sequences" if of_sequences and is_mixed else ""
    name = output_name(path, file, source.path, config.root) + ending
    return Job(path, file, targets, source, request, name)


def _problems_of_config(config: InferConfig) -> Iterator[Problem]:
    """Yield the problems of the config alone."""
    if config.model_type == "embedding":
        for key in ("autoregression", "output_probabilities", "sample_from_distribution_columns", "top_k"):
            if getattr(config, key):
                fix = "leave it out, or set model_type: generative"
                yield Problem(key, "an embedding model makes no predictions", fix=fix)
    if config.top_k is not None and config.autoregression:
        fix = "leave one of them out"
        yield Problem("top_k", "generation takes one class for each event, and autoregression is true", fix=fix)
    if config.exclude_seen and config.top_k is None:
        yield Problem("exclude_seen", "it limits the top_k classes, and top_k is not set", fix="set top_k")
    if config.n_scenarios > 1:
        if not config.autoregression:
            yield Problem(
                "n_scenarios", "scenarios are continuations, and nothing is generated", fix="autoregression: true"
            )
        elif config.sampler is None and not config.sample_from_distribution_columns:
            fix = "write sampler: {temperature: 1}"
            yield Problem("n_scenarios", "nothing is sampled, so all scenarios would be the same", fix=fix)
    if config.sequence_table is not None and config.read_format != "raw":
        yield Problem(
            "sequence_table", "encoded events have its columns already", fix="leave it out, or set read_format: raw"
        )
    if config.autoregression_extra_steps and not config.autoregression:
        yield Problem("autoregression_extra_steps", "nothing is generated", fix="set autoregression: true")
    if config.autoregression and config.read_format == "raw" and not config.autoregression_extra_steps:
        yield Problem(
            "autoregression_extra_steps",
            "0 events are generated after the last raw event",
            fix="set the number of events to generate",
        )


def find_targets(config: InferConfig, file: ModelFile) -> list[Target]:
    """Return the targets that a config names, by default all of the model.

    Raises:
        ConfigError: the model lacks one of them.
    """
    known = {target.name: target for target in file.architecture.targets}
    problems = [
        Problem(f"target_columns[{index}]", f"the model has no target `{name}`", fix=did_you_mean(name, known))
        for index, name in enumerate(config.target_columns or ())
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    return [known[name] for name in dict.fromkeys(config.target_columns or known)]


def check_kind(config: InferConfig, file: ModelFile, path: Path) -> None:
    """Check that a model file can do what the config requests.

    Raises:
        ModelError: it cannot.
    """
    for problem, fix in _problems_of_kind(config, file, is_onnx=path.suffix == ".onnx"):
        raise ModelError(problem, where=str(path), fix=fix)


def _problems_of_kind(config: InferConfig, file: ModelFile, *, is_onnx: bool) -> Iterator[tuple[str, str]]:
    """Yield what a model file cannot do, each with the fix."""
    if file.end_to_end:
        yield (
            "an end-to-end model takes raw values and returns labels; `infer` encodes and decodes by itself",
            "give the model of the same name without `end-to-end`, with read_format: raw for raw events",
        )
    embeds = EMBEDDING in file.outputs
    if is_onnx and embeds and config.model_type == "generative":
        yield (
            "this is an embedding model; it makes no predictions",
            "give the model of the same name without `embedding`, or set model_type: embedding",
        )
    if is_onnx and not embeds and config.model_type == "embedding":
        yield (
            "this model makes predictions; it returns no embeddings",
            "train with export_embedding_model: true, and give the model with `embedding` in its name",
        )
    if config.infer_with_dropout and is_onnx and not file.has_dropout and file.architecture.dropout > 0:
        yield (
            "infer_with_dropout: this ONNX file has no dropout",
            "train with export_with_dropout: true, or with export_pt: true and give the .pt file",
        )
    if config.infer_with_dropout and file.architecture.dropout == 0:
        yield (
            "infer_with_dropout: this model was trained without dropout",
            "train with training_spec.dropout above 0, or leave infer_with_dropout out",
        )
    if config.autoregression:
        yield from _problems_of_generation(config, file)


def _problems_of_generation(config: InferConfig, file: ModelFile) -> Iterator[tuple[str, str]]:
    """Yield why a model cannot generate events, each with the fix."""
    if config.until_end and not file.end_ids.keys() & {target.name for target in file.architecture.targets}:
        yield (
            "autoregression_extra_steps: until_end: the model does not predict where a sequence ends",
            "preprocess with end_event and train with one of its columns as a target, or set a number of events",
        )
    if file.architecture.horizon > 1:
        yield (
            f"autoregression: the model forecasts {file.architecture.horizon} steps at once (prediction_horizon)",
            "leave autoregression out; to generate events one by one, train with prediction_horizon: 1",
        )
    labels = [target.name for target in file.architecture.targets if target.of_sequence]
    if labels:
        yield (
            f"autoregression: the model predicts {', '.join(labels)} of whole sequences, which is not generated",
            "use a model whose targets are those of events",
        )
    missing = [name for name in file.not_generated if name not in file.clocked]
    if missing:
        gap = DerivedColumn(POSITION, "gap").name
        of_time = gap in file.time.derived and any(name in file.time.derived for name in missing)
        yield (
            f"autoregression: the model reads {', '.join(missing)}, which it does not predict",
            "use a model whose input_columns are all among its target_columns"
            + (f"; hours, weekdays and the like follow where it predicts {gap}" if of_time else ""),
        )


def _check_given(config: InferConfig, file: ModelFile) -> None:
    """Check that fields which the model file determines have its values, if the config has them."""
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
        Problem(key, f"got {value}, but the model was trained with {trained}", fix="leave it out: the model has it")
        for key, (value, trained) in given.items()
        if value is not None and value != trained
    ]
    if problems:
        raise ConfigError(problems)


def _problems_of_top_classes(config: InferConfig, k: int, file: ModelFile, targets: list[Target]) -> Iterator[Problem]:
    categorical = [target for target in targets if target.kind == "categorical"]
    if not categorical:
        names = ", ".join(target.name for target in targets)
        yield Problem("top_k", f"no predicted target has classes ({names})", fix="leave it out")
    for target in categorical:
        if k >= target.n_classes:
            yield Problem(
                "top_k", f"{k:,} exceeds the {target.n_classes - 1:,} classes of `{target.name}`", fix="a smaller one"
            )
        if config.exclude_seen and target.name not in file.architecture.input_columns:
            yield Problem(
                "exclude_seen",
                f"the model does not read `{target.name}`, so the history of it is not known",
                fix="leave it out, or use a model with this input column",
            )


def _problems_of_forecast(
    config: InferConfig, file: ModelFile, targets: list[Target], source: Source
) -> Iterator[Problem]:
    """Yield what does not fit a model that forecasts several steps, or one that does not."""
    horizon = 1 if config.model_type == "embedding" else file.architecture.horizon
    if config.forecast_stride is not None and (horizon == 1 or source.is_raw):
        what = "the model predicts one step ahead, from every event"
        if horizon > 1:
            what = "raw events are forecast once, from the last event of each sequence"
        yield Problem("forecast_stride", what, fix="leave it out")
    yield from _problems_of_future(config, file, source)
    if horizon == 1:
        return
    if config.exclude_seen:
        what = f"the model forecasts {horizon} steps at once, of which only the first follows the seen events"
        yield Problem("exclude_seen", what, fix="leave it out")
    if source.holds_windows:
        what = f"the model forecasts {horizon} steps, and these are windows of Sequifier v1, with one"
        yield Problem("data_path", what, fix="preprocess the raw data again")
    for name in {target.name for target in targets} & {ORIGIN, STEP}:
        what = f"the target `{name}` has the name of a column of every table of forecasts"
        yield Problem("target_columns", what, fix="rename it in the raw data, and preprocess and train again")


def _problems_of_groups(config: InferConfig, file: ModelFile, source: Source) -> Iterator[Problem]:
    """Yield why the evaluation has no table by the values of columns."""
    if config.evaluate_by is None:
        return
    if source.is_raw or not source.evaluated or config.n_scenarios > 1 or config.model_type == "embedding":
        what = "of raw events only what follows the last one is predicted, which is not known yet"
        if not source.is_raw:
            what = "nothing is evaluated: there are no predictions whose truth is known"
        yield Problem("evaluate_by", what, fix="leave it out, or give the events of a split")
        return
    if source.holds_windows:
        what = "these are windows of Sequifier v1, of which parts are evaluated"
        yield Problem("evaluate_by", what, fix="preprocess the raw data again")
        return
    known = [str(file.data["sequence_column"]), *(name for name in source.columns if name in file.vocabularies)]
    for place, name in enumerate(config.evaluate_by):
        if name not in known:
            what = f"`{name}` is not a categorical column of the model, nor the column of the sequences"
            yield Problem(f"evaluate_by[{place}]", what, fix=did_you_mean(name, known))


def _problems_of_future(config: InferConfig, file: ModelFile, source: Source) -> Iterator[Problem]:
    """Yield what does not fit the columns that a model knows of the steps to come."""
    shape, what, fix = file.architecture, "", "leave it out"
    if config.future_data_path is not None:
        if config.model_type == "embedding":
            what = "an embedding is of events that have happened"
        elif not source.is_raw:
            what = "encoded events have their values at the steps to come already"
        elif not shape.known_future:
            what = "the model reads nothing at the steps to come (known_future)"
        elif source.future == source.path and not file.raw_targets:
            what = "the model does not read its targets, by which steps to come differ from events in data_path"
            fix = "give the steps to come as a table of their own"
        if what:
            yield Problem("future_data_path", what, fix=fix)
    elif source.is_raw and source.future is None and config.model_type != "embedding" and (given := not_of_dates(file)):
        fix = f"give a table with a row for each of these steps: {', '.join(_future_columns(file))}"
        if file.raw_targets:
            fix += f"; it may be data_path, with rows without {', '.join(file.raw_targets)} at the end of each sequence"
        what = f"the model reads {', '.join(given)} at the {shape.horizon:,} steps that it forecasts"
        yield Problem("future_data_path", what, fix=fix)


def _future_columns(file: ModelFile) -> list[str]:
    """Return the columns of a table with steps to come."""
    keys = [file.data["sequence_column"]] * file.reading.table.has_sequences
    keys += [file.data["position_column"]] * file.reading.table.has_positions
    rules = file.time.only(file.architecture.known_future)
    return [*keys, *(name for name in file.architecture.known_future if name not in rules.derived), *rules.date_columns]


def _problems_of_quantile_names(config: InferConfig, targets: Sequence[Target]) -> Iterator[Problem]:
    """Yield targets that have the name of a column with the quantiles of another one."""
    names = {target.name for target in targets}
    for target in targets if not config.autoregression else ():
        for level in LEVELS if config.quantiles is None else config.quantiles:
            if target.distribution is not None and (name := quantile_column(target.name, level)) in names:
                what = f"target `{name}` has the name of the column of `{target.name}` with its quantile of {level:.0%}"
                yield Problem("quantiles", what, fix="quantiles without it, or target_columns with one of them")


def _check_file_names(paths: list[Path]) -> None:
    """Check that no two models have one name, because outputs are named after their model."""
    by_name: dict[str, Path] = {}
    for path in paths:
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise ConfigError(
                [
                    Problem(
                        "model_path",
                        f"{other} and {path} have the same name, so their predictions would have it too",
                        fix="run `infer` for one of them at a time",
                    )
                ]
            )
