"""Ridge regression from sums of products, with the penalty chosen by generalised cross-validation.

Shapes: M rows, F features, H targets, each with weights and a penalty of its own.
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
        moments: sums of products of (1, features, targets), (1 + F + H, 1 + F + H).
    """

    n_features: int
    n_targets: int = 1
    moments: Floats = field(init=False)

    def __post_init__(self) -> None:
        size = 1 + self.n_features + self.n_targets
        self.moments = np.zeros((size, size))

    def add(self, features: Floats, targets: Floats) -> None:
        """Add rows, (M, F) and (M, H)."""
        rows = np.column_stack([np.ones(len(targets)), features, targets])
        self.moments += rows.T @ rows

    def solve(self, n_features: int) -> tuple[Floats, Floats]:
        """Return the weights of the first features, (n_features, H), and the intercepts, (H,), which are not penalised.

        The penalty of a target minimises the generalised cross-validation score, Golub, Heath and Wahba 1979,
        https://doi.org/10.1080/00401706.1979.10489751, equation 1.4.
        """
        n_rows = self.moments[0, 0]
        if not n_rows:
            return np.zeros((n_features, self.n_targets)), np.zeros(self.n_targets)
        features, targets = slice(1, n_features + 1), slice(1 + self.n_features, None)
        mean, target_mean = self.moments[0, features] / n_rows, self.moments[0, targets] / n_rows
        inner = self.moments[features, features] - n_rows * np.outer(mean, mean)
        with_targets = self.moments[features, targets] - n_rows * np.outer(mean, target_mean)
        total = np.diagonal(self.moments)[targets] - n_rows * target_mean**2
        values, vectors = np.linalg.eigh(inner)
        values, turned = np.maximum(values, 0.0), vectors.T @ with_targets  # (F,), (F, H)
        shrunk = values[:, None] + PENALTIES  # (F, penalties)
        residual = total[:, None] - (turned**2).T @ (2 / shrunk - values[:, None] / shrunk**2)  # (H, penalties)
        freedom = n_rows - 1 - (values[:, None] / shrunk).sum(axis=0)
        score = np.where(freedom > 0, np.maximum(residual, 0.0) / np.maximum(freedom, 1e-9) ** 2, np.inf)
        weights: Floats = vectors @ (turned / (values[:, None] + PENALTIES[score.argmin(axis=1)]))
        return weights, target_mean - mean @ weights
