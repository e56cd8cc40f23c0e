"""The metrics of a run and the parts of a sampler's score: their names, directions and what they require.

`metric` in a config names a validation metric that a run logs. In a search it may also name a metric of
`evaluation_script`. That is known only when a run has ended, so the runs themselves use `training_metric`.
`sequifier/metrics/` computes them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sequifier.config.ranking import Ranking
from sequifier.errors import Problem, did_you_mean

CATEGORICAL_METRICS = ("loss", "log_loss", "accuracy", "top5", "mrr", "macro_f1", "calibration_error")
REAL_METRICS = ("loss", "mae", "rmse", "mase")
STANDARDISED_METRICS = ("mae_standardised", "mse_standardised")
"""Further metrics of a real target in a run with a horizon: of errors in standard deviations of the training values."""
WITHOUT_STEPS = frozenset({"macro_f1", "calibration_error", "nll_per_event"})
"""Metrics of all predictions together only, not of each step of a horizon or each value of a column."""
QUANTILE_METRICS = (*REAL_METRICS, "crps", "coverage_80")
"""Metrics of a real target with a distribution. `mae` is that of the median, `rmse` that of the mean."""
DENSITY_METRICS = (*QUANTILE_METRICS, "nll")
"""Metrics of a real target whose distribution has a density."""
OBSERVED_METRICS = (*DENSITY_METRICS, "nll_per_event")
"""Metrics of the time between events with a density, where sequences are observed until after their last event."""
ORDERING_METRICS = ("auc", "average_precision")
"""Metrics that compare the sequences of a split with each other."""
MOST_ORDERED = 100
"""Largest number of classes with which they are computed, from the probabilities of a whole split."""
LABEL_METRICS = ("loss", "log_loss", "accuracy", "macro_f1", "calibration_error", "brier", *ORDERING_METRICS)
"""Metrics of a categorical target that belongs to the whole sequence."""
HIGHER_IS_BETTER = frozenset({"accuracy", "top5", "mrr", "macro_f1", *ORDERING_METRICS})

RANKING_METRICS = ("hit_rate", "ndcg", "mrr")
"""Metrics of `ranking`, which are followed by the rank up to which they count: `ndcg_10`. Higher is better."""


@dataclass(frozen=True)
class SamplerScore:
    """A part of a sampler's score.

    Attributes:
        weight: its default weight.
        requires: what must be known to measure it; None if it can always be measured.
        lower_is_better: whether its measure is better when it is lower.
    """

    weight: float
    requires: Literal["truth", "likelihood", "real target"] | None = None
    lower_is_better: bool = False


SAMPLER_SCORES: Mapping[str, SamplerScore] = {
    "token_accuracy": SamplerScore(1.0, "truth"),
    "edit_similarity": SamplerScore(1.0, "truth"),
    "likelihood": SamplerScore(1.0, "likelihood"),
    "ngram_divergence": SamplerScore(1.0, "truth", lower_is_better=True),
    "distinct_n": SamplerScore(0.5),
    "repetition": SamplerScore(0.5, lower_is_better=True),
    "mae": SamplerScore(1.0, "real target", lower_is_better=True),
}


def higher_is_better(metric: str) -> bool:
    """Whether a validation metric is better when it is higher: `val_item_accuracy` is."""
    metric, _ = split_step(metric)
    return metric.endswith(tuple(f"_{name}" for name in HIGHER_IS_BETTER)) or _of_ranking(metric) is not None


def step_name(metric: str, step: int) -> str:
    """The name of a metric at one step of a horizon, from 1: `mae_step_3`."""
    return f"{metric}_step_{step}"


def split_step(metric: str) -> tuple[str, int | None]:
    """The metric and the step of `val_price_mae_step_3`; the step is None where the name has none."""
    found = re.fullmatch(r"(.+)_step_([1-9][0-9]*)", metric)
    return (metric, None) if found is None else (found[1], int(found[2]))


def ranking_metrics(cutoffs: Iterable[int]) -> list[str]:
    """The metrics of a ranked target: `hit_rate_10`."""
    cutoffs = [*cutoffs]
    return [f"{name}_{k}" for name in RANKING_METRICS for k in cutoffs]


def ranking_metric(name: str) -> tuple[str, int] | None:
    """The metric and the rank of `ndcg_10`; None for any other name."""
    found = re.fullmatch(rf"({'|'.join(RANKING_METRICS)})_([1-9][0-9]*)", name)
    return None if found is None else (found[1], int(found[2]))


def _of_ranking(metric: str) -> re.Match[str] | None:
    return re.fullmatch(rf"val_(.+)_(?:{'|'.join(RANKING_METRICS)})_([1-9][0-9]*)", metric)


def metric_names(
    kinds: Mapping[str, str], ranking: Mapping[str, Ranking] = MappingProxyType({}), *, n_steps: int | None = None
) -> list[str]:
    """`val_loss`, then `val_<target>_<metric>` of each target.

    Args:
        kinds: target -> "categorical", "real", "quantiles" for a real one with a distribution, "density" where that
            has a density, "observed" for one of times between events that are observed until an end, or "label" for a
            categorical one that belongs to the whole sequence.
        ranking: of targets.
        n_steps: number of steps that have metrics of their own; None: the run has no horizon.
    """
    of_kind = {
        "categorical": CATEGORICAL_METRICS,
        "real": REAL_METRICS,
        "quantiles": QUANTILE_METRICS,
        "density": DENSITY_METRICS,
        "observed": OBSERVED_METRICS,
        "label": LABEL_METRICS,
    }
    names = ["val_loss"]
    for target, kind in kinds.items():
        metrics = of_kind[kind]
        names += [f"val_{target}_{metric}" for metric in metrics]
        if target in ranking:
            names += [f"val_{target}_{metric}" for metric in ranking_metrics(ranking[target].k)]
        if n_steps is not None:
            standardised = () if kind in ("categorical", "label") else STANDARDISED_METRICS
            names += [f"val_{target}_{metric}" for metric in standardised]
            by_step = [metric for metric in (*metrics, *standardised) if metric not in WITHOUT_STEPS]
            names += [f"val_{target}_{step_name(name, step + 1)}" for name in by_step for step in range(n_steps)]
    return names


def metric_problems(
    metric: str,
    direction: str,
    kinds: Mapping[str, str],
    ranking: Mapping[str, Ranking] = MappingProxyType({}),
    *,
    may_be_sampled: bool = False,
    n_steps: int | None = None,
) -> Iterator[Problem]:
    """Problems of a config's metric and direction for these targets.

    Args:
        metric: of the config.
        direction: of the config.
        kinds: as of `metric_names`.
        ranking: of targets.
        may_be_sampled: the user accepts a metric among sampled candidates.
        n_steps: as of `metric_names`.
    """
    known = metric_names(kinds, ranking, n_steps=n_steps)
    ranked = _of_ranking(metric)
    if metric not in known:
        fix = did_you_mean(metric, known)
        if ranked is not None and kinds.get(ranked[1]) == "categorical":
            k = sorted({*(ranking[ranked[1]].k if ranked[1] in ranking else ()), int(ranked[2])})
            fix = f"write ranking: {{{ranked[1]}: {{k: {k}}}}}"
        yield Problem("metric", f"there is no metric `{metric}`", fix=fix)
        return
    if ranked is not None and ranked[1] in ranking and ranking[ranked[1]].is_sampled and not may_be_sampled:
        yield Problem(
            "metric",
            f"{metric} is measured among sampled candidates, which may order models differently than all of them "
            "(Krichene and Rendle 2020)",
            fix=f"write ranking.{ranked[1]}.candidates: all, or metric_is_sampled: true",
        )
    if metric in (f"val_{target}_coverage_80" for target in kinds):
        what = f"{metric} is best at 0.8, so that neither the lowest nor the highest one is best"
        yield Problem("metric", what, fix=f"write {metric.removesuffix('coverage_80')}crps")
        return
    higher = higher_is_better(metric)
    if higher != (direction == "maximize"):
        yield Problem(
            "direction",
            f"{metric} is better when it is {'higher' if higher else 'lower'}",
            fix=f"write direction: {'maximize' if higher else 'minimize'}",
        )


def training_metric(metric: str, direction: str, scripted: Mapping[str, str]) -> tuple[str, str]:
    """The metric and direction of each run of a search: those of the search, or val_loss where a script measures them.

    Args:
        metric: of the search.
        direction: of the search.
        scripted: the metrics of `evaluation_script`: name -> direction.
    """
    return ("val_loss", "minimize") if metric in scripted else (metric, direction)


def script_problems(
    metric: str,
    direction: str,
    scripted: Mapping[str, str],
    kinds: Mapping[str, str],
    ranking: Mapping[str, Ranking] = MappingProxyType({}),
) -> Iterator[Problem]:
    """Problems of the metrics of an `evaluation_script`, and of a search that ranks by one of them.

    Args:
        metric: of the search.
        direction: of the search.
        scripted: the metrics of the script: name -> direction.
        kinds: as of `metric_names`.
        ranking: of targets.
    """
    logged = metric_names(kinds, ranking)
    for name in scripted:
        if name in (*logged, "standard_error"):
            yield Problem(f"evaluation_script.metrics.{name}", "each run logs a metric of this name; choose another")
    if metric in scripted:
        if scripted[metric] != direction:
            yield Problem(
                "direction",
                f"in evaluation_script {metric} is to {scripted[metric]}",
                fix=f"write direction: {scripted[metric]}",
            )
    elif scripted and metric not in logged:
        yield Problem("metric", f"there is no metric `{metric}`", fix=did_you_mean(metric, [*scripted, *logged]))
