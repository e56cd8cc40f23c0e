"""PED-ANOVA: how far the distribution of a parameter's values among the best trials is from that among all of them.

Source: Watanabe et al. 2023, https://arxiv.org/abs/2304.10255, with its extension to conditional parameters
(https://arxiv.org/abs/2601.20800), as `optuna.importance.PedAnovaImportanceEvaluator` of Optuna 5 computes it. A loss
that exploded counts no more than any other trial outside the best.

Differs: written on counts, because Optuna takes a second to import and needs a study for each bootstrap draw; tests
compare the two. Values of a list are categories, values of a range are ordinal.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.report.groups import ABSENT, is_logarithmic, levels_of
from sequifier.results.trials import Trial, is_continuous, is_number

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TOP_QUANTILE = 0.1  # Optuna's default; of few trials it takes more, see `top_quantile`
FEWEST_TOP = 5  # best trials that Optuna's documentation asks for
GRID = 50  # places of a continuous parameter; Optuna's


def top_quantile(n: int) -> float:
    """Return the fraction of n trials that counts as the best: a tenth, at least five trials, at most half."""
    return max(TOP_QUANTILE, min(0.5, FEWEST_TOP / n)) if n else 0.5


class Column:
    """The values of one setting on a grid, (N,) trials.

    Args:
        name: of the setting.
        place: (N,) place of each trial on the grid; -1 where the trial does not have the setting.
        size: of the grid.
        level: (N,) group of each trial, for group means.
        is_ordered: whether the setting is ordinal; categorical otherwise.
    """

    def __init__(self, name: str, place: Integers, size: int, level: Integers, *, is_ordered: bool) -> None:
        self.name, self._place, self._size, self._level, self._is_ordered = name, place, size, level, is_ordered
        self._has = place >= 0

    @property
    def n_trials(self) -> int:
        """Trials that have the setting."""
        return int(self._has.sum())

    @classmethod
    def of(cls, name: str, trials: Sequence[Trial]) -> "Column":
        """Place the values of a setting on the grid that Optuna uses."""
        values = [trial.settings.get(name, ABSENT) for trial in trials]
        has = [name in trial.settings for trial in trials]
        known = [value for value, is_there in zip(values, has, strict=True) if is_there]
        levels = {level: number for number, level in enumerate(dict.fromkeys(levels_of(values)))}
        level = np.array([levels[each] for each in levels_of(values)])
        place = np.full(len(trials), -1, dtype=np.int64)
        if is_continuous(known):
            numbers = [value for value in known if is_number(value)]
            grid, size = _on_grid(numbers)
            place[np.array(has)] = grid
            return cls(name, place, size, level, is_ordered=True)
        places = {repr(value): number for number, value in enumerate(sorted(set(known), key=repr))}
        place[np.array(has)] = [places[repr(value)] for value in known]
        return cls(name, place, len(places), level, is_ordered=False)

    def ped_anova(self, times: Integers, losses: Floats) -> float:
        """Compute PED-ANOVA of a bootstrap draw.

        Args:
            times: (N,) how often each trial was drawn.
            losses: (N,) results, lower is better.
        """
        n = int(times.sum())
        quantile = top_quantile(n)
        order = np.argsort(losses, kind="stable")
        reached = np.searchsorted(np.cumsum(times[order]), math.ceil(quantile * n))
        is_top = losses <= losses[order[reached]]
        n_top = int(times[is_top].sum())
        region = np.bincount(self._place[self._has], weights=times[self._has], minlength=self._size)
        both = self._has & is_top
        top = np.bincount(self._place[both], weights=times[both], minlength=self._size)
        in_region, in_top = region.sum(), top.sum()
        if self._size < 2 or in_region < 2 or in_top == 0:
            return 0.0
        pdf_top, pdf_region = self._density(top) + 1e-12, self._density(region) + 1e-12
        divergence = float(pdf_region @ (pdf_top / pdf_region - 1) ** 2)
        return float((in_top / n_top) ** 2 / (in_region / n) * divergence * (n_top / n) ** 2)

    def group_deviation(self, times: Integers, losses: Floats) -> float:
        """Compute the standard deviation of the group means of a bootstrap draw; arguments as for `ped_anova`."""
        n_levels = int(self._level.max()) + 1
        count = np.bincount(self._level, weights=times, minlength=n_levels)
        total = np.bincount(self._level, weights=times * losses, minlength=n_levels)
        return float(np.std(total[count > 0] / count[count > 0]))

    def _density(self, counts: NDArray[Any]) -> Floats:
        return _parzen(counts) if self._is_ordered else _categorical(counts)


def _on_grid(numbers: Sequence[float]) -> tuple[Integers, int]:
    """Return the place of each number on a grid over all of them, and the size of the grid."""
    low, high = min(numbers), max(numbers)
    is_log = is_logarithmic(low, high)
    size = GRID
    if all(isinstance(number, int) for number in numbers):
        size = min(math.ceil(math.log2(high - low + 1)) + 1 if is_log else int(high - low) + 1, GRID)
    if low == high:
        return np.zeros(len(numbers), dtype=np.int64), 1
    values = np.asarray(numbers, dtype=np.float64)
    if is_log:
        values, low, high = np.log(values), math.log(low), math.log(high)
    places = np.ceil((values - low) / ((high - low) / (size - 1)) - 0.5).astype(np.int64)
    return np.clip(places, 0, size - 1), size


def _categorical(counts: NDArray[Any]) -> Floats:
    """Estimate a density over categories: one kernel for each category that occurs, and a prior."""
    seen = np.flatnonzero(counts)
    n_kernels = len(seen) + 1
    kernels = np.full((n_kernels, len(counts)), 1 / n_kernels)
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = np.append(counts[seen], 1.0)
    density: Floats = weights @ kernels / weights.sum()
    return density


def _parzen(counts: NDArray[Any]) -> Floats:
    """Estimate a density over an ordinal grid: normal kernels with Scott's bandwidth, and a wide prior."""
    size = len(counts)
    seen = np.flatnonzero(counts)
    weights = counts[seen]
    total = weights.sum()
    mean = seen @ weights / total
    sigma = math.sqrt(float((seen - mean) ** 2 @ weights) / max(1.0, total - 1))
    reached = np.cumsum(weights)
    first = np.searchsorted(reached, total // 4, side="left")
    third = np.searchsorted(reached, total * 3 // 4, side="right")
    spread = seen[min(len(seen) - 1, int(third))] - seen[first]
    width = max(1.059 * min(spread / 1.34, sigma) * total**-0.2, 0.5 / 1.64)
    # All kernels have the same width and their centres are on the grid: each is a shift of the same values.
    steps = _normal_cdf((np.arange(-size, size + 1) - 0.5) / width)  # at distances of -size ... size places
    mass = np.diff(steps)
    place = np.arange(size)
    kernels = mass[place[None, :] - seen[:, None] + size]
    kernels /= kernels.sum(axis=1, keepdims=True)
    prior = np.diff(_normal_cdf((np.arange(size + 1) - 0.5 - (size - 1) / 2) / size))
    density: Floats = (weights @ kernels + prior / prior.sum()) / (total + 1)
    return density


def _normal_cdf(values: Floats) -> Floats:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in values])
