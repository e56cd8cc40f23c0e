"""fANOVA: the fraction of the variance of the results that a parameter explains alone, by a random forest.

Source: Hutter et al. 2014, http://proceedings.mlr.press/v32/hutter14.html. Optuna computes it and needs scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sequifier.errors import RunError
from sequifier.results.settings import Setting
from sequifier.results.trials import Table, Trial, is_continuous

if TYPE_CHECKING:
    from optuna import Study

FANOVA_DRAWS = 20  # a forest each
FANOVA_TREES = 64


def study_of(table: Table) -> "Study":
    """Return the completed trials as an Optuna study in memory.

    A setting with few different values becomes a categorical distribution, one with many numbers a range.
    """
    import optuna

    from sequifier.report.exports.optuna import distribution

    trials = table.complete
    values: dict[str, list[Setting]] = {}
    for trial in trials:
        for name in table.settings:
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


def require_sklearn() -> None:
    """Check that scikit-learn is installed.

    Raises:
        RunError: it is not.
    """
    try:
        import sklearn  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise RunError(
            "fANOVA needs scikit-learn, which is not installed",
            fix="pip install 'sequifier-search[analysis]', or leave out --fanova: PED-ANOVA does not need it",
        ) from error


def fanova_shares(
    table: Table, trials: Sequence[Trial], generator: np.random.Generator, tail: float
) -> dict[str, dict[str, float]]:
    """Compute fANOVA of the settings that all trials have, with bootstrap intervals.

    Args:
        table: names of the settings.
        trials: completed trials.
        generator: of the bootstrap.
        tail: fraction of the draws below, and above, each interval.

    Returns:
        Setting -> `fanova`, `fanova_low`, `fanova_high`.
    """
    names = [name for name in table.settings if all(name in trial.settings for trial in trials)]

    def shares_of(sample: Sequence[Trial], n_trees: int) -> Mapping[str, float]:
        from optuna.importance import FanovaImportanceEvaluator

        if len({trial.value for trial in sample}) < 2:
            return dict.fromkeys(names, 0.0)
        study = study_of(replace(table, trials=tuple(sample), settings=tuple(names)))
        return FanovaImportanceEvaluator(n_trees=n_trees, seed=0).evaluate(study, params=names)

    if not names:
        return {}
    whole = shares_of(trials, FANOVA_TREES)
    draws = []
    for _ in range(FANOVA_DRAWS):
        sample = [trials[place] for place in generator.integers(0, len(trials), size=len(trials))]
        draws.append(shares_of(sample, FANOVA_TREES // 4))
    found = {}
    for name in names:
        low, high = (float(end) for end in np.quantile([draw.get(name, 0.0) for draw in draws], [tail, 1 - tail]))
        found[name] = {
            "fanova": whole[name],
            "fanova_low": min(low, whole[name]),
            "fanova_high": max(high, whole[name]),
        }
    return found
