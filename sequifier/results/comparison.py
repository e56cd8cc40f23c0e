"""How certain the order of a table is: standard errors, which configurations are worse, and which beat the baselines.

A validation split is a sample of units (artifacts/sequence_losses.py), usually sequences. All runs are measured on the
same units, so a difference is far more certain than either value: sequences that are hard for one model are hard for
all. For runs i and j with sums S and targets c of unit u:

    D = sum(S_iu - S_ju) / sum(c_u),  r_u = S_iu - S_ju - D c_u,  se = sqrt(n / (n - 1) sum(r_u^2)) / sum(c_u)

with (sum c_u)^2 / sum(c_u^2) - 1 degrees of freedom. Of R runs, i is worse when D > t(degrees, 1 - 0.05 / (R - 1)) se
for some j (all j up to R = 200, else the 200 best). The runs that are not called worse contain the best trained model
in 95 % of searches, whichever run was chosen as the best: the comparison with the best of Hsu 1996 (Multiple
Comparisons, chapter 5) by Bonferroni's bound. docs/decisions/014-statistics-of-a-result.md has the simulations.

Shapes: U units, J runs that a run is compared with, r training seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev, variance
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.sequence_losses import By, Units
from sequifier.results.student import t_tail

Floats = NDArray[np.float64]
Seeds = Mapping[int, Units]
"""The units of a configuration by training seed."""

BEST = 200
"""Maximum number of runs that each run is compared with."""
LEVEL = 0.05
"""Probability that the best trained model is called worse."""
BEATS = 0.025
"""One-sided level at which a run beats a baseline."""
_FIRST, _CERTAIN = 10, LEVEL / 1e6
"""Most runs are so much worse than one of the best 10 that no further comparison is needed, whatever R is."""
_NUMBERS_HELD = 50_000_000
"""Floats of the best runs in memory: 400 MB. With more than 250,000 units, fewer than `BEST` runs are held."""


@dataclass(frozen=True)
class Comparison:
    """The verdict on one configuration.

    Attributes:
        standard_error: standard error of its value, over units and seeds; None where it is unknown.
        degrees: degrees of freedom of the standard error.
        by: what the units are; None without a standard error.
        is_worse: it is worse than some other configuration. None where this is unknown: there is only one
            configuration, or the units of this one or of all others are missing.
        is_indistinguishable: it is statistically indistinguishable from the best; None for the best itself, and where
            `is_worse` is unknown.
        beats_baselines: it beats each baseline; None where this is unknown.
    """

    standard_error: float | None = None
    degrees: float | None = None
    by: By | None = None
    is_worse: bool | None = None
    is_indistinguishable: bool | None = None
    beats_baselines: bool | None = None


class Difference(NamedTuple):
    """The mean difference of two configurations: the estimate, its standard error, its degrees of freedom."""

    value: float
    standard_error: float
    degrees: float

    @property
    def tail(self) -> float:
        """One-sided p-value: the probability of a difference at least this large between equal models."""
        if self.standard_error <= 0 or self.value <= 0:
            return 0.5
        return t_tail(self.value / self.standard_error, self.degrees)


def compare(
    configurations: Iterable[Seeds], *, maximize: bool = False, baselines: Mapping[str, Units | None] | None = None
) -> list[Comparison]:
    """Compare configurations with each other and with the baselines.

    Args:
        configurations: from best to worst, iterated once; empty where the units are unknown. Configurations with other
            units than the best one are not compared; where the best has no units, none is.
        maximize: higher is better.
        baselines: name -> units on the same targets, None where they are unknown. Without baselines, none is beaten.
    """
    sign = -1.0 if maximize else 1.0
    reference: Units | None = None
    best: list[tuple[int, Seeds]] = []
    against: _Against | None = None
    tails: dict[int, float] = {}
    of_baselines: dict[int, float] = {}
    result: list[Comparison] = []
    for place, given in enumerate(configurations):
        seeds = _usable(given)
        result.append(_alone(seeds))
        if not seeds:
            continue
        tail = _tail_of_baselines(seeds, baselines or {}, sign)
        if tail is not None:
            of_baselines[place] = tail
        units = next(iter(seeds.values()))
        reference = units if place == 0 else reference
        if reference is None or not units.pairs_with(reference):
            continue
        if len(best) < min(BEST, max(1, _NUMBERS_HELD // len(units.count))):
            best.append((place, seeds))
            continue
        against = against or _Against([seeds for _, seeds in best], sign)
        tails[place] = against.smallest_tail(seeds)
    against = against or _Against([seeds for _, seeds in best], sign)
    tails |= {place: against.smallest_tail(seeds) for place, seeds in best}
    if len(tails) > 1:
        for place, tail in tails.items():
            is_worse = tail * (len(tails) - 1) < LEVEL
            is_same = None if place == 0 else not is_worse
            result[place] = replace(result[place], is_worse=is_worse, is_indistinguishable=is_same)
    for place, tail in of_baselines.items():
        level = BEATS / len(tails) if place == 0 else BEATS  # the winner was selected among all
        result[place] = replace(result[place], beats_baselines=tail < level)
    return result


def beats(units: Units, baselines: Mapping[str, Units | None], *, maximize: bool) -> bool | None:
    """Whether a model that was not selected on these targets beats each baseline; None where this is unknown."""
    tail = _tail_of_baselines(_usable({0: units}), baselines, -1.0 if maximize else 1.0)
    return None if tail is None else tail < BEATS


def difference(one: Seeds, other: Seeds) -> Difference:
    """The value of `one` minus the value of `other`: paired by unit, and by seed where they have seeds in common."""
    common = [seed for seed in one if seed in other]
    if common:
        pairs = [(one[seed], other[seed]) for seed in common]
        values = [a.value - b.value for a, b in pairs]
        residual = np.mean([a.residual - b.residual for a, b in pairs], axis=0)
        of_seeds = [values]
    else:
        residual = np.mean([a.residual for a in one.values()], axis=0)
        residual = residual - np.mean([b.residual for b in other.values()], axis=0)
        of_seeds = [[a.value for a in one.values()], [-b.value for b in other.values()]]
    units = next(iter(one.values()))
    variances = [(variance(values) / len(values), len(values) - 1.0) for values in of_seeds if len(values) > 1]
    error, degrees = _combined(float(units.error_of(residual)), units.degrees, variances)
    return Difference(sum(sum(values) / len(values) for values in of_seeds), error, degrees)


def error_over_seeds(values: Sequence[float]) -> float:
    """Standard error of a mean over two or more training seeds."""
    return stdev(values) / float(len(values) ** 0.5)


def _usable(seeds: Seeds) -> Seeds:
    """The units by seed; empty where the units of one seed are unusable: a mean over some seeds is another estimate."""
    first = next(iter(seeds.values()), None)
    is_usable = all(units.is_usable and first is not None and units.pairs_with(first) for units in seeds.values())
    return seeds if is_usable else {}


def _alone(seeds: Seeds) -> Comparison:
    """The standard error of the mean over the seeds of one configuration."""
    if not seeds:
        return Comparison()
    units = next(iter(seeds.values()))
    if len(seeds) == 1:
        error = units.standard_error
        return Comparison(error, units.degrees, units.by) if error is not None else Comparison()
    residual = np.mean([each.residual for each in seeds.values()], axis=0)
    values = [each.value for each in seeds.values()]
    between = [(variance(values) / len(values), len(values) - 1.0)]
    error, degrees = _combined(float(units.error_of(residual)), units.degrees, between)
    return Comparison(error, degrees, units.by) if error > 1e-12 * abs(units.value) else Comparison()


def _combined(error: float, degrees: float, others: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The standard error of a sum of independent parts, and its degrees by Satterthwaite 1946.

    Args:
        error: standard error of the first part.
        degrees: degrees of freedom of the first part.
        others: variance and degrees of each further part.
    """
    parts = [(error**2, degrees), *others]
    total = sum(part for part, _ in parts)
    spread = sum(part**2 / free for part, free in parts if part)
    return total**0.5, total**2 / spread if spread else degrees


