"""The space of samplers, and that strategies walk over it as they should."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.samplers import SAMPLERS
from sequifier.sampler_search.space import (
    Configuration,
    InTurn,
    build_space,
    build_strategy,
    cell_of,
    configuration,
)
from sequifier.search.space import Cell, Space
from sequifier.search.strategies import Observation, Strategy


def search(**values: Any) -> SamplerSearchConfig:
    return SamplerSearchConfig.model_validate({"model_path": "m.onnx"} | values)


def space_of(**values: Any) -> Space:
    return build_space(search(**values))


LISTS = {
    "min_p": {"temperature": [0.8, 1.0, 1.2], "min_p": [0.01, 0.1]},
    "top_k": {"temperature": 1.0, "top_k": {"low": 5, "high": 8}},
    "temperature": {"temperature": {"low": 0.5, "high": 1.5, "step": 0.5}},
}
LISTED = ["min_p", "top_k", "temperature"]


def test_a_grid_has_every_combination_of_each_sampler_and_none_across_them() -> None:
    config = search(sampler_types=LISTED, parameter_ranges=LISTS, search_strategy="grid")
    space = build_space(config)
    found = [configuration(space, cell) for cell in build_strategy(config, space, 0).candidates(0, [])]
    expected = [Configuration("min_p", {"temperature": t, "min_p": p}) for t in (0.8, 1.0, 1.2) for p in (0.01, 0.1)]
    expected += [Configuration("top_k", {"temperature": 1.0, "top_k": k}) for k in (5, 6, 7, 8)]
    expected += [Configuration("temperature", {"temperature": t}) for t in (0.5, 1.0, 1.5)]
    assert found == expected
    assert all(isinstance(each.parameters["top_k"], int) for each in found if each.sampler_type == "top_k")


def test_the_default_ranges_match_the_documentation() -> None:
    space = space_of(sampler_types=list(SAMPLERS))
    ends: dict[str, dict[str, tuple[float, float]]] = {}
    for alternative in space.dimensions[0].alternatives:
        ranges = {axis.key: (axis.values.low, axis.values.high) for axis in alternative.axes}  # type: ignore[union-attr]
        ends[alternative.fixed["sampler_type"]] = ranges
    assert ends == {
        "top_p": {"temperature": (0.6, 1.3), "top_p": (0.8, 0.99)},
        "min_p": {"temperature": (0.7, 1.6), "min_p": (0.005, 0.15)},
        "top_n_sigma": {"temperature": (0.8, 2.2), "top_n_sigma": (0.5, 3.0)},
        "top_k": {"temperature": (0.6, 1.3), "top_k": (5, 100)},
        "temperature": {"temperature": (0.2, 1.6)},
    }


@given(st.integers(0, 2**63 - 1), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_a_configuration_is_found_again_in_the_space(seed: int, number: int) -> None:
    for space in (space_of(sampler_types=list(SAMPLERS)), space_of(sampler_types=LISTED, parameter_ranges=LISTS)):
        for cell in islice(InTurn(space, seed).candidates(number % 13, []), 3):
            found = configuration(space, cell)
            assert configuration(space, cell_of(space, found)) == found


def test_what_is_not_in_the_space_has_no_cell() -> None:
    space = space_of(sampler_types=LISTED, parameter_ranges=LISTS)
    for wrong in (
        Configuration("top_p", {"top_p": 0.9}),
        Configuration("min_p", {"temperature": 0.9, "min_p": 0.01}),
        Configuration("min_p", {"min_p": 0.01}),
    ):
        with pytest.raises(ValueError):
            cell_of(space, wrong)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_samplers_take_turns_whatever_their_lists_hold(seed: int) -> None:
    space = space_of(parameter_ranges={"min_p": {"temperature": [0.1 * i for i in range(1, 60)], "min_p": 0.1}})
    found = [configuration(space, cell) for cell in islice(InTurn(space, seed).candidates(0, []), 30)]
    for start in range(0, 30, 3):
        assert {each.sampler_type for each in found[start : start + 3]} == {"top_p", "min_p", "top_n_sigma"}


@given(st.integers(0, 2**32), st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_a_finite_space_is_used_up_without_repetition(seed: int, number: int) -> None:
    space = space_of(sampler_types=LISTED, parameter_ranges=LISTS)
    cells = list(InTurn(space, seed).candidates(number, []))
    assert len(cells) == len(set(cells)) == space.size == 13
    assert cells == list(InTurn(space, seed).candidates(0, []))[number:] + cells[13 - number :]


def test_proposals_of_a_sampler_do_not_depend_on_the_samplers_beside_it() -> None:
    def of(sampler: str, *beside: str) -> list[Configuration]:
        space = space_of(sampler_types=[sampler, *beside])
        cells = islice(InTurn(space, 7).candidates(0, []), 12)
        return [found for cell in cells if (found := configuration(space, cell)).sampler_type == sampler][:4]

    assert of("min_p") == of("min_p", "top_p") == of("min_p", "temperature", "top_k")


def test_a_longer_search_begins_with_the_shorter_one() -> None:
    space = space_of()
    strategy = InTurn(space, 1)
    assert list(islice(strategy.candidates(0, []), 20))[12:] == list(islice(strategy.candidates(12, []), 8))
    assert list(islice(strategy.candidates(0, []), 8)) != list(islice(InTurn(space, 2).candidates(0, []), 8))


def planted(found: Configuration) -> float:
    """Best, 9, at min_p 0.05 and temperature 1.1; the others are further from it than min_p is."""
    values = found.parameters
    if found.sampler_type == "min_p":
        return 9 - 6 * abs(values["temperature"] - 1.1) - 2 * abs(math.log10(values["min_p"] / 0.05))
    if found.sampler_type == "top_p":
        return 6 - 3 * abs(values["temperature"] - 0.9) - 8 * abs(values["top_p"] - 0.92)
    return 5 - 2 * abs(values["temperature"] - 1.5) - abs(values["top_n_sigma"] - 1.2)


def tried_until(strategy: Strategy, space: Space, surface: Callable[[Configuration], float], good: float) -> int:
    """Configurations until one is at least that good; 100 at most."""
    observations: list[Observation] = []
    tried: set[Cell] = set()
    while len(observations) < 100:
        cell = next(cell for cell in strategy.candidates(len(observations), observations) if cell not in tried)
        tried.add(cell)
        value = surface(configuration(space, cell))
        observations.append(Observation(cell, "finished", value=value))
        if value >= good:
            break
    return len(observations)


def test_bayesian_finds_a_planted_optimum_in_fewer_configurations_than_random() -> None:
    space = space_of()
    needed: dict[str, list[int]] = {}
    for strategy in ("random", "bayesian"):
        config = search(search_strategy=strategy)
        needed[strategy] = [tried_until(build_strategy(config, space, seed), space, planted, 8.4) for seed in range(20)]
    # Medians at writing: 15 and 62.
    assert median(needed["bayesian"]) < 0.75 * median(needed["random"]), needed


def test_bayesian_begins_as_random_does_and_then_prefers_the_best_sampler() -> None:
    space = space_of()
    random, bayesian = (build_strategy(search(search_strategy=name), space, 3) for name in ("random", "bayesian"))
    assert next(iter(bayesian.candidates(4, []))) == next(iter(random.candidates(4, [])))
    observations: list[Observation] = []
    for number in range(40):
        cell = next(iter(bayesian.candidates(number, observations)))
        observations.append(Observation(cell, "finished", value=planted(configuration(space, cell))))
    later = Counter(configuration(space, each.cell).sampler_type for each in observations[20:])
    assert later["min_p"] > 10
