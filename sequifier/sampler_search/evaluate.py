"""The score of one configuration, from 0 to 10, with its parts.

A score is the weighted mean of its parts, taken for each continuation; what is reported is the mean over all prompts
and samples. Each measure is taken for every categorical target by itself and averaged over them. Divergence and
distinct n-grams are measures of a set of sequences: those of a round, one continuation of each prompt, count for each
continuation of it. A continuation that is missing, or whose judgement is, has no score; it is left out and counted.

Shapes: N continuations, P prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import Any, Protocol

import numpy as np

from sequifier.config.sampler_search import JUDGE, SamplerSearchConfig
from sequifier.errors import ConfigError, Problem
from sequifier.metrics import sequences as measure
from sequifier.metrics.predictions import ValuePredictions, metrics_of
from sequifier.sampler_search.judge import BEST, Judgement
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.space import Configuration

WITH_TRUTH = ("token_accuracy", "edit_similarity", "ngram_divergence")


class Source(Protocol):
    """What continues prompts: `local.LocalModel` or `remote.RemoteModel`."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """What is continued."""
        ...

    @property
    def has_likelihood(self) -> bool:
        """Whether `likelihoods` can be asked."""
        ...

    @property
    def horizon(self) -> int:
        """Tokens that are compared; 0 without a truth."""
        ...

    @property
    def real_targets(self) -> Sequence[str]:
        """Scored targets that are no categories."""
        ...

    def likelihoods(self, found: Configuration) -> list[float]:
        """(P,) how likely the truth of each prompt is."""
        ...

    def in_units(self, target: str, error: float) -> float:
        """An error in standard deviations, in units of its column."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What a configuration came to.

    Attributes:
        mean: the score, 0 to 10; None where every continuation is missing.
        std: over continuations; None for a single one.
        standard_error: of the mean, over prompts, whose continuations are not independent; None for a single one.
        parts: 0 to 10.
        measures: the same and what they are compared with, in their own units.
        by_prompt: (P,) the mean score of each prompt, with what it contributes to measures of its rounds.
        count: continuations with a score.
        missing: continuations without.
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
    """The weights of what can be measured.

    Raises:
        ConfigError: the config names a score that cannot.
    """
    has_truth = any(prompt.truth for prompt in source.prompts)
    can = {"distinct_n", "repetition"} | ({JUDGE} if config.judge.type != "none" else set())
    can |= set(WITH_TRUTH) if has_truth else set()
    can |= {"likelihood"} if source.has_likelihood else set()
    can |= {"mae"} if source.real_targets else set()
    weights = config.weights
    if config.scores is not None:
        why = {
            "mae": "no target that is scored is real",
            "likelihood": "the completions protocol does not tell it"
            if config.endpoint is not None
            else "how the prompts go on is not known",
        }
        problems = [
            Problem(f"scores.{name}", f"cannot be measured: {why.get(name, 'how the prompts go on is not known')}")
            for name in weights
            if name not in can
        ]
        if problems:
            raise ConfigError(problems)
    return {name: weight for name, weight in weights.items() if name in can}


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
    """Score what a configuration generated.

    Args:
        source: its prompts.
        found: the configuration.
        generations: those there are.
        judgements: of each generation; None without a judge.
        weights: of the parts, above 0, each of which can be measured.
        wanted: continuations that were asked for.
        ngram: the longest n-gram.
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
    # What a round has in common says nothing of how sure it is: what each prompt contributes to it does.
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
    """Every part for each continuation, (N,) from 0 to 1, and the measures behind them."""

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
        """A part, and its mean as a measure unless another one is given."""
        self.parts[name] = values
        self.measures[name] = _mean(values) if raw is None else raw

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """What the judge said."""
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
                # What the model does not know (id 0) it cannot draw.
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
        errors: dict[str, list[float]] = {target: [] for target in targets}
        for generation in self._generations:
            for target in targets:
                truth = self._source.prompts[generation.prompt].values[target]
                generated = generation.values[target][: len(truth)]
                found = ValuePredictions(generated.astype(np.float64) - truth)
                errors[target].append(metrics_of(found)["mae"])
        if targets:
            near = np.mean([[measure.nearness(error) for error in errors[target]] for target in targets], axis=0)
            self.parts["mae"] = near.tolist()
            for target in targets:
                self.measures[f"mae_{target}"] = self._source.in_units(target, _mean(errors[target]))

    def _compare_sets(self, has_truth: bool) -> None:
        """Divergence, distinct n-grams and repetition of each round, beside those of the truth of the same prompts."""
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
                    # closeness is 1 less the distance: it falls with the share on one side and rises on the other.
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
        """Part -> its value for each continuation of the round, and the measures behind it."""
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
    """Standard error of the mean over continuations, whose prompts are what was sampled.

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
