"""The distributions that a real target may be predicted with, and their sizes, known without torch.

What they compute is beside the same names in `model/distributions/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DistributionName = Literal["point", "quantiles", "lognormal_mixture"]

POINT: DistributionName = "point"
"""A single value: the absence of a distribution."""

LEVELS = tuple(number / 20 for number in range(1, 20))
"""The levels of the quantiles that every distribution has: 0.05, 0.1, ..., 0.95."""

MEDIAN, Q10, Q90 = 9, 1, 17
"""Places of levels in LEVELS."""

N_COMPONENTS = 16
"""Components of a mixture (Shchur et al. 2020, https://arxiv.org/abs/1909.12127)."""


def quantile_column(target: str, level: float) -> str:
    """Return the name of the column with the quantile of a target at a level in tables of predictions.

    >>> quantile_column("price", 0.1)
    'price_q10'
    """
    return f"{target}_q{level * 100:02.0f}"


@dataclass(frozen=True)
class DistributionShape:
    """What the shape of a model needs of a distribution.

    Attributes:
        n_parameters: numbers that the model predicts for each target.
        has_density: whether it has a probability density, and so the metric `nll`.
        shows_parameters: whether exported models return its parameters too, from which densities are computed.
        is_standardised: whether it describes standardised values, which windows may be normalized by.
    """

    n_parameters: int
    has_density: bool = False
    shows_parameters: bool = False
    is_standardised: bool = True


DISTRIBUTION_SHAPES: Mapping[str, DistributionShape] = {
    "quantiles": DistributionShape(len(LEVELS)),
    "lognormal_mixture": DistributionShape(
        3 * N_COMPONENTS, has_density=True, shows_parameters=True, is_standardised=False
    ),
}
