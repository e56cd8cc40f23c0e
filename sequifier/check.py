"""Check a config before its command runs: against files, metadata and the length of the run.

The models in `config` check a file by itself; the commands check the rest where they need it. `check` does both,
without training anything, loading torch or writing a file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from sequifier.artifacts.metadata import Metadata, find_metadata, read_metadata
from sequifier.config.catalogue.torch_names import ignored_fields
from sequifier.config.inference import InferConfig
from sequifier.config.loading.active import config_hash
from sequifier.config.loading.paths import find_input
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.resolve import check_schedule, resolve
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem
from sequifier.search.optimizer_steps import StepCounter
from sequifier.search.planner import Planner
from sequifier.search.program_check import check_programs

Found = TypeVar("Found")
INPUTS = ("metadata_config_path", "training_data_path", "validation_data_path", "model_path", "data_path")


@dataclass(frozen=True)
class Checked:
    """A config without problems.

    Attributes:
        config: with the values that the data decides, where the data exist.
        config_hash: of a run, its identity.
        metadata_path: of the data; None: they do not exist yet.
        facts: a summary for the user.
        notes: warnings.
    """

    config: BaseModel
    config_hash: str
    metadata_path: Path | None
    facts: tuple[str, ...]
    notes: tuple[Problem, ...]


def check(config: BaseModel) -> Checked:
    """Check a config as far as its files exist.

    Args:
        config: as loaded.

    Raises:
        ConfigError: all problems.
        DataError: the metadata cannot be read.
    """
    notes: list[Problem] = []
    problems: list[Problem] = []
    for key in INPUTS:
        for path in _listed(getattr(config, key, None)):
            _look_for(config, key, path, problems, notes)
    if isinstance(config, (PreprocessConfig, InferConfig)) and config.sequence_table is not None:
        _look_for(config, "sequence_table.path", config.sequence_table.path, problems, notes)
    if isinstance(config, (TrainConfig, SearchConfig)) and config.hooks:
        from sequifier.experiment.hooks import check_hooks

        _collect(problems, partial(check_hooks, config.hooks, config.root))
    if isinstance(config, (SearchConfig, SamplerSearchConfig)):
        _collect(problems, partial(check_programs, config))
    data = _metadata(config)
    facts: list[str] = []
    if isinstance(config, TrainConfig):
        config = _check_run(config, data, problems, notes)
    elif isinstance(config, SearchConfig) and data is not None and not problems:
        plan = _collect(problems, lambda: Planner(config).plan(()))
        many = 0 if plan is None else len(plan.runs) + plan.n_to_propose
        facts.append("1 run" if many == 1 else f"{many:,} runs")
        notes += [Problem("", note) for note in (plan.notes if plan else ())]
    if problems:
        raise ConfigError(problems)
    if data is not None:
        facts.append(f"data {data[1].fingerprint}")
    elif isinstance(config, (TrainConfig, SearchConfig)):
        facts.append("not checked against the data, which do not exist yet")
    return Checked(
        config,
        config_hash(config, data[1].fingerprint if data else ""),
        data[0] if data else None,
        tuple(facts),
        tuple(notes),
    )


def _check_run(
    config: TrainConfig,
    data: tuple[Path, Metadata] | None,
    problems: list[Problem],
    notes: list[Problem],
) -> TrainConfig:
    """The run with the values that the data decides; its columns, sizes and scheduler are checked."""
    if data is not None and not problems:
        config = _collect(problems, partial(resolve, config, data[1])) or config
        for key in ("training_data_path", "validation_data_path"):
            if (path := getattr(config, key)) is not None:
                _look_for(config, key, path, problems, notes)
    spec = config.training_spec
    steps = None
    if spec.scheduler_step_on == "batch" and data is not None and not problems and not notes:
        steps = StepCounter(data[1])(config)
    spec, of_schedule = _collect(problems, partial(check_schedule, spec, steps=steps)) or (spec, None)
    for name, odd in (("scheduler", of_schedule), ("optimizer", ignored_fields(spec.optimizer))):
        if odd is not None:
            notes.append(Problem(f"training_spec.{name}", odd))
    return config.model_copy(update={"training_spec": spec})


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [path for path in value or () if isinstance(path, str)]


def _look_for(config: Any, key: str, path: str, problems: list[Problem], notes: list[Problem]) -> None:
    """A missing file is a problem when its name is misspelt, or when none of our commands writes it; else a note."""
    is_raw = key == "sequence_table.path" or (isinstance(config, PreprocessConfig) and key == "data_path")
    try:
        find_input(path, config.project_root, key, working_folder_first=is_raw)
    except ConfigError as error:
        (problem,) = error.problems
        if problem.fix:
            problems.append(problem)
        elif is_raw:
            problems.append(replace(problem, fix="put the table there, or write its path"))
        else:
            writer = "train" if key == "model_path" else "preprocess"
            notes.append(Problem(key, f"{path} does not exist yet", fix=f"`sequifier {writer}` writes it"))


def _metadata(config: Any) -> tuple[Path, Metadata] | None:
    path = getattr(config, "metadata_config_path", None)
    if path is None:
        return None
    try:
        found = find_metadata(path, config.project_root)
    except ConfigError:
        return None
    return found, read_metadata(found)


def _collect(problems: list[Problem], check: Callable[[], Found]) -> Found | None:
    """The result of a check; None where it fails, and its problems are added to the others."""
    try:
        return check()
    except ConfigError as error:
        problems += error.problems
        return None
