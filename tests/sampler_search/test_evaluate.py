"""A score from its parts, worked out by hand, and what is missing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.transforms import Scale
from sequifier.errors import ConfigError
from sequifier.metrics.sequences import distinct, mean_divergence
from sequifier.sampler_search.evaluate import Evaluation, evaluate, usable_weights
from sequifier.sampler_search.judge import Judgement
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.space import Configuration
from tests.support.trained_text import config_of

FOUND = Configuration("temperature", {"temperature": 1.0})


class Given:
    """A source with prompts whose truth is known, and likelihoods."""

    def __init__(self, *truths: str, values: dict[int, list[float]] | None = None) -> None:
        reals = values or {}
        self.prompts = [
            Prompt("", truth, {"char": list(truth)}, {"price": np.array(reals[i], np.float32)} if reals else {})
            for i, truth in enumerate(truths)
        ]
        self.has_likelihood = True
        self.horizon = len(truths[0])
        self.real_targets = ["price"] if reals else []

    def likelihoods(self, found: Configuration) -> list[float]:
        return [0.1 * (index + 1) for index in range(len(self.prompts))]

    def scale(self, target: str) -> Scale:
        return Scale(std=10)


def generations(*texts: str, prompts: int = 2, values: list[list[float]] | None = None) -> list[Generation]:
    return [
        Generation(
            index % prompts,
            index // prompts,
            text,
            {"char": list(text)},
            {"price": np.array(values[index], np.float32)} if values else {},
        )
        for index, text in enumerate(texts)
    ]


def scored(
    source: Any, several: list[Generation], judgements: list[Judgement] | None = None, **weights: float
) -> Evaluation:
    wanted = max(4, len(several))
    return evaluate(source, FOUND, several, judgements, weights, wanted=wanted, ngram=2)


def test_token_accuracy_is_a_mean_over_all_continuations() -> None:
    found = scored(Given("abcd", "aaaa"), generations("abcd", "aabb", "abxx", "bbbb"), token_accuracy=1)
    assert found.mean == pytest.approx(10 * (1 + 0.5 + 0.5 + 0) / 4)
    assert found.std == pytest.approx(np.std([10, 5, 5, 0], ddof=1))
    assert found.by_prompt == [7.5, 2.5] and (found.count, found.missing) == (4, 0)
    assert found.standard_error == pytest.approx(np.std([7.5, 2.5], ddof=1) / 2**0.5), "prompts are what was sampled"


def test_parts_are_weighed() -> None:
    source = Given("abcd", "aaaa")
    several = generations("abcd", "aabb", "abxx", "bbbb")
    one = scored(source, several, token_accuracy=1)
    other = scored(source, several, likelihood=1)
    both = scored(source, several, token_accuracy=1, likelihood=3)
    assert other.mean == pytest.approx(10 * 0.15)
    assert both.mean == pytest.approx((one.mean + 3 * other.mean) / 4)  # type: ignore[operator]
    assert both.parts == pytest.approx({"token_accuracy": one.mean, "likelihood": other.mean})


def test_sets_are_compared_round_by_round() -> None:
    truths, rounds = ["abab", "bbcc"], [["abab", "cccc"], ["aaaa", "bbcc"]]
    source, several = Given(*truths), generations(*rounds[0], *rounds[1])
    found = scored(source, several, ngram_divergence=1)
    apart = [mean_divergence(each, truths, 2) for each in rounds]
    assert found.mean == pytest.approx(10 * (1 - np.mean(apart)))  # type: ignore[arg-type]
    assert found.measures["ngram_divergence"] == pytest.approx(np.mean(apart))  # type: ignore[arg-type]
    found = scored(source, several, distinct_n=1)
    gaps = [abs(distinct(each, 2) - distinct(truths, 2)) for each in rounds]  # type: ignore[operator]
    assert found.mean == pytest.approx(10 * (1 - np.mean(gaps)))
    assert found.measures["distinct_n_held_out"] == pytest.approx(distinct(truths, 2))


def test_the_error_of_a_measure_of_sets_is_not_zero_where_prompts_differ() -> None:
    source = Given("abcd", "abab", "bbbb", "cdcd")
    several = generations("abcd", "aaaa", "bbbb", "acac", prompts=4)
    found = scored(source, several, ngram_divergence=1)
    assert found.std == 0, "the one round has one value"
    assert found.standard_error is not None and found.standard_error > 0.1
    assert np.mean(found.by_prompt) == pytest.approx(found.mean)  # type: ignore[arg-type]


def test_real_targets_have_their_mean_error_in_units_of_the_column() -> None:
    source = Given("ab", "ab", values={0: [0.0, 1.0], 1: [0.0, 0.0]})
    several = generations("ab", "ab", values=[[0.0, 2.0], [1.0, 1.0]])
    found = evaluate(source, FOUND, several, None, {"mae": 1}, wanted=2, ngram=2)
    assert found.measures["mae_price"] == pytest.approx(10 * (0.5 + 1.0) / 2)
    assert found.mean == pytest.approx(10 * (1 / 1.5 + 1 / 2) / 2)


def test_categories_that_the_model_does_not_know_are_no_misses() -> None:
    source = Given("ab", "ab")
    source.prompts = [Prompt("", "", {"char": [1, 0, 2]}), Prompt("", "", {"char": [0, 0, 0]})]
    several = [Generation(0, 0, "", {"char": [1, 5, 3]}), Generation(1, 0, "", {"char": [1, 1, 1]})]
    assert evaluate(source, FOUND, several, None, {"token_accuracy": 1}, wanted=2, ngram=2).mean == 10 * 0.5 / 2


def test_missing_judgements_are_left_out_and_counted() -> None:
    source = Given("abcd", "aaaa")
    several = generations("abcd", "aabb", "abxx", "bbbb")
    judgements = [
        Judgement(8.0, {"style": 6.0}),
        Judgement(None, error="no"),
        Judgement(4.0, {"style": 2.0}),
        Judgement(None),
    ]
    found = scored(source, several, judgements, judge=1)
    assert (found.mean, found.count, found.missing) == (6.0, 2, 2)
    assert found.by_prompt == [6.0, None]
    assert found.measures["judge"] == 6.0 and found.measures["judge_style"] == 4.0
    assert found.std == pytest.approx(np.std([8, 4], ddof=1)) and found.standard_error is None


def test_continuations_that_did_not_come_count_as_missing() -> None:
    found = scored(Given("abcd", "aaaa"), generations("abcd", "aabb", "abxx"), token_accuracy=1)
    assert (found.count, found.missing) == (3, 1)
    assert found.mean == pytest.approx(10 * 2 / 3)


def test_nothing_at_all_has_no_score() -> None:
    several = generations("abcd", "aabb")
    for found in (
        scored(Given("abcd", "aaaa"), [], token_accuracy=1),
        scored(Given("abcd", "aaaa"), several, [Judgement(None), Judgement(None)], judge=1),
    ):
        assert (found.mean, found.std, found.count, found.missing) == (None, None, 0, 4)


def test_without_a_truth_diversity_counts_for_itself() -> None:
    source = Given("abcd", "aaaa")
    source.prompts, source.horizon, source.has_likelihood = [Prompt("a"), Prompt("b")], 0, False
    found = scored(source, generations("abcdabcd", "aaaaaaaa"), distinct_n=1)
    assert found.mean == pytest.approx(10 * distinct(["abcdabcd", "aaaaaaaa"], 2))  # type: ignore[operator]
    found = scored(source, generations("abcdabcd", "aaaaaaaa"), repetition=1)
    assert found.mean == pytest.approx(10 * (1 - (1 / 5 + 4 / 5) / 2))


@given(st.lists(st.text("abc", min_size=4, max_size=4), min_size=4, max_size=4), st.data())
def test_every_score_is_between_0_and_10(texts: list[str], data: Any) -> None:
    names = ["token_accuracy", "edit_similarity", "likelihood", "ngram_divergence", "distinct_n", "repetition"]
    weights = {name: data.draw(st.floats(0.1, 5), label=name) for name in names}
    found = scored(Given("abca", "bbbb"), generations(*texts), **weights)
    assert found.mean is not None and -1e-9 <= found.mean <= 10 + 1e-9
    assert set(found.parts) == set(names) and all(-1e-9 <= part <= 10 + 1e-9 for part in found.parts.values())
    assert np.mean([value for value in found.by_prompt if value is not None]) == pytest.approx(found.mean)


def test_what_cannot_be_measured_is_left_out_or_an_error_if_it_is_requested() -> None:
    source = Given("abcd", "aaaa")
    assert "mae" not in usable_weights(config_of(), source) and "likelihood" in usable_weights(config_of(), source)
    with pytest.raises(ConfigError, match=r"scores.mae.*no scored target is real"):
        usable_weights(config_of(scores={"mae": 1, "likelihood": 1}), source)
    source.prompts, source.has_likelihood = [Prompt("a")], False
    assert set(usable_weights(config_of(), source)) == {"distinct_n", "repetition"}
    with pytest.raises(ConfigError, match=r"scores.token_accuracy.*true continuations of the prompts are not known"):
        usable_weights(config_of(scores={"token_accuracy": 1}), source)
