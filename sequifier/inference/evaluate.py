"""How good predictions are, where the truth is known: sums over predicted events, fed part by part.

Shapes: M predicted events of a part, K known classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RealTally:
    """Errors of a real target in original units.

    Args:
        std: of the column.
    """

    def __init__(self, std: float) -> None:
        self._std, self._n, self._absolute, self._squared = std, 0, 0.0, 0.0

    def add(self, value: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Take (M,) standardised predictions and their truth."""
        error = value.astype(np.float64) - truth
        self._n += len(error)
        self._absolute += float(np.abs(error).sum())
        self._squared += float((error**2).sum())

    def metrics(self) -> dict[str, float]:
        """Mean absolute error, root mean squared error, and the number of events."""
        if not self._n:
            return {"n": 0}
        mae, rmse = self._absolute / self._n * self._std, (self._squared / self._n) ** 0.5 * self._std
        return {"mae": mae, "rmse": rmse, "n": self._n}


class CategoricalTally:
    """Hits and log-loss of a categorical target, over the events whose true category the model knows.

    Args:
        n_classes: K + 1.
    """

    def __init__(self, n_classes: int) -> None:
        self._n, self._log_loss = 0, 0.0
        self._hits = np.zeros(n_classes, dtype=np.int64)  # by class
        self._both = np.zeros(n_classes, dtype=np.int64)  # in truth and in predictions

    def add(self, ids: NDArray[np.int64], probabilities: NDArray[np.float32], truth: NDArray[Any]) -> None:
        """Take (M,) predicted ids, (M, K + 1) probabilities and (M,) true ids; 0 is a category that is not known."""
        known = np.flatnonzero(truth)
        ids, truth = ids[known], truth[known]
        tiny = np.finfo(np.float32).tiny  # a float32 softmax may round a small probability to 0
        of_truth = np.maximum(probabilities[known, truth].astype(np.float64), tiny)
        self._n += len(known)
        self._log_loss -= float(np.log(of_truth).sum())
        size = len(self._hits)
        self._hits += np.bincount(truth[ids == truth], minlength=size)
        self._both += np.bincount(truth, minlength=size) + np.bincount(ids, minlength=size)

    def metrics(self) -> dict[str, float]:
        """Share of hits, mean log-loss in nats, macro-F1 as in `metrics.means`, and the number of events."""
        if not self._n:
            return {"n": 0}
        occurs = self._both > 0
        return {
            "accuracy": float(self._hits.sum() / self._n),
            "log_loss": self._log_loss / self._n,
            "macro_f1": float((2 * self._hits[occurs] / self._both[occurs]).mean()),
            "n": self._n,
        }
