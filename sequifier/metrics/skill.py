"""Skill: how much better than the best baseline a result is."""

from collections.abc import Sequence


def skill(value: float | None, baselines: Sequence[float], *, maximize: bool) -> float | None:
    """By which fraction of its value the best baseline is beaten; negative when the result is worse.

    Args:
        value: the metric of the model; None where there is none.
        baselines: the metric of each baseline.
        maximize: whether larger is better.

    Returns:
        None without a value or a baseline, or for a baseline of 0, of which there is no fraction.
    """
    best = (max if maximize else min)(baselines, default=0.0)
    if value is None or best == 0:
        return None
    return (value - best if maximize else best - value) / abs(best)
