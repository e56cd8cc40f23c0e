"""Ridge regression from sums of products, with the penalty chosen by generalised cross-validation.

Shapes: M rows, F features.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PENALTIES = np.logspace(-2, 7, 19)
"""Penalties that are tried; features are standardised, or differences of standardised values."""


@dataclass
class Products:
    """Sums over rows, from which a regression on the first features is computed without the rows.

    Attributes:
        moments: sums of products of (1, features, target), (F + 2, F + 2).
    """

    n_features: int
    moments: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.moments = np.zeros((self.n_features + 2, self.n_features + 2))

    def add(self, features: Floats, target: Floats) -> None:
        """Add rows, (M, F) and (M,)."""
        rows = np.column_stack([np.ones(len(target)), features, target])
        self.moments += rows.T @ rows

    def solve(self, n_features: int) -> tuple[Floats, float]:
        """Return the weights of the first features, (n_features,), and the intercept, which is not penalised.

        The penalty minimises the generalised cross-validation score, Golub, Heath and Wahba 1979,
        https://doi.org/10.1080/00401706.1979.10489751, equation 1.4.
        """
        n_rows = self.moments[0, 0]
        if not n_rows:
            return np.zeros(n_features), 0.0
        mean, target_mean = self.moments[0, 1 : n_features + 1] / n_rows, self.moments[0, -1] / n_rows
        inner, with_target = self.moments[1 : n_features + 1, 1 : n_features + 1], self.moments[1 : n_features + 1, -1]
        inner = inner - n_rows * np.outer(mean, mean)
        with_target = with_target - n_rows * mean * target_mean
        total = self.moments[-1, -1] - n_rows * target_mean**2
        values, vectors = np.linalg.eigh(inner)
        values, turned = np.maximum(values, 0.0), vectors.T @ with_target
        shrunk = values[:, None] + PENALTIES  # (F, penalties)
        residual = total - (turned[:, None] ** 2 * (2 / shrunk - values[:, None] / shrunk**2)).sum(axis=0)
        freedom = n_rows - 1 - (values[:, None] / shrunk).sum(axis=0)
        score = np.where(freedom > 0, np.maximum(residual, 0.0) / np.maximum(freedom, 1e-9) ** 2, np.inf)
        weights: Floats = vectors @ (turned / (values + PENALTIES[int(np.argmin(score))]))
        return weights, float(target_mean - mean @ weights)
