"""How much each searched setting matters to the result, and how certain that is.

Three measures: PED-ANOVA (`ped_anova.py`) measures what decides whether a trial is among the best. fANOVA (`fanova.py`)
measures the fraction of the variance over all trials. The deviation of group means is the simplest and the only one in
the metric's unit; it attributes to each setting what two settings do together.

Intervals are bootstrap intervals: trials are resampled with replacement, and each measure is computed again.
"""

from dataclasses import dataclass

import numpy as np

from sequifier.report.fanova import fanova_shares, require_sklearn
from sequifier.report.ped_anova import Column, Floats, top_quantile
from sequifier.results.trials import Table

DRAWS = 200
LEVEL = 0.95
FEWEST = 4
"""Trials with a result below which importance means nothing."""


@dataclass(frozen=True)
class Importance:
    """The importance of one setting.

    Attributes:
        parameter: name of the setting.
        linked: settings that always change together with it; the data cannot separate their effects.
        ped_anova: PED-ANOVA before normalisation.
        share: PED-ANOVA as a fraction of the sum over all settings.
        low, high: 95 % interval of the share.
        fanova: fraction of the variance that the setting explains alone; None without `fanova=True`, and where some
            trials do not have the setting.
        fanova_low, fanova_high: 95 % interval of it.
        group_deviation: standard deviation of the mean results of its values, in the metric's unit.
        group_low, group_high: 95 % interval of it.
        n_trials: trials with a result that have the setting.
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
    """The importance of every setting, the most important first.

    Attributes:
        parameters: one entry per setting; empty where too little is known.
        n_trials: trials with a result.
        quantile: fraction of the trials that PED-ANOVA counts as the best.
        missing: why `parameters` is empty.
        draws: bootstrap draws.
        fanova_missing: why there is no fANOVA.
    """

    parameters: tuple[Importance, ...]
    n_trials: int
    quantile: float
    missing: str = ""
    draws: int = DRAWS
    fanova_missing: str = "not requested: --fanova"


def importances(table: Table, *, fanova: bool = False, draws: int = DRAWS, seed: int = 0) -> Importances:
    """Compute the importance of each setting over the completed trials.

    Args:
        table: the trials.
        fanova: compute fANOVA too.
        draws: number of bootstrap draws.
        seed: seed of the draws.

    Raises:
        RunError: fANOVA without scikit-learn.
    """
    trials = table.complete
    quantile = top_quantile(len(trials))
    if fanova:
        require_sklearn()
    if not table.settings:
        return Importances((), len(trials), quantile, "nothing differs between the trials")
    if len(trials) < FEWEST:
        return Importances(
            (), len(trials), quantile, f"needs {FEWEST} trials with a result, and there are {len(trials)}"
        )
    losses = np.array([table.sign * (trial.value or 0.0) for trial in trials])
    columns = [Column.of(name, trials) for name in table.settings]
    once = np.ones(len(trials), dtype=np.int64)
    ped = np.array([column.ped_anova(once, losses) for column in columns])
    group = np.array([column.group_deviation(once, losses) for column in columns])
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(trials), np.full(len(trials), 1 / len(trials)), size=draws)
    ped_draws = np.array([_shares(np.array([c.ped_anova(drawn, losses) for c in columns])) for drawn in times])
    group_draws = np.array([[c.group_deviation(drawn, losses) for c in columns] for drawn in times])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ped_draws, [tail, 1 - tail], axis=0)
    group_low, group_high = np.quantile(group_draws, [tail, 1 - tail], axis=0)
    by_forest = fanova_shares(table, trials, generator, tail) if fanova else {}
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
    found.sort(key=lambda each: -each.share)
    missing = "" if fanova else Importances.fanova_missing
    return Importances(tuple(found), len(trials), quantile, draws=draws, fanova_missing=missing)


def _shares(values: Floats) -> Floats:
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), 1 / len(values))
