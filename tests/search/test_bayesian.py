"""Bayesian proposals: what they follow from, and that they find optima sooner than a sample."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from statistics import median
from typing import Any

import optuna
import pytest

from sequifier.search.bayesian import ASKED_AGAIN, STARTUP, Bayesian
from sequifier.search.build_space import build_space
from sequifier.search.space import Cell, Space
from sequifier.search.strategies import Observation, Sample, Strategy
from tests.support.searches import search

Values = dict[str, Any]
DECAY = {"low": 1e-5, "high": 1e-1, "log": True}


def space_of(*, model: Values | None = None, training: Values | None = None, **root: Any) -> Space:
    return build_space(search(model=model, training=training, search_strategy="bayesian", n_samples=1, **root))


def mixed() -> Space:
    """Words, a logarithmic range, and an option that only one optimizer has."""
    return space_of(
        model={"activation_fn": ["swiglu", "gelu", "relu"]},
        training={
            "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
            "optimizer": ["Adam", {"name": "AdamW", "weight_decay": DECAY}, "SGD"],
        },
    )


def on_mixed(values: Values) -> float:
    optimizer = values["training_spec.optimizer"]
    decay = math.log10(optimizer.options.get("weight_decay", 1e-2))
    rate = math.log10(values["training_spec.learning_rate"])
    activation = {"swiglu": 0.3, "gelu": 0.0, "relu": 0.2}[values["model_spec.activation_fn"]]
    return (
        {"Adam": 0.5, "AdamW": 0.0, "SGD": 0.8}[optimizer.name] + abs(decay + 2.5) / 4 + (rate + 2.2) ** 2 + activation
    )


def linked() -> Space:
    """Two linked groups beside independent lists: 1,000 cells."""
    return space_of(
        model={
            "dim_model": [32, 64, 128, 256, 512],
            "n_head": [2, 2, 4, 8, 8],
            "normalization": ["rmsnorm", "layer_norm"],
        },
        training={
            "learning_rate": [1e-2, 3e-3, 1e-3, 3e-4, 1e-4],
            "epochs": [2, 3, 4, 5, 6],
            "batch_size": [16, 32, 64, 128],
            "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
        },
    )


def on_linked(values: Values) -> float:
    schedule = {2: 0.6, 3: 0.1, 4: 0.0, 5: 0.35, 6: 0.5}[values["training_spec.epochs"]]
    width = abs(math.log2(values["model_spec.dim_model"] / 128))
    batch = abs(math.log2(values["training_spec.batch_size"] / 32))
    normalization = 0.1 * (values["model_spec.normalization"] == "rmsnorm")
    return schedule + 0.3 * width + 0.2 * batch + abs(values["training_spec.dropout"] - 0.2) + normalization


def whole() -> Space:
    """Three whole numbers: 10,571 cells."""
    return space_of(
        model={"num_layers": {"low": 1, "high": 11}},
        training={"warmup_steps": {"low": 0, "high": 300, "step": 10}, "batch_size": {"low": 1, "high": 31}},
    )


def on_whole(values: Values) -> float:
    warmup, batch = values["training_spec.warmup_steps"] / 300, values["training_spec.batch_size"] / 31
    layers = values["model_spec.num_layers"] / 11
    return 4 * (warmup + batch - 1.1) ** 2 + (warmup - 0.3) ** 2 + 0.5 * (layers - 0.6) ** 2


def searched(
    strategy: Strategy,
    space: Space,
    surface: Callable[[Values], float],
    n_runs: int,
    observations: list[Observation] | None = None,
) -> list[Observation]:
    """What a search comes to that tries the first new candidate each time."""
    observations = list(observations or [])
    while len(observations) < n_runs:
        tried = {each.cell for each in observations}
        cell = next(cell for cell in strategy.candidates(len(observations), observations) if cell not in tried)
        observations.append(Observation(cell, "finished", value=surface(space.values(cell))))
    return observations


def best(observations: list[Observation]) -> float:
    return min(each.value for each in observations if each.value is not None)


@pytest.mark.parametrize(("make", "surface"), [(mixed, on_mixed), (linked, on_linked), (whole, on_whole)])
def test_it_beats_a_sample_of_as_many_runs(make: Callable[[], Space], surface: Callable[[Values], float]) -> None:
    # Medians of the best of 30 runs at writing: 0.16 to 0.30, 0.10 to 0.30, 0.021 to 0.044.
    space = make()
    bayesian = [best(searched(Bayesian(space, seed, maximize=False), space, surface, 30)) for seed in range(20)]
    sample = [best(searched(Sample(space, seed), space, surface, 30)) for seed in range(20)]
    assert median(bayesian) < 0.75 * median(sample)


@pytest.fixture
def observations() -> list[Observation]:
    space = mixed()
    return searched(Sample(space, 5), space, on_mixed, 14)


def first(strategy: Strategy, number: int, observations: list[Observation], count: int = 5) -> list[Cell]:
    return list(islice(strategy.candidates(number, observations), count))


def test_a_proposal_follows_from_seed_number_and_results_alone(observations: list[Observation]) -> None:
    space = mixed()
    strategy = Bayesian(space, 1, maximize=False)
    asked = first(strategy, 14, observations)
    first(strategy, 3, observations[:12])  # what was asked meanwhile leaves no trace
    assert first(strategy, 14, observations) == asked == first(Bayesian(mixed(), 1, maximize=False), 14, observations)
    assert first(Bayesian(space, 2, maximize=False), 14, observations) != asked
    assert first(strategy, 15, observations) != asked
    better = [*observations[:-1], Observation(observations[-1].cell, "finished", value=-1.0)]
    assert first(strategy, 14, better) != asked


def test_a_resumed_search_equals_one_that_was_not_interrupted() -> None:
    space = linked()
    whole_search = searched(Bayesian(space, 9, maximize=False), space, on_linked, 24)
    resumed = searched(Bayesian(linked(), 9, maximize=False), space, on_linked, 24, whole_search[:17])
    assert resumed == whole_search


def test_the_first_proposals_equal_a_random_sample(observations: list[Observation]) -> None:
    space = mixed()
    few = [*observations[: STARTUP - 1], *(Observation(each.cell, "failed") for each in observations[STARTUP - 1 :])]
    assert first(Bayesian(space, 1, maximize=False), 14, few) == first(Sample(space, 1), 14, [])


def test_what_failed_says_nothing_about_its_cell(observations: list[Observation]) -> None:
    space = mixed()
    strategy = Bayesian(space, 1, maximize=False)
    failed = Observation(Sample(space, 8).proposal(0), "failed")
    assert first(strategy, 14, [*observations, failed]) == first(strategy, 14, observations)


def test_what_diverged_counts_as_the_worst(observations: list[Observation]) -> None:
    space = mixed()
    diverged = [Observation(observations[0].cell, "diverged"), *observations[1:]]
    worst = [Observation(observations[0].cell, "finished", value=1e9), *observations[1:]]
    assert first(Bayesian(space, 1, maximize=False), 14, diverged) == first(
        Bayesian(space, 1, maximize=False), 14, worst
    )
    least = [Observation(observations[0].cell, "finished", value=-1e9), *observations[1:]]
    assert first(Bayesian(space, 1, maximize=True), 14, diverged) == first(Bayesian(space, 1, maximize=True), 14, least)


def test_the_direction_is_respected(observations: list[Observation]) -> None:
    space = mixed()
    negative = [Observation(each.cell, "finished", value=-(each.value or 0.0)) for each in observations]
    assert first(Bayesian(space, 1, maximize=True), 14, negative) == first(
        Bayesian(space, 1, maximize=False), 14, observations
    )


def test_runs_that_were_cut_short_are_learned_from() -> None:
    space = linked()
    sample = Sample(space, 5)
    cells = list(islice(sample.candidates(), 20))
    values = [on_linked(space.values(cell)) for cell in cells]
    cut = [Observation(cell, "pruned", curve=(value + 1, value)) for cell, value in zip(cells, values, strict=True)]
    proposed = [first(Bayesian(space, seed, maximize=False), 20, cut, 1)[0] for seed in range(20)]
    drawn = [sample.proposal(20 + number) for number in range(20)]
    assert median(on_linked(space.values(cell)) for cell in proposed) < median(
        on_linked(space.values(cell)) for cell in drawn
    )


def test_after_asking_again_every_cell_has_its_turn(observations: list[Observation]) -> None:
    space = space_of(training={"dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": [8, 16, 32]})
    results = searched(Sample(space, 5), space, lambda values: values["training_spec.dropout"], 11)
    found = list(Bayesian(space, 1, maximize=False).candidates(11, results))
    assert len(found) == 1 + ASKED_AGAIN + space.size
    assert set(found[1 + ASKED_AGAIN :]) == set(space)


def test_a_space_of_one_cell_is_proposed_as_it_is() -> None:
    space = space_of()
    done = [Observation(space[0], "finished", value=1.0)] * STARTUP
    assert list(Bayesian(space, 1, maximize=False).candidates(0, done)) == [space[0]]


def everything() -> Space:
    """Each kind of dimension there is."""
    optimizers = [
        {"name": "AdamW", "weight_decay": DECAY, "amsgrad": [True, False]},
        {"name": "SGD", "momentum": {"low": 0.0, "high": 0.9, "step": 0.1}, "nesterov": False},
        "Adam",
    ]
    return space_of(
        model={
            "dim_model": [64, 32, 128],
            "n_head": 2,
            "num_layers": {"low": 1, "high": 40, "log": True},
            "attention_type": ["mha", "gqa"],
        },
        training={
            "optimizer": optimizers,
            "learning_rate": {"low": 1e-4, "high": 1e-2},
            "gradient_clip": [None, 0.5, 1.0, 2.0],
            "warmup_steps": {"low": 10, "high": 90, "step": 20},
        },
    )


def proposals(space: Space, seed: int) -> Iterator[Cell]:
    observations = searched(Sample(space, seed), space, lambda values: values["training_spec.learning_rate"], 12)
    return islice(Bayesian(space, seed, maximize=False).candidates(12, observations), 1 + ASKED_AGAIN)


def test_every_proposal_is_a_cell_of_its_space() -> None:
    space = everything()
    sizes = [dimension.size for dimension in space.dimensions]
    for cell in (cell for seed in range(5) for cell in proposals(space, seed)):
        assert all(0 <= digit < size for digit, size in zip(cell.digits, sizes, strict=True))
        values = space.values(cell)
        assert 1 <= values["model_spec.num_layers"] <= 40
        assert 1e-4 <= values["training_spec.learning_rate"] <= 1e-2
        options = set(values["training_spec.optimizer"].options)
        expected = {"AdamW": {"weight_decay", "amsgrad"}, "SGD": {"momentum", "nesterov"}, "Adam": set()}
        assert options == expected[values["training_spec.optimizer"].name]


def test_a_range_is_proposed_at_the_number_that_is_written_down() -> None:
    space = everything()
    for cell in proposals(space, 3):
        for dimension, digit, draws in zip(space.dimensions, cell.digits, cell.draws, strict=True):
            place, _ = dimension.parts(digit)
            ranges = [axis.values for axis in dimension.alternatives[place].axes if hasattr(axis.values, "share_of")]
            assert draws == tuple(each.share_of(each.at(share)) for each, share in zip(ranges, draws, strict=True))


def test_optuna_is_as_quiet_or_loud_for_others_as_before(
    observations: list[Observation], capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        first(Bayesian(mixed(), 1, maximize=False), 14, observations)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)
    assert capsys.readouterr().err == ""


def test_optuna_is_loaded_when_first_asked_only() -> None:
    code = "import sys, sequifier.search.bayesian, sequifier.search.proposals; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "optuna", "numpy"} & set(run.stdout.split())
