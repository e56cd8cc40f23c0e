"""The parts of a sampler search (model, prompts, judge, weights), checked before the first request."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sequifier.callbacks import Log
from sequifier.config.sampler_search import JUDGE, SamplerSearchConfig
from sequifier.errors import RunError
from sequifier.sampler_search.client import RequestFailedError
from sequifier.sampler_search.evaluate import usable_weights
from sequifier.sampler_search.judge import NO_SCORE, Judge, open_judge
from sequifier.sampler_search.local import LocalModel
from sequifier.sampler_search.remote import RemoteModel
from sequifier.sampler_search.space import Configuration, build_space, build_strategy, configuration
from sequifier.search.space import Space
from sequifier.search.strategies import Strategy


@dataclass(frozen=True)
class Setup:
    """A search that is ready to start.

    Attributes:
        config: of the search.
        seed: the seed that is used.
        source: the model with its prompts.
        judge: None without one.
        weights: part -> weight, of the parts that can be measured.
        space: of samplers.
        strategy: proposes configurations of the space.
        evaluation: hash of everything besides the configuration that determines a score.
        search: hash of everything that determines the proposals.
    """

    config: SamplerSearchConfig
    seed: int
    source: LocalModel | RemoteModel
    judge: Judge | None
    weights: Mapping[str, float]
    space: Space
    strategy: Strategy
    evaluation: str
    search: str

    @property
    def n_wanted(self) -> int:
        """Number of configurations of the whole search; at most the size of the space."""
        if self.config.search_strategy == "grid" or self.space.is_finite:
            size = self.space.size
            return size if self.config.search_strategy == "grid" else min(size, self.config.n_samples)
        return self.config.n_samples

    @property
    def n_generations(self) -> int:
        """Number of continuations per configuration."""
        return len(self.source.prompts) * self.config.samples_per_config


def set_up(config: SamplerSearchConfig, *, seed: int, log: Log) -> Setup:
    """Load the model, choose the prompts, open the judge; nothing is generated.

    Raises:
        ConfigError, DataError, ModelError, RunError: the parts do not fit together, or one is missing.
    """
    parameters = config.model_dump(mode="json")
    judge = open_judge(config.judge, config.root, endpoint=config.endpoint, parameters=parameters)
    source: LocalModel | RemoteModel
    if config.endpoint is not None:
        source = RemoteModel(config, seed=seed, log=log)
    else:
        source = LocalModel(config, seed=seed, log=log)
    weights = usable_weights(config, source)
    space = build_space(config)
    if config.search_strategy == "grid" and "n_samples" in config.model_fields_set:
        log("note: search_strategy: grid tries all configurations; n_samples is not used")
    elif space.is_finite and config.search_strategy != "grid" and space.size < config.n_samples:
        log(f"note: n_samples is {space.size}, not {config.n_samples}: each configuration is tried once")
    evaluation = _hash(
        {
            "schema": 1,
            "source": source.fingerprint,
            "samples_per_config": config.samples_per_config,
            "weights": dict(weights),
            "ngram": config.ngram,
            "seed": seed,
            "judge": _judging(config) if JUDGE in weights else None,
        }
    )[:16]
    ranges = {
        sampler: {
            name: values.model_dump() if hasattr(values, "model_dump") else list(values)
            for name, values in config.ranges_of(sampler).items()
        }
        for sampler in config.sampler_types
    }
    search = _hash({"strategy": config.search_strategy, "seed": seed, "space": ranges, "evaluation": evaluation})
    return Setup(
        config, seed, source, judge, weights, space, build_strategy(config, space, seed), evaluation, search[:16]
    )


def check(setup: Setup) -> list[str]:
    """Call model, endpoint and judge once each.

    Returns:
        Lines for the user.

    Raises:
        RunError: one of them does not answer as it should.
    """
    source, first = setup.source, next(setup.strategy.candidates(0, []))
    found = configuration(setup.space, first)
    try:
        generation = next(iter(source.generate(found, [(0, 0)])))
    except RequestFailedError as error:
        raise no_answer("endpoint", error) from None
    if isinstance(generation, str):
        raise no_answer("endpoint", generation)
    shown = generation.text if len(generation.text) <= 60 else generation.text[:57] + "..."
    kind = f"endpoint ({source.server})" if isinstance(source, RemoteModel) else "model"
    lines = [f"{kind}: {source.name} continues: {shown!r}"]
    if setup.judge is not None:
        try:
            judgement = next(iter(setup.judge.judge(found, source.prompts, [generation])))
        except RequestFailedError as error:
            raise no_answer("judge", error) from None
        if judgement.score is None and judgement.error != NO_SCORE:
            raise no_answer("judge", judgement.error)
        said = "no score for the first continuation" if judgement.score is None else f"{judgement.score:g} of 10"
        lines.append(f"judge ({setup.config.judge.type}): {said}")
    return lines


def no_answer(which: str, reason: object) -> RunError:
    """Return the error of an endpoint or judge that cannot be used."""
    fix = {
        "endpoint": "start the server and check endpoint.base_url and endpoint.model",
        "judge": "check the judge's settings, and its script or server",
    }[which]
    return RunError(f"the {which} does not answer as it should: {reason}", fix=fix)


def identity_of(setup: Setup, found: Configuration) -> str:
    """Return the hash of a configuration and of everything that determines its score."""
    parameters = {name: float(value) for name, value in found.parameters.items()}
    return _hash({"sampler": found.sampler_type, "parameters": parameters, "evaluation": setup.evaluation})


def _judging(config: SamplerSearchConfig) -> dict[str, Any]:
    judge = config.judge
    if judge.type == "script":
        return {"command": judge.command} | ({"user": config.user} if config.user else {})
    return {
        "base_url": judge.base_url,
        "model": judge.model,
        "criteria": dict(judge.criteria),
        "instructions": judge.instructions,
        "extra_body": judge.extra_body,
    }


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
