"""Whether config, models and data fit together; found before anything is predicted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sequifier.artifacts.model_file import ModelFile
from sequifier.callbacks import Log
from sequifier.config.architecture import EMBEDDING, Target
from sequifier.config.inference import InferConfig
from sequifier.config.loading.paths import find_input
from sequifier.errors import ConfigError, ModelError, Problem, did_you_mean
from sequifier.inference.compute import Wanted
from sequifier.inference.names import output_name
from sequifier.inference.runtime import read_model
from sequifier.inference.sampling import find_sampler, find_seed, rules_by_target
from sequifier.inference.source import Source, find_source

_SUFFIXES = (".onnx", ".pt")
NO_CHECKSUM = (
    "note: {path} was exported before model files had a checksum, so that damage to it may go unnoticed; export it "
    "again to add one"
)


@dataclass(frozen=True)
class Job:
    """One model and what it does.

    Attributes:
        path: the model.
        file: what it says about itself.
        targets: those that are written.
        source: the events.
        wanted: what is computed.
        seed: of the dropout.
        name: of the outputs.
    """

    path: Path
    file: ModelFile
    targets: list[Target]
    source: Source
    wanted: Wanted
    seed: int
    name: str


def check_jobs(config: InferConfig, log: Log) -> list[Job]:
    """One job for each model.

    Raises:
        ConfigError, DataError, ModelError: something does not fit.
    """
    if problems := list(_problems_of_config(config)):
        raise ConfigError(problems)
    sampler = find_sampler(config)
    draws = config.infer_with_dropout or config.sampler is not None or bool(config.sample_from_distribution_columns)
    seed = find_seed(config, sampler, log) if draws else 0
    jobs = []
    for given in dict.fromkeys(config.model_path):
        path = find_input(given, config.project_root, "model_path")
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
        source = find_source(config, file, path, [] if config.model_type == "embedding" else targets, log)
        evaluated = {target.name for target in source.evaluated}
        shown = {target.name for target in targets if config.output_probabilities}
        wanted = Wanted(
            file.architecture,
            rules_by_target(config, sampler, file.architecture.targets, log),
            tuple(t.name for t in file.architecture.targets if t.kind == "categorical" and t.name in evaluated | shown),
            config.model_type == "embedding",
            config.inference_batch_size or int(file.config.get("inference_batch_size", 64)),
            seed,
        )
        name = output_name(path, file, source.path, config.root)
        jobs.append(Job(path, file, targets, source, wanted, seed, name))
    _check_file_names([job.path for job in jobs])
    return jobs


def _problems_of_config(config: InferConfig) -> Iterator[Problem]:
    """What is wrong whatever the model is."""
    if config.model_type == "embedding":
        for key in ("autoregression", "output_probabilities", "sample_from_distribution_columns"):
            if getattr(config, key):
                yield Problem(key, "an embedding model predicts nothing", fix="leave it out, or model_type: generative")
    if config.autoregression_extra_steps and not config.autoregression:
        yield Problem("autoregression_extra_steps", "nothing is generated", fix="set autoregression: true")
    if config.autoregression and config.read_format == "raw" and not config.autoregression_extra_steps:
        yield Problem(
            "autoregression_extra_steps",
            "raw events are continued behind their end, by 0 events",
            fix="set the number of events to generate",
        )


def find_targets(config: InferConfig, file: ModelFile) -> list[Target]:
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
    """A file must be able to do what is asked for."""
    if file.end_to_end:
        raise ModelError(
            "this model takes raw values and gives labels by itself; `infer` encodes and decodes on its own",
            where=str(path),
            fix="give the model of the same name without `end-to-end`, with read_format: raw for raw events",
        )
    if path.suffix == ".onnx":
        embeds = EMBEDDING in file.outputs
        if embeds and config.model_type == "generative":
            raise ModelError(
                "this is an embedding model; it predicts nothing",
                where=str(path),
                fix="give the model of the same name without `embedding`, or set model_type: embedding",
            )
        if not embeds and config.model_type == "embedding":
            raise ModelError(
                "this model predicts; it returns no embeddings",
                where=str(path),
                fix="train with export_embedding_model: true, and give the model with `embedding` in its name",
            )
    if config.infer_with_dropout:
        if path.suffix == ".onnx" and not file.has_dropout and file.architecture.dropout > 0:
            raise ModelError(
                "infer_with_dropout: this ONNX file has no dropout",
                where=str(path),
                fix="train with export_with_dropout: true, or with export_pt: true and give the .pt file",
            )
        if file.architecture.dropout == 0:
            raise ModelError(
                "infer_with_dropout: this model was trained without dropout",
                where=str(path),
                fix="train with training_spec.dropout above 0, or leave infer_with_dropout out",
            )
    if config.autoregression:
        targets = [target.name for target in file.architecture.targets]
        if missing := [name for name in file.architecture.input_columns if name not in targets]:
            raise ModelError(
                f"autoregression: the model reads {', '.join(missing)}, which it does not predict",
                where=str(path),
                fix="use a model whose input_columns are all among its target_columns",
            )


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
    """Outputs are named after their model."""
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
