"""The strategies that a config may name (`search_strategy`).

To add one, write its class, its entry in `STRATEGIES`, and its name in `config/search_fields.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sequifier.search.bayesian import Bayesian
from sequifier.search.space import Space
from sequifier.search.strategies import Grid, Sample, Strategy


@dataclass(frozen=True)
class StrategyKind:
    """One strategy.

    Attributes:
        build: (space, seed, whether a higher metric is better) -> the strategy.
        is_exhaustive: whether it proposes every cell, so that `n_samples` does not limit it.
        learns: whether it proposes each run from the results of the runs before, so that a plan cannot list its runs.
    """

    build: Callable[[Space, int, bool], Strategy]
    is_exhaustive: bool = False
    learns: bool = False


STRATEGIES = {
    "grid": StrategyKind(lambda space, seed, maximize: Grid(space), is_exhaustive=True),
    "sample": StrategyKind(lambda space, seed, maximize: Sample(space, seed)),
    "bayesian": StrategyKind(lambda space, seed, maximize: Bayesian(space, seed, maximize=maximize), learns=True),
}
