"""Interactions: pairs of settings whose joint effect is not the sum of their separate effects.

Two models of the ranks are compared: one adds up the effects of both settings, the other has a mean for each
combination of their values. The interaction is what the second model explains beyond the first. Its p-value is of a
permutation test on the residuals of the first model (Freedman and Lane 1983, https://doi.org/10.2307/1391660).

Ranks instead of values, so that a loss that exploded counts by its rank alone.
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
"""Permuted residuals of a pair; with very many trials there are fewer permutations, down to 199."""

MOST_PARAMETERS = 6
"""Settings of which pairs are tested, the most important ones."""


@dataclass(frozen=True)
class Interaction:
    """The interaction of two settings.

    Attributes:
        parameters: names of the settings.
        together: fraction of the variance of the ranks that their combinations explain.
        added: fraction that the sum of their effects explains.
        share: the difference of the two.
        p_value: of the permutation test.
        n_cells: number of combinations that occur.
        cells: (level of the first, level of the second, mean value, number of trials).
    """

    parameters: tuple[str, str]
    together: float
    added: float
    share: float
    p_value: float
    n_cells: int
    cells: tuple[tuple[str, str, float, int], ...]


def interactions(table: Table, names: Sequence[str], *, seed: int = 0) -> list[Interaction]:
    """Test the interactions of all pairs; pairs with too few trials are left out.

    Args:
        table: the trials.
        names: settings, the most important first.
        seed: of the permutations.

    Returns:
        The interactions, the strongest first.
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
        return None  # fewer than two trials per combination
    added, together = _basis(one, other), _cell_basis(pairs, cells)
    if together.shape[1] <= added.shape[1]:
        return None  # the combinations have no degree of freedom of their own
    total = float(((ranks - ranks.mean()) ** 2).sum())
    residuals = ranks - added @ (added.T @ ranks)
    explained = float(((together.T @ residuals) ** 2).sum())
    # Permuted residuals are no longer orthogonal to the additive effects, so these are removed again.
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
    """Return an orthonormal basis of the additive model, (n, rank)."""
    design = np.concatenate([_indicators(one), _indicators(other)], axis=1)
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return basis[:, sizes > 1e-9 * sizes[0]]


def _cell_basis(pairs: Sequence[tuple[str, str]], cells: Sequence[tuple[str, str]]) -> Floats:
    """Return an orthonormal basis of the model with a mean per combination, (n, cells)."""
    place = {cell: number for number, cell in enumerate(cells)}
    indicators = np.eye(len(cells))[[place[pair] for pair in pairs]]
    scaled: Floats = indicators / np.sqrt(indicators.sum(axis=0))
    return scaled


def _indicators(levels: Sequence[str]) -> Floats:
    place = {level: number for number, level in enumerate(dict.fromkeys(levels))}
    return np.eye(len(place))[[place[level] for level in levels]]


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values have the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    different, place = np.unique(values, return_inverse=True)
    sums = np.bincount(place, weights=ranks, minlength=len(different))
    mean: Floats = (sums / np.bincount(place))[place]
    return mean
