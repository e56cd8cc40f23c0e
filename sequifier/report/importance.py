"""Which parameters a result depends on, and how sure that is.

PED-ANOVA: Watanabe et al. 2023, https://arxiv.org/abs/2304.10255, with its extension to parameters that only some
trials have (https://arxiv.org/abs/2601.20800), as `optuna.importance.PedAnovaImportanceEvaluator` of Optuna 5 computes
it. It compares how the values of the best tenth are distributed with how all of them are; so it tells what it takes to
be among the best, and a loss that exploded counts no more than any other. Written again on counts, because Optuna needs
a second to be imported and a study for each of the bootstrap's draws; tests compare the two. The values of a list are
taken as categories, numbers from a range by their order.

fANOVA: Hutter et al. 2014, http://proceedings.mlr.press/v32/hutter14.html, is Optuna's own; it needs scikit-learn.

Deviation of group means: how far apart the mean results of a parameter's values are. Simple, and the one of the three
in the metric's own unit; it takes what two parameters do together for the work of each.

The intervals are of the bootstrap: trials are drawn with replacement, and everything is computed again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sequifier.errors import RunError
from sequifier.report.groups import ABSENT, is_logarithmic, levels_of
from sequifier.results.run_files import Setting
from sequifier.results.trials import Table, Trial, is_continuous, is_number

if TYPE_CHECKING:
    from optuna import Study

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TOP_QUANTILE = 0.1  # Optuna's default; of few trials it takes more, see `top_quantile`
FEWEST_TOP = 5  # best trials that Optuna's documentation asks for
GRID = 50  # places of a continuous parameter; Optuna's
DRAWS = 200
FANOVA_DRAWS = 20  # a forest each
FANOVA_TREES = 64
LEVEL = 0.95
FEWEST = 4
"""Trials with a result below which importance means nothing."""


@dataclass(frozen=True)
class Importance:
    """What one parameter matters.

    Attributes:
        parameter: its name.
        linked: settings that always change with it; which of them matters cannot be told.
        ped_anova: before it is made a share.
        share: of the sum over all parameters, by PED-ANOVA.
        low, high: the 95 % interval of the share.
        fanova: share of the variance that it explains alone; None where it was not asked for or does not apply.
        fanova_low, fanova_high: the interval.
        group_deviation: standard deviation of the mean results of its values, in the metric's unit.
        group_low, group_high: the interval.
        n_trials: with a result, that have the parameter.
    """

    parameter: str
    linked: tuple[str, ...]
    ped_anova: float
    share: float
    low: float
    high: float
    group_deviation: float
    group_low: float
    group_high: float
    n_trials: int
    fanova: float | None = None
    fanova_low: float | None = None
    fanova_high: float | None = None


@dataclass(frozen=True)
class Importances:
    """Of all parameters, the most important first; none, and why, where too little is known.

    `quantile` is the share of trials that PED-ANOVA counts as the best.
    """

    parameters: tuple[Importance, ...]
    n_trials: int
    quantile: float
    missing: str = ""
    draws: int = DRAWS
    fanova_missing: str = "not asked for: --fanova"


def importances(table: Table, *, fanova: bool = False, draws: int = DRAWS, seed: int = 0) -> Importances:
    """The importance of each parameter, over the trials trained to their end.

    Args:
        table: of the trials.
        fanova: compute that too.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        RunError: fANOVA without scikit-learn.
    """
    trials = table.complete
    quantile = top_quantile(len(trials))
    if fanova:
        _need_sklearn()
    if not table.parameters:
        return Importances((), len(trials), quantile, "nothing differs between the trials")
    if len(trials) < FEWEST:
        return Importances(
            (), len(trials), quantile, f"needs {FEWEST} trials with a result, and there are {len(trials)}"
        )
    losses = np.array([table.sign * (trial.value or 0.0) for trial in trials])
    columns = [_Column.of(name, trials) for name in table.parameters]
    every = np.ones(len(trials), dtype=np.int64)
    ped = np.array([column.ped_anova(every, losses) for column in columns])
    group = np.array([column.group_deviation(every, losses) for column in columns])
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(trials), np.full(len(trials), 1 / len(trials)), size=draws)
    ped_draws = np.array([_shares(np.array([c.ped_anova(drawn, losses) for c in columns])) for drawn in times])
    group_draws = np.array([[c.group_deviation(drawn, losses) for c in columns] for drawn in times])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ped_draws, [tail, 1 - tail], axis=0)
    group_low, group_high = np.quantile(group_draws, [tail, 1 - tail], axis=0)
    by_forest = _fanova(table, trials, generator) if fanova else {}
    found = [
        Importance(
            parameter=column.name,
            linked=table.linked.get(column.name, ()),
            ped_anova=float(ped[place]),
            share=float(share),
            low=min(float(low[place]), float(share)),
            high=max(float(high[place]), float(share)),
            group_deviation=float(group[place]),
            group_low=min(float(group_low[place]), float(group[place])),
            group_high=max(float(group_high[place]), float(group[place])),
            n_trials=column.n_trials,
            **by_forest.get(column.name, {}),
        )
        for place, (column, share) in enumerate(zip(columns, _shares(ped), strict=True))
    ]
    missing = "" if fanova else "not asked for: --fanova"
    return Importances(
        tuple(sorted(found, key=lambda each: -each.share)), len(trials), quantile, draws=draws, fanova_missing=missing
    )


def top_quantile(n: int) -> float:
    """The share of n trials that counts as the best: a tenth, but five of them, and never more than half."""
    return max(TOP_QUANTILE, min(0.5, FEWEST_TOP / n)) if n else 0.5


def group_mean_deviation(values: Sequence[Setting], results: Sequence[float]) -> float:
    """Standard deviation of the mean result of each value; numbers of which there are many are cut into quarters."""
    means: dict[str, list[float]] = {}
    for level, result in zip(levels_of(values), results, strict=True):
        means.setdefault(level, []).append(result)
    return pstdev([fmean(each) for each in means.values()])


def study_of(table: Table) -> "Study":
    """The complete trials as an Optuna study in memory: few values are categories, many numbers a range."""
    import optuna

    from sequifier.report.exports.optuna import distribution

    trials = table.complete
    values: dict[str, list[Setting]] = {}
    for trial in trials:
        for name in table.parameters:
            if name in trial.settings:
                values.setdefault(name, []).append(trial.settings[name])
    spaces = {
        name: distribution(set(found))
        if is_continuous(found)
        else optuna.distributions.CategoricalDistribution(sorted(set(found), key=repr))
        for name, found in values.items()
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=table.direction)
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=trial.value,
                params={name: trial.settings[name] for name in spaces if name in trial.settings},
                distributions={name: space for name, space in spaces.items() if name in trial.settings},
            )
            for trial in trials
        ]
    )
    return study


def _shares(values: Floats) -> Floats:
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1 / len(values))


class _Column:
    """One parameter of all trials, on a grid.

    Args:
        name: of the parameter.
        place: of each trial on the grid; -1 where it does not have the parameter, (N,).
        size: of the grid.
        is_ordered: whether neighbours on the grid are alike.
        level: of each trial, for group means, (N,).
    """

    def __init__(self, name: str, place: Integers, size: int, level: Integers, *, is_ordered: bool) -> None:
        self.name, self._place, self._size, self._level, self._is_ordered = name, place, size, level, is_ordered
        self._has = place >= 0

    @property
    def n_trials(self) -> int:
        """Trials that have the parameter."""
        return int(self._has.sum())

    @classmethod
    def of(cls, name: str, trials: Sequence[Trial]) -> "_Column":
        """The values of a parameter, placed as Optuna places them."""
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
        """PED-ANOVA where each trial counts so many times, (N,)."""
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
        """Standard deviation of the group means where each trial counts so many times."""
        n_levels = int(self._level.max()) + 1
        count = np.bincount(self._level, weights=times, minlength=n_levels)
        total = np.bincount(self._level, weights=times * losses, minlength=n_levels)
        return float(np.std(total[count > 0] / count[count > 0]))

    def _density(self, counts: NDArray[Any]) -> Floats:
        return _parzen(counts) if self._is_ordered else _categorical(counts)


def _on_grid(numbers: Sequence[float]) -> tuple[Integers, int]:
    """The place of each number on a grid over all of them, and its size."""
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
    """A density over categories: one kernel for each that occurs, and a prior."""
    seen = np.flatnonzero(counts)
    n_kernels = len(seen) + 1
    kernels = np.full((n_kernels, len(counts)), 1 / n_kernels)
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = np.append(counts[seen], 1.0)
    density: Floats = weights @ kernels / weights.sum()
    return density


def _parzen(counts: NDArray[Any]) -> Floats:
    """A density over places in order: normal kernels with Scott's bandwidth, and a wide prior."""
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
    # All kernels have one width and sit on the grid, so a kernel is a shift of the same numbers.
    steps = _normal_cdf((np.arange(-size, size + 1) - 0.5) / width)  # between places that lie -size ... size apart
    mass = np.diff(steps)
    place = np.arange(size)
    kernels = mass[place[None, :] - seen[:, None] + size]
    kernels /= kernels.sum(axis=1, keepdims=True)
    prior = np.diff(_normal_cdf((np.arange(size + 1) - 0.5 - (size - 1) / 2) / size))
    density: Floats = (weights @ kernels + prior / prior.sum()) / (total + 1)
    return density