def _tail_of_baselines(seeds: Seeds, baselines: Mapping[str, Units | None], sign: float) -> float | None:
    """The largest p-value among the differences to the baselines; None where one of them is unknown."""
    if not baselines or not seeds:
        return None
    units = next(iter(seeds.values()))
    tails = []
    for baseline in baselines.values():
        if baseline is None or not baseline.is_usable or not baseline.pairs_with(units):
            return None
        found = difference(dict.fromkeys(seeds, baseline), seeds)
        tails.append(found._replace(value=sign * found.value).tail)
    return max(tails)


class _Against:
    """The best configurations, which others are compared with; those with the same seeds in one computation."""

    def __init__(self, best: Sequence[Seeds], sign: float) -> None:
        self._sign = sign
        self._groups: dict[tuple[int, ...], list[Seeds]] = {}
        for seeds in best:
            self._groups.setdefault(tuple(sorted(seeds)), []).append(seeds)
        self._stacked: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Floats, Floats]] = {}

    def smallest_tail(self, seeds: Seeds) -> float:
        """The smallest p-value among the differences to the best configurations."""
        return min((self._of_group(key, seeds) for key in self._groups), default=0.5)

    def _of_group(self, key: tuple[int, ...], seeds: Seeds) -> float:
        common = tuple(seed for seed in key if seed in seeds)
        if not common:
            found = [difference(seeds, other) for other in self._groups[key]]
            return min(each._replace(value=self._sign * each.value).tail for each in found)
        values, residuals = self._stack(key, common)
        tail = 0.5
        for part in (slice(0, _FIRST), slice(_FIRST, None)):
            tail = min(tail, self._of_part(values[part], residuals[part], [seeds[seed] for seed in common]))
            if tail < _CERTAIN:
                break
        return tail

    def _of_part(self, values: Floats, residuals: Floats, own: Sequence[Units]) -> float:
        """The smallest p-value among the differences to some configurations, (J, r) and (J, U), seed by seed."""
        differences = self._sign * (np.array([each.value for each in own]) - values)  # (J, r)
        mean = differences.mean(axis=1)
        candidates = mean > 0
        if not candidates.any():
            return 0.5
        units, r = own[0], len(own)
        square = units.error_of(np.mean([each.residual for each in own], axis=0) - residuals[candidates]) ** 2  # (J,)
        degrees = np.full(len(square), units.degrees)
        if r > 1:
            own_variance = differences.var(axis=1, ddof=1)
            typical = _typical(own_variance, r - 1)
            of_seeds = np.maximum(own_variance, typical)[candidates] / r
            freedom = np.where(own_variance < typical, (r - 1) * len(values), r - 1)[candidates]
            spread = square**2 / units.degrees + of_seeds**2 / freedom
            square = square + of_seeds
            degrees = np.divide(square**2, spread, out=degrees, where=spread > 0)
        t = np.divide(mean[candidates], np.sqrt(square), out=np.zeros_like(square), where=square > 0)
        if r == 1:  # all have the same degrees
            return t_tail(float(t.max()), units.degrees)
        return min(map(t_tail, t.tolist(), degrees.tolist()))

    def _stack(self, key: tuple[int, ...], common: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Values (J, r) and residuals averaged over seeds (J, U) of a group."""
        if (key, common) not in self._stacked:
            group = self._groups[key]
            values = np.array([[seeds[seed].value for seed in common] for seeds in group])
            residuals = np.array([np.mean([seeds[seed].residual for seed in common], axis=0) for seeds in group])
            self._stacked[key, common] = values, residuals
        return self._stacked[key, common]


def _typical(variances: Floats, freedom: int) -> float:
    """A robust estimate of the variance from several estimates (J,) with `freedom` degrees each; ignores outliers.

    Two seeds can agree by chance, and their difference then has no variance; among many pairs some do, and would be
    called different. The median of chi-squared estimates is below their mean (Wilson and Hilferty 1931).
    """
    if len(variances) < 3:
        return float(variances.mean())
    median: float = np.median(variances)
    return median / (1 - 2 / (9 * freedom)) ** 3
