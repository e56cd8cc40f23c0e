"""The score of one configuration, from 0 to 10, with its parts.

The score of a continuation is the weighted mean of its parts; the score of a configuration is the mean over all prompts
and samples. Each measure is computed for every categorical target and averaged over the targets. Divergence and
distinct n-grams are measures of a set of sequences: the set is a round, one continuation per prompt, and its value
counts for each continuation of the round. A continuation that is missing, or whose judgement is missing, is left out
and counted.

Shapes: N continuations, P prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any, Protocol

import numpy as np

from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue.metric_names import SAMPLER_SCORES
from sequifier.config.sampler_search import JUDGE, SamplerSearchConfig
from sequifier.errors import ConfigError, Problem
from sequifier.metrics import sequences as measure
from sequifier.metrics.predictions import ValuePredictions, metrics_of
from sequifier.sampler_search.judge import BEST, Judgement
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.space import Configuration

NO_TRUTH = "the true continuations of the prompts are not known"


class Source(Protocol):
    """A model with its prompts: `local.LocalModel` or `remote.RemoteModel`."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The prompts."""
        ...

    @property
    def has_likelihood(self) -> bool:
        """Whether `likelihoods` is available."""
        ...

    @property
    def horizon(self) -> int:
        """Number of tokens that are compared; 0 where the true continuation is not known."""
        ...

    @property
    def real_targets(self) -> Sequence[str]:
        """Scored targets that are real."""
        ...

    def likelihoods(self, found: Configuration) -> list[float]:
        """Return the likelihood of the true continuation of each prompt, (P,)."""
        ...

    def scale(self, target: str) -> Scale:
        """Return how a real target is standardised."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """The score of a configuration.

    Attributes:
        mean: the score, 0 to 10; None where every continuation is missing.
        std: standard deviation over continuations; None for a single one.
        standard_error: of the mean, clustered by prompt; None for a single prompt.
        parts: part -> its mean, 0 to 10.
        measures: the measures behind the parts, and their held-out values, in their own units.
        by_prompt: (P,) the mean score of each prompt, with its contribution to the measures of rounds.
        count: number of continuations with a score.
        missing: number of continuations without a score.
    """

    mean: float | None
    std: float | None = None
    standard_error: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    by_prompt: list[float | None] = field(default_factory=list)
    count: int = 0
    missing: int = 0


def usable_weights(config: SamplerSearchConfig, source: Source) -> dict[str, float]:
    """Return the weights of the parts that can be measured.

    Raises:
        ConfigError: the config names a part that cannot be measured.
    """
    missing = {} if any(prompt.truth for prompt in source.prompts) else {"truth": NO_TRUTH}
    if not source.has_likelihood:
        missing["likelihood"] = (
            "the completions protocol does not return it" if config.endpoint is not None else NO_TRUTH
        )
    if not source.real_targets:
        missing["real target"] = "no scored target is real"
    why = {name: missing[score.requires] for name, score in SAMPLER_SCORES.items() if score.requires in missing}
    problems = [Problem(f"scores.{name}", f"cannot be measured: {why[name]}") for name in config.weights if name in why]
    if problems and config.scores is not None:
        raise ConfigError(problems)
    return {name: weight for name, weight in config.weights.items() if name not in why}


def evaluate(
    source: Source,
    found: Configuration,
    generations: Sequence[Generation],
    judgements: Sequence[Judgement] | None,
    weights: Mapping[str, float],
    *,
    wanted: int,
    ngram: int,
) -> Evaluation:
    """Score the continuations of a configuration.

    Args:
        source: the model with its prompts.
        found: the configuration.
        generations: the continuations that were generated.
        judgements: one per generation; None without a judge.
        weights: part -> weight above 0; each part can be measured.
        wanted: number of requested continuations.
        ngram: length of the longest n-gram.
    """
    judged = [None] * len(generations) if judgements is None else list(judgements)
    kept = [
        (generation, judgement)
        for generation, judgement in zip(generations, judged, strict=True)
        if judgement is None or judgement.score is not None
    ]
    missing = wanted - len(kept)
    if not kept:
        return Evaluation(None, missing=missing, by_prompt=[None] * len(source.prompts))
    several = [generation for generation, _ in kept]
    columns = _Measured(source, several, ngram)
    if "likelihood" in weights:
        by_prompt = source.likelihoods(found)
        columns.add("likelihood", [by_prompt[each.prompt] for each in several])
    if judgements is not None:
        columns.add_judgements([judgement for _, judgement in kept if judgement is not None])
    parts = {name: columns.parts[name] for name in weights}
    total = sum(weights.values())
    values = sum(weight * np.array(parts[name]) for name, weight in weights.items()) / total * BEST
    scored: list[float] = np.asarray(values).tolist()
    # The value that a round shares has no spread; the contribution of each prompt to it has.
    of_each = {name: columns.contributions.get(name, values) for name, values in parts.items()}
    contributed = sum(weight * np.array(of_each[name]) for name, weight in weights.items()) / total * BEST
    of_prompts: list[list[float]] = [[] for _ in source.prompts]
    for generation, value in zip(several, np.asarray(contributed).tolist(), strict=True):
        of_prompts[generation.prompt].append(value)
    means = [_mean(each) if each else None for each in of_prompts]
    return Evaluation(
        _mean(scored),
        stdev(scored) if len(scored) > 1 else None,
        _clustered_error(of_prompts),
        {name: BEST * _mean(found_part) for name, found_part in parts.items()},
        columns.measures,
        means,
        len(scored),
        missing,
    )


class _Measured:
    """The parts of each continuation, (N,) from 0 to 1, and the measures behind them."""

    def __init__(self, source: Source, generations: Sequence[Generation], ngram: int) -> None:
        self._source, self._generations, self._ngram = source, generations, ngram
        self._horizon = source.horizon or None
        self.parts: dict[str, list[float]] = {}
        self.contributions: dict[str, list[float]] = {}
        self.measures: dict[str, float] = {}
        has_truth = any(prompt.truth for prompt in source.prompts)
        if has_truth:
            self._compare_positions()
            self._add_errors()
        self._compare_sets(has_truth)

    def add(self, name: str, values: list[float], *, raw: float | None = None) -> None:
        """Add a part, and as its measure `raw` or the mean."""
        self.parts[name] = values
        self.measures[name] = _mean(values) if raw is None else raw

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Add the scores of the judge."""
        found = [each.score for each in judgements if each.score is not None]
        self.add(JUDGE, [score / BEST for score in found], raw=_mean(found))
        for name in judgements[0].parts:
            self.measures[f"judge_{name}"] = _mean([each.parts[name] for each in judgements])

    def _compare_positions(self) -> None:
        accuracy, similarity = [], []
        for generation in self._generations:
            truths = self._source.prompts[generation.prompt].truth
            hits, alike = [], []
            for target, truth in truths.items():
                tokens = generation.tokens[target][: len(truth)]
                # A category that the model does not know (id 0) cannot be sampled.
                known = [place for place, token in enumerate(truth) if token != 0]
                if known:
                    shown = [tokens[place] if place < len(tokens) else None for place in known]
                    hits.append(measure.token_accuracy(shown, [truth[place] for place in known]))
                alike.append(measure.edit_similarity(tokens, truth))
            accuracy.append(_mean(hits) if hits else 0.0)
            similarity.append(_mean(alike))
        self.add("token_accuracy", accuracy)
        self.add("edit_similarity", similarity)

    def _add_errors(self) -> None:
        targets = self._source.real_targets
        scales = {target: self._source.scale(target) for target in targets}
        errors: dict[str, list[float]] = {target: [] for target in targets}  # in standard deviations
        in_units: dict[str, list[float]] = {target: [] for target in targets}
        for generation in self._generations:
            for target in targets:
                truth = self._source.prompts[generation.prompt].values[target]
                generated, scale = generation.values[target][: len(truth)].astype(np.float64), scales[target]
                truth = truth.astype(np.float64)
                errors[target].append(metrics_of(ValuePredictions(generated - truth))["mae"])
                in_units[target].append(metrics_of(ValuePredictions(scale.error(generated, truth)))["mae"])
        if targets:
            near = np.mean([[measure.nearness(error) for error in errors[target]] for target in targets], axis=0)
            self.parts["mae"] = near.tolist()
            for target in targets:
                self.measures[f"mae_{target}"] = _mean(in_units[target]) * scales[target].error_unit

    def _compare_sets(self, has_truth: bool) -> None:
        """Compare divergence, distinct n-grams and repetition of each round with the true continuations."""
        rounds: dict[int, list[int]] = {}
        for index, generation in enumerate(self._generations):
            rounds.setdefault(generation.sample, []).append(index)
        targets = list(self._generations[0].tokens)
        names = ("ngram_divergence", "distinct_n", "repetition")
        parts = {name: np.zeros(len(self._generations)) for name in names}
        own = {name: np.zeros(len(self._generations)) for name in names[:2]}
        raw: dict[str, list[float]] = {}
        for members in rounds.values():
            for target in targets:
                ours = [self._generations[index].tokens[target][: self._horizon] for index in members]
                theirs = [
                    self._source.prompts[self._generations[index].prompt].truth.get(target, ()) for index in members
                ]
                for name, (values, seen) in self._of_round(ours, theirs if has_truth else None).items():
                    parts[name][members] += np.array(values) / len(targets)
                    for key, value in seen.items():
                        raw.setdefault(key, []).append(value)
                of_spread = measure.pseudo_values(ours, None, self._ngram)
                if has_truth:
                    of_spread -= measure.pseudo_values(theirs, None, self._ngram)
                    # closeness is 1 - distance: it falls with the value above the truth and rises below it.
                    of_spread = 1 - np.sign(of_spread.mean()) * of_spread
                    own["ngram_divergence"][members] += 1 - measure.pseudo_values(ours, theirs, self._ngram)
                own["distinct_n"][members] += of_spread
        for name in names if has_truth else names[1:]:
            self.parts[name] = parts[name].tolist()
            if name in own:
                self.contributions[name] = (own[name] / len(targets)).tolist()
        self.measures |= {key: _mean(values) for key, values in raw.items()}

    def _of_round(
        self, ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]] | None
    ) -> dict[str, tuple[list[float], dict[str, float]]]:
        """Return part -> its value for each continuation of the round, and the measures behind it."""
        count = len(ours)
        spread = measure.distinct(ours, self._ngram) or 0.0
        repeated = [measure.repetition(each) for each in ours]
        if theirs is None:
            return {
                "distinct_n": ([spread] * count, {"distinct_n": spread}),
                "repetition": ([1 - each for each in repeated], {"repetition": _mean(repeated)}),
            }
        apart = measure.mean_divergence(ours, theirs, self._ngram)
        apart = 1.0 if apart is None else apart  # nothing was generated
        true_spread = measure.distinct(theirs, self._ngram) or 0.0
        truly = [measure.repetition(each) for each in theirs]
        near = [measure.closeness(one, other) for one, other in zip(repeated, truly, strict=True)]
        return {
            "ngram_divergence": ([1 - apart] * count, {"ngram_divergence": apart}),
            "distinct_n": (
                [measure.closeness(spread, true_spread)] * count,
                {"distinct_n": spread, "distinct_n_held_out": true_spread},
            ),
            "repetition": (near, {"repetition": _mean(repeated), "repetition_held_out": _mean(truly)}),
        }


def _clustered_error(of_prompts: Sequence[Sequence[float]]) -> float | None:
    """Return the standard error of the mean over continuations, clustered by prompt.

    The ratio estimator of survey sampling (Cochran 1977, section 6.3), as `metrics.clustered_standard_error`.
    """
    sums = np.array([sum(each) for each in of_prompts if each])
    counts = np.array([len(each) for each in of_prompts if each])
    if len(sums) < 2:
        return None
    residual = sums - sums.sum() / counts.sum() * counts
    variance = (residual**2).sum() * len(sums) / (len(sums) - 1)
    return float(variance**0.5 / counts.sum())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
