"""Which targets are sampled, and by which rules: from the config to `generation`."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.transforms import Scale
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.loading.paths import find_input
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.samplers import MAX_TOKENS, Sampler
from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.generation.generate import Draw
from sequifier.generation.samplers import GREEDY, Rules
from sequifier.model.distributions.forms import FORMS


def find_sampler(config: InferConfig) -> Sampler:
    """Return the sampler of the config, or of the export of a sampler search that the config names.

    Raises:
        ConfigError: there is no such file, or it has no sampler of that name.
    """
    if not isinstance(config.sampler, str):
        return config.sampler or Sampler()
    name, path = "", config.sampler
    if ":" in path and not (config.root / path).exists() and not Path(path).exists():
        path, name = path.rsplit(":", 1)
    content = parse_file(find_input(path, config.project_root, "sampler")).values
    content = content if isinstance(content, dict) else {}
    by_name = content.get("best_by_sampler") or {}
    if name and name not in by_name:
        raise ConfigError([Problem("sampler", f"{path} has no sampler `{name}`", fix=did_you_mean(name, by_name))])
    found: Any = by_name[name] if name else content.get("best_overall", content)
    if isinstance(found, dict):
        found = found.get("parameters", found)
    if isinstance(found, dict):  # the length of the continuations is not part of the sampler
        found = {name: value for name, value in found.items() if name != MAX_TOKENS}
    try:
        return Sampler.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = f"{config.sampler} has no valid sampler: {key + ': ' if key else ''}{first['msg']}"
        raise ConfigError([Problem("sampler", problem)]) from error


def rules_by_target(
    config: InferConfig, sampler: Sampler, targets: Sequence[Target], log: Log
) -> dict[str, Rules | None]:
    """Return how the classes of each target are chosen: the most likely or a sampled one; None for a real target.

    Raises:
        ConfigError: a column is not a target of the model.
    """
    known = {target.name: target for target in targets}
    names = config.sample_from_distribution_columns
    key = "sample_from_distribution_columns"
    problems = [
        Problem(f"{key}[{index}]", f"the model has no target `{name}`", fix=did_you_mean(name, known))
        for index, name in enumerate(names or ())
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    for name in names or ():
        if known[name].kind == "real" and known[name].distribution is None:
            log(f"note: {key}: `{name}` is real, so its predicted value is used")
    if names is None:
        names = list(known) if config.sampler is not None else []
    sampled = Rules(**sampler.model_dump(exclude={"seed"}))
    rules = {name: sampled if name in names else GREEDY for name in known}
    return {name: None if known[name].kind == "real" else of_target for name, of_target in rules.items()}


def draws_by_target(
    config: InferConfig, sampler: Sampler, targets: Sequence[Target], file: ModelFile
) -> dict[str, tuple[str, Draw]]:
    """Return the real targets that are sampled: the output with the distribution of each, and how it is sampled.

    They are those that `rules_by_target` would sample if they were categorical. Only a temperature of 0, which takes
    the median, has an effect on them.
    """
    names = config.sample_from_distribution_columns
    if (names is None and config.sampler is None) or sampler.temperature == 0:
        return {}
    draws = {target.name: draw_of(target, file.scale(target.name)) for target in targets if target.distribution}
    return {name: draw for name, draw in draws.items() if draw is not None and (names is None or name in names)}


def draw_of(target: Target, scale: Scale) -> tuple[str, Draw] | None:
    """Return the output with the distribution of a target, and how it is sampled; None: it has no distribution."""
    output = target.parameters_name or target.quantiles_name
    if target.distribution is None or output is None:
        return None
    form = FORMS[target.distribution]

    def draw(parameters: NDArray[Any], uniform: NDArray[np.float64]) -> NDArray[Any]:
        return form.sample(parameters, uniform, scale).astype(np.float32)

    return output, draw


def find_seed(config: InferConfig, sampler: Sampler, log: Log) -> int:
    """Return the seed of sampling and dropout; a null seed is drawn at random and reported."""
    for seed in (sampler.seed, config.seed):
        if seed is not None:
            return seed
    seed = secrets.randbelow(2**31)
    log(f"seed: {seed}")
    return seed
