"""How sure the order of a table is: standard errors, and which configurations cannot be told from the best.

One validation split is a sample of sequences. Runs are measured on the same ones, so a difference is far surer than
either loss: sequences that are hard for one model are hard for all. The bootstrap (Efron and Tibshirani 1993, sections
6.2 and 13.3) draws sequences with replacement, the same ones for all runs, and where a configuration has several
training seeds it draws those too, in pairs.

Shapes: S validation sequences, B draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SequenceLosses = tuple[Floats, NDArray[Any]]
"""Loss summed over each sequence's targets, and how many those are: (S,) each, see artifacts/sequence_losses.py."""

DRAWS = 1000
LEVEL = 0.95
_NUMBERS_AT_ONCE = 10_000_000
"""Weights held in memory: 80 MB."""


@dataclass(frozen=True)
class Comparison:
    """What is known of one configuration.

    Attributes:
        standard_error: of its loss, over sequences and the seeds it has.
        is_indistinguishable: the 95 % interval of its loss less that of the best reaches down to 0. None for the best
            itself, and where one of the two has no sequence losses.
    """

    standard_error: float | None
    is_indistinguishable: bool | None


def compare(configurations: Sequence[Mapping[int, SequenceLosses]], *, seed: int = 0) -> list[Comparison]:
    """Compare configurations with the first one, the best.

    Args:
        configurations: losses by training seed, the best configuration first; empty where nothing is known. Those of
            other sequences than most cannot be compared and count as unknown.
        seed: of the draws.
    """
    losses = {(place, key): found for place, runs in enumerate(configurations) for key, found in runs.items()}
    generator = np.random.default_rng(seed)
    means = _resampled_means(_on_same_sequences(losses), generator)
    by_configuration = [
        {key: means[place, key] for key in runs if (place, key) in means} for place, runs in enumerate(configurations)
    ]
    result = []
    for place, runs in enumerate(by_configuration):
        error = float(np.std(_over_seeds(list(runs.values()), generator), ddof=1)) if runs else None
        told = None
        if place and runs and by_configuration[0]:
            difference = _difference(runs, by_configuration[0], generator)
            told = bool(np.quantile(difference, (1 - LEVEL) / 2) > 0)
        result.append(Comparison(error, None if told is None else not told))
    return result


def error_over_seeds(values: Sequence[float]) -> float:
    """Standard error of a mean over two or more training seeds."""
    return stdev(values) / float(len(values) ** 0.5)


def _on_same_sequences(losses: Mapping[tuple[int, int], SequenceLosses]) -> dict[tuple[int, int], SequenceLosses]:
    """The runs whose targets lie in the same sequences as those of the first one."""
    reference = next((targets for _, targets in losses.values()), None)
    return {key: found for key, found in losses.items() if np.array_equal(found[1], reference)}  # type: ignore[arg-type]


def _resampled_means(
    losses: Mapping[tuple[int, int], SequenceLosses], generator: np.random.Generator
) -> dict[tuple[int, int], Floats]:
    """The mean loss of each run in each draw of sequences, (B,)."""
    if not losses:
        return {}
    targets = next(iter(losses.values()))[1]
    columns = np.stack([loss for loss, _ in losses.values()] + [targets.astype(np.float64)], axis=1)  # (S, runs + 1)
    n_sequences = len(targets)
    equal = np.full(n_sequences, 1 / n_sequences)
    at_once = max(1, _NUMBERS_AT_ONCE // n_sequences)
    parts = []
    for start in range(0, DRAWS, at_once):
        times_drawn = generator.multinomial(n_sequences, equal, size=min(at_once, DRAWS - start))
        sums = times_drawn @ columns
        parts.append(sums[:, :-1] / sums[:, -1:])
    return dict(zip(losses, np.concatenate(parts).T, strict=True))


def _difference(runs: Mapping[int, Floats], best: Mapping[int, Floats], generator: np.random.Generator) -> Floats:
    """Loss less that of the best in each draw, (B,): paired by seed where they have seeds in common."""
    common = [seed for seed in runs if seed in best]
    if common:
        return _over_seeds([runs[seed] - best[seed] for seed in common], generator)
    unpaired: Floats = _over_seeds(list(runs.values()), generator) - _over_seeds(list(best.values()), generator)
    return unpaired


def _over_seeds(values: Sequence[Floats], generator: np.random.Generator) -> Floats:
    """The mean over as many seeds as there are, drawn with replacement, (B,)."""
    stacked = np.stack(values)  # (seeds, B)
    if len(stacked) > 1:
        stacked = np.take_along_axis(stacked, generator.integers(0, len(stacked), size=stacked.shape), axis=0)
    mean: Floats = stacked.mean(axis=0)
    return mean
