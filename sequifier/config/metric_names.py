"""The validation metrics that a run logs, by name: what `metric` in a config may say."""

from collections.abc import Iterator, Mapping

from sequifier.errors import Problem, did_you_mean

CATEGORICAL_METRICS = ("loss", "log_loss", "accuracy", "top5")
REAL_METRICS = ("loss", "mae", "rmse")
HIGHER_IS_BETTER = frozenset({"accuracy", "top5"})


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
    """What is wrong with the metric and direction of a config for these targets."""
    known = metric_names(kinds)
    if metric not in known:
        yield Problem("metric", f"there is no metric `{metric}`", fix=did_you_mean(metric, known))
        return
    higher = metric.rpartition("_")[2] in HIGHER_IS_BETTER
    if higher != (direction == "maximize"):
        yield Problem(
            "direction",
            f"{metric} is better when it is {'higher' if higher else 'lower'}",
            fix=f"write direction: {'maximize' if higher else 'minimize'}",
        )
