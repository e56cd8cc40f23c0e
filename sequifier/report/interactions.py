"""Pairs of parameters that do together what neither does alone.

Two models of the same ranks are compared: one that adds up the effects of both parameters, and one with a mean for each
combination of their values. What the second explains beyond the first is the interaction. How much of it chance would
give is found by shuffling the residuals of the first (Freedman and Lane 1983, https://doi.org/10.2307/1391660).

Ranks instead of values, so that a loss that exploded counts for its place alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sequifier.report.groups import ABSENT, levels_of
from sequifier.results.trials import Table

Floats = NDArray[np.float64]

PERMUTATIONS = 499
MOST_NUMBERS = 2_000_000
"""Shuffled residuals of a pair; of very many trials there are fewer shuffles, down to 199."""

MOST_PARAMETERS = 6
"""Pairs are made of the most important ones."""


@dataclass(frozen=True)
class Interaction:
    """What two parameters do together.

    Attributes:
        parameters: the two.
        together: share of the variance of ranks that their combinations explain.
        added: what they explain when their effects are added up.
        share: the difference.
        p_value: how often chance does as much or more.
        n_cells: combinations that occur.
        cells: (level of the first, level of the second, mean value, trials), for the map.
    """

    parameters: tuple[str, str]
    together: float
    added: float
    share: float
    p_value: float
    n_cells: int
    cells: tuple[tuple[str, str, float, int], ...]


def interactions(table: Table, names: Sequence[str], *, seed: int = 0) -> list[Interaction]:
    """The interactions of all pairs, the strongest first; those with too few trials to tell are left out.

    Args:
        table: of the trials.
        names: parameters, the most important first.
        seed: of the shuffles.
    """
    trials = table.complete
    values = np.array([table.sign * (trial.value or 0.0) for trial in trials])
    ranks = _ranks(values)
    if len(trials) < 6 or not ranks.std():
        return []
    levels = {name: levels_of([t.settings.get(name, ABSENT) for t in trials]) for name in names[:MOST_PARAMETERS]}
    generator = np.random.default_rng(seed)
    count = max(199, min(PERMUTATIONS, MOST_NUMBERS // len(trials)))
    shuffles = np.argsort(generator.random((count, len(trials))), axis=1)
    found = [
        interaction
        for one, other in combinations(levels, 2)
        if (interaction := _interaction((one, other), levels[one], levels[other], ranks, table.sign * values, shuffles))
    ]
    return sorted(found, key=lambda each: (each.p_value, -each.share))


def _interaction(
    names: tuple[str, str],
    one: Sequence[str],
    other: Sequence[str],
    ranks: Floats,
    values: Floats,
    shuffles: NDArray[np.int64],
) -> Interaction | None:
    n, pairs = len(ranks), list(zip(one, other, strict=True))
    cells = list(dict.fromkeys(pairs))
    if n < 2 * len(cells):
        return None  # hardly two trials in each combination
    added, together = _basis(one, other), _cell_basis(pairs, cells)
    if together.shape[1] <= added.shape[1]:
        return None  # no combination says more than its parts
    total = float(((ranks - ranks.mean()) ** 2).sum())
    residuals = ranks - added @ (added.T @ ranks)
    explained = float(((together.T @ residuals) ** 2).sum())
    # Shuffled residuals are no longer orthogonal to the effects that were added up, so these are taken out again.
    shuffled = residuals[shuffles].T  # (n, permutations)
    shuffled = shuffled - added @ (added.T @ shuffled)
    by_chance = ((together.T @ shuffled) ** 2).sum(axis=0)
    rest = ranks - together @ (together.T @ ranks)
    return Interaction(
        parameters=names,
        together=1 - float((rest**2).sum()) / total,
        added=1 - float((residuals**2).sum()) / total,
        share=explained / total,
        p_value=float((1 + (by_chance >= explained - 1e-9).sum()) / (1 + len(shuffles))),
        n_cells=len(cells),
        cells=tuple(_cell(cell, pairs, values) for cell in cells),
    )


def _cell(cell: tuple[str, str], pairs: Sequence[tuple[str, str]], values: Floats) -> tuple[str, str, float, int]:
    inside = np.array([pair == cell for pair in pairs])
    return (*cell, float(values[inside].mean()), int(inside.sum()))


def _basis(one: Sequence[str], other: Sequence[str]) -> Floats:
    """An orthonormal basis of everything that adds up an effect of each, (n, rank)."""
    design = np.concatenate([_indicators(one), _indicators(other)], axis=1)
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return basis[:, sizes > 1e-9 * sizes[0]]


def _cell_basis(pairs: Sequence[tuple[str, str]], cells: Sequence[tuple[str, str]]) -> Floats:
    """The same of everything that has a value for each combination, (n, cells)."""
    place = {cell: number for number, cell in enumerate(cells)}
    indicators = np.eye(len(cells))[[place[pair] for pair in pairs]]
    scaled: Floats = indicators / np.sqrt(indicators.sum(axis=0))
    return scaled


def _indicators(levels: Sequence[str]) -> Floats:
    place = {level: number for number, level in enumerate(dict.fromkeys(levels))}
    return np.eye(len(place))[[place[level] for level in levels]]


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values with the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    different, place = np.unique(values, return_inverse=True)
    sums = np.bincount(place, weights=ranks, minlength=len(different))
    mean: Floats = (sums / np.bincount(place))[place]
    return mean