def _normal_cdf(values: Floats) -> Floats:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in values])


def _need_sklearn() -> None:
    try:
        import sklearn  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise RunError(
            "fANOVA needs scikit-learn, which is not installed",
            fix="pip install 'sequifier[analysis]', or leave out --fanova: PED-ANOVA needs nothing",
        ) from error


def _fanova(table: Table, trials: Sequence[Trial], generator: np.random.Generator) -> dict[str, dict[str, Any]]:
    """fANOVA of the parameters that all trials have, with intervals."""
    names = [name for name in table.parameters if all(name in trial.settings for trial in trials)]

    def once(drawn: Sequence[Trial], n_trees: int) -> Mapping[str, float]:
        from optuna.importance import FanovaImportanceEvaluator

        if len({trial.value for trial in drawn}) < 2:
            return dict.fromkeys(names, 0.0)
        study = study_of(replace(table, trials=tuple(drawn), parameters=tuple(names)))
        return FanovaImportanceEvaluator(n_trees=n_trees, seed=0).evaluate(study, params=names)

    if not names:
        return {}
    whole = once(trials, FANOVA_TREES)
    draws: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(FANOVA_DRAWS):
        picked = [trials[place] for place in generator.integers(0, len(trials), size=len(trials))]
        varied = once(picked, FANOVA_TREES // 4)
        for name in names:
            draws[name].append(varied.get(name, 0.0))
    tail = (1 - LEVEL) / 2
    found = {}
    for name in names:
        low, high = (float(value) for value in np.quantile(draws[name], [tail, 1 - tail]))
        found[name] = {
            "fanova": whole[name],
            "fanova_low": min(low, whole[name]),
            "fanova_high": max(high, whole[name]),
        }
    return found
