"""The metrics of a run and the parts of a sampler's score: their names, directions and what they require.

`metric` in a config names a validation metric that a run logs. In a search it may also name a metric of
`evaluation_script`. That is known only when a run has ended, so the runs themselves use `training_metric`.
`sequifier/metrics/` computes them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sequifier.errors import Problem, did_you_mean

CATEGORICAL_METRICS = ("loss", "log_loss", "accuracy", "top5", "mrr", "macro_f1", "calibration_error")
REAL_METRICS = ("loss", "mae", "rmse")
HIGHER_IS_BETTER = frozenset({"accuracy", "top5", "mrr", "macro_f1"})


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
    return metric.endswith(tuple(f"_{name}" for name in HIGHER_IS_BETTER))


def metric_names(kinds: Mapping[str, str]) -> list[str]:
    """`val_loss`, then `val_<target>_<metric>` of each target.

    Args:
        kinds: target -> "categorical" or "real".
    """
    names = ["val_loss"]
    for target, kind in kinds.items():
        metrics = CATEGORICAL_METRICS if kind == "categorical" else REAL_METRICS
        names += [f"val_{target}_{metric}" for metric in metrics]
    return names


def metric_problems(metric: str, direction: str, kinds: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of a config's metric and direction for these targets."""
    known = metric_names(kinds)
    if metric not in known:
        yield Problem("metric", f"there is no metric `{metric}`", fix=did_you_mean(metric, known))
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
    metric: str, direction: str, scripted: Mapping[str, str], kinds: Mapping[str, str]
) -> Iterator[Problem]:
    """Problems of the metrics of an `evaluation_script`, and of a search that ranks by one of them.

    Args:
        metric: of the search.
        direction: of the search.
        scripted: the metrics of the script: name -> direction.
        kinds: target -> "categorical" or "real".
    """
    logged = metric_names(kinds)
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
